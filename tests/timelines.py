"""Timelines: what arrives, where the watermark goes, and what the transforms answer."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import apache_beam as beam
import oracle
from apache_beam.coders import BytesCoder
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Duration, Timestamp

from pipeline import DeadLetter, MovingAverage, ParseEvents, Row
from pipeline.core.events import EPOCH
from pipeline.core.tally import Tally
from pipeline.live.account import Account
from pipeline.live.following import FollowedRows
from pipeline.parsing.chunks import Chunk
from pipeline.sources.timed_tail import TimedTail
from pipeline.transforms.moving_average import Emit, Plan

END = None
"""The watermark once the input is complete."""

_MARK = b"mark "


@dataclass(frozen=True)
class Arrive:
    """Lines arrive, together."""

    lines: tuple[bytes, ...]


@dataclass(frozen=True)
class Advance:
    """The watermark reaches a time; END is the end of the input."""

    to: datetime | None


Step = Arrive | Advance


@dataclass(frozen=True)
class Settings:
    """What the transforms are built with."""

    window: int | tuple[int, ...]
    max_gap: int | None = None
    allowed_lateness: int = 600
    group_by: tuple[str, ...] = ()
    measures: tuple[str, ...] = ("mean",)
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    plan: Plan = "rolling"
    emit: Emit = "early"

    @property
    def largest_gap(self) -> int:
        """The longest silence that is filled."""
        if self.max_gap is not None:
            return self.max_gap
        return max(1440, *([self.window] if isinstance(self.window, int) else self.window))


@dataclass
class Answer:
    """What came in answer to each step, in any order, and what was counted.

    `elements` holds how many elements each of the steps has given that were watched.
    BundleBasedDirectRunner loses counters of steps that see more than one bundle: its `counters`
    tell nothing.
    """

    rows: list[list[Row]]
    late: list[list[DeadLetter]]
    rejected: list[list[DeadLetter]]
    tally: Tally
    counters: dict[str, int]
    elements: dict[str, int]

    @property
    def all_rows(self) -> list[Row]:
        """The rows of all steps."""
        return [row for rows in self.rows for row in rows]


# What runs have given, by their names: all runners run the transforms in this process.
_given: dict[str, list[tuple[str, Any]]] = defaultdict(list)


def _give(element: Any, kind: str, run: str) -> None:
    _given[run].append((kind, element))


def _watch(_: Any, label: str, run: str) -> None:
    _given[run].append(("watched", label))


class _Outputs(PipelineVisitor):
    """The outputs of the steps of some labels."""

    def __init__(self, pipeline: beam.Pipeline, labels: Sequence[str]) -> None:
        self.found: dict[str, beam.PCollection] = {}
        self._labels = labels
        pipeline.visit(self)
        assert sorted(self.found) == sorted(labels)

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        self.visit_transform(node)

    def visit_transform(self, node: AppliedPTransform) -> None:
        if node.full_label in self._labels:
            self.found[node.full_label] = node.outputs[None]


def _is_mark(element: bytes, partitions: int) -> int:
    return int(element.startswith(_MARK))


def play(
    steps: Sequence[Step],
    settings: Settings,
    prism_options: Sequence[str] = (),
    watched: Sequence[str] = (),
) -> Answer:
    """Runs the transforms over a timeline, on BundleBasedDirectRunner or, with its options, Prism.

    Behind every step a mark passes by, so that what is given can be told apart by steps.
    """
    run = uuid4().hex
    stream = TestStream(coder=BytesCoder())
    now: Any = Timestamp(0)
    for index, step in enumerate(steps):
        if isinstance(step, Arrive):
            stream = stream.add_elements([TimestampedValue(each, now) for each in step.lines])
        elif step.to is END:
            stream, now = stream.advance_watermark_to_infinity(), MAX_TIMESTAMP
        else:
            now = Timestamp(micros=(step.to - EPOCH) // timedelta(microseconds=1))
            stream = stream.advance_watermark_to(now)
            if prism_options:
                # Prism fires a timer that is set at the watermark itself when that moves on.
                now += Duration(micros=1_000)
                stream = stream.advance_watermark_to(now)
        if step != Advance(END):
            stream = stream.add_elements([TimestampedValue(_MARK + b"%d" % index, now)])
    options = PipelineOptions(["--streaming", *prism_options])
    runner = "PortableRunner" if prism_options else BundleBasedDirectRunner()
    pipeline = beam.Pipeline(runner, options=options)
    lines, marks = pipeline | stream | beam.Partition(_is_mark, 2)
    parsed = lines | ParseEvents(
        group_by=settings.group_by,
        allowed_lateness_seconds=settings.allowed_lateness,
        measures=settings.measures,
        where=settings.where,
    )
    rows = parsed | MovingAverage(
        settings.window,
        max_gap_minutes=settings.max_gap,
        measures=settings.measures,
        plan=settings.plan,
        shards=2,
        emit=settings.emit,
    )
    outputs = {**parsed._asdict(), "rows": rows, "mark": marks}
    del outputs["sums"]
    for kind, outcome in outputs.items():
        _ = outcome | f"Give {kind}" >> beam.Map(_give, kind, run)
    for label, given in _Outputs(pipeline, watched).found.items():
        _ = given | f"Watch {label.replace('/', ' ')}" >> beam.Map(_watch, label, run)
    result = pipeline.run()
    result.wait_until_finish()
    return _answer(_given.pop(run), len(steps), result)


class _Script:
    """A `TimedTail` that plays a timeline: each look finds one step."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)
        self._looks = 0
        self._reached: float | None = None
        self.is_complete = False

    @property
    def step(self) -> int:
        """The number of the step that was found last."""
        return self._looks - 1

    def read(self) -> Iterator[Chunk]:
        step = self._steps[self._looks]
        self._looks += 1
        if isinstance(step, Arrive):
            watermark = 0 if self._reached is None else int(self._reached)
            for each in step.lines:
                yield Chunk.of(each)._replace(watermark=watermark)
        elif step.to is END:
            self.is_complete = True
        else:
            self._reached = (step.to - EPOCH).total_seconds()

    def see(self, latest: int) -> None:
        """Takes no notice: the timeline says where the watermark goes."""

    def advance(self) -> float | None:
        return self._reached

    def finish(self) -> Iterator[Chunk]:
        return iter(())

    def state(self) -> tuple[int, float | None]:
        return self._looks, self._reached

    def restore(self, state: tuple[int, float | None]) -> None:
        self._looks, self._reached = state


