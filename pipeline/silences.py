"""Which empty rows a series has, decided while its events are still coming.

The rules are those of `pipeline.rolling`, but nobody knows yet what follows: while a silence lasts
its empty rows are given, up to the longest silence that would be filled. And an event may come
late, into minutes that have long passed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.rolling import Dates


@dataclass(frozen=True)
class SilenceRules:
    """When there are empty rows, and how long a series is remembered; all in minutes.

    Args:
        window: X.
        max_gap: the longest silence that is filled, at least X.
        retention: how far the watermark may be beyond the minute of an event that still comes.
    """

    window: int
    max_gap: int
    retention: int


@dataclass
class Silences:
    """What is remembered of a series: enough to tell which of its empty rows are due.

    Minutes and dates count from 1970-01-01 UTC, and all is empty before the first event.

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
        """Takes note of a minute that holds an event."""
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
        """Gives the dates of the empty rows that are due when no event is to come any more."""
        return self._give(self.minutes[-1], rules)

    def next_date(self, rules: SilenceRules) -> int:
        """The date to wait for: of the next empty row, or when there is something to forget."""
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
        """Whether all empty rows are given, and an event that comes now begins the series anew."""
        _, end_of_trail = _trail(self.minutes[-1], rules)
        return self.reached - rules.retention >= end_of_trail

    def _give(self, until: int, rules: SilenceRules) -> list[int]:
        missing = [
            Dates(first, min(last, until)) for first, last in self._missing(rules) if first <= until
        ]
        self.given = _union([*self.given, *missing])
        return [date for first, last in missing for date in range(first, last + 1)]

    def _forget(self, before: int) -> None:
        """Forgets the minutes before one, but for the last of them."""
        index = max(bisect_left(self.minutes, before) - 1, 0)
        if index:
            del self.minutes[:index]
            self.has_past = True
            self.given = [dates for dates in self.given if dates.last >= self.minutes[0]]

    def _missing(self, rules: SilenceRules) -> Iterator[Dates]:
        """The dates of empty rows, by what is known now, that have not been given."""
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
        """The dates of all empty rows, by what is known now."""
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
    """The dates of the empty rows after a minute that nothing is known to follow."""
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
