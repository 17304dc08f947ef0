"""From duration sums by minute to rows, by one of two plans that give the same rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import apache_beam as beam
from apache_beam.coders import Coder
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindows,
    SlidingWindows,
    TimestampedValue,
)

from pipeline.coders import DurationSumCoder
from pipeline.durations import DurationSum, MeanDuration, MinuteSums
from pipeline.parsing import ParsedEvents
from pipeline.rolling import LEAP_YEAR_MINUTES, SeriesRows, Until
from pipeline.rows import Row, RowBlock, Series

Plan = Literal["rolling", "windows"]

_MINUTE_SECONDS = 60
_HOUR_MINUTES = 60

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


class SumDurationsCombineFn(_AddDurationsCombineFn):
    """Combines `DurationSum`s into one."""

    def extract_output(self, accumulator: DurationSum) -> DurationSum:
        return accumulator


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

    Takes `ParsedEvents`, or their `sums` (`tuple[Series, MinuteSums]`), bounded and in the global
    window; gives `Row`s in the global window, in no order. The rows are those that
    `pipeline.rolling.SeriesRows` defines, and their averages are correctly rounded.

    Args:
        window_minutes, until, max_gap_minutes, decimals: as in `SeriesRows`.
        plan: `"rolling"` passes once over the minutes of a series; `"windows"` assigns them to
            Beam's `SlidingWindows` and combines each window with `MeanDurationCombineFn`.

    Raises:
        ValueError: an argument is out of its range.

    Counts `series`, and `gaps` that were too long to be filled, in the namespace of this class.
    """

    window_minutes: int
    until: Until = "last"
    max_gap_minutes: int = LEAP_YEAR_MINUTES
    decimals: int | None = None
    plan: Plan = "rolling"

    def __post_init__(self) -> None:
        self._blocks()

    def expand(self, sums: ParsedEvents | beam.PCollection) -> beam.PCollection:
        return (
            sums
            | "Blocks" >> self._blocks()
            | "Rows" >> beam.FlatMap(lambda block: block).with_output_types(Row)
        )

    def _blocks(self) -> MovingAverageBlocks:
        rows = SeriesRows(self.window_minutes, self.until, self.max_gap_minutes, self.decimals)
        return MovingAverageBlocks(rows, self.plan)


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
            | "Windows" >> _AverageWindows(self.rows.window_minutes, self.rows.decimals)
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
    def process(
        self, element: tuple[Series, Iterable[tuple[int, MeanDuration]]]
    ) -> Iterator[RowBlock]:
        series, windows = element
        block = RowBlock.of(series, sorted(windows))
        self._count(series, len(self._rows.spans_of_windows(block.windows.minutes)) - 1)
        yield from self._rows.fill(block)


class _SumPanes(beam.PTransform):
    """Adds the sums of each series and minute up into one pane, before windows multiply them."""

    def expand(self, sums: beam.PCollection) -> beam.PCollection:
        return (
            sums
            | "Minutes" >> beam.FlatMap(_minutes).with_output_types(tuple[Series, DurationSum])
            | "FixedWindows" >> beam.WindowInto(FixedWindows(_MINUTE_SECONDS))
            | "Sum" >> beam.CombinePerKey(SumDurationsCombineFn())
        )


def _minutes(element: tuple[Series, MinuteSums]) -> Iterator[TimestampedValue]:
    series, sums = element
    for minute, duration_sum in sums:
        yield TimestampedValue((series, duration_sum), minute * _MINUTE_SECONDS)


@dataclass(eq=False)
class _AverageWindows(beam.PTransform):
    """Averages panes over `SlidingWindows`; gives each series' windows by their date.

    The key is extended by the hour in which a window ends: FnApiRunner takes a time quadratic in
    the number of windows of a key (10 080 panes of one series: 52 s, with the hour 3 s).
    """

    window_minutes: int
    decimals: int | None

    def expand(self, panes: beam.PCollection) -> beam.PCollection:
        size = self.window_minutes * _MINUTE_SECONDS
        return (
            panes
            | "SlidingWindows" >> beam.WindowInto(SlidingWindows(size, _MINUTE_SECONDS))
            | "AddHour"
            >> beam.Map(_add_hour).with_output_types(tuple[tuple[Series, int], DurationSum])
            | "Mean" >> beam.CombinePerKey(MeanDurationCombineFn(self.decimals))
            | "Date" >> beam.Map(_date).with_output_types(tuple[Series, tuple[int, MeanDuration]])
            | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
        )


def _add_hour(
    pane: tuple[Series, DurationSum], window: beam.DoFn.WindowParam = beam.DoFn.WindowParam
) -> tuple[tuple[Series, int], DurationSum]:
    series, duration_sum = pane
    return (series, _date_of(window) // _HOUR_MINUTES), duration_sum


def _date(
    element: tuple[tuple[Series, int], MeanDuration],
    window: beam.DoFn.WindowParam = beam.DoFn.WindowParam,
) -> tuple[Series, tuple[int, MeanDuration]]:
    (series, _), average = element
    return series, (_date_of(window), average)


def _date_of(window: beam.window.IntervalWindow) -> int:
    return int(window.end.micros // (_MINUTE_SECONDS * 1_000_000))