def play_followed(
    steps: Sequence[Step],
    settings: Settings,
    starts_anew: Callable[[], bool] = lambda: False,
) -> Answer:
    """Runs a timeline by what follows files, without a runner.

    `starts_anew` is asked after each consistent turn whether another process goes on.
    """
    parser = ParseEvents(
        group_by=settings.group_by,
        allowed_lateness_seconds=settings.allowed_lateness,
        measures=settings.measures,
        where=settings.where,
    ).parser()
    rules = MovingAverage(
        settings.window, max_gap_minutes=settings.max_gap, measures=settings.measures
    ).live_rules(settings.allowed_lateness)
    delay = settings.allowed_lateness if settings.emit == "final" else 0

    def begin() -> tuple[_Script, Account, FollowedRows]:
        script, account = _Script(steps), Account()
        return script, account, FollowedRows(cast(TimedTail, script), parser, account, rules, delay)

    answer = Answer([[] for _ in steps], [[] for _ in steps], [[] for _ in steps], Tally(), {}, {})
    script, account, following = begin()
    turns = following.turns()
    while (turn := next(turns, None)) is not None:
        for block in turn.rows:
            answer.rows[script.step] += block
        if turn.parsed is not None:
            answer.late[script.step] += turn.parsed.late
            answer.rejected[script.step] += turn.parsed.dead_letters
        if turn.is_consistent and not script.is_complete and starts_anew():
            state = following.state()
            script, account, following = begin()
            following.restore(state)
            turns = following.turns()
    answer.tally = account.tally
    assert account.rows == len(answer.all_rows)
    return answer


def _answer(given: list[tuple[str, Any]], steps: int, result: Any) -> Answer:
    by_step: dict[str, list[list[Any]]] = {
        kind: [[] for _ in range(steps)] for kind in ("rows", "late", "rejected")
    }
    tally = Tally()
    elements: dict[str, int] = Counter()
    step = 0
    for kind, element in given:
        if kind == "mark":
            step = int(element.removeprefix(_MARK)) + 1
        elif kind == "tally":
            tally += element
        elif kind == "watched":
            elements[element] += 1
        else:
            by_step[kind][step].append(element)
    counters: dict[str, int] = Counter()
    for each in result.metrics().query(MetricsFilter())["counters"]:
        counters[each.key.metric.name] += each.committed
    return Answer(**by_step, tally=tally, counters=counters, elements=elements)


def check_rows(rows: list[Row], events: list[oracle.Event], settings: Settings) -> None:
    """At their highest revisions rows are those of the oracle, but for the silence after events."""
    by_place: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        by_place.setdefault((row.series, row.date, row.window_minutes), []).append(row)
    for revised in by_place.values():
        assert sorted(row.revision or 0 for row in revised) == [*range(len(revised))]
        counts = [row.count for row in sorted(revised, key=lambda row: row.revision or 0)]
        assert counts == sorted({*counts}), "a revision that adds nothing"
    last = {
        place: max(revised, key=lambda row: row.revision or 0)
        for place, revised in by_place.items()
    }
    expected = {
        (tuple(value for _, value in row.series), row.date, row.window): row
        for row in oracle.rows(
            events,
            settings.window,
            group_by=settings.group_by,
            until="drain",
            empty_value="null",
            max_gap=settings.largest_gap,
            measures=settings.measures,
        )
    }
    for place, row in expected.items():
        values = {name: oracle.shown(name, value) for name, value in row.values}
        assert (last[place].values, last[place].count) == (values, row.count), place
    for series, date, window in last.keys() - expected.keys():
        assert not last[series, date, window].count
        gap = max(settings.largest_gap, window + 1) * timedelta(minutes=1)
        minutes = [
            event.minute
            for event in events
            if tuple(event.fields[field] for field in settings.group_by) == series
        ]
        assert any(minute < date <= minute + gap for minute in minutes)
