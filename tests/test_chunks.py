"""A chunk of lines: where each line stands, and what the lines hold together."""

import base64
import math
from collections import Counter
from collections.abc import Iterator

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_oracle import CHALLENGE_EVENTS, line

from pipeline import chunks
from pipeline.chunks import Chunk, Origin, parse_chunk
from pipeline.durations import DurationSum, MinuteSums
from pipeline.events import LINE_TOO_LONG

_NAME = "translation_delivered"


def _places(chunk: Chunk) -> Iterator[tuple[str, int, bytes]]:
    for position, text in chunk.lines():
        yield *chunk.place(position), text


# ---------------------------------------------------------------------------------------------
# Lines and places


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
    parsed = parse_chunk(Chunk.of(line().decode().replace("airliberty", "\ud800")), _NAME, ())
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


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(_LINES), st.sampled_from([b"\n", b"\r\n"])), min_size=1),
    st.sampled_from([(), ("client_name",), ("source_language", "client_name")]),
)
def test_every_line_counts_once_as_the_oracle_says(
    lines: list[tuple[bytes, bytes]], group_by: tuple[str, ...]
) -> None:
    data = b"".join(text + end for text, end in lines)
    chunk = Chunk(data, (Origin(0, "events.json", 50),))
    sums, dead_letters, tally = parse_chunk(chunk, _NAME, group_by)

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


def _flat(
    sums: list[tuple[tuple[str, ...], MinuteSums]],
) -> dict[tuple[tuple[str, ...], int], DurationSum]:
    total: dict[tuple[tuple[str, ...], int], DurationSum] = {}
    for series, by_minute in sums:
        for minute, each in by_minute:
            total[series, minute] = total.get((series, minute), DurationSum()) + each
    return total


@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.sampled_from([*_LINES, line(), line(), line()]), min_size=1, max_size=40),
    end=st.sampled_from([b"\n", b"\r\n"]),
    group_by=st.sampled_from([(), ("client_name",), ("source_language", "client_name")]),
)
def test_lines_taken_all_at_once_are_the_same_as_one_by_one(
    lines: list[bytes], end: bytes, group_by: tuple[str, ...]
) -> None:
    # So many usual lines that a shape is learned of them.
    data = end.join(lines + [line()] * 300 + lines)
    chunk = Chunk(data, (Origin(0, "a.json", 7), Origin(len(data) // 2, "b.json", 0)))
    one_by_one = parse_chunk(chunk, _NAME, group_by)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "WORTHWHILE_BYTES", 1)
        at_once = parse_chunk(chunk, _NAME, group_by)
    assert _flat(at_once.sums) == _flat(one_by_one.sums)
    assert at_once.dead_letters == one_by_one.dead_letters
    assert at_once.tally == one_by_one.tally


def test_the_challenge_events_are_summed_up_by_minute() -> None:
    ((series, sums),), dead_letters, tally = parse_chunk(Chunk.of(CHALLENGE_EVENTS), _NAME, ())
    assert series == ()
    assert list(sums) == [
        (25_764_131, DurationSum(20_000_000, 1)),
        (25_764_135, DurationSum(31_000_000, 1)),
        (25_764_143, DurationSum(54_000_000, 1)),
    ]
    assert dead_letters == []
    assert tally.accepted == 3


def test_series_are_the_values_of_the_group_fields_in_the_order_asked_for() -> None:
    sums, _, _ = parse_chunk(Chunk.of(CHALLENGE_EVENTS), _NAME, ("target_language", "client_name"))
    assert [series for series, _ in sums] == [("fr", "airliberty"), ("fr", "taxi-eats")]


def test_other_events_are_counted_by_name() -> None:
    others = [line(event_name=f'"{name}"') for name in ("a", "b", "a")]
    _, _, tally = parse_chunk(Chunk.of(b"\n".join([*others, line()])), _NAME, ())
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
    _, _, tally = parse_chunk(Chunk.of(rejected + b"\n" + rejected), _NAME, ())
    assert tally.rejected == Counter({reason: 2})


# ---------------------------------------------------------------------------------------------
# Lines that are too long


@pytest.mark.parametrize("data", [line()[:-5], line(), b" " * 100, b"x\ny"])
def test_a_cut_chunk_is_one_dead_letter_whatever_it_holds(data: bytes) -> None:
    chunk = Chunk(data, (Origin(0, "events.json", 9),), is_cut=True)
    sums, (letter,), tally = parse_chunk(chunk, _NAME, ())
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
    chunk = Chunk(data, (Origin(0, "events.json", 0),), is_cut=True)
    (letter,) = parse_chunk(chunk, _NAME, ()).dead_letters
    assert not letter.is_base64
    assert letter.line == data[: 2**16].decode(errors="ignore")


def test_the_beginning_of_a_long_line_that_is_not_utf_8_keeps_its_bytes() -> None:
    chunk = Chunk(b"\xff\xc3", (Origin(0, "events.json", 0),), is_cut=True)
    (letter,) = parse_chunk(chunk, _NAME, ()).dead_letters
    assert letter.is_base64
    assert base64.b64decode(letter.line) == b"\xff\xc3"


def test_sums_of_a_chunk_do_not_depend_on_the_order_of_its_lines() -> None:
    lines = [
        line(duration=str(math.pi * n), timestamp=f'"2018-12-26 18:{n % 3}1"') for n in range(9)
    ]
    forward, backward = (
        parse_chunk(Chunk.of(b"\n".join(each)), _NAME, ()).sums for each in (lines, lines[::-1])
    )
    assert [list(sums) for _, sums in forward] == [list(sums) for _, sums in backward]
