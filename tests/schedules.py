"""Random timelines: events around a watermark that moves, and what must come of them."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import oracle
from examples import line
from hypothesis import strategies as st
from timelines import END, Advance, Answer, Arrive, Settings, Step, check_rows

from pipeline.core.events import EPOCH
from pipeline.transforms.moving_average import Emit, Plan

_START = datetime(2018, 12, 26, 18, tzinfo=timezone.utc)
_MINUTE = timedelta(minutes=1)
_FOR_EVER = 10**9
_EVERY_MEASURE = (
    *("count", "mean", "words", "per_word", "min", "max", "p50", "p99.9", "within_4", "within_0.5"),
)


@dataclass(frozen=True)
class Schedule:
    """Settings, what happens, and which events come too late."""

    settings: Settings
    steps: list[Step]
    late: list[bytes]


@st.composite
def schedules(draw: st.DrawFn, plan: Plan, emit: Emit = "early") -> Schedule:
    """Events around a watermark that moves, and which of them come too late."""
    windows = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True), "windows")
    lateness = draw(st.sampled_from([0, 90, 180, _FOR_EVER]), "lateness")
    settings = Settings(
        tuple(windows),
        max(windows) + draw(st.integers(0, 5)),
        lateness,
        ("client_name", "source_language"),
        draw(st.sampled_from([("mean",), _EVERY_MEASURE]), "measures"),
        draw(st.sampled_from([{}, {"client_name": ["a", "c"]}]), "where"),
        plan,
        emit,
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
            is_taken = not settings.where or client in settings.where["client_name"]
            if (
                is_taken
                and lateness < _FOR_EVER
                and end_of_minute + timedelta(seconds=lateness) <= watermark
            ):
                late.append(lines[-1])
        steps.append(Arrive(tuple(lines)))
    return Schedule(settings, [*steps, Advance(END)], late)


def check(schedule: Schedule, answer: Answer) -> None:
    """Every line is in the rows, at their highest revisions, or counted, or late."""
    lines = [each for step in schedule.steps if isinstance(step, Arrive) for each in step.lines]
    letters = [letter for letters in answer.late for letter in letters]
    assert sorted(letter.line.encode() for letter in letters) == sorted(schedule.late)
    counted = Counter(lines) - Counter(schedule.late)
    events = [
        event
        for event in oracle.events_of(b"\n".join(counted.elements()))
        if all(event.fields[name] in taken for name, taken in schedule.settings.where.items())
    ]
    check_rows(answer.all_rows, events, schedule.settings)
    counts = answer.tally.counts()
    assert counts.pop("lines") == len(lines) == sum(counts.values()) + answer.tally.late


def check_final(schedule: Schedule, answer: Answer) -> None:
    """The same, and rows come once, and only when no event can change them any more."""
    check(schedule, answer)
    rows = answer.all_rows
    assert len({(row.series, row.window_minutes, row.date) for row in rows}) == len(rows)
    lateness = timedelta(seconds=schedule.settings.allowed_lateness)
    reached = EPOCH
    for step, given in zip(schedule.steps, answer.rows, strict=True):
        if isinstance(step, Advance):
            reached = step.to or reached
        if step != Advance(END):
            assert all(row.date + lateness <= reached for row in given)
