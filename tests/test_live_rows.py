"""Rows of unbounded input: any schedule against the oracle, what is left, and what it costs."""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import apache_beam as beam
import oracle
import pytest
from apache_beam.testing.test_stream import TestStream
from apache_beam.utils.timestamp import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_oracle import line
from test_timelines import check_rows
from timelines import END, Advance, Arrive, Settings, Step, play

from pipeline import DurationSum, MeanDuration, MovingAverage, ParseEvents
from pipeline.revisions import _EmptyRowsFn, _ReviseFn
from pipeline.rows import StateKey
from pipeline.silences import SilenceRules

_START = datetime(2018, 12, 26, 18, tzinfo=timezone.utc)
_MINUTE = timedelta(minutes=1)
_FOR_EVER = 10**9


# ---------------------------------------------------------------------------------------------
# Any schedule


@dataclass(frozen=True)
class _Schedule:
    settings: Settings
    steps: list[Step]
    late: list[bytes]


@st.composite
def _schedules(draw: st.DrawFn) -> _Schedule:
    """Events around a watermark that moves, and which of them come too late."""
    window = draw(st.integers(1, 5), "window")
    lateness = draw(st.sampled_from([0, 90, 180, _FOR_EVER]), "lateness")
    settings = Settings(
        window, window + draw(st.integers(0, 5)), lateness, ("client_name", "source_language")
    )
    watermark = _START
    steps: list[Step] = [Advance(watermark)]
    late = []
    for _ in range(draw(st.integers(1, 12), "steps")):
        if draw(st.booleans(), "advance"):
            watermark += timedelta(seconds=draw(st.sampled_from([1, 29, 60, 90, 300, 900])))
            steps.append(Advance(watermark))
            continue
        lines = []
        for seconds, client, duration in draw(
            st.lists(
                st.tuples(st.integers(-400, 200), st.sampled_from("abc"), st.integers(0, 9)),
                min_size=1,
                max_size=4,
            )
        ):
            time = watermark + timedelta(seconds=seconds)
            text = f'"{time:%Y-%m-%d %H:%M:%S}"'
            lines.append(line(timestamp=text, client_name=f'"{client}"', duration=str(duration)))
            end_of_minute = time.replace(second=0) + _MINUTE
            if lateness < _FOR_EVER and end_of_minute + timedelta(seconds=lateness) <= watermark:
                late.append(lines[-1])
        steps.append(Arrive(tuple(lines)))
    return _Schedule(settings, [*steps, Advance(END)], late)


def _check(schedule: _Schedule, prism_options: Sequence[str] = ()) -> None:
    answer = play(schedule.steps, schedule.settings, prism_options)
    lines = [each for step in schedule.steps if isinstance(step, Arrive) for each in step.lines]
    letters = [letter for letters in answer.late for letter in letters]
    assert sorted(letter.line.encode() for letter in letters) == sorted(schedule.late)
    counted = Counter(lines) - Counter(schedule.late)
    events = oracle.events_of(b"\n".join(counted.elements()))
    check_rows(answer.all_rows, events, schedule.settings)
    counts = answer.tally.counts()
    assert counts.pop("lines") == len(lines) == sum(counts.values()) + answer.tally.late


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_schedules())
def test_the_last_revisions_of_rows_and_the_late_events_are_all_that_came(
    schedule: _Schedule,
) -> None:
    _check(schedule)


@pytest.mark.slow
@pytest.mark.prism
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedule=_schedules())
def test_the_last_revisions_of_rows_and_the_late_events_are_all_that_came_on_prism(
    schedule: _Schedule, prism_options: Sequence[str]
) -> None:
    _check(schedule, prism_options)
