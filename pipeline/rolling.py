"""From the minutes of one series to its rows.

A row at date D averages what fell into the minutes D - X to D - 1. Rows begin at the minute of a
series' first event and end after its last one; a silence longer than `max_gap_minutes` is not
filled: the rows before it drain, one empty row more is written, and the series starts anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipeline.durations import Int64s, MinuteSums, carried
from pipeline.rows import RowBlock, Series

Until = Literal["last", "drain"]

LEAP_YEAR_MINUTES = 366 * 24 * 60
MAX_WINDOW_MINUTES = LEAP_YEAR_MINUTES
ROWS_PER_BLOCK = 65_536


class Span(NamedTuple):
    """A stretch of a series without a gap: the minutes of its first and of its last event."""

    first: int
    last: int


class Dates(NamedTuple):
    """A range of dates, both included, in minutes since 1970-01-01."""

    first: int
    last: int


@dataclass(frozen=True)
class SeriesRows:
    """Which rows a series of events has: the rules of the contract's section on rows.

    Args:
        window_minutes: X, from 1 to 527 040.
        until: whether the last row is the minute after the last event's or, with `"drain"`, the
            last one that still holds it.
        max_gap_minutes: the longest silence that is filled, at least `window_minutes`.
        decimals: round the exact means half-even to so many places.

    Raises:
        ValueError: an argument is out of its range.
    """

    window_minutes: int
    until: Until = "last"
    max_gap_minutes: int = LEAP_YEAR_MINUTES
    decimals: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.window_minutes <= MAX_WINDOW_MINUTES:
            raise ValueError(
                f"window_minutes is a whole number from 1 to {MAX_WINDOW_MINUTES}, "
                f"not {self.window_minutes!r}"
            )
        if self.until not in ("last", "drain"):
            raise ValueError(f"until is 'last' or 'drain', not {self.until!r}")
        if self.max_gap_minutes < self.window_minutes:
            raise ValueError(
                f"max_gap_minutes ({self.max_gap_minutes}) may not be smaller than "
                f"the window ({self.window_minutes} minutes)"
            )
        if self.decimals is not None and not 0 <= self.decimals <= 15:
            raise ValueError(f"decimals is a whole number from 0 to 15, not {self.decimals!r}")

    def spans_of_panes(self, minutes: Int64s) -> list[Span]:
        """Cuts the minutes of a series' events, ascending, at its gaps."""
        before_gap = np.flatnonzero(np.diff(minutes) > self.max_gap_minutes)
        firsts = np.concatenate(([0], before_gap + 1))
        lasts = np.concatenate((before_gap, [len(minutes) - 1]))
        return [
            Span(*span)
            for span in zip(minutes[firsts].tolist(), minutes[lasts].tolist(), strict=True)
        ]

    def spans_of_windows(self, dates: Int64s) -> list[Span]:
        """The same, from the dates of the series' non-empty windows, ascending.

        The first window of a stretch ends a minute after its first event's, the last one X after.
        """
        before_hole = np.flatnonzero(np.diff(dates) > 1)
        firsts = dates[np.concatenate(([0], before_hole + 1))] - 1
        lasts = dates[np.concatenate((before_hole, [len(dates) - 1]))] - self.window_minutes
        before_gap = np.flatnonzero(firsts[1:] - lasts[:-1] > self.max_gap_minutes)
        firsts = firsts[np.concatenate(([0], before_gap + 1))]
        lasts = lasts[np.concatenate((before_gap, [len(lasts) - 1]))]
        return [Span(*span) for span in zip(firsts.tolist(), lasts.tolist(), strict=True)]

    def dates(self, spans: list[Span]) -> list[Dates]:
        """The dates at which there are rows (the empty ones among them), ascending."""
        ranges: list[Dates] = []
        for span, following in zip(spans, [*spans[1:], None], strict=True):
            if following is not None:
                # The empty row after the last full one may be the first row of what follows.
                last = min(span.last + self.window_minutes + 1, following.first - 1)
            else:
                last = span.last + (self.window_minutes if self.until == "drain" else 1)
            ranges.append(Dates(span.first, last))
        return ranges

    def roll(self, series: Series, panes: MinuteSums) -> Iterator[RowBlock]:
        """Rolls the panes of a series (its sums by minute, at least one) up into its rows.

        A row costs the same whatever the window's size: it is the difference of two running sums.
        """
        running = _RunningSums(panes)
        for first, last in self.dates(self.spans_of_panes(panes.minutes)):
            for dates in _blocks(first, last):
                windows = running.over(dates - self.window_minutes, dates, labels=dates)
                yield RowBlock(series, windows, windows.means(self.decimals))

    def fill(self, block: RowBlock) -> Iterator[RowBlock]:
        """Makes the rows of a series out of all its non-empty rows, at least one, ascending."""
        given = block.windows
        for first, last in self.dates(self.spans_of_windows(given.minutes)):
            for dates in _blocks(first, last):
                part = slice(*np.searchsorted(given.minutes, (dates[0], dates[-1] + 1)))
                present = given.minutes[part] - dates[0]
                columns = np.zeros((3, len(dates)), np.int64)
                columns[:, present] = given.counts[part], given.high[part], given.low[part]
                averages = np.full(len(dates), np.nan)
                averages[present] = block.averages[part]
                yield RowBlock(block.series, MinuteSums(dates, *columns), averages)


class _RunningSums:
    """Sums over any range of minutes, as differences of running sums that start at zero."""

    def __init__(self, sums: MinuteSums) -> None:
        self._minutes = sums.minutes
        self._columns = [
            np.concatenate(([0], np.cumsum(column)))
            for column in (sums.counts, sums.high, sums.low)
        ]

    def over(self, starts: Int64s, ends: Int64s, labels: Int64s) -> MinuteSums:
        """The sums of `start <= minute < end` for each pair of bounds."""
        before = np.searchsorted(self._minutes, starts)
        until = np.searchsorted(self._minutes, ends)
        counts, high, low = (column[until] - column[before] for column in self._columns)
        return MinuteSums(labels, counts, *carried(high, low))


def _blocks(first: int, last: int) -> Iterable[Int64s]:
    for start in range(first, last + 1, ROWS_PER_BLOCK):
        yield np.arange(start, min(start + ROWS_PER_BLOCK, last + 1), dtype=np.int64)
