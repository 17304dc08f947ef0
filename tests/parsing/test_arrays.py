"""A JSON array becomes lines, one an element, however it is laid out and comes in parts."""

import json
import tracemalloc

import oracle
import pytest
from examples import line
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.events import LINE_TOO_LONG
from pipeline.parsing.arrays import ARRAY_BROKEN, ArrayLines, Elements

_LONG = 2**20

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"\\,[]{}é\n', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a\\"), inner, max_size=3),
    max_leaves=6,
)
_white_space = st.text(" \t\r\n", max_size=3)
# What may go wrong between and in elements; a part may end anywhere in them.
_PIECES = [
    *('{"a": 1}', "[1, [2]]", '"x"', "12", "tru", "1e3", ",", ",", ",", ", \n", "]", "[", "{", "}"),
    *('"', "\\", '\\"', "\\\\", "\n", "\r\n", " ", "\f", ":", "é", '{"]": "}\\""}'),
]


def _read(data: bytes, part_bytes: int, max_bytes: int = _LONG) -> list[Elements]:
    lines = ArrayLines(1, max_bytes, _LONG)
    parts = [data[start : start + part_bytes] for start in range(1, len(data), part_bytes)]
    return [*(each for part in parts for each in lines.read(part)), *lines.end()]


def _found(elements: list[Elements]) -> list[oracle.Element]:
    found = []
    for offset, data, fault in elements:
        if fault is not None:
            found.append(oracle.Element(offset, data, fault == ARRAY_BROKEN))
            continue
        assert data.endswith(b"\n")
        for text in data.split(b"\n")[:-1]:
            found.append(oracle.Element(offset, text.rstrip()))
            offset += len(text) + 1
    return found


def _expected(data: bytes) -> list[oracle.Element]:
    return [
        each if each.is_rest else each._replace(text=_without_line_feeds(each.text))
        for each in oracle.elements_of(data)
    ]


def _without_line_feeds(text: bytes) -> bytes:
    is_in_string, is_escaped, characters = False, False, []
    for byte in text:
        if byte == ord("\n"):
            byte = ord("\r") if is_in_string else ord(" ")
        is_in_string ^= byte == ord('"') and not is_escaped
        is_escaped = byte == ord("\\") and not is_escaped
        characters.append(byte)
    return bytes(characters)


@pytest.mark.clause("1.12")
@given(st.lists(_values), _white_space, st.sampled_from([None, 0, 2]), st.integers(1, 50))
def test_the_lines_of_an_array_are_its_elements(
    values: list[object], space: str, indent: int | None, part_bytes: int
) -> None:
    text = json.dumps(values, indent=indent, separators=(f"{space},{space}", ":"))
    found = _found(_read((text + space).encode(), part_bytes))
    assert [json.loads(each.text) for each in found] == values
    assert not any(each.is_rest for each in found)


@given(st.lists(st.sampled_from(_PIECES)), st.integers(1, 50))
@example(['{"a": 1}', '{"a": 1}', ",", "12", "]"], 50)
@example([",", "}"], 2)
@example(["12", "\\", '"', ",", "12", "]"], 3)
def test_anything_is_cut_into_elements_and_a_rest_as_the_oracle_says(
    pieces: list[str], part_bytes: int
) -> None:
    data = f"[{''.join(pieces)}".encode()
    expected = _expected(data)
    found = _found(_read(data, part_bytes))
    assert [each for each in found if not each.is_rest] == [
        each for each in expected if not each.is_rest
    ]
    assert [(each.offset, each.text.split()) for each in found if each.is_rest] == [
        (each.offset, each.text.split()) for each in expected if each.is_rest
    ]


@pytest.mark.parametrize(
    ("text", "elements", "rest"),
    [
        ("[]", [], None),
        (" [ ] ", [], None),
        ("[1, {}]", [b"1", b"{}"], None),
        ("[{} {}]", [b"{}"], b"{}]"),
        ("[1,]", [b"1"], b"]"),
        ("[,1]", [], b",1]"),
        ("[1}", [b"1"], b"}"),
        ("[1] [2]", [b"1"], b"[2]"),
        ('[1, {"a": ', [b"1"], b'{"a": '),
        ('[1, "a', [b"1"], b'"a'),
        ("[1, {}", [b"1", b"{}"], b""),
        ("[1,", [b"1"], b""),
        ("[", [], b""),
    ],
)
def test_what_is_no_array_any_more_is_one_rest(
    text: str, elements: list[bytes], rest: bytes | None
) -> None:
    data = text.encode()
    found = _found(_read(data[data.index(b"[") :], 1))
    assert [each.text for each in found if not each.is_rest] == elements
    assert [each.text for each in found if each.is_rest] == ([] if rest is None else [rest])


@given(st.lists(st.integers(0, 40), min_size=1), st.integers(1, 20))
def test_an_element_that_is_too_long_is_rejected_and_its_neighbours_are_read(
    sizes: list[int], part_bytes: int
) -> None:
    values = [b"x" * (1 + size) for size in sizes]
    found = _read(b"[" + b",".join(values) + b"]", part_bytes, max_bytes=20)
    texts = [
        text
        for each in found
        for text in ([None] if each.fault == LINE_TOO_LONG else each.data.split())
    ]
    assert texts == [value if len(value) <= 20 else None for value in values]


@pytest.mark.parametrize("piece", [line() + b",", b"[", b'"\\', b" ", b"\\" * 9, b'"a" '])
def test_memory_does_not_depend_on_what_an_array_holds(piece: bytes) -> None:
    part = piece * (2**16 // len(piece))
    lines = ArrayLines(1, 2**20, 100)

    def feed(times: int) -> None:
        for _ in range(times):
            for _ in lines.read(part):
                pass

    tracemalloc.start()
    try:
        feed(20)
        tracemalloc.reset_peak()
        feed(20)
        first = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        feed(80)
        assert tracemalloc.get_traced_memory()[1] < 1.2 * first
        assert first < 20 * 2**20
    finally:
        tracemalloc.stop()
