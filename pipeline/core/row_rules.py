"""From the minutes of one series to its rows.

A row at date D says what fell into the minutes D - X to D - 1. Rows begin at the minute of a
series' first event and end after its last one; a silence longer than `max_gap_minutes` is not
filled: the rows before it drain, one more empty row follows, and the series starts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from pipeline.core.details import Detail, Ranges
from pipeline.core.durations import MinuteSums, MissingDetailError
from pipeline.core.exact import Int64s, between, running
from pipeline.core.measures import Measure, Values, Windows, details_of, measures_named
from pipeline.core.rows import RowBlock, Series

Until = Literal["last", "drain"]

LEAP_YEAR_MINUTES = 366 * 24 * 60
MAX_WINDOW_MINUTES = LEAP_YEAR_MINUTES
MAX_WINDOW_SIZES = 8
ROWS_PER_BLOCK = 65_536


def check_window_sizes(sizes: Sequence[int]) -> None:
    """Raises ValueError unless these are one to eight different sizes of windows."""
    for size in sizes:
        if not 1 <= size <= MAX_WINDOW_MINUTES:
            raise ValueError(
                f"a window is of a whole number of minutes, 1 to {MAX_WINDOW_MINUTES}, not {size!r}"
            )
    if not 1 <= len(sizes) <= MAX_WINDOW_SIZES:
        raise ValueError(f"name 1 to {MAX_WINDOW_SIZES} sizes of windows, not {len(sizes)}")
    if len({*sizes}) < len(sizes):
        raise ValueError("a size of windows is named twice")


class Span(NamedTuple):
    """A part of a series without a gap: the minutes of its first and of its last event."""

    first: int
    last: int


class Dates(NamedTuple):
    """A range of dates, both included, in minutes since 1970-01-01."""

    first: int
    last: int


@dataclass(frozen=True)
class RowRules:
    """Which rows a series of events has: the rules of the contract's section on rows.

    Args:
        window_minutes: X, from 1 to 527 040.
        until: whether the last row is the minute after the last event's or, with `"drain"`, the
            last one that still holds it.
        max_gap_minutes: the longest silence that is filled, at least `window_minutes`.
        decimals: round exact quotients half to even to this number of places.
        measures: what a row says, by name.
        rows_from, rows_before: only the rows of these dates, in minutes since 1970-01-01 UTC, the
            second one excluded. All else is as it would be without them.

    Raises:
        ValueError: an argument is out of its range.
    """

    window_minutes: int
    until: Until = "last"
    max_gap_minutes: int = LEAP_YEAR_MINUTES
    decimals: int | None = None
    measures: Mapping[str, Measure] = field(default_factory=lambda: measures_named(["mean"]))
    rows_from: int | None = None
    rows_before: int | None = None

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
            first = span.first if self.rows_from is None else max(span.first, self.rows_from)
            if self.rows_before is not None:
                last = min(last, self.rows_before - 1)
            if first <= last:
                ranges.append(Dates(first, last))
        return ranges

    def roll(self, series: Series, panes: RollingSums) -> Iterator[RowBlock]:
        """Rolls the panes of a series (its sums by minute, at least one) up into its rows.

        A row is made of two running sums, so its cost does not depend on the window.

        Raises:
            MissingDetailError: the panes do not hold what a measure needs.
        """
        panes.check(details_of(self.measures.values()))
        for first, last in self.dates(self.spans_of_panes(panes.minutes)):
            for dates in _blocks(first, last):
                windows = panes.over(dates, self.window_minutes)
                values = {
                    name: measure.column(windows, self.decimals)
                    for name, measure in self.measures.items()
                }
                yield RowBlock(series, self.window_minutes, dates, windows.counts, values)

    def fill(self, block: RowBlock) -> Iterator[RowBlock]:
        """Makes all rows of a series from its non-empty rows: at least one, ascending by date."""
        for first, last in self.dates(self.spans_of_windows(block.dates)):
            for dates in _blocks(first, last):
                part = slice(*np.searchsorted(block.dates, (dates[0], dates[-1] + 1)))
                present = block.dates[part] - dates[0]
                counts = np.zeros(len(dates), np.int64)
                counts[present] = block.counts[part]
                values = {
                    name: _spread(column[part], present, len(dates))
                    for name, column in block.values.items()
                }
                yield RowBlock(block.series, block.window_minutes, dates, counts, values)


def _spread(given: Values, places: Int64s, size: int) -> Values:
    """A column with the given values in their places; elsewhere it says that there is nothing."""
    column = np.full(size, np.nan if given.dtype == np.float64 else 0, given.dtype)
    column[places] = given
    return column


class RollingSums:
    """The sums of a series, prepared for windows of any size: as running sums, mostly."""

    def __init__(self, panes: MinuteSums) -> None:
        self.minutes = panes.minutes
        self._counts = running(panes.counts)
        self._totals = running(panes.totals)
        self._details = {detail: detail.rolling(column) for detail, column in panes.details.items()}

    def check(self, details: Iterable[Detail]) -> None:
        """Raises MissingDetailError for a detail that there is not."""
        for detail in details:
            if detail not in self._details:
                raise MissingDetailError(detail)

    def over(self, dates: Int64s, size: int) -> Windows:
        """What is in the windows of a size, in minutes, that end at some dates."""
        first = np.searchsorted(self.minutes, dates - size)
        stop = np.searchsorted(self.minutes, dates)
        ranges = Ranges(first, stop)
        return Windows(
            between(self._counts, first, stop),
            between(self._totals, first, stop),
            {detail: rolling(ranges) for detail, rolling in self._details.items()},
        )


def _blocks(first: int, last: int) -> Iterable[Int64s]:
    for start in range(first, last + 1, ROWS_PER_BLOCK):
        yield np.arange(start, min(start + ROWS_PER_BLOCK, last + 1), dtype=np.int64)
