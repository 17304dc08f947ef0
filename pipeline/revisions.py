"""Rows while events are still coming: the empty ones, and those that late events change."""

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

from pipeline.coders import RevisionsCoder, SilencesCoder
from pipeline.durations import DurationSum, MeanDuration
from pipeline.events import EPOCH
from pipeline.in_process import Few
from pipeline.rows import Row, Series, StateKey
from pipeline.silences import SilenceRules, Silences

_MINUTE_SECONDS = 60
_HOUR_MINUTES = 60

# Many series may fall silent every night.
_MAX_WARNINGS = 5
_logger = logging.getLogger(__name__)

_NOTHING = MeanDuration(None, DurationSum())

Average = tuple[int, MeanDuration]
"""A date, in minutes since 1970-01-01, and the mean of the window that ends there."""


@dataclass(eq=False)
class EmptyRows(beam.PTransform):
    """The averages of nothing that a series has between and after its events.

    Takes `tuple[Series, int]`: minutes with events, as soon as the watermark has passed them or
    later, in the global window and in any order, perhaps more than once. Gives
    `tuple[Series, Average]`, each once, when the watermark passes the date or, where a late event
    makes it so, later.

    A series that has come to rest leaves no state behind. Counts, in the namespace of this class,
    `series`, as often as they begin anew, and `gaps`, the silences too long to be filled.
    """

    rules: SilenceRules

    def expand(self, minutes: beam.PCollection) -> beam.PCollection:
        return (
            minutes
            | "AddKey" >> beam.Map(_add_key).with_output_types(tuple[StateKey, int])
            | "Wait"
            >> beam.ParDo(_EmptyRowsFn(self.rules)).with_output_types(tuple[Series, Average])
        )


def _add_key(element: tuple[Series, int]) -> tuple[StateKey, int]:
    series, minute = element
    return StateKey(series), minute


class _EmptyRowsFn(beam.DoFn):
    """Wakes up at each date of an empty row, and when the input ends.

    At the end all timers fire at once, each before those that it sets. So a row after the last
    event is given by a second timer that the first one sets: at the end it is not.
    """

    SILENCES = ReadModifyWriteStateSpec("silences", SilencesCoder())
    TRAIL = TimerSpec("trail", TimeDomain.WATERMARK)
    DATE = TimerSpec("date", TimeDomain.WATERMARK)
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, rules: SilenceRules) -> None:
        self._rules = rules
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
    ) -> Iterator[tuple[Series, Average]]:
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
    ) -> Iterator[tuple[Series, Average]]:
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
    """Rows with their revisions, of averages whose events come by and by.

    Takes `tuple[Series, Average]` in the global window: the mean of what has come in time, and of
    what comes late by itself; of an empty row the mean of nothing, once. Gives `Row`s of all that
    has come so far, whose `revision` counts how often the row has been given before. What adds no
    event to a row gives nothing.

    Args:
        retention_minutes: an average comes at most so long after the watermark has passed its date.
        decimals: round the exact means half-even to so many places.
    """

    retention_minutes: int
    decimals: int | None = None

    def expand(self, averages: beam.PCollection) -> beam.PCollection:
        return (
            averages
            | "AddHour" >> beam.Map(_add_hour).with_output_types(tuple[StateKey, Average])
            | "Revise"
            >> beam.ParDo(_ReviseFn(self.retention_minutes, self.decimals)).with_output_types(Row)
        )


def _add_hour(element: tuple[Series, Average]) -> tuple[StateKey, Average]:
    series, average = element
    date, _ = average
    return StateKey(series, date // _HOUR_MINUTES), average


class _ReviseFn(beam.DoFn):
    """Remembers the rows of an hour, so that what is read and written for a row stays small."""

    REVISIONS = ReadModifyWriteStateSpec("revisions", RevisionsCoder())
    FORGET = TimerSpec("forget", TimeDomain.WATERMARK)

    def __init__(self, retention_minutes: int, decimals: int | None) -> None:
        self._retention_minutes = retention_minutes
        self._decimals = decimals

    def process(
        self,
        element: tuple[StateKey, Average],
        state: Any = beam.DoFn.StateParam(REVISIONS),
        forget: Any = beam.DoFn.TimerParam(FORGET),
    ) -> Iterator[Row]:
        key, (date, average) = element
        revisions = state.read() or {}
        revision, total = 0, average.sum
        if date in revisions:
            if not average.sum.count:
                return
            last_revision, last_total = revisions[date]
            revision, total = last_revision + 1, last_total + average.sum
        revisions[date] = revision, total
        state.write(revisions)
        end_of_hour = (date // _HOUR_MINUTES + 1) * _HOUR_MINUTES
        forget.set(_timestamp(end_of_hour + self._retention_minutes))
        yield Row(
            key.series,
            EPOCH + timedelta(minutes=date),
            total.mean(self._decimals),
            total.count,
            total.total_millionths,
            revision,
        )

    @on_timer(FORGET)
    def forget(self, state: Any = beam.DoFn.StateParam(REVISIONS)) -> None:
        state.clear()


def _timestamp(minute: int) -> Timestamp:
    return Timestamp(minute * _MINUTE_SECONDS)
