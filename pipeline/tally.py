"""The account of a run's lines: what each of them was, and why some were rejected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from pipeline.events import DeadLetter

SAMPLE_SIZE = 5
MAX_NAMES = 1_000


@dataclass(frozen=True)
class Tally:
    """Counts of lines: a commutative monoid with `Tally()` as zero and `+` as its operation.

    `lines = blank + accepted + the sum of other_events + the sum of rejected + late`, the last of
    which only an input without end has. `other_events` maps names and `rejected` reasons (the first
    error of a line) to numbers of lines; names beyond the thousand most frequent are counted
    together under the empty name. `first_rejected` holds the first few dead letters by source and
    offset.
    """

    blank: int = 0
    accepted: int = 0
    other_events: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: tuple[DeadLetter, ...] = ()
    late: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.blank + other.blank,
            self.accepted + other.accepted,
            _bounded(self.other_events + other.other_events),
            self.rejected + other.rejected,
            first_of([*self.first_rejected, *other.first_rejected]),
            self.late + other.late,
        )

    @property
    def non_blank(self) -> int:
        """The lines that hold something."""
        return self.accepted + self.other_events.total() + self.rejected.total() + self.late

    def counts(self) -> dict[str, int]:
        """The equation of lines: the first is the sum of the others and of `late`."""
        return {
            "lines": self.blank + self.non_blank,
            "blank": self.blank,
            "other_events": self.other_events.total(),
            "accepted": self.accepted,
            "rejected": self.rejected.total(),
        }


def first_of(dead_letters: list[DeadLetter]) -> tuple[DeadLetter, ...]:
    """The few dead letters that a tally shows: the first by source and offset."""
    return tuple(sorted(dead_letters)[:SAMPLE_SIZE])


def _bounded(names: Counter[str]) -> Counter[str]:
    if len(names) <= MAX_NAMES:
        return names
    kept = Counter(dict(names.most_common(MAX_NAMES - 1)))
    kept[""] += names.total() - kept.total()
    return kept


@dataclass(frozen=True)
class MaxRejected:
    """How many lines may be rejected: a count, or a share of the lines that are not blank.

    Whatever is allowed, an input whose every line is rejected is refused as the wrong file, unless
    the share is the whole.
    """

    count: int | None = None
    share: Decimal | None = None

    def allows(self, rejected: int, non_blank: int) -> bool:
        """Whether a run with so many rejected lines may give a result."""
        if self.share is not None and self.share >= 1:
            return True
        if rejected == non_blank:
            return non_blank == 0
        if self.count is not None:
            return rejected <= self.count
        return self.share is None or rejected <= self.share * non_blank
