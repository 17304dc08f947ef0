"""A chunk of lines: where each line stands, and what the lines hold together."""

import base64
import math
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import oracle
import pytest
from examples import CHALLENGE_EVENTS, line
from hypothesis import given, settings
from hypothesis import strategies as st
from verdicts import added

from pipeline.core.details import Detail, Histogram, Longest, Shortest, Within, Words
from pipeline.core.durations import DurationSum
from pipeline.core.events import LINE_TOO_LONG, Event, OtherEvent, Rejection, parse_line
from pipeline.core.tally import Tally
from pipeline.core.where import EVERY_EVENT, Where
from pipeline.parsing import blocks, chunks
from pipeline.parsing.chunks import Chunk, ChunkParser, Origin, ParsedLines, parse_chunk
from pipeline.parsing.timeliness import Timeliness

_NAME = "translation_delivered"


def _parsed(
    chunk: Chunk,
    event_name: str,
    group_by: tuple[str, ...],
    timeliness: Timeliness | None = None,
    details: tuple[Detail, ...] = (),
    where: Where = EVERY_EVENT,
) -> ParsedLines:
    """All that the lines of a chunk hold, put together; nothing is unsure."""
    pieces = list(parse_chunk(chunk, event_name, group_by, timeliness, details, where))
    return ParsedLines(
        [each for piece in pieces for each in piece.sums],
        [letter for piece in pieces for letter in piece.dead_letters],
        [letter for piece in pieces for letter in piece.late],
        sum([piece.tally for piece in pieces], Tally()),
        max(piece.latest for piece in pieces),
        None,
    )


def _places(chunk: Chunk) -> Iterator[tuple[str, int, bytes]]:
    for position, text in chunk.lines():
        yield *chunk.origin(position)[1:3], text


# ---------------------------------------------------------------------------------------------
# Lines and places


