"""The account of a run's lines: what each of them was, and why some were rejected."""

from __future__ import annotations

import heapq
import zlib
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from decimal import Decimal

from pipeline.events import NOT_JSON_LINES, DeadLetter

SAMPLE_SIZE = 5
MAX_NAMES = 10_000


@dataclass(frozen=True)
class Tally:
    """Counts of lines: a commutative monoid with `Tally()` as zero and `+` as its operation.

    Attributes:
        blank, accepted, late: numbers of lines; only unbounded input has late ones.
        other_events: the number of lines by event name, for at most 10 000 names. Which of more
            names these are depends on the names alone, so their counts are exact.
        rejected: the number of lines by reason, which is the first error of a line.
        first_rejected: the first few dead letters by source and offset.
        unnamed: the number of other events whose names are not in `other_events`.
    """

    blank: int = 0
    accepted: int = 0
    other_events: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: tuple[DeadLetter, ...] = ()
    late: int = 0
    unnamed: int = 0

    def __add__(self, other: Tally) -> Tally:
        names = self.other_events + other.other_events
        kept = keep_names(names)
        return Tally(
            self.blank + other.blank,
            self.accepted + other.accepted,
            kept,
            self.rejected + other.rejected,
            first_of([*self.first_rejected, *other.first_rejected]),
            self.late + other.late,
            self.unnamed + other.unnamed + names.total() - kept.total(),
        )

    @property
    def _others(self) -> int:
        return self.other_events.total() + self.unnamed

    @property
    def non_blank(self) -> int:
        """The lines that hold something."""
        return self.accepted + self._others + self.rejected.total() + self.late

    def counts(self) -> dict[str, int]:
        """The equation of lines: the first is the sum of the others and of `late`."""
        return {
            "lines": self.blank + self.non_blank,
            "blank": self.blank,
            "other_events": self._others,
            "accepted": self.accepted,
            "rejected": self.rejected.total(),
        }


def first_of(dead_letters: list[DeadLetter]) -> tuple[DeadLetter, ...]:
    """The few dead letters that a tally shows: the first by source and offset."""
    return tuple(sorted(dead_letters)[:SAMPLE_SIZE])


def keep_names(names: Counter[str]) -> Counter[str]:
    """The names that a tally keeps.

    Those with the smallest checksums: a name that is among them in the end was so in every part.
    With the most frequent ones, the order of adding would matter.
    """
    if len(names) <= MAX_NAMES:
        return names
    kept = heapq.nsmallest(MAX_NAMES, names, key=_checksum)
    return Counter({name: names[name] for name in kept})


def _checksum(name: str) -> tuple[int, str]:
    return zlib.crc32(name.encode()), name


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


def refusal(rejected: int, non_blank: int, reasons: Container[str]) -> str:
    """Why a run is refused for its rejected lines, and what its input looks like.

    Args:
        rejected: how many lines were rejected.
        non_blank: how many lines hold something.
        reasons: those for which lines were rejected.
    """
    if rejected < non_blank:
        return (
            f"{rejected:,} of {non_blank:,} lines were rejected, more than --max_rejected allows; "
            "no rows were written"
        )
    forms = (error.message for error in NOT_JSON_LINES if error.type in reasons)
    hint = next((f"; it looks like {form}" for form in forms), "")
    return (
        "every line was rejected, so that this is most likely the wrong file; no rows were "
        f"written (--max_rejected=100% allows it){hint}"
    )
