"""The empty rows of a series whose events are still arriving.

The rules are those of `pipeline.core.row_rules`, but the next event is not known yet. While a
silence lasts, its empty rows are emitted, up to the longest silence that is filled. And an event
may arrive late, for a minute that has passed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.core.row_rules import Dates


@dataclass(frozen=True)
class SilenceRules:
    """When there are empty rows, and how long a series is remembered; all in minutes.

    Args:
        window: X.
        max_gap: the longest silence that is filled, at least X.
        retention: how far the watermark may be beyond the minute of an event that still arrives.
    """

    window: int
    max_gap: int
    retention: int


@dataclass
class Silences:
    """The state of a series: enough to decide which of its empty rows are due.

    Minutes and dates count from 1970-01-01 UTC. Before the first event all is empty.

    Attributes:
        minutes: those with events, ascending: all that an event may still come before, and one
            more.
        given: the dates of the empty rows that have been given, ascending, from the first of
            `minutes` on.
        reached: the last date that the watermark is known to have reached.
        has_past: whether there were minutes before the first of `minutes`.
    """

    minutes: list[int] = field(default_factory=list)
    given: list[Dates] = field(default_factory=list)
    reached: int = 0
    has_past: bool = False

    def add(self, minute: int) -> None:
        """Adds a minute that holds an event."""
        index = bisect_left(self.minutes, minute)
        if self.minutes[index : index + 1] != [minute]:
            self.minutes.insert(index, minute)

    def reach(self, date: int, rules: SilenceRules) -> list[int]:
        """Gives the dates of the empty rows that are due when the watermark reaches a date."""
        self.reached = max(self.reached, date)
        dates = self._give(self.reached, rules)
        self._forget(self.reached - rules.retention)
        return dates

    def end(self, rules: SilenceRules) -> list[int]:
        """Gives the dates of the empty rows that are due when the input has ended."""
        return self._give(self.minutes[-1], rules)

    def next_date(self, rules: SilenceRules) -> int:
        """The date to wait for: the next empty row, or the next minute that can be forgotten."""
        due = next((first for first, _ in self._missing(rules)), None)
        forgetting = self.reached + rules.retention if self.reached else None
        return min(each for each in (due, forgetting) if each is not None)

    def is_in_trail(self, date: int, rules: SilenceRules) -> bool:
        """Whether a date is in the silence after the last event, which the input's end cuts off."""
        return date >= _trail(self.minutes[-1], rules).first

    def gaps(self, rules: SilenceRules) -> int:
        """How many silences between the minutes are too long to be filled."""
        return sum(
            following - minute > rules.max_gap for minute, following in pairwise(self.minutes)
        )

    def is_at_rest(self, rules: SilenceRules) -> bool:
        """Whether all empty rows are emitted, so that the next event starts the series again."""
        _, end_of_trail = _trail(self.minutes[-1], rules)
        return self.reached - rules.retention >= end_of_trail

    def _give(self, until: int, rules: SilenceRules) -> list[int]:
        missing = [
            Dates(first, min(last, until)) for first, last in self._missing(rules) if first <= until
        ]
        self.given = _union([*self.given, *missing])
        return [date for first, last in missing for date in range(first, last + 1)]

    def _forget(self, before: int) -> None:
        """Forgets the minutes before a minute, except the last of them."""
        index = max(bisect_left(self.minutes, before) - 1, 0)
        if index:
            del self.minutes[:index]
            self.has_past = True
            self.given = [dates for dates in self.given if dates.last >= self.minutes[0]]

    def _missing(self, rules: SilenceRules) -> Iterator[Dates]:
        """The dates of the known empty rows that have not been emitted."""
        given = iter(self.given)
        taken = next(given, None)
        for first, last in self._empty(rules):
            while taken is not None and taken.last < first:
                taken = next(given, None)
            while taken is not None and taken.first <= last:
                if first < taken.first:
                    yield Dates(first, taken.first - 1)
                first = taken.last + 1
                if first > last:
                    break
                taken = next(given, None)
            if first <= last:
                yield Dates(first, last)

    def _empty(self, rules: SilenceRules) -> Iterator[Dates]:
        """The dates of all empty rows that are known now."""
        if not self.has_past:
            yield Dates(self.minutes[0], self.minutes[0])
        for minute, following in pairwise(self.minutes):
            drained = minute + rules.window + 1
            if following - minute <= rules.max_gap:
                if drained <= following:
                    yield Dates(drained, following)
            else:
                yield Dates(drained, drained)
                if drained < following:
                    yield Dates(following, following)
        yield _trail(self.minutes[-1], rules)


def _trail(minute: int, rules: SilenceRules) -> Dates:
    """The dates of the empty rows after the last known event's minute."""
    drained = minute + rules.window + 1
    return Dates(drained, max(drained, minute + rules.max_gap))


def _union(ranges: Iterable[Dates]) -> list[Dates]:
    merged: list[Dates] = []
    for dates in sorted(ranges):
        if merged and dates.first <= merged[-1].last + 1:
            merged[-1] = Dates(merged[-1].first, max(dates.last, merged[-1].last))
        else:
            merged.append(dates)
    return merged