@pytest.mark.clause("1.1")
@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b" ", b"\0"]), min_size=1))
def test_lines_end_in_lf_or_cr_lf_and_know_their_positions(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert list(Chunk.of(data).lines()) == list(oracle.lines_of(data))


@pytest.mark.parametrize("data", [b"", ""])
def test_an_empty_element_is_one_empty_line(data: bytes | str) -> None:
    assert list(Chunk.of(data).lines()) == [(0, b"")]


def test_bytes_of_several_sources_have_each_their_own_offsets() -> None:
    origins = (Origin(0, "a", 100), Origin(4, "b", 0), Origin(6, "a", 7), Origin(8, "c", 3))
    chunk = Chunk(b"1\n2\n3\n4\n5\n6", origins)
    assert list(_places(chunk)) == [
        ("a", 100, b"1"),
        ("a", 102, b"2"),
        ("b", 0, b"3"),
        ("a", 7, b"4"),
        ("c", 3, b"5"),
        ("c", 5, b"6"),
    ]


def test_a_chunk_of_lines_without_a_source_counts_from_its_start() -> None:
    assert list(_places(Chunk.of("é\nb"))) == [("", 0, "é".encode()), ("", 3, b"b")]


def test_a_chunk_stays_as_it_is() -> None:
    chunk = Chunk(b"x", (Origin(0, "a", 1),))
    assert Chunk.of(chunk) is chunk


def test_text_with_a_lone_surrogate_is_a_dead_letter() -> None:
    parsed = _parsed(Chunk.of(line().decode().replace("airliberty", "\ud800")), _NAME, ())
    assert [letter.is_base64 for letter in parsed.dead_letters] == [True]


# ---------------------------------------------------------------------------------------------
# What the lines hold

_LINES = [
    *(b"", b" \t", b"x", b"{}", b"[" + line() + b"]", b"\xff"),
    line(event_name='"translation_requested"'),
    line(event_name='""'),
    line(duration="-1", timestamp=None),
    line(duration="1e9"),
    line(duration="0.000001", client_name='"taxi-eats"'),
    line(duration="1", timestamp='"2018-12-26 18:12"', source_language='"é"'),
]


@pytest.mark.clause("4.3")
@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(_LINES), st.sampled_from([b"\n", b"\r\n"])), min_size=1),
    st.sampled_from([(), ("client_name",), ("source_language", "client_name")]),
)
def test_every_line_counts_once_as_the_oracle_says(
    lines: list[tuple[bytes, bytes]], group_by: tuple[str, ...]
) -> None:
    # A chunk holds lines, also where a file would hold an array.
    data = b"x\n" + b"".join(text + end for text, end in lines)
    chunk = Chunk(data, (Origin(0, "events.json", 50),))
    sums, dead_letters, _, tally, *_ = _parsed(chunk, _NAME, group_by)

    assert tally.counts() == vars(oracle.counts_of(data))
    assert [letter.offset - 50 for letter in dead_letters] == [
        offset for offset, _ in oracle.rejected_of(data)
    ]
    assert {letter.source for letter in dead_letters} <= {"events.json"}
    assert tally.first_rejected == tuple(dead_letters[:5])
    expected: dict[tuple[tuple[str, ...], int], DurationSum] = {}
    for event in oracle.events_of(data):
        key = tuple(event.fields[field] for field in group_by), int(event.time.timestamp() // 60)
        expected[key] = expected.get(key, DurationSum()) + DurationSum(event.millionths, 1)
    assert {
        (series, minute): each for series, by_minute in sums for minute, each in by_minute
    } == expected
    assert len({series for series, _ in sums}) == len(sums)


# 2018-12-26 18:10 to 18:14, in seconds since 1970-01-01.
_AROUND_1811 = st.integers(1_545_847_800, 1_545_848_040)


@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.sampled_from([*_LINES, line(), line(), line()]), min_size=1, max_size=40),
    end=st.sampled_from([b"\n", b"\r\n"]),
    group_by=st.sampled_from([(), ("client_name",), ("source_language", "client_name")]),
    timeliness=st.none()
    | st.builds(Timeliness, _AROUND_1811, st.sampled_from([0, 60]), _AROUND_1811, st.just(60)),
    where=st.sampled_from(
        [
            {},
            {"client_name": ["airliberty"]},
            {"client_name": ["airliberty", "taxi-eats"], "source_language": ["é"]},
        ]
    ),
    details=st.lists(
        st.sampled_from([Words(), Within(1_000_000), Shortest(), Longest(), Histogram()]),
        unique=True,
    ),
    capacity=st.sampled_from([1, 4, 16, 64]),
    piece_bytes=st.integers(1, 50_000),
)
def test_lines_taken_all_at_once_or_in_pieces_are_the_same_as_one_by_one(
    lines: list[bytes],
    end: bytes,
    group_by: tuple[str, ...],
    timeliness: Timeliness | None,
    where: dict[str, list[str]],
    details: list[Detail],
    capacity: int,
    piece_bytes: int,
) -> None:
    data = end.join(lines + [line()] * 300 + lines)
    chunk = Chunk(data, (Origin(0, "a.json", 7), Origin(len(data) // 2, "b.json", 0)))
    asked = _NAME, group_by, timeliness, tuple(details), Where.of(where)
    one_by_one = _parsed(chunk, *asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "WORTHWHILE_BYTES", 1)
        patch.setattr(chunks, "_PIECE_BYTES", piece_bytes)
        patch.setattr(blocks, "_CAPACITY", capacity)
        at_once = _parsed(chunk, *asked)
    assert added(at_once.sums) == added(one_by_one.sums)
    assert at_once.dead_letters == one_by_one.dead_letters
    assert at_once.late == one_by_one.late
    assert at_once.tally == one_by_one.tally
    assert at_once.latest == one_by_one.latest


def test_the_challenge_events_are_summed_up_by_minute() -> None:
    parsed = _parsed(Chunk.of(CHALLENGE_EVENTS), _NAME, ())
    ((series, sums),), dead_letters, _, tally, latest, _ = parsed
    assert series == ()
    assert list(sums) == [
        (25_764_131, DurationSum(20_000_000, 1)),
        (25_764_135, DurationSum(31_000_000, 1)),
        (25_764_143, DurationSum(54_000_000, 1)),
    ]
    assert dead_letters == []
    assert tally.accepted == 3
    assert latest == 25_764_143 * 60 + 19


@pytest.mark.clause("2.2")
def test_series_are_the_values_of_the_group_fields_in_the_order_asked_for() -> None:
    fields = ("target_language", "client_name")
    sums = _parsed(Chunk.of(CHALLENGE_EVENTS), _NAME, fields).sums
    assert [series for series, _ in sums] == [("fr", "airliberty"), ("fr", "taxi-eats")]


def test_other_events_are_counted_by_name() -> None:
    others = [line(event_name=f'"{name}"') for name in ("a", "b", "a")]
    tally = _parsed(Chunk.of(b"\n".join([*others, line()])), _NAME, ()).tally
    assert tally.other_events == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("rejected", "reason"),
    [
        (line(duration='"1"'), "duration: float_type"),
        (line(timestamp=None, duration='"1"'), "timestamp: missing"),
        (b"[1]", "json_array"),
    ],
)
def test_rejected_lines_are_counted_by_the_first_of_their_reasons(
    rejected: bytes, reason: str
) -> None:
    tally = _parsed(Chunk.of(rejected + b"\n" + rejected), _NAME, ()).tally
    assert tally.rejected == Counter({reason: 2})


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("extra", ['"x": {}', '"x": [1, {{"y": {}}}]'])
def test_of_many_usual_lines_the_one_that_is_no_json_is_rejected(extra: str, constant: str) -> None:
    numbers = [str(number) for number in range(1_000)] + [constant]
    lines = [line(extra.format(each), nr_words=str(index)) for index, each in enumerate(numbers)]
    parsed = _parsed(Chunk.of(b"\n".join(lines) + b"\n"), _NAME, ())
    assert (parsed.tally.accepted, parsed.tally.rejected) == (1_000, {"json_invalid": 1})


# ---------------------------------------------------------------------------------------------
# Pieces

_OTHERS = b"".join(b'{"event_name":"%d"}\n' % number for number in range(20_000))
_LATE = Timeliness(2_000_000_000, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "timeliness"),
    [
        (b"7\n" * 100_000, None),
        (b"{}\n" * 20_000, None),
        (b"x" * 50_000 + b"\n" + b"y" * 50_000 + b"\n", None),
        (_OTHERS, None),
        ((line() + b"\n") * 10_000, _LATE),
    ],
    ids=["short", "many errors", "long", "others of many names", "late"],
)
@pytest.mark.parametrize("is_block", [True, False])
def test_what_is_known_of_a_chunk_is_handed_on_before_it_is_much(
    monkeypatch: pytest.MonkeyPatch, lines: bytes, timeliness: Timeliness | None, is_block: bool
) -> None:
    monkeypatch.setattr(chunks, "_PIECE_BYTES", 2**16)
    monkeypatch.setattr(chunks, "WORTHWHILE_BYTES", 1 if is_block else 2**30)
    pieces = list(parse_chunk(Chunk.of(lines), _NAME, (), timeliness))
    assert len(pieces) > 1
    for piece in pieces:
        letters = [*piece.dead_letters, *piece.late]
        # Whatever was last may be more than is left.
        assert sum(1024 + len(letter.line) for letter in letters[:-1]) < 2**16
        assert len(piece.tally.other_events) <= 64
    assert sum(piece.tally.counts()["lines"] for piece in pieces) == lines.count(b"\n")


@pytest.mark.parametrize("is_block", [True, False])
def test_no_line_is_parsed_before_what_is_known_has_been_taken(
    monkeypatch: pytest.MonkeyPatch, is_block: bool
) -> None:
    parsed: list[bytes] = []

    def parse_and_count(line: bytes, event_name: str) -> Event | OtherEvent | Rejection:
        parsed.append(line)
        return parse_line(line, event_name)

    monkeypatch.setattr(chunks, "parse_line", parse_and_count)
    monkeypatch.setattr(chunks, "_PIECE_BYTES", 2**16)
    monkeypatch.setattr(chunks, "WORTHWHILE_BYTES", 1 if is_block else 2**30)
    pieces = parse_chunk(Chunk.of(b"7\n" * 100_000), _NAME, ())
    for number in range(1, 5):
        assert len(next(pieces).dead_letters) == 64
        assert len(parsed) == number * 64


def test_a_blank_line_of_a_block_is_not_looked_at_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "parse_line", None)
    data = b"\n \t\r\n\r\n" * 100_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks._Builder, "parse", None)
        (parsed,) = parse_chunk(Chunk.of(data), _NAME, ())
    assert parsed.tally == Tally(blank=300_000)


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"", b"7"])
def test_lines_are_taken_from_a_chunk_one_after_the_other(text: bytes) -> None:
    lines = Chunk.of((text + b"\n") * 2**20).lines()
    tracemalloc.start()
    try:
        assert sum(1 for _ in lines) == 2**20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


