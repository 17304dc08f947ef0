"""Rows while events still come: the timelines of `tests/timelines/`, on two runners.

Each file is a story in plain sentences: what arrives, where the watermark goes, and the rows that
are given in answer.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import oracle
import pytest
import yaml
from copies import CHECKOUT
from examples import line
from timelines import END, Advance, Answer, Arrive, Settings, Step, check_rows, play, play_followed

from pipeline.transforms.moving_average import Plan

pytestmark = pytest.mark.slow

_STORIES = sorted((CHECKOUT / "tests" / "timelines").glob("*.yaml"))

_EVENT = re.compile(r"an event (?:of (?P<client>\S+) )?at (?P<time>.+) takes (?P<duration>\S+)")
_WATERMARK = re.compile(r"the watermark reaches (?P<time>.+)")
_ROW = re.compile(
    r"row (?P<time>.+?)(?: of (?P<client>\S+))? is (?P<average>\S+?)"
    r"(?:, revision (?P<revision>\d+))?"
)


@dataclass(frozen=True)
class _Story:
    settings: Settings
    steps: list[Step]
    answers: list[list[str]]


def _read(path: Path, plan: Plan) -> _Story:
    story = yaml.safe_load(path.read_text("utf-8"))
    steps, answers = [], []
    for sentence in story.pop("story"):
        if isinstance(sentence, str):
            sentence = {sentence: []}
        ((what, answer),) = sentence.items()
        steps.append(_step(what))
        answers.append(answer)
    if steps[-1] != Advance(END):
        steps.append(Advance(END))
    settings = {key.replace(" ", "_"): value for key, value in story.items()}
    return _Story(Settings(plan=plan, **settings), steps, answers)


def _step(sentence: str) -> Step:
    if event := _EVENT.fullmatch(sentence):
        client, time, duration = event.groups()
        fields = {"client_name": f'"{client}"'} if client else {}
        return Arrive((line(timestamp=f'"{_time(time)}"', duration=duration, **fields),))
    if sentence == "the input ends":
        return Advance(END)
    watermark = _WATERMARK.fullmatch(sentence)
    assert watermark, f"cannot read {sentence!r}"
    return Advance(_time(watermark["time"]))


def _time(text: str) -> datetime:
    full = text if "-" in text else f"2018-12-26 {text}"
    return datetime.fromisoformat(full).replace(tzinfo=timezone.utc)


def _expected(answer: str) -> tuple[Any, ...]:
    if answer in ("the event is late", "the event is rejected"):
        return (answer,)
    row = _ROW.fullmatch(answer)
    assert row, f"cannot read {answer!r}"
    series = (row["client"],) if row["client"] else ()
    average = None if row["average"] == "empty" else float(row["average"])
    return series, _time(row["time"]), average, int(row["revision"] or 0)


def _given(answer: Answer, step: int) -> Iterator[tuple[Any, ...]]:
    for row in answer.rows[step]:
        yield row.series, row.date, row.values["mean"], row.revision
    yield from [("the event is late",)] * len(answer.late[step])
    yield from [("the event is rejected",)] * len(answer.rejected[step])


_both_plans = pytest.mark.parametrize("plan", ["rolling", "windows"])


@pytest.mark.clause("5.1", "5.2", "5.3", "5.10")
@_both_plans
@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_story(path: Path, plan: Plan) -> None:
    story = _read(path, plan)
    answer = play(story.steps, story.settings)
    for step, expected in enumerate(story.answers):
        assert Counter(_given(answer, step)) == Counter(map(_expected, expected)), (
            f"in answer to {story.steps[step]}"
        )
    _check_laws(story, answer)


@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_story_of_what_is_followed(path: Path) -> None:
    story = _read(path, "rolling")
    answer = play_followed(story.steps, story.settings)
    for step, expected in enumerate(story.answers):
        assert Counter(_given(answer, step)) == Counter(map(_expected, expected)), (
            f"in answer to {story.steps[step]}"
        )
    _check_laws(story, answer)


@pytest.mark.prism
@_both_plans
@pytest.mark.parametrize("path", _STORIES, ids=lambda path: path.stem)
def test_story_on_prism(path: Path, plan: Plan, prism_options: Sequence[str]) -> None:
    # Prism answers to what arrives when the watermark next moves.
    story = _read(path, plan)
    answer = play(story.steps, story.settings, prism_options)
    given: Counter[tuple[Any, ...]] = Counter()
    wanted: Counter[tuple[Any, ...]] = Counter()
    for step, expected in enumerate(story.answers):
        given.update(_given(answer, step))
        wanted.update(map(_expected, expected))
        if isinstance(story.steps[step], Advance):
            assert given == wanted, f"up to {story.steps[step]}"
    _check_laws(story, answer)
    counts = {**answer.tally.counts(), "late": answer.tally.late}
    assert {name: answer.counters[name] for name in counts} == counts


def _check_laws(story: _Story, answer: Answer) -> None:
    events = oracle.events_of(b"\n".join(each for step in story.steps for each in _lines(step)))
    late = [oracle.classify(letter.line.encode()) for each in answer.late for letter in each]
    rejected = [
        oracle.classify(letter.line.encode()) for each in answer.rejected for letter in each
    ]
    for event in [*late, *rejected]:
        events.remove(event)  # type: ignore[arg-type]
    check_rows(answer.all_rows, events, story.settings)
    assert answer.tally.accepted == len(events)
    assert answer.tally.late == len(late)


def _lines(step: Step) -> tuple[bytes, ...]:
    return step.lines if isinstance(step, Arrive) else ()
