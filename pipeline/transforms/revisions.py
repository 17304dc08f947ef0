"""Rows of unbounded input: empty ones, and revisions of those that late events change."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from pipeline.core.durations import DurationSum
from pipeline.core.events import EPOCH
from pipeline.core.exact import of_json, to_json
from pipeline.core.row_rules import Dates, RowRules
from pipeline.core.rows import Measured, Row, Series
from pipeline.core.silences import SilenceRules, Silences
from pipeline.transforms.coders import JsonCoder
from pipeline.transforms.combine_fns import fields_of_sum, sum_of_fields
from pipeline.transforms.in_process import Few

_MINUTE_SECONDS = 60
_HOUR_MINUTES = 60

# Many series may fall silent every night.
_MAX_WARNINGS = 5
_logger = logging.getLogger(__name__)

_MICROSECOND = timedelta(microseconds=1)
_NOTHING = Measured((), DurationSum())

DatedWindow = tuple[int, Measured]
"""A date, in minutes since 1970-01-01, and what is in the window that ends there."""


@dataclass(frozen=True, slots=True)
class StateKey:
    """The key of a state: a series, and the hour (since 1970-01-01) of its rows, or None."""

    series: Series
    hour: int | None = None


class RowCoder(JsonCoder):
    """The fields in order, the date as microseconds since 1970-01-01 UTC."""

    VERSION = b"\x02"

    def to_json(self, value: Row) -> Any:
        date = (value.date - EPOCH) // _MICROSECOND
        names, values = [*value.values], [*map(to_json, value.values.values())]
        return [
            *(value.series, date, value.window_minutes, value.count),
            *(names, values, value.revision),
        ]

    def from_json(self, value: Any) -> Row:
        series, date, window, count, names, values, revision = value
        by_name = dict(zip(names, map(of_json, values), strict=True))
        return Row(tuple(series), EPOCH + date * _MICROSECOND, window, count, by_name, revision)


class StateKeyCoder(JsonCoder):
    """The fields in order."""

    def to_json(self, value: StateKey) -> Any:
        return [value.series, value.hour]

    def from_json(self, value: Any) -> StateKey:
        series, hour = value
        return StateKey(tuple(series), hour)


class SilencesCoder(JsonCoder):
    """The fields in order."""

    def to_json(self, value: Silences) -> Any:
        return [value.minutes, value.given, value.reached, value.has_past]

    def from_json(self, value: Any) -> Silences:
        minutes, given, *rest = value
        return Silences(minutes, [Dates(*dates) for dates in given], *rest)


class RevisionsCoder(JsonCoder):
    """Dates (in minutes since 1970-01-01), each with its revision and its sum."""

    def to_json(self, value: dict[int, tuple[int, DurationSum]]) -> Any:
        return [
            [date, revision, *fields_of_sum(total)]
            for date, (revision, total) in sorted(value.items())
        ]

    def from_json(self, value: Any) -> dict[int, tuple[int, DurationSum]]:
        return {date: (revision, sum_of_fields(*total)) for date, revision, *total in value}


@dataclass(eq=False)
class EmptyRows(beam.PTransform):
    """The empty rows of a series, between and after its events.

    Takes `tuple[Series, int]`: minutes with events, after the watermark has passed them, in the
    global window, in any order, perhaps more than once. Gives `tuple[Series, DatedWindow]`, each
    once, when the watermark passes the date, or later if a late event makes the row empty.

    A series at rest keeps no state. If it `counts`, then in the namespace of this class: `series`,
    as often as they begin anew, and `gaps`, the silences too long to be filled.
    """

    rules: SilenceRules
    counts: bool = True

    def expand(self, minutes: beam.PCollection) -> beam.PCollection:
        return (
            minutes
            | "AddKey" >> beam.Map(_add_key).with_output_types(tuple[StateKey, int])
            | "Wait"
            >> beam.ParDo(_EmptyRowsFn(self.rules, self.counts)).with_output_types(
                tuple[Series, DatedWindow]
            )
        )


def _add_key(element: tuple[Series, int]) -> tuple[StateKey, int]:
    series, minute = element
    return StateKey(series), minute


class _EmptyRowsFn(beam.DoFn):
    """Wakes up at each date of an empty row, and when the input ends.

    At the end of the input all timers fire, each before the timers that it sets. So a row after the
    last event needs a second timer, which the first one sets: at the end that row is not emitted.
    """

    SILENCES = ReadModifyWriteStateSpec("silences", SilencesCoder())
    TRAIL = TimerSpec("trail", TimeDomain.WATERMARK)
    DATE = TimerSpec("date", TimeDomain.WATERMARK)
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, rules: SilenceRules, counts: bool) -> None:
        self._rules = rules
        self._counts = counts
        self._series = Metrics.counter(EmptyRows, "series")
        self._gaps = Metrics.counter(EmptyRows, "gaps")
        self._few = Few(_MAX_WARNINGS)

    def process(
        self,
        element: tuple[StateKey, int],
        state: Any = beam.DoFn.StateParam(SILENCES),
        trail: Any = beam.DoFn.TimerParam(TRAIL),
        date: Any = beam.DoFn.TimerParam(DATE),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> None:
        key, minute = element
        silences = state.read()
        if silences is None:
            if self._counts:
                self._series.inc()
            silences = Silences()
            end.set(GlobalWindow().max_timestamp())
        gaps = silences.gaps(self._rules)
        silences.add(minute)
        if silences.gaps(self._rules) > gaps:
            self._count_gap(key.series)
        state.write(silences)
        self._wait(silences, trail, date)

    @on_timer(TRAIL)
    def confirm(
        self,
        fired: Any = beam.DoFn.TimestampParam,
        date: Any = beam.DoFn.TimerParam(DATE),
    ) -> None:
        date.set(fired)

    @on_timer(DATE)
    def reach(
        self,
        key: Any = beam.DoFn.KeyParam,
        fired: Any = beam.DoFn.TimestampParam,
        state: Any = beam.DoFn.StateParam(SILENCES),
        trail: Any = beam.DoFn.TimerParam(TRAIL),
        date: Any = beam.DoFn.TimerParam(DATE),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[tuple[Series, DatedWindow]]:
        silences = state.read()
        if silences is None:
            return
        reached = fired.micros // (_MINUTE_SECONDS * 1_000_000)
        for each in silences.reach(reached, self._rules):
            yield key.series, (each, _NOTHING)
        if silences.is_at_rest(self._rules):
            self._count_gap(key.series)
            state.clear()
            end.clear()
        else:
            state.write(silences)
            self._wait(silences, trail, date)

    @on_timer(END)
    def finish(
        self,
        key: Any = beam.DoFn.KeyParam,
        state: Any = beam.DoFn.StateParam(SILENCES),
        trail: Any = beam.DoFn.TimerParam(TRAIL),
        date: Any = beam.DoFn.TimerParam(DATE),
    ) -> Iterator[tuple[Series, DatedWindow]]:
        silences = state.read()
        if silences is None:
            return
        for each in silences.end(self._rules):
            yield key.series, (each, _NOTHING)
        state.clear()
        trail.clear()
        date.clear()

    def _wait(self, silences: Silences, trail: Any, date: Any) -> None:
        next_date = silences.next_date(self._rules)
        timer = trail if silences.is_in_trail(next_date, self._rules) else date
        timer.set(_timestamp(next_date))

    def _count_gap(self, series: Series) -> None:
        if not self._counts:
            return
        self._gaps.inc()
        if left := self._few.take():
            _logger.warning(
                "a silence%s longer than --max_gap_minutes=%d is not filled with rows%s",
                f" of {', '.join(series)}" if series else "",
                self._rules.max_gap,
                "" if left > 1 else "; of others only the counter tells",
            )


@dataclass(eq=False)
class Revise(beam.PTransform):
    """Turns windows into rows with revisions.

    Takes `tuple[Series, DatedWindow]` in the global window: the events on time, and each late pane
    by itself; for an empty row no events, once. Gives `Row`s of all events so far; `revision`
    counts how often the row has been emitted before. A window that adds no event to a row emits
    nothing.

    Args:
        rows: the rules of the rows.
        retention_minutes: a window arrives at most so long after the watermark has passed its date.
    """

    rows: RowRules
    retention_minutes: int

    def expand(self, windows: beam.PCollection) -> beam.PCollection:
        return (
            windows
            | "AddHour" >> beam.Map(_add_hour).with_output_types(tuple[StateKey, DatedWindow])
            | "Revise"
            >> beam.ParDo(_ReviseFn(self.rows, self.retention_minutes)).with_output_types(Row)
        )


def _add_hour(element: tuple[Series, DatedWindow]) -> tuple[StateKey, DatedWindow]:
    series, window = element
    date, _ = window
    return StateKey(series, date // _HOUR_MINUTES), window


class _ReviseFn(beam.DoFn):
    """Keeps the rows of an hour in one state, so that it is cheap to read and write."""

    REVISIONS = ReadModifyWriteStateSpec("revisions", RevisionsCoder())
    FORGET = TimerSpec("forget", TimeDomain.WATERMARK)

    def __init__(self, rows: RowRules, retention_minutes: int) -> None:
        self._rows = rows
        self._retention_minutes = retention_minutes

    def process(
        self,
        element: tuple[StateKey, DatedWindow],
        state: Any = beam.DoFn.StateParam(REVISIONS),
        forget: Any = beam.DoFn.TimerParam(FORGET),
    ) -> Iterator[Row]:
        key, (date, window) = element
        revisions = state.read() or {}
        revision, total = 0, window.sum
        if date in revisions:
            if not window.sum.count:
                return
            last_revision, last_total = revisions[date]
            revision, total = last_revision + 1, last_total + window.sum
        revisions[date] = revision, total
        state.write(revisions)
        end_of_hour = (date // _HOUR_MINUTES + 1) * _HOUR_MINUTES
        forget.set(_timestamp(end_of_hour + self._retention_minutes))
        yield self._row(key.series, date, total, revision)

    def _row(self, series: Series, date: int, total: DurationSum, revision: int) -> Row:
        measured = Measured.of(total, self._rows.measures.values(), self._rows.decimals)
        return Row(
            series,
            EPOCH + timedelta(minutes=date),
            self._rows.window_minutes,
            total.count,
            dict(zip(self._rows.measures, measured.values, strict=True)),
            revision,
        )

    @on_timer(FORGET)
    def forget(self, state: Any = beam.DoFn.StateParam(REVISIONS)) -> None:
        state.clear()


def _timestamp(minute: int) -> Timestamp:
    return Timestamp(minute * _MINUTE_SECONDS)
