"""Counts of a run's lines: what they were, and why some were rejected."""

from __future__ import annotations

import heapq
import zlib
from collections import Counter
from dataclasses import dataclass, field

from pipeline.core.events import DeadLetter

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
        filtered: the number of valid events that were not asked for.
    """

    blank: int = 0
    accepted: int = 0
    other_events: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: tuple[DeadLetter, ...] = ()
    late: int = 0
    unnamed: int = 0
    filtered: int = 0

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
            self.filtered + other.filtered,
        )

    @property
    def _others(self) -> int:
        return self.other_events.total() + self.unnamed

    @property
    def non_blank(self) -> int:
        """The lines that are not blank."""
        events = self.accepted + self.filtered + self.late
        return events + self._others + self.rejected.total()

    def counts(self) -> dict[str, int]:
        """The counts by name: `lines` is the sum of the others and of `late`."""
        return {
            "lines": self.blank + self.non_blank,
            "blank": self.blank,
            "other_events": self._others,
            "filtered": self.filtered,
            "accepted": self.accepted,
            "rejected": self.rejected.total(),
        }


def first_of(dead_letters: list[DeadLetter]) -> tuple[DeadLetter, ...]:
    """The few dead letters that a tally shows: the first by source and offset."""
    return tuple(sorted(dead_letters)[:SAMPLE_SIZE])


def keep_names(names: Counter[str]) -> Counter[str]:
    """The names that a tally keeps.

    These are the names with the smallest checksums. A name that is kept in the sum was kept in
    every part, so its count is exact. With the most frequent names, the order of adding would
    matter.
    """
    if len(names) <= MAX_NAMES:
        return names
    kept = heapq.nsmallest(MAX_NAMES, names, key=_checksum)
    return Counter({name: names[name] for name in kept})


def _checksum(name: str) -> tuple[int, str]:
    return zlib.crc32(name.encode()), name
