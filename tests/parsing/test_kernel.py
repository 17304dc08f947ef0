"""The kernel compiled and as plain Python: they agree, and neither leaves its bounds.

MUTANTS in the environment makes the search longer.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pytest
from odd_lines import PLAIN, SAMPLES, TOKENS, mutated, numbers, objects, strings, timestamps, values
from verdicts import added

from pipeline.core.durations import DurationSum
from pipeline.core.events import Event, OtherEvent, parse_line
from pipeline.parsing import blocks, kernel, library
from pipeline.parsing.blocks import BlockSums, sum_block

_NAME = "translation_delivered"
_MUTANTS = int(os.environ.get("MUTANTS", "100000"))
_PAGE = mmap.PAGESIZE
_MARGIN = bytes([*b'"}0\\u-:', 0xC3])
"""What stands behind lines to tempt a step that goes too far."""


class _Checked:
    """An array for plain Python, whose indices have to be in its bounds."""

    def __init__(self, array: npt.NDArray[np.generic]) -> None:
        self._array = array.reshape(-1)

    def __getitem__(self, index: int | slice) -> int:
        assert 0 <= index < len(self._array)
        return int(self._array[index])

    def __setitem__(self, index: int, value: int) -> None:
        assert 0 <= index < len(self._array)
        self._array[index] = value  # raises OverflowError beyond 64 bits


def _plain_walk(text: npt.NDArray[np.uint8], *arrays: npt.NDArray[np.int64]) -> None:
    # `names`, and the first of the others, which says where the text ends.
    stop = int(arrays[1][kernel.STOP])
    checked = [_Checked(array) for array in (text[: stop + kernel.WIDTH], *arrays)]
    kernel.walk(*checked)


class _Guarded:
    """Copies of arrays that end where a page begins that cannot be read or written."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._maps: list[mmap.mmap] = []

    def copy(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        pages = -(-array.nbytes // _PAGE)
        memory = mmap.mmap(-1, (pages + 1) * _PAGE)
        self._maps.append(memory)
        whole = np.frombuffer(memory, np.uint8)
        refused = self._libc.mprotect(
            ctypes.c_void_p(whole.ctypes.data + pages * _PAGE), ctypes.c_size_t(_PAGE), 0
        )
        assert refused == 0
        end = pages * _PAGE
        copied = whole[end - array.nbytes : end].view(array.dtype).reshape(array.shape)
        copied[...] = array
        return copied


def _guarded_walk(text: npt.NDArray[np.uint8], *arrays: npt.NDArray[np.int64]) -> None:
    """The compiled kernel; its arrays have no more room than it may use."""
    guarded, walk = _Guarded(), library.load()
    names, state, layout, found, *rows, slots = arrays
    capacity = int(state[kernel.CAPACITY])
    padded = text[: state[kernel.STOP] + kernel.WIDTH].copy()
    end = int(state[kernel.STOP])
    if end == 0 or padded[end - 1] != ord("\n"):
        end += 1  # for the NUL behind a line without end
    padded[end:] = np.resize(np.frombuffer(_MARGIN, np.uint8), len(padded) - end)
    given = [state, layout, found, *(array[:capacity] for array in rows)]
    given.append(slots[: 2 * kernel.SLOTS_PER_ROW * capacity])
    copies = [guarded.copy(array) for array in given]
    walk(guarded.copy(padded), guarded.copy(names), *copies)
    for array, copied in zip(given, copies, strict=True):
        array[...] = copied


def _read(data: bytes, walk: library.Walk, event_name: str = _NAME) -> list[object]:
    return [_plain(part) for part in sum_block(data, ("client_name",), event_name, walk)]


def _plain(part: BlockSums) -> object:
    sums = [(series, list(each)) for series, each in part.sums]
    return part._replace(sums=sums, unsure=part.unsure.tolist())


def _odd_lines(rng: random.Random, number: int) -> Iterator[bytes]:
    for _ in range(number):
        line = rng.choice(SAMPLES)
        yield line
        yield mutated(rng, line)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("capacity", [1, 16, 1 << 15])
def test_machine_code_and_plain_python_find_the_same(
    end: bytes, capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_CAPACITY", capacity)
    rng = random.Random(capacity)
    for _ in range(max(_MUTANTS // 10_000, 1)):
        data = end.join(_odd_lines(rng, 40))
        compiled = _read(data, library.load())
        assert len(compiled) > 1 or capacity > 40
        assert compiled == _read(data, _plain_walk)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [1, 16])
def test_nothing_is_read_or_written_out_of_bounds(
    capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_CAPACITY", capacity)
    rng = random.Random(capacity)
    for _ in range(max(_MUTANTS // 1000, 1)):
        data = b"\n".join(_odd_lines(rng, 10))
        assert _read(data, _guarded_walk) == _read(data, library.load())


@pytest.mark.slow
def test_no_step_goes_beyond_the_end_of_a_line_wherever_it_is() -> None:
    surrogates = rb'"\ud83d\ude00", "x": [[1.5e-7, {"a": false}]]'
    hostile = [*SAMPLES, PLAIN.replace(b'"airliberty"', surrogates)]
    begins = [(line, 1) for line in hostile]
    start = PLAIN.index(b"airliberty")
    begins += [(PLAIN[:start] + b"x" * 31 + token + PLAIN[-5:], start) for token in TOKENS]
    for line, begin in begins:
        for size in range(begin, min(len(line), 300)):
            for part in sum_block(line[:size], (), _NAME, _guarded_walk):
                is_sure = isinstance(parse_line(line[:size]), Event | OtherEvent)
                assert part.blank or is_sure or part.unsure.tolist() == [[0, size]]


def test_a_walk_out_of_bounds_would_be_seen() -> None:
    text = np.frombuffer(PLAIN, np.uint8)
    with pytest.raises(AssertionError):
        kernel.string(_Checked(text[:80]), PLAIN.index(b'"5aa5'))
    with pytest.raises(OverflowError):
        _Checked(np.zeros(1, np.int64))[0] = 1 << 63


# ---------------------------------------------------------------------------------------------
# All texts of a kind, against the model


def _unsure_of(lines: list[bytes], group_by: tuple[str, ...] = ()) -> list[bytes]:
    """The lines that are left to the model; of the others the kernel says what the model says."""
    data = b"\n".join(lines)
    parts = list(sum_block(data, group_by, _NAME, library.load()))
    unsure = {start: stop for part in parts for start, stop in part.unsure.tolist()}
    sums: dict[tuple[tuple[str, ...], int], DurationSum] = {}
    others: Counter[str] = Counter()
    position = 0
    for line in lines:
        if position not in unsure and line.strip():
            found = parse_line(line)
            if isinstance(found, OtherEvent):
                others[found.event_name] += 1
            else:
                assert isinstance(found, Event), line
                key = tuple(getattr(found, field) for field in group_by), found.minute
                sums[key] = sums.get(key, DurationSum()) + DurationSum(found.duration_millionths, 1)
        position += len(line) + 1
    assert added(each for part in parts for each in part.sums) == sums
    assert sum((part.other_events for part in parts), Counter()) == others
    return [data[start:stop] for start, stop in unsure.items()]


def _valid(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if isinstance(parse_line(line), Event | OtherEvent)]


@pytest.mark.parametrize(
    "place",
    [b'"airliberty"', b'"x": "airliberty"', b'{"event_name": "airliberty"}', b'"airliberty": 1'],
)
def test_the_kernel_takes_the_strings_that_the_model_takes(place: bytes) -> None:
    if place.startswith(b"{"):
        lines = [place.replace(b"airliberty", each) for each in strings()]
    elif b":" in place:
        lines = [
            PLAIN.replace(b": 20}", b": 20, " + place.replace(b"airliberty", each) + b"}")
            for each in strings()
        ]
    else:
        lines = [PLAIN.replace(b"airliberty", each) for each in strings()]
    unsure = _valid(_unsure_of(lines, ("client_name",)))
    if place.endswith(b": 1"):
        # A name of a member with an escape, which may be any, or beyond ASCII, which is rare.
        unsure = [line for line in unsure if b"\\" not in line and line.isascii()]
    elif b"event_name" in place:
        # Another event, whose name may be the one asked for.
        unsure = [line for line in unsure if b"\\" not in line]
    assert unsure == []


def test_the_kernel_takes_the_durations_that_the_model_takes() -> None:
    unsure = _valid(_unsure_of([PLAIN.replace(b": 20}", b": %s}" % each) for each in numbers()]))
    # Signs, ties, the limit, many digits, long exponents.
    rare = re.compile(rb": -0|\d{9}\.\d{7}|\.\d{6}5|\d{10}\.0|[\d.]{19}|[eE][-+]?\d{2}|[eE]-[789]")
    assert [line for line in unsure if not rare.search(line)] == []


def test_the_kernel_takes_the_timestamps_that_the_model_takes() -> None:
    usual = b'"2018-12-26 18:11:08.509654"'
    unsure = _valid(_unsure_of([PLAIN.replace(usual, each) for each in timestamps()]))
    assert unsure == []


def test_every_month_begins_at_its_minute() -> None:
    before = kernel.minute_of(b"1969-12-01 00:00", 0)
    for year in range(1970, 9998):
        for month in range(1, 13):
            minute = kernel.minute_of(b"%04d-%02d-01 00:00" % (year, month), 0)
            days = (date(year, month, 1) - date(1970, 1, 1)).days
            assert minute == days * 24 * 60
            # The last day of the month before, and the one behind it.
            size = (minute - before) // (24 * 60)
            last = date(year, month, 1) - timedelta(days=1)
            text = b"%04d-%02d" % (last.year, last.month)
            assert kernel.minute_of(text + b"-%02d 23:59" % size, 0) == minute - 1
            assert kernel.minute_of(text + b"-%02d 00:00" % (size + 1), 0) == kernel.NO_MINUTE
            before = minute


def test_the_kernel_takes_the_words_that_the_model_takes() -> None:
    unsure = _valid(_unsure_of([PLAIN.replace(b": 30", b": %s" % each) for each in numbers()]))
    assert [line for line in unsure if b"-0" not in line and len(line) < 4000] == []


@pytest.mark.parametrize("texts", [numbers, values])
def test_the_kernel_takes_the_other_values_that_the_model_takes(
    texts: Callable[[], Iterator[bytes]],
) -> None:
    lines = [PLAIN.replace(b": 20}", b': 20, "x": %s}' % each) for each in texts()]
    unsure = _valid(_unsure_of(lines))
    rare = re.compile(rb"[{\[]{61}|(\{.a.:){61}|e-?\d{5}|[\d.]{4001}")
    assert [line for line in unsure if not rare.search(line)] == []


def test_the_kernel_takes_the_objects_that_the_model_takes() -> None:
    unsure = _valid(_unsure_of(list(objects()), ("client_name", "target_language")))
    # A name that stands twice, or with an escape.
    names = re.compile(
        rb'"(event_name|timestamp|duration|nr_words|\w+_language|\w+_id|client_name)"'
    )
    for line in unsure:
        found = names.findall(line)
        assert len({*found}) < len(found) or b"\\" in line, line


@pytest.mark.parametrize("capacity", [16, 64, 1024])
def test_series_that_differ_anywhere_are_not_mixed_up(
    capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_CAPACITY", capacity)
    names = [b"x" * size for size in range(1, 100, 3)]
    names += [
        b"x" * at + b"y" + b"x" * (size - at - 1) for size in (8, 33, 70) for at in range(size)
    ]
    lines = [
        PLAIN.replace(b"airliberty", name).replace(b"18:11", b"18:%02d" % minute)
        for minute in range(3)
        for name in names
    ]
    group_by = ("client_name", "source_language")
    assert _unsure_of(lines * 2, group_by) == []
    for part in sum_block(b"\n".join(lines * 2), group_by, _NAME, library.load()):
        assert len({series for series, _ in part.sums}) == len(part.sums)


# ---------------------------------------------------------------------------------------------
# Parts of a line


@pytest.mark.parametrize(
    ("value", "power", "expected"),
    [
        (20, 0, 20_000_000),
        (0, -18, 0),
        (125, -3, 125_000),
        (1, 9, 10**15),
        (10**9 + 1, 0, kernel.UNSURE),
        (10**16 + 1, -7, kernel.UNSURE),
        (5, -7, kernel.UNSURE),
        (15, -7, kernel.UNSURE),
        (14, -7, 1),
        (16, -7, 2),
        (123456789012345678, -9, 123456789012346),
        (1, -25, kernel.UNSURE),
        (1, 12, kernel.UNSURE),
        (kernel.UNSURE, 0, kernel.UNSURE),
    ],
)
def test_millionths_are_rounded_where_that_is_sure(value: int, power: int, expected: int) -> None:
    assert kernel.millionths(value, power) == expected


def test_millionths_are_those_of_the_double() -> None:
    rng = random.Random(1)
    sure = 0
    for _ in range(_MUTANTS):
        value = rng.randrange(10 ** rng.randrange(1, 19))
        if rng.random() < 0.5:  # close to a tie
            value = value // 10**9 * 10**9 + 5 * 10**8 + rng.randrange(-600, 600)
        power = -rng.randrange(20)
        found = kernel.millionths(max(value, 0), power)
        if found != kernel.UNSURE:
            sure += 1
            double = float(f"{max(value, 0)}e{power}")
            assert double <= 1e9
            assert found == round(double * 1e6)
    assert sure > _MUTANTS // 4


def test_an_event_name_may_be_written_with_escapes() -> None:
    escaped = PLAIN.replace(b"translation_delivered", rb"translation\u005fdelivered")
    other = PLAIN.replace(b"translation_delivered", rb"translation\u005fsent")
    for group_by in ((), ("client_name",)):
        lines = b"\n".join([escaped, other, PLAIN, escaped])
        parts = list(sum_block(lines, group_by, _NAME, library.load()))
        assert sum(part.accepted for part in parts) == 3
        assert sum((part.other_events for part in parts), Counter()) == {"translation_sent": 1}
        assert sum(len(part.unsure) for part in parts) == 0


@pytest.mark.parametrize("name", ["", "a", "é", "x" * 100, '"', "\ud800", "\\u0041", "\n"])
def test_the_event_name_asked_for_may_be_any_text(name: str) -> None:
    lines = [
        PLAIN.replace(b"translation_delivered", text)
        for text in (b"", b"a", b"\xc3\xa9", b"x" * 100, b'\\"', b"x" * 99, b"\\u0041")
    ]
    for line in lines:
        (part,) = sum_block(line, (), name, library.load())
        expected = parse_line(line, name)
        assert len(part.unsure) == 0
        assert part.accepted == isinstance(expected, Event)
        assert part.other_events == (
            {expected.event_name: 1} if isinstance(expected, OtherEvent) else {}
        )
