"""From duration sums by minute to rows, by one of two plans that give the same rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import apache_beam as beam
from apache_beam.coders import Coder, VarIntCoder
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindows,
    IntervalWindow,
    SlidingWindows,
    TimestampedValue,
    WindowFn,
)
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.core.durations import DurationSum, MinuteSums
from pipeline.core.errors import TooManyWindowsError
from pipeline.core.exact import Exact
from pipeline.core.measures import measures_named
from pipeline.core.row_rules import (
    LEAP_YEAR_MINUTES,
    RollingSums,
    RowRules,
    Until,
    check_window_sizes,
)
from pipeline.core.rows import Measured, Row, RowBlock, Series
from pipeline.core.shards import ShardRules
from pipeline.core.silences import SilenceRules
from pipeline.transforms.coders import ColumnsCoder
from pipeline.transforms.combine_fns import MeasuresCombineFn, SumDurationsCombineFn
from pipeline.transforms.parse_events import ParsedEvents
from pipeline.transforms.revisions import DatedWindow, EmptyRows, Revise
from pipeline.transforms.rolling_rows import RollingRows

Plan = Literal["rolling", "windows"]
Emit = Literal["early", "final"]

DEFAULT_SHARDS = 8

_MINUTE_SECONDS = 60
_HOUR_MINUTES = 60
_DAY_MINUTES = 24 * 60

MAX_COPIES = 1_000_000
"""The most copies of minutes into windows, of a bounded input: Beam takes minutes for them."""

# How long after the decision that it is on time an event may reach a later step.
_IN_FLIGHT_SECONDS = 3600

_logger = logging.getLogger(__name__)


class RowBlockCoder(ColumnsCoder):
    """Series, size and names of the measures; dates, counts, and a column for each measure."""

    def to_arrays(self, value: RowBlock) -> tuple[Any, list[Exact]]:
        head = [value.series, value.window_minutes, *value.values]
        return head, [value.dates, value.counts, *value.values.values()]

    def of_arrays(self, head: Any, arrays: list[Exact]) -> RowBlock:
        series, window_minutes, *names = head
        dates, counts, *columns = arrays
        values = dict(zip(names, columns, strict=True))
        return RowBlock(tuple(series), window_minutes, dates, counts, values)


@dataclass(eq=False)
class MovingAverage(beam.PTransform):
    """For every minute, what measures say of the events of the `window_minutes` before it.

    Takes `ParsedEvents`, or their `sums` (`tuple[Series, MinuteSums]`) in the global window; gives
    `Row`s in the global window, in no order. `pipeline.core.row_rules.RowRules` defines the rows,
    `pipeline.core.measures` their values.

    Of unbounded sums, each row is emitted when the watermark passes its date, with `revision` 0,
    and again, with the next revision, when a late event changes it. At their highest revisions they
    are the rows of a bounded input of the same events with `until="drain"`. A silent series has
    more empty rows, until its silence is longer than `max_gap_minutes`; then it keeps no state. No
    sum within the allowed lateness of the sums' windowing, which `ParseEvents` sets, is dropped.

    Args:
        window_minutes: X, or up to eight different ones. Each has the rows that it has alone.
        decimals, rows_from, rows_before: as in `RowRules`; the dates for bounded sums only.
        until: as in `RowRules`, of bounded sums only; `"last"` if it is not given.
        max_gap_minutes: as in `RowRules`; if it is not given a leap year, and of unbounded sums a
            day, or the largest window where that is longer.
        plan: `"rolling"`, the default, passes once over the minutes of a series, which unbounded
            sums keep in state; `"windows"` assigns them to Beam's `SlidingWindows` and combines
            each window with `MeasuresCombineFn`.
        measures: what a row says, by name; `ParseEvents` must be told of them, too.
        shards: of unbounded sums, by the plan `"rolling"`: so many keys the series are spread over.
            A key is worked on by one worker at a time, and each of them costs time.
        emit: of unbounded sums: `"early"`, the default, as above; or `"final"`: each row once, when
            the watermark has passed its date and the allowed lateness, so that no event can change
            it. Only by the plan `"rolling"`.

    Raises:
        ValueError: an argument is out of its range, or makes no sense for unbounded sums; when the
            pipeline runs, `ParseEvents` was not told of a measure.
        TooManyWindowsError: when the pipeline runs, by the plan `"windows"`, for bounded sums that
            would be copied into windows more than `MAX_COPIES` times.

    Counts `series`, and `gaps` that were too long to be filled, in the namespace of this class; of
    unbounded sums in that of `pipeline.transforms.rolling_rows.RollingRows` or, by the plan
    `"windows"`, of `pipeline.transforms.revisions.EmptyRows`.
    """

    window_minutes: int | Sequence[int]
    until: Until | None = None
    max_gap_minutes: int | None = None
    decimals: int | None = None
    plan: Plan = "rolling"
    measures: Sequence[str] = ("mean",)
    rows_from: int | None = None
    rows_before: int | None = None
    shards: int = DEFAULT_SHARDS
    emit: Emit = "early"

    def __post_init__(self) -> None:
        self.blocks()
        if self.emit not in ("early", "final"):
            raise ValueError(f"emit is 'early' or 'final', not {self.emit!r}")
        if self.shards < 1:
            raise ValueError(f"shards is a number from 1 on, not {self.shards!r}")

    def expand(self, sums: ParsedEvents | beam.PCollection) -> beam.PCollection:
        if isinstance(sums, ParsedEvents):
            sums = sums.sums
        if not sums.is_bounded:
            return self._live(sums)
        return (
            sums
            | "Blocks" >> self.blocks()
            | "Rows" >> beam.FlatMap(lambda block: block).with_output_types(Row)
        )

    def blocks(self) -> MovingAverageBlocks:
        """The same of bounded sums, with the rows of a series in `RowBlock`s."""
        rows = self._rows(self.until or "last", LEAP_YEAR_MINUTES)
        return MovingAverageBlocks(rows, self.plan)

    def _live(self, sums: beam.PCollection) -> beam.PCollection:
        if self.until is not None:
            raise ValueError("until makes no sense for unbounded sums: they have no last row")
        if self.rows_from is not None or self.rows_before is not None:
            raise ValueError("a range of dates makes no sense for unbounded sums")
        if self.plan == "windows":
            if self.emit == "final":
                raise ValueError("emit='final' is for the plan 'rolling'")
            return sums | "Live" >> LiveRows(self._live_rows())
        lateness = _allowed_lateness(sums)
        delay_seconds = lateness if self.emit == "final" else 0
        return (
            sums
            | "Live" >> RollingRows(self.live_rules(lateness), self.shards, delay_seconds)
            | "Rows" >> beam.FlatMap(lambda block: block).with_output_types(Row)
        )

    def live_rules(self, allowed_lateness_seconds: int) -> ShardRules:
        """Which rows there are of unbounded input."""
        retention = allowed_lateness_seconds + _IN_FLIGHT_SECONDS
        return ShardRules(self._live_rows(), -(-retention // _MINUTE_SECONDS))

    def _live_rows(self) -> list[RowRules]:
        return self._rows("drain", max(_DAY_MINUTES, *self._sizes()))

    def _sizes(self) -> list[int]:
        asked = self.window_minutes
        sizes = [asked] if isinstance(asked, int) else [*asked]
        check_window_sizes(sizes)
        return sorted(sizes)

    def _rows(self, until: Until, max_gap_minutes: int) -> list[RowRules]:
        """The rules for each size, from the smallest to the largest."""
        sizes = self._sizes()
        gap = max_gap_minutes if self.max_gap_minutes is None else self.max_gap_minutes
        if gap < sizes[-1]:
            raise ValueError(
                f"max_gap_minutes ({gap}) may not be smaller than the window ({sizes[-1]} minutes)"
            )
        measures = measures_named(self.measures)
        return [
            RowRules(size, until, gap, self.decimals, measures, self.rows_from, self.rows_before)
            for size in sizes
        ]


@dataclass(eq=False)
class MovingAverageBlocks(beam.PTransform):
    """`MovingAverage`, but the rows of a series come as `RowBlock`s of up to 65 536 rows.

    Args:
        rows: the rules for each size of windows.
    """

    rows: Sequence[RowRules]
    plan: Plan = "rolling"

    def __post_init__(self) -> None:
        if self.plan not in ("rolling", "windows"):
            raise ValueError(f"plan is 'rolling' or 'windows', not {self.plan!r}")

    def expand(self, sums: ParsedEvents | beam.PCollection) -> beam.PCollection:
        if isinstance(sums, ParsedEvents):
            sums = sums.sums
        if self.plan == "rolling":
            gathered = sums | "Gather" >> beam.GroupByKey()
            return gathered | "Roll" >> beam.ParDo(_RollFn(self.rows)).with_output_types(RowBlock)
        copies = sum(rows.window_minutes for rows in self.rows)
        panes = sums | "Panes" >> _SumPanes() | "Bound" >> _BoundCopies(copies)
        return [
            panes | f"Windows{rows.window_minutes}" >> _WindowBlocks(rows, rows is self.rows[0])
            for rows in self.rows
        ] | "Flatten" >> beam.Flatten()


@dataclass(eq=False)
class _WindowBlocks(beam.PTransform):
    """The rows of one size, from panes, by `SlidingWindows`; counts the series if it `counts`."""

    rows: RowRules
    counts: bool

    def expand(self, panes: beam.PCollection) -> beam.PCollection:
        return (
            panes
            | "Measure" >> _MeasureWindows(self.rows)
            | "Gather" >> beam.GroupByKey()
            | "Fill" >> beam.ParDo(_FillFn(self.rows, self.counts)).with_output_types(RowBlock)
        )


class _SeriesFn(beam.DoFn):
    """What both plans do with a whole series."""

    def __init__(self) -> None:
        self._series = Metrics.counter(MovingAverage, "series")
        self._gaps = Metrics.counter(MovingAverage, "gaps")

    def _count(self, series: Series, gaps: int, max_gap_minutes: int) -> None:
        self._series.inc()
        if gaps:
            self._gaps.inc(gaps)
            _logger.warning(
                "%d silence(s)%s longer than --max_gap_minutes=%d were not filled with rows",
                gaps,
                f" of {', '.join(series)}" if series else "",
                max_gap_minutes,
            )


class _RollFn(_SeriesFn):
    def __init__(self, rows: Sequence[RowRules]) -> None:
        super().__init__()
        self._rows = rows

    def process(self, element: tuple[Series, Iterable[MinuteSums]]) -> Iterator[RowBlock]:
        series, parts = element
        panes = MinuteSums.merge(parts)
        first = self._rows[0]
        self._count(series, len(first.spans_of_panes(panes.minutes)) - 1, first.max_gap_minutes)
        rolling = RollingSums(panes)
        for rows in self._rows:
            yield from rows.roll(series, rolling)


class _FillFn(_SeriesFn):
    def __init__(self, rows: RowRules, counts: bool) -> None:
        super().__init__()
        self._rows = rows
        self._counts = counts

    def process(self, element: tuple[Series, Iterable[DatedWindow]]) -> Iterator[RowBlock]:
        series, windows = element
        rows = self._rows
        block = RowBlock.of(
            series, rows.window_minutes, sorted(windows, key=itemgetter(0)), rows.measures
        )
        if self._counts:
            gaps = len(rows.spans_of_windows(block.dates)) - 1
            self._count(series, gaps, rows.max_gap_minutes)
        yield from rows.fill(block)


@dataclass(eq=False)
class LiveRows(beam.PTransform):
    """The rows of unbounded sums by the plan `windows`: see `MovingAverage`.

    Late events are panes of their own, of their minute and of each window; only the last step adds
    them to earlier panes. If an earlier step accumulated its panes, the next one would count events
    twice. (And Prism holds the watermark back for windows that accumulate.)

    Args:
        rows: the rules for each size of windows.
    """

    rows: Sequence[RowRules]

    def expand(self, sums: beam.PCollection) -> beam.PCollection:
        lateness = _allowed_lateness(sums) + _IN_FLIGHT_SECONDS
        panes = sums | "Panes" >> _SumPanes(lateness)
        minutes = panes | "Minutes" >> _MinutesOfPanes()
        return [
            (panes, minutes)
            | f"Windows{rows.window_minutes}" >> _LiveWindows(rows, lateness, rows is self.rows[0])
            for rows in self.rows
        ] | "Flatten" >> beam.Flatten()


def _allowed_lateness(sums: beam.PCollection) -> int:
    """The allowed lateness of their windowing, in seconds."""
    return int(sums.windowing.allowed_lateness.micros // 1_000_000)


@dataclass(eq=False)
class _LiveWindows(beam.PTransform):
    """The rows of one size, from panes and the minutes that have any; it may count the series."""

    rows: RowRules
    lateness_seconds: int
    counts: bool

    def expand(self, given: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        panes, minutes = given
        retention = -(-self.lateness_seconds // _MINUTE_SECONDS)
        rules = SilenceRules(self.rows.window_minutes, self.rows.max_gap_minutes, retention)
        windows = panes | "Measure" >> _MeasureWindows(self.rows, self.lateness_seconds)
        empty = minutes | "EmptyRows" >> EmptyRows(rules, self.counts)
        return (
            (windows, empty)
            | "Flatten" >> beam.Flatten()
            | "Revise" >> Revise(self.rows, retention)
        )


def _into(windows: WindowFn, lateness_seconds: int | None) -> beam.WindowInto:
    """Windows with a pane at the watermark and, with a lateness, panes for late data."""
    if lateness_seconds is None:
        return beam.WindowInto(windows)
    return beam.WindowInto(
        windows,
        trigger=AfterWatermark(late=AfterCount(1)),
        accumulation_mode=AccumulationMode.DISCARDING,
        allowed_lateness=lateness_seconds,
    )


@dataclass(eq=False)
class _SumPanes(beam.PTransform):
    """Adds the sums of each series and minute up into one pane, before windows multiply them.

    Late data, up to `lateness_seconds`, makes a pane of its own.
    """

    lateness_seconds: int | None = None

    def expand(self, sums: beam.PCollection) -> beam.PCollection:
        return (
            sums
            | "Minutes" >> beam.FlatMap(_minutes).with_output_types(tuple[Series, DurationSum])
            | "FixedWindows" >> _into(FixedWindows(_MINUTE_SECONDS), self.lateness_seconds)
            | "Sum" >> beam.CombinePerKey(SumDurationsCombineFn())
        )


def _minutes(element: tuple[Series, MinuteSums]) -> Iterator[TimestampedValue]:
    series, sums = element
    for minute, duration_sum in sums:
        yield TimestampedValue((series, duration_sum), minute * _MINUTE_SECONDS)


@dataclass(eq=False)
class _BoundCopies(beam.PTransform):
    """Passes bounded panes on, if windows of this size make no more copies than allowed.

    Raises:
        TooManyWindowsError: when the pipeline runs, and before any copy is made.
    """

    copies_per_pane: int

    def expand(self, panes: beam.PCollection) -> beam.PCollection:
        number = (
            panes
            | "One" >> beam.Map(_one).with_output_types(int)
            | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
            | "Count" >> beam.CombineGlobally(_CountCombineFn())
        )
        check = beam.ParDo(_CheckCopiesFn(self.copies_per_pane), AsSingleton(number))
        return panes | "Check" >> check.with_output_types(tuple[Series, DurationSum])


def _one(_pane: tuple[Series, DurationSum]) -> int:
    return 1


class _CountCombineFn(beam.combiners.CountCombineFn):
    def get_accumulator_coder(self) -> Coder:
        return VarIntCoder()


class _CheckCopiesFn(beam.DoFn):
    def __init__(self, copies_per_pane: int) -> None:
        self._copies_per_pane = copies_per_pane

    def process(
        self, pane: tuple[Series, DurationSum], number: int
    ) -> Iterator[tuple[Series, DurationSum]]:
        check_copies(number, self._copies_per_pane)
        yield pane


def check_copies(panes: int, copies_per_pane: int) -> None:
    """Raises TooManyWindowsError if Beam would make too many copies of panes."""
    if panes * copies_per_pane > MAX_COPIES:
        raise TooManyWindowsError(
            f"--plan=windows copies each of {panes:,} minutes with events into {copies_per_pane:,} "
            f"windows, and more than {MAX_COPIES:,} copies take too long: --plan=rolling gives the "
            "same rows at once"
        )


@dataclass(eq=False)
class _MeasureWindows(beam.PTransform):
    """Combines panes over `SlidingWindows`; gives each series' windows by their date.

    The key is extended by the hour in which a window ends: FnApiRunner takes a time quadratic in
    the number of windows of a key (10 080 panes of one series: 52 s, with the hour 3 s).

    Late data, up to `lateness_seconds`, is combined by itself if its window has ended.
    """

    rows: RowRules
    lateness_seconds: int | None = None

    def expand(self, panes: beam.PCollection) -> beam.PCollection:
        windows = SlidingWindows(self.rows.window_minutes * _MINUTE_SECONDS, _MINUTE_SECONDS)
        return (
            panes
            | "SlidingWindows" >> _into(windows, self.lateness_seconds)
            | "AddHour"
            >> beam.ParDo(_AddHourFn()).with_output_types(tuple[tuple[Series, int], DurationSum])
            | "Combine"
            >> beam.CombinePerKey(MeasuresCombineFn([*self.rows.measures], self.rows.decimals))
            | "Date" >> beam.Map(_date).with_output_types(tuple[Series, DatedWindow])
            | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
        )


class _AddHourFn(beam.DoFn):
    """Extends the key of each pane by the hour of its window, and times it at the window's end.

    With the pane's own time, a runner that holds the watermark back for waiting windows (as Prism
    does) would hold it back by the size of the window.
    """

    def process(
        self,
        pane: tuple[Series, DurationSum],
        window: IntervalWindow = beam.DoFn.WindowParam,
    ) -> Iterator[WindowedValue]:
        series, duration_sum = pane
        element = (series, _date_of(window) // _HOUR_MINUTES), duration_sum
        yield WindowedValue(element, window.max_timestamp(), (window,))


def _date(
    element: tuple[tuple[Series, int], Measured],
    window: IntervalWindow = beam.DoFn.WindowParam,
) -> tuple[Series, DatedWindow]:
    (series, _), measured = element
    return series, (_date_of(window), measured)


class _MinutesOfPanes(beam.PTransform):
    """The minutes in which each series has events."""

    def expand(self, panes: beam.PCollection) -> beam.PCollection:
        return (
            panes
            | "Minute" >> beam.Map(_minute).with_output_types(tuple[Series, int])
            | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
        )


def _minute(
    pane: tuple[Series, DurationSum], window: IntervalWindow = beam.DoFn.WindowParam
) -> tuple[Series, int]:
    series, _ = pane
    return series, _date_of(window) - 1


def _date_of(window: IntervalWindow) -> int:
    return int(window.end.micros // (_MINUTE_SECONDS * 1_000_000))
