"""From duration sums by minute to rows, by one of two plans that give the same rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

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
from apache_beam.typehints import with_input_types, with_output_types
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.coders import DurationSumCoder
from pipeline.durations import DurationSum, MeanDuration, MinuteSums
from pipeline.errors import TooManyWindowsError
from pipeline.parsing import ParsedEvents
from pipeline.revisions import Average, EmptyRows, Revise
from pipeline.rolling import LEAP_YEAR_MINUTES, SeriesRows, Until
from pipeline.rows import Row, RowBlock, Series
from pipeline.silences import SilenceRules

Plan = Literal["rolling", "windows"]

_MINUTE_SECONDS = 60
_HOUR_MINUTES = 60
_DAY_MINUTES = 24 * 60

MAX_COPIES = 1_000_000
"""Into windows, of a bounded input: Beam takes some minutes for so many."""

# How much later than when it was taken for timely an event may reach a later step.
_IN_FLIGHT_SECONDS = 3600

_logger = logging.getLogger(__name__)


class _AddDurationsCombineFn(beam.CombineFn):
    """Adds `DurationSum`s up."""

    def create_accumulator(self) -> DurationSum:
        return DurationSum()

    def add_input(self, accumulator: DurationSum, element: DurationSum) -> DurationSum:
        return accumulator + element

    def merge_accumulators(self, accumulators: Iterable[DurationSum]) -> DurationSum:
        return sum(accumulators, DurationSum())

    def get_accumulator_coder(self) -> Coder:
        return DurationSumCoder()


@with_input_types(DurationSum)
@with_output_types(DurationSum)
class SumDurationsCombineFn(_AddDurationsCombineFn):
    """Combines `DurationSum`s into one."""

    def extract_output(self, accumulator: DurationSum) -> DurationSum:
        return accumulator


@with_input_types(DurationSum)
@with_output_types(MeanDuration)
class MeanDurationCombineFn(_AddDurationsCombineFn):
    """Combines `DurationSum`s into their `MeanDuration`: exact, in whatever order they come.

    Args:
        decimals: round the exact mean half-even to so many places.
    """

    def __init__(self, decimals: int | None = None) -> None:
        super().__init__()
        self._decimals = decimals

    def extract_output(self, accumulator: DurationSum) -> MeanDuration:
        return MeanDuration(accumulator.mean(self._decimals), accumulator)


@dataclass(eq=False)
class MovingAverage(beam.PTransform):
    """For every minute, the mean duration of the events of the `window_minutes` before it.

    Takes `ParsedEvents`, or their `sums` (`tuple[Series, MinuteSums]`) in the global window; gives
    `Row`s in the global window, in no order. The rows are those that `pipeline.rolling.SeriesRows`
    defines, and their averages are correctly rounded.

    Of unbounded sums each row comes when the watermark passes its date, with the `revision` 0, and
    again, with the next one, whenever an event comes late. At their highest revisions they are the
    rows of a bounded input of the same events with `until="drain"`. A series that has fallen silent
    has empty rows more, until its silence is longer than `max_gap_minutes`; then it leaves no state
    behind. No sum is dropped that comes within the allowed lateness of the sums' windowing, which
    `ParseEvents` sets and sees to.

    Args:
        window_minutes, decimals: as in `SeriesRows`.
        until: as in `SeriesRows`, of bounded sums only; `"last"` if it is not given.
        max_gap_minutes: as in `SeriesRows`; if it is not given a leap year, and of unbounded sums a
            day, or the window where that is longer.
        plan: `"rolling"` passes once over the minutes of a series; `"windows"` assigns them to
            Beam's `SlidingWindows` and combines each window with `MeanDurationCombineFn`. If it is
            not given bounded sums take the first, unbounded ones always the second.

    Raises:
        ValueError: an argument is out of its range, or makes no sense for unbounded sums.
        TooManyWindowsError: when the pipeline runs, by the plan `"windows"`, for bounded sums that
            would be copied into windows more than `MAX_COPIES` times.

    Counts `series`, and `gaps` that were too long to be filled, in the namespace of this class; of
    unbounded sums in that of `pipeline.revisions.EmptyRows`.
    """

    window_minutes: int
    until: Until | None = None
    max_gap_minutes: int | None = None
    decimals: int | None = None
    plan: Plan | None = None

    def __post_init__(self) -> None:
        self._blocks()

    def expand(self, sums: ParsedEvents | beam.PCollection) -> beam.PCollection:
        if isinstance(sums, ParsedEvents):
            sums = sums.sums
        if not sums.is_bounded:
            return sums | "Live" >> self._live()
        return (
            sums
            | "Blocks" >> self._blocks()
            | "Rows" >> beam.FlatMap(lambda block: block).with_output_types(Row)
        )

    def _blocks(self) -> MovingAverageBlocks:
        rows = self._rows(self.until or "last", LEAP_YEAR_MINUTES)
        return MovingAverageBlocks(rows, self.plan or "rolling")

    def _live(self) -> LiveRows:
        if self.until is not None:
            raise ValueError("until makes no sense for unbounded sums: they have no last row")
        if self.plan == "rolling":
            raise ValueError("plan is 'windows' for unbounded sums, not 'rolling'")
        return LiveRows(self._rows("drain", max(_DAY_MINUTES, self.window_minutes)))

    def _rows(self, until: Until, max_gap_minutes: int) -> SeriesRows:
        if self.max_gap_minutes is not None:
            max_gap_minutes = self.max_gap_minutes
        return SeriesRows(self.window_minutes, until, max_gap_minutes, self.decimals)


@dataclass(eq=False)
class MovingAverageBlocks(beam.PTransform):
    """`MovingAverage`, but the rows of a series come as `RowBlock`s of up to 65 536 rows."""

    rows: SeriesRows
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
        return (
            sums
            | "Panes" >> _SumPanes()
            | "Bound" >> _BoundCopies(self.rows.window_minutes)
            | "Windows" >> _AverageWindows(self.rows)
            | "Gather" >> beam.GroupByKey()
            | "Fill" >> beam.ParDo(_FillFn(self.rows)).with_output_types(RowBlock)
        )


class _SeriesFn(beam.DoFn):
    """What both plans do once they have all of a series."""

    def __init__(self, rows: SeriesRows) -> None:
        self._rows = rows
        self._series = Metrics.counter(MovingAverage, "series")
        self._gaps = Metrics.counter(MovingAverage, "gaps")

    def _count(self, series: Series, gaps: int) -> None:
        self._series.inc()
        if gaps:
            self._gaps.inc(gaps)
            _logger.warning(
                "%d silence(s)%s longer than --max_gap_minutes=%d were not filled with rows",
                gaps,
                f" of {', '.join(series)}" if series else "",
                self._rows.max_gap_minutes,
            )


class _RollFn(_SeriesFn):
    def process(self, element: tuple[Series, Iterable[MinuteSums]]) -> Iterator[RowBlock]:
        series, parts = element
        panes = MinuteSums.merge(parts)
        self._count(series, len(self._rows.spans_of_panes(panes.minutes)) - 1)
        yield from self._rows.roll(series, panes)


class _FillFn(_SeriesFn):
    def process(self, element: tuple[Series, Iterable[Average]]) -> Iterator[RowBlock]:
        series, windows = element
        block = RowBlock.of(series, sorted(windows))
        self._count(series, len(self._rows.spans_of_windows(block.windows.minutes)) - 1)
        yield from self._rows.fill(block)


@dataclass(eq=False)
class LiveRows(beam.PTransform):
    """The rows of unbounded sums: see `MovingAverage`.

    What comes late is a pane of its own, of its minute and of each window, and only the rows at the
    end add it to what came before. If a step before accumulated its panes, the next one would count
    twice what came in time. (And Prism holds the watermark back for windows that accumulate.)
    """

    rows: SeriesRows

    def expand(self, sums: beam.PCollection) -> beam.PCollection:
        lateness = int(sums.windowing.allowed_lateness.micros // 1_000_000) + _IN_FLIGHT_SECONDS
        retention = -(-lateness // _MINUTE_SECONDS)
        rules = SilenceRules(self.rows.window_minutes, self.rows.max_gap_minutes, retention)
        panes = sums | "Panes" >> _SumPanes(lateness)
        averages = panes | "Windows" >> _AverageWindows(self.rows, lateness)
        empty = panes | "Minutes" >> _MinutesOfPanes() | "EmptyRows" >> EmptyRows(rules)
        return (
            (averages, empty)
            | "Flatten" >> beam.Flatten()
            | "Revise" >> Revise(retention, self.rows.decimals)
        )


def _into(windows: WindowFn, lateness_seconds: int | None) -> beam.WindowInto:
    """Windows that give a pane at the watermark and, with a lateness, one for all that is late."""
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

    What comes late, up to `lateness_seconds`, is a pane of its own.
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
    """Gives bounded panes on, if windows of so many minutes make no more copies than allowed.

    Raises:
        TooManyWindowsError: when the pipeline runs, and before any copy is made.
    """

    window_minutes: int

    def expand(self, panes: beam.PCollection) -> beam.PCollection:
        number = (
            panes
            | "One" >> beam.Map(_one).with_output_types(int)
            | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
            | "Count" >> beam.CombineGlobally(_CountCombineFn())
        )
        check = beam.ParDo(_CheckCopiesFn(self.window_minutes), AsSingleton(number))
        return panes | "Check" >> check.with_output_types(tuple[Series, DurationSum])


def _one(_pane: tuple[Series, DurationSum]) -> int:
    return 1


class _CountCombineFn(beam.combiners.CountCombineFn):
    def get_accumulator_coder(self) -> Coder:
        return VarIntCoder()


class _CheckCopiesFn(beam.DoFn):
    def __init__(self, window_minutes: int) -> None:
        self._window_minutes = window_minutes

    def process(
        self, pane: tuple[Series, DurationSum], number: int
    ) -> Iterator[tuple[Series, DurationSum]]:
        check_copies(number, self._window_minutes)
        yield pane


def check_copies(panes: int, window_minutes: int) -> None:
    """Raises TooManyWindowsError where Beam would copy so many panes into windows for too long."""
    if panes * window_minutes > MAX_COPIES:
        raise TooManyWindowsError(
            f"--plan=windows copies each of {panes:,} minutes with events into {window_minutes:,} "
            f"windows, and more than {MAX_COPIES:,} copies take too long: --plan=rolling gives the "
            "same rows at once"
        )


@dataclass(eq=False)
class _AverageWindows(beam.PTransform):
    """Averages panes over `SlidingWindows`; gives each series' windows by their date.

    The key is extended by the hour in which a window ends: FnApiRunner takes a time quadratic in
    the number of windows of a key (10 080 panes of one series: 52 s, with the hour 3 s).

    What comes late, up to `lateness_seconds`, is averaged by itself where a window has ended.
    """

    rows: SeriesRows
    lateness_seconds: int | None = None

    def expand(self, panes: beam.PCollection) -> beam.PCollection:
        windows = SlidingWindows(self.rows.window_minutes * _MINUTE_SECONDS, _MINUTE_SECONDS)
        return (
            panes
            | "SlidingWindows" >> _into(windows, self.lateness_seconds)
            | "AddHour"
            >> beam.ParDo(_AddHourFn()).with_output_types(tuple[tuple[Series, int], DurationSum])
            | "Mean" >> beam.CombinePerKey(MeanDurationCombineFn(self.rows.decimals))
            | "Date" >> beam.Map(_date).with_output_types(tuple[Series, Average])
            | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
        )


class _AddHourFn(beam.DoFn):
    """Extends the key of each pane by the hour of its window, and times it at the window's end.

    With the pane's own time, a runner that holds the watermark back for what waits in a window (as
    Prism does) would hold it back as long as the window is.
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
    element: tuple[tuple[Series, int], MeanDuration],
    window: IntervalWindow = beam.DoFn.WindowParam,
) -> tuple[Series, Average]:
    (series, _), average = element
    return series, (_date_of(window), average)


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
