"""Rows of unbounded input: any schedule against the oracle, what is left, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.utils.timestamp import Timestamp
from examples import line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_runners import transform_pipeline
from schedules import Schedule, check, check_final, schedules
from timelines import END, Advance, Arrive, Settings, play

from pipeline import DurationSum, MovingAverage, ParseEvents
from pipeline.core.row_rules import RowRules
from pipeline.core.rows import Measured
from pipeline.core.silences import SilenceRules
from pipeline.transforms.moving_average import Plan
from pipeline.transforms.revisions import StateKey, _EmptyRowsFn, _ReviseFn

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------------------------------------
# Any schedule


_both_plans = pytest.mark.parametrize("plan", ["rolling", "windows"])


@pytest.mark.clause("5.1", "5.4", "5.10")
@_both_plans
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_last_revisions_of_rows_and_the_late_events_are_all_that_came(
    plan: Plan, data: st.DataObject
) -> None:
    schedule = data.draw(schedules(plan))
    check(schedule, play(schedule.steps, schedule.settings))


@pytest.mark.prism
@_both_plans
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_last_revisions_of_rows_and_the_late_events_are_all_that_came_on_prism(
    plan: Plan, data: st.DataObject, prism_options: Sequence[str]
) -> None:
    schedule = data.draw(schedules(plan))
    check(schedule, play(schedule.steps, schedule.settings, prism_options))


@pytest.mark.clause("5.11")
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules("rolling", "final"))
def test_final_rows_come_once_and_when_no_event_can_change_them(schedule: Schedule) -> None:
    check_final(schedule, play(schedule.steps, schedule.settings))


# ---------------------------------------------------------------------------------------------
# What is left


@dataclass
class _Cell:
    """The state or a timer of one key, as a DoFn is given it."""

    value: Any = None

    def read(self) -> Any:
        return self.value

    def write(self, value: Any) -> None:
        self.value = value

    def set(self, timestamp: Timestamp) -> None:
        self.value = timestamp

    def clear(self) -> None:
        self.value = None


@dataclass
class _Key:
    """All that is kept for one key, by a runner that fires timers in their order."""

    state: _Cell = field(default_factory=_Cell)
    timers: dict[str, _Cell] = field(default_factory=dict)

    def timer(self, name: str) -> _Cell:
        return self.timers.setdefault(name, _Cell())

    def next_timer(self) -> tuple[Timestamp, str] | None:
        """Takes the earliest timer that is set."""
        pending = [(cell.value, name) for name, cell in self.timers.items() if cell.value]
        if not pending:
            return None
        fired, name = min(pending)
        self.timers[name].clear()
        return fired, name

    @property
    def is_empty(self) -> bool:
        return self.state.value is None and not any(each.value for each in self.timers.values())


def _rows_of_one_event(
    fill: _EmptyRowsFn, revise: _ReviseFn, minute: int, until: Timestamp
) -> tuple[list[Any], list[_Key]]:
    """The rows of a series of one event (X = 1), and its keys, once a watermark is reached."""
    series, of_series, hours = ("a",), _Key(), {}
    windows = [(minute + 1, Measured((1.0,), DurationSum(1_000_000, 1)))]
    date, trail, end = (of_series.timer(name) for name in ("date", "trail", "end"))
    fill.process((StateKey(series), minute), of_series.state, trail, date, end)
    while (timer := of_series.next_timer()) and timer[0] <= until:
        fired, name = timer
        if name == "trail":
            fill.confirm(fired, date)
        else:
            assert name == "date", "the end of the input has not come"
            given = fill.reach(StateKey(series), fired, of_series.state, trail, date, end)
            windows += [window for _, window in given]
    rows = []
    for window in windows:
        key = StateKey(series, window[0] // 60)
        hour = hours.setdefault(key, _Key())
        rows += revise.process((key, window), hour.state, hour.timer("forget"))
    for hour in hours.values():
        fired, _ = hour.next_timer() or pytest.fail("nothing would ever be forgotten")
        assert fired <= until
        revise.forget(hour.state)
    return rows, [of_series, *hours.values()]


@pytest.mark.clause("5.2")
def test_ten_thousand_series_that_come_once_leave_nothing_behind() -> None:
    fill, revise = _EmptyRowsFn(SilenceRules(1, 5, 70), True), _ReviseFn(RowRules(1), 70)
    fill.setup()
    a_day_later = Timestamp(24 * 60 * 60)
    for index in range(10_000):
        rows, keys = _rows_of_one_event(fill, revise, index % 600, a_day_later)
        assert len(rows) == 6
        assert all(key.is_empty for key in keys)


def test_an_empty_row_that_its_deliveries_have_overtaken_changes_nothing() -> None:
    revise, state, forget = _ReviseFn(RowRules(1), 70), _Cell(), _Cell()
    for total, expected in [
        (DurationSum(4_000_000, 2), [(2.0, 0)]),
        (DurationSum(), []),
        (DurationSum(5_000_000, 1), [(3.0, 1)]),
    ]:
        window = 7, Measured((), total)
        rows = revise.process((StateKey((), 0), window), state, forget)
        assert [(row.values["mean"], row.revision) for row in rows] == expected


@pytest.mark.parametrize(("decimals", "average"), [(None, 5 / 3), (2, 1.67)])
def test_a_revised_average_is_rounded_from_the_exact_sum(
    decimals: int | None, average: float
) -> None:
    revise = _ReviseFn(RowRules(1, decimals=decimals), 70)
    state, forget = _Cell(), _Cell()
    for total, count in ((1_000_000, 1), (4_000_000, 2)):
        window = 7, Measured((), DurationSum(total, count))
        *_, row = revise.process((StateKey((), 0), window), state, forget)
    assert (row.values["mean"], row.count) == (average, 3)


# ---------------------------------------------------------------------------------------------
# What it costs


def _elements(window: int, events: int) -> list[int]:
    """How many elements the stages give for so many events, all in one minute."""
    stages = [
        *("ParseEvents/StampArrival/Stamp", "MovingAverage/Live/Panes/Minutes"),
        *("MovingAverage/Live/Panes/Sum", "MovingAverage/Live/Minutes/Minute"),
        *(f"MovingAverage/Live/Windows{window}/Measure/{step}" for step in ("AddHour", "Combine")),
    ]
    text = line(timestamp='"2018-12-26 18:11:08"')
    steps = [*[Arrive((text,))] * events, Advance(END)]
    answer = play(steps, Settings(window, window, plan="windows"), watched=stages)
    return [answer.elements[stage] for stage in stages]


def test_an_event_costs_the_same_whatever_the_window_and_windows_see_only_minutes() -> None:
    assert _elements(window=5, events=1) == [1, 1, 1, 1, 5, 5]
    assert _elements(window=5, events=7) == [7, 7, 1, 1, 5, 5]
    assert _elements(window=50, events=7) == [7, 7, 1, 1, 50, 50]


# ---------------------------------------------------------------------------------------------
# As a library


def _unbounded(pipeline: beam.Pipeline, elements: Sequence[Any]) -> beam.PCollection:
    given = pipeline | beam.Create(elements)
    given.is_bounded = False
    return given


def test_what_makes_no_sense_for_unbounded_sums_is_refused() -> None:
    with transform_pipeline() as p:
        parsed = _unbounded(p, []) | ParseEvents()
        with pytest.raises(ValueError, match="shards is a number"):
            _ = parsed | "Shards" >> MovingAverage(10, shards=0)
        with pytest.raises(ValueError, match="until makes no sense"):
            _ = parsed | "Until" >> MovingAverage(10, until="drain")
        _ = parsed | "Windows" >> MovingAverage(10, plan="windows")


@pytest.mark.parametrize("seconds", [-1, 10**9 + 1])
@pytest.mark.parametrize("name", ["allowed_lateness_seconds", "max_future_seconds"])
def test_a_number_of_seconds_that_makes_no_sense_is_refused(name: str, seconds: int) -> None:
    with pytest.raises(ValueError, match=f"{name} takes 0 to 1000000000, not {seconds}"):
        ParseEvents(**{name: seconds})


def test_bounded_lines_are_never_late_and_come_from_no_future() -> None:
    with transform_pipeline() as p:
        lines = [line(timestamp='"9997-12-31 23:59"'), line(timestamp='"1970-01-01 00:00"')]
        parsed = p | beam.Create(lines) | ParseEvents()
        rows = parsed | MovingAverage(1, max_gap_minutes=1) | beam.Map(lambda row: row.revision)
        assert_that(rows, equal_to([None] * 5))
        assert_that(parsed.late, equal_to([]), "Late")