# ---------------------------------------------------------------------------------------------
# Lines that are too long


@pytest.mark.parametrize("data", [line()[:-5], line(), b" " * 100, b"x\ny"])
def test_a_cut_chunk_is_one_dead_letter_whatever_it_holds(data: bytes) -> None:
    chunk = Chunk(data, (Origin(0, "events.json", 9),), LINE_TOO_LONG)
    sums, (letter,), _, tally, *_ = _parsed(chunk, _NAME, ())
    assert sums == []
    assert (letter.source, letter.offset, letter.errors) == ("events.json", 9, (LINE_TOO_LONG,))
    assert tally.counts() == vars(oracle.Counts(lines=1, rejected=1))


@pytest.mark.parametrize("character", ["é", "€", "😀"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("before", [5, 2**17])
def test_the_beginning_of_a_long_line_is_text_though_it_ends_inside_a_character(
    character: str, size: int, before: int
) -> None:
    data = b"x" * before + character.encode()[:size]
    chunk = Chunk(data, (Origin(0, "events.json", 0),), LINE_TOO_LONG)
    (letter,) = _parsed(chunk, _NAME, ()).dead_letters
    assert not letter.is_base64
    assert letter.line == data[: 2**16].decode(errors="ignore")


def test_the_beginning_of_a_long_line_that_is_not_utf_8_keeps_its_bytes() -> None:
    chunk = Chunk(b"\xff\xc3", (Origin(0, "events.json", 0),), LINE_TOO_LONG)
    (letter,) = _parsed(chunk, _NAME, ()).dead_letters
    assert letter.is_base64
    assert base64.b64decode(letter.line) == b"\xff\xc3"


def test_sums_of_a_chunk_do_not_depend_on_the_order_of_its_lines() -> None:
    lines = [
        line(duration=str(math.pi * n), timestamp=f'"2018-12-26 18:{n % 3}1"') for n in range(9)
    ]
    forward, backward = (
        _parsed(Chunk.of(b"\n".join(each)), _NAME, ()).sums for each in (lines, lines[::-1])
    )
    assert [list(sums) for _, sums in forward] == [list(sums) for _, sums in backward]


# ---------------------------------------------------------------------------------------------
# Events that do not come in time


_TIMES = st.integers(0, 20).map(lambda quarters: timedelta(seconds=15 * quarters))


@pytest.mark.clause("5.3", "5.6")
@settings(deadline=None)
@given(
    st.lists(st.one_of(_TIMES, st.none()), min_size=1, max_size=20),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_each_line_is_in_time_or_late_or_from_the_future_or_rejected(
    times: list[timedelta | None], reached: int, lateness: int, ahead: int
) -> None:
    start = oracle.EARLIEST + timedelta(days=1)
    lines = [
        b"no event" if time is None else line(timestamp=f'"{start + time:%Y-%m-%d %H:%M:%S}"')
        for time in times
    ]
    day = 24 * 60 * 60
    watermark, clock = day + 60 * reached, day + 60
    timeliness = Timeliness(watermark, 60 * lateness, clock, 60 * ahead)
    parsed = _parsed(Chunk.of(b"\n".join(lines)), _NAME, (), timeliness)

    minutes = [None if time is None else time.seconds // 60 for time in times]
    late = [minute is not None and minute + 1 + lateness <= reached for minute in minutes]
    future = [time is not None and time.seconds > 60 + 60 * ahead for time in times]
    fates = [
        "broken" if time is None else "late" if is_late else "future" if is_future else "in time"
        for time, is_late, is_future in zip(times, late, future, strict=True)
    ]
    assert parsed.tally.counts() == {
        "lines": len(lines),
        "blank": 0,
        "other_events": 0,
        "filtered": 0,
        "accepted": fates.count("in time"),
        "rejected": fates.count("broken") + fates.count("future"),
    }
    assert parsed.tally.late == fates.count("late")
    assert sum(each.count for _, sums in parsed.sums for _, each in sums) == fates.count("in time")
    assert [letter.line.encode() for letter in parsed.late] == [
        text for text, fate in zip(lines, fates, strict=True) if fate == "late"
    ]
    assert [letter.errors[0].type for letter in parsed.dead_letters] == [
        {"broken": "json_invalid"}.get(fate, fate) for fate in fates if fate in ("broken", "future")
    ]
    assert parsed.tally.rejected["timestamp: future"] == fates.count("future")
    seen = [time.seconds for time in times if time is not None and time.seconds <= 60 + 60 * ahead]
    assert parsed.latest == max((day + each for each in seen), default=-1)


@pytest.mark.clause("5.3")
@settings(deadline=None)
@given(
    st.lists(st.one_of(_TIMES, st.none()), min_size=1, max_size=20),
    st.integers(-5, 1),
    st.integers(0, 5),
)
def test_what_is_unsure_without_a_watermark_is_judged_by_it_later(
    times: list[timedelta | None], reached: int, lateness: int
) -> None:
    start = oracle.EARLIEST + timedelta(days=1)
    lines = [
        b"no event" if time is None else line(timestamp=f'"{start + time:%Y-%m-%d %H:%M:%S}"')
        for time in times
    ]
    clock = 24 * 60 * 60 + 180
    watermark = clock + 60 * reached
    data = b"\n".join(lines)
    chunk = Chunk(data, (Origin(0, "a", 7), Origin(len(lines[0]) + 1, "b", 3, "id")))
    parser = ChunkParser(_NAME, (), 60 * lateness, 60, (), EVERY_EVENT)
    (recent,) = parser.parse_recent(chunk, clock)
    (expected,) = parser.parse(chunk._replace(watermark=watermark), clock)
    assert not recent.late
    parts = [recent]
    if recent.unsure is not None:
        parts += parser.parse(recent.unsure._replace(watermark=watermark), clock)
    assert added([each for part in parts for each in part.sums]) == added(expected.sums)
    assert [letter for part in parts for letter in part.late] == expected.late
    assert [letter for part in parts for letter in part.dead_letters] == expected.dead_letters
    assert sum([part.tally for part in parts], Tally()) == expected.tally


@pytest.mark.clause("5.5")
def test_a_late_event_is_a_dead_letter_that_names_its_place_and_the_watermark() -> None:
    chunk = Chunk(b"\n" + line(), (Origin(0, "events.json", 7),))
    hour_later = 1_545_851_700  # 2018-12-26 19:15
    timeliness = Timeliness(hour_later + 59, 600, hour_later, 300)
    (letter,) = _parsed(chunk, _NAME, (), timeliness).late
    assert (letter.source, letter.offset, letter.line) == ("events.json", 8, line().decode())
    (error,) = letter.errors
    assert (error.field, error.type) == ("timestamp", "late")
    assert "reached 2018-12-26 19:15" in error.message
    assert "600 s" in error.message
