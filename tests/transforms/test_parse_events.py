"""ParseEvents as a transform: whatever lines come as, their sums, dead letters and counts."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindow,
    SlidingWindows,
    TimestampedValue,
)
from apache_beam.utils.windowed_value import WindowedValue
from examples import CHALLENGE_EVENTS, line
from local_runners import transform_pipeline

from pipeline import (
    Chunk,
    DeadLetter,
    DurationSum,
    MinuteSums,
    MovingAverage,
    ParseEvents,
)
from pipeline.parsing import chunks
from pipeline.parsing.chunks import Origin, ParsedLines, parse_chunk
from pipeline.transforms import parse_events

pytestmark = pytest.mark.slow

_LINES = CHALLENGE_EVENTS.splitlines(keepends=True)
_GLOBAL = WindowedValue(None, 0, [GlobalWindow()])
_MINUTE = 25_764_131  # 2018-12-26 18:11
_CHALLENGE_SUMS = [
    ((), _MINUTE, DurationSum(20_000_000, 1)),
    ((), _MINUTE + 4, DurationSum(31_000_000, 1)),
    ((), _MINUTE + 12, DurationSum(54_000_000, 1)),
]

_SHAPES: dict[str, Sequence[Any]] = {
    "bytes": _LINES,
    "bytes without line ends": [each.rstrip(b"\n") for each in _LINES],
    "str": [each.decode() for each in _LINES],
    "str without line ends": [each.decode().rstrip("\n") for each in _LINES],
    "a block of all lines": [CHALLENGE_EVENTS],
    "a block and a line": [_LINES[0] + _LINES[1], _LINES[2].decode()],
    "a chunk of all lines": [Chunk(CHALLENGE_EVENTS, (Origin(0, "events.json", 0),))],
}


def _by_minute(element: tuple[Any, MinuteSums]) -> list[tuple[Any, int, DurationSum]]:
    series, sums = element
    return [(series, minute, each) for minute, each in sums]


def _counts(pipeline: beam.Pipeline) -> dict[str, int]:
    found = pipeline.result.metrics().query(MetricsFilter().with_namespace(ParseEvents))
    return {each.key.metric.name: each.result for each in found["counters"]}


@pytest.mark.parametrize("shape", _SHAPES)
def test_lines_are_summed_up_by_minute_whatever_they_come_as(shape: str) -> None:
    with transform_pipeline() as p:
        parsed = p | beam.Create(_SHAPES[shape]) | ParseEvents()
        assert_that(parsed.sums | beam.FlatMap(_by_minute), equal_to(_CHALLENGE_SUMS))


def test_lines_of_read_from_text_are_summed_up_by_minute(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(CHALLENGE_EVENTS)
    with transform_pipeline() as p:
        parsed = p | beam.io.ReadFromText(str(path)) | ParseEvents()
        assert_that(parsed.sums | beam.FlatMap(_by_minute), equal_to(_CHALLENGE_SUMS))


def test_each_distinct_value_of_the_group_fields_is_a_series_in_the_order_asked_for() -> None:
    with transform_pipeline() as p:
        block = p | beam.Create([CHALLENGE_EVENTS])
        parsed = block | ParseEvents(group_by=("target_language", "client_name"))
        expected = [
            (("fr", "airliberty"), _MINUTE, DurationSum(20_000_000, 1)),
            (("fr", "airliberty"), _MINUTE + 4, DurationSum(31_000_000, 1)),
            (("fr", "taxi-eats"), _MINUTE + 12, DurationSum(54_000_000, 1)),
        ]
        assert_that(parsed.sums | beam.FlatMap(_by_minute), equal_to(expected))


def test_the_outputs_of_parsing_go_into_the_moving_average_as_they_are() -> None:
    with transform_pipeline() as p:
        parsed = p | beam.Create(_LINES) | ParseEvents()
        averages = parsed | MovingAverage(10) | beam.Map(lambda row: row.values["mean"])
        expected = [None, *[20] * 4, *[25.5] * 6, 31, 31, 42.5]
        assert_that(averages, equal_to(expected))


def test_a_line_that_is_no_event_is_a_dead_letter_of_its_source_and_offset() -> None:
    block = _LINES[0] + b'{"broken\n'
    origins = (Origin(0, "a.json", 100), Origin(len(_LINES[0]), "b.json", 7))
    with transform_pipeline() as p:
        parsed = p | beam.Create([Chunk(block, origins), "no event"]) | ParseEvents()
        assert_that(parsed.rejected | beam.Map(_place), equal_to([("b.json", 7), ("", 0)]))


def _place(letter: DeadLetter) -> tuple[str, int]:
    return letter.source, letter.offset


def test_a_line_that_is_not_utf8_is_a_dead_letter_that_keeps_its_bytes() -> None:
    with transform_pipeline() as p:
        parsed = p | beam.Create([b'{"client_name": "\xff"}']) | ParseEvents()
        kept = parsed.rejected | beam.Map(lambda letter: (letter.is_base64, letter.line))
        assert_that(kept, equal_to([(True, "eyJjbGllbnRfbmFtZSI6ICL/In0=")]))


def test_lines_are_the_sum_of_blank_other_accepted_and_rejected_ones() -> None:
    block = b"\n \t\r\n" + line() + b"\r\n" + line(event_name='"opened"') + b"\n" + line()
    with transform_pipeline() as p:
        _ = (
            p
            | beam.Create([block, line(nr_words="null"), "", "[]", line(duration="-1")])
            | (ParseEvents())
        )
    assert _counts(p) == {
        "lines": 9,
        "blank": 3,
        "other_events": 1,
        "filtered": 0,
        "accepted": 2,
        "rejected": 3,
    }


def test_every_line_is_in_exactly_one_tally() -> None:
    with transform_pipeline() as p:
        parsed = p | beam.Create([CHALLENGE_EVENTS, "x", "", "\n\n"]) | ParseEvents()
        lines = parsed.tally | beam.Map(lambda tally: tally.counts()["lines"])
        assert_that(lines, equal_to([3, 1, 1, 2]))


def test_the_event_name_asked_for_is_the_one_that_is_measured() -> None:
    with transform_pipeline() as p:
        lines = p | beam.Create([*_LINES, line(event_name='"opened"', duration="7")])
        parsed = lines | ParseEvents(event_name="opened")
        assert_that(
            parsed.sums | beam.FlatMap(_by_minute),
            equal_to([((), _MINUTE, DurationSum(7_000_000, 1))]),
        )
    counts = _counts(p)
    assert (counts["accepted"], counts["other_events"]) == (1, 3)


def test_the_windows_of_the_lines_do_not_matter() -> None:
    with transform_pipeline() as p:
        lines = (
            p
            | beam.Create(_LINES)
            | beam.Map(lambda each: TimestampedValue(each, 1_000))
            | beam.WindowInto(FixedWindows(1))
        )
        sums = (lines | ParseEvents()).sums | beam.FlatMap(_by_minute)
        assert_that(sums, equal_to(_CHALLENGE_SUMS))


def test_what_comes_of_a_block_stays_in_the_windows_of_the_block() -> None:
    block = b"".join([*_LINES, b"{}\n"] * 100)
    assert Chunk.of(block).is_block, "smaller ones are not parsed in threads"
    with transform_pipeline() as p:
        blocks = p | beam.Create([TimestampedValue(block, at) for at in (10, 70)])
        parsed = blocks | beam.WindowInto(SlidingWindows(120, 60)) | ParseEvents()
        expected = [(start, at) for at in (10, 70) for start in (at // 60 * 60 - 60, at // 60 * 60)]
        for name, per_block in (("sums", 1), ("rejected", 100), ("tally", 1)):
            found = getattr(parsed, name) | f"Windows of {name}" >> beam.Map(_start_and_timestamp)
            assert_that(found, equal_to(expected * per_block), name)
    assert _counts(p)["lines"] == 2 * 400


def test_no_thread_runs_ahead_of_what_has_been_handed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {"parsed": 0, "handed on": 0}
    most_ahead = 0

    def parse_and_count(*arguments: Any) -> Iterator[ParsedLines]:
        for piece in parse_chunk(*arguments):
            counts["parsed"] += len(piece.dead_letters)
            yield piece

    monkeypatch.setattr(chunks, "_PIECE_BYTES", 2**16)
    monkeypatch.setattr(chunks, "parse_chunk", parse_and_count)
    blocks = [Chunk.of(b"7\n" * 2**15)] * 6
    step = parse_events._ParseFn(ParseEvents().parser())
    step.setup()
    step.start_bundle()
    for outputs in (*(step.process(block, _GLOBAL) for block in blocks), step.finish_bundle()):
        for output in outputs:
            counts["handed on"] += output.tag == "rejected"
            most_ahead = max(most_ahead, counts["parsed"] - counts["handed on"])
    step.teardown()
    assert counts["handed on"] == counts["parsed"] == 6 * 2**15
    # 64 dead letters a piece: one of each block that waits for its turn, and that of its reader.
    assert most_ahead <= 64 * ((os.cpu_count() or 1) + 1)


def _start_and_timestamp(
    _: Any, window: Any = beam.DoFn.WindowParam, timestamp: Any = beam.DoFn.TimestampParam
) -> tuple[int, int]:
    return int(window.start), int(timestamp)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ParseEvents(group_by=("duration",)), "not 'duration'"),
        (lambda: ParseEvents(group_by=("client_name", "client_name")), "client_name twice"),
        (lambda: ParseEvents(group_by="client_name"), "not 'c'"),
    ],
)
def test_fields_that_make_no_series_are_refused_when_it_is_built(
    build: Callable[[], ParseEvents], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build()
