"""The usual lines of a block, all at a time: their sums by series and minute.

`sum_block` takes lines in whole-array steps of numpy and pyarrow, and names those that it is not
sure of, to be handed to the model. It only accepts a line that the model accepts, with the same
values. There is no JSON parser in it.

Why that can be:

A log is written by one program: its lines differ in their values, not in their shape. So a
*shape* is learned from a line that **the model itself accepted**: fixed texts, which hold
every key, quote and bracket, and slots between them for the values.

    {"timestamp": "2018-12-26 18:11:08","client_name": "airliberty", … "duration": 20}
    fffffffffffffffddddfddfddfddfddfddffffffffffffffffffssssssssssfffffffffffffffffnnf

The other lines are walked text by text and slot by slot, all of them at the same time. A
line that fits is the learned line with other values in its slots, so it is sound if they
are:

* fixed text (f) is equal byte by byte, the digits (d) of the timestamp are digits, and its
  fields are in range;
* a string (s) ends at the first quote, backslash or control character, which has to be the
  quote that the next text begins with: nothing is escaped, unescaped or too much;
* a number (n) is one by JSON's grammar; `nr_words` has up to 8 digits and nothing else;
* the last text ends where the line ends; the bytes are valid UTF-8.

No key stands twice, as none does in the learned line. Another order of keys, other white
space, extra keys (nested ones too), `T…Z` or an offset are just other shapes: a file has
one or a few. They are learned as they turn up, and forgotten with the block (0.1 ms each).
Every line with an order of its own is the model's, and so are escapes.

What it costs:

ns of CPU per line of 234 bytes, one thread, blocks of 16 MB, together 300 to 350 (the
model takes 3 500):

    newlines 55, fixed texts 85, ends of slots 90, timestamps 30, two numbers 45,
    sums per minute 30; a field of the series +20 to +30 (10 000 series: +250)

RE2 takes 640 for the proof alone (`match_substring_regex` of whole lines), finding every
quote 170 (`np.flatnonzero`: 1.2 cycles a byte), DuckDB's `read_json` with typed columns 350
to 450 for the same sums, without being strict. Nearly all steps release the GIL.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.durations import Int64s, MinuteSums, carried
from pipeline.rows import Series

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

WORTHWHILE_BYTES: Final = 64 * 1024
"""Below that (250 lines) the model is as fast: a call costs 0.8 ms, the model 3.5 µs a line."""
MAX_BLOCK_BYTES: Final = 1 << 28
"""So many lines at most that the sums in `_aggregate` stay exact."""

_PIECE_BYTES: Final = (
    2 << 20
)  # worked on at a time: more leaves the cache, less pays for calls and for the GIL
_WORTHWHILE_LINES: Final = 64  # fewer are not worth another shape
_MAX_SHAPES: Final = 16  # per block
_MAX_TRIES: Final = 8  # samples per block that give no shape worth having
_MAX_SAMPLE_BYTES: Final = 8192
_MAX_SERIES_BYTES: Final = 64  # lines with longer names of series are the model's

_TOKEN: Final = re.compile(
    rb'"(?P<key>[^"]*)" *:|"(?P<string>[^"]*)"|(?P<number>-?\d[\d.eE+-]*)'
    rb"|(?P<open>[{[])|(?P<close>[]}])"
)
_TIMESTAMP: Final = re.compile(
    rb"(?P<local>\d{4}-\d\d-\d\d[Tt_ ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)"
    rb"(?:[Zz]|(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d))?"
)
_DIGITS: Final = b"9999-19-39T29:59:59.999999".translate(
    bytes.maketrans(b"12359", bytes((1, 2, 3, 5, 9)))
)
_JSON_NUMBER: Final = r"^-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?$"
_FIRST_YEAR: Final = 1970
_MONTH_STARTS: Final = (
    np.arange("1970-01", "9998-02", dtype="M8[M]").astype("M8[D]").astype(np.int64)
)
_END_MINUTE: Final = int(_MONTH_STARTS[-1]) * 1440
_MAX_DURATION: Final = 1e9
_ZEROS: Final = np.uint64(0x3030303030303030)  # "00000000"
_LOW_HALVES: Final = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH_HALVES: Final = np.uint64(0xF0F0F0F0F0F0F0F0)
_DIGIT_STEPS: Final[list[tuple[np.uint64, np.uint64, np.uint64]]] = [
    (np.uint64(10), np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(100), np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(10_000), np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
]
_SIXES: Final = np.uint64(0x0606060606060606)


class BlockSums(NamedTuple):
    """What stands in a block: sums by series and minute of the accepted lines, and the others.

    Line i of those that are not accepted is `unsure_starts[i]:unsure_ends[i]`, without its end.
    """

    sums: list[tuple[Series, MinuteSums]]
    accepted: int
    unsure_starts: Int64s
    unsure_ends: Int64s


class _Text:
    """Text with a range for every byte: one value, or the digits up to some limit.

    Kept repeated for as many lines as were asked for: comparing flat arrays takes 2 ns a
    line, numpy's broadcasting over short rows 15.
    """

    def __init__(self, text: bytes) -> None:
        """A byte m < 10 in the text, where none can be, means a digit of at most m."""
        given = np.frombuffer(text, np.uint8)
        is_digit = given < 10
        self.length = len(text)
        self._lowest = np.where(is_digit, ord("0"), given).astype(np.uint8)
        self._spread = np.where(is_digit, given, 0).astype(np.uint8)

    def is_at(self, block: Bytes, begins: Int64s) -> Bools:
        last = len(block) - self.length
        if begins.max(initial=0) > last:
            is_inside = begins <= last
            is_inside[is_inside] = self.is_at(block, begins[is_inside])
            return is_inside
        size = len(begins) * self.length
        if len(self._lowest) < size:
            repeats = len(begins) * 5 // 4 + 1
            self._lowest = np.tile(self._lowest[: self.length], repeats)
            self._spread = np.tile(self._spread[: self.length], repeats)
        text = _gather(block, begins, self.length).view(np.uint8)
        text -= self._lowest[:size]
        is_same = text <= self._spread[:size]
        if is_same.all():
            return np.ones(len(begins), np.bool_)
        is_same_line: Bools = np.logical_and.reduce(is_same.reshape(-1, self.length), axis=1)
        return is_same_line


@dataclass(frozen=True, slots=True)
class _Slot:
    """A free string, which ends at the next mark, or a number, which ends before `stop`."""

    key: bytes  # empty: not one of the outermost object
    is_number: bool
    stop: int
    window: int


@dataclass(slots=True)
class _Shape:
    """Lines are text, slot, text, slot … text; the timestamp is in a text, as digits."""

    texts: list[_Text] = field(default_factory=list)
    slots: list[_Slot] = field(default_factory=list)
    timestamp_text: int = 0
    timestamp_offset: int = 0
    zone_minutes: int = 0


@dataclass(frozen=True, slots=True)
class _Events:
    """The values of accepted lines."""

    minutes: Int64s
    millionths: Int64s
    strings: list[npt.NDArray[np.bytes_]]  # per field of the series


def sum_block(
    data: bytes | memoryview, group_by: Sequence[str], is_event: Callable[[bytes], bool]
) -> BlockSums:
    """Sums the durations in a block of whole lines, as far as it is sure of them.

    Args:
        data: lines ended by LF or CR LF, the last one possibly unended.
        group_by: fields whose values make a series; none: all lines are one.
        is_event: the model's verdict on a line; asked about a few lines per block.

    Raises:
        ValueError: the block is larger than `MAX_BLOCK_BYTES`.
    """
    if len(data) > MAX_BLOCK_BYTES:
        raise ValueError(f"a block of {len(data)} bytes: at most {MAX_BLOCK_BYTES} are possible")
    _keep_freed_memory()
    return _BlockReader(np.frombuffer(data, np.uint8), group_by, is_event).read()


class _BlockReader:
    """A block that is being read, with the shapes learned and the events found so far."""

    def __init__(
        self, block: Bytes, group_by: Sequence[str], is_event: Callable[[bytes], bool]
    ) -> None:
        self._block = block
        self._fields = [name.encode() for name in group_by]
        self._is_event = is_event
        self._shapes: list[_Shape] = []
        self._tries_left = _MAX_TRIES
        self._events: list[_Events] = []

    def read(self) -> BlockSums:
        unsure_starts, unsure_ends = [_no_ints()], [_no_ints()]
        begin, size = 0, _PIECE_BYTES
        while begin < len(self._block):
            starts, ends, next_line = _lines(self._block, begin, begin + size)
            if not len(starts):  # a line longer than the piece
                size *= 2
                continue
            rows = self._take(starts, ends)
            unsure_starts.append(starts[rows])
            unsure_ends.append(ends[rows])
            begin, size = next_line, _PIECE_BYTES
        return BlockSums(
            _aggregate(self._events, len(self._fields)),
            sum(len(found.minutes) for found in self._events),
            np.concatenate(unsure_starts),
            np.concatenate(unsure_ends),
        )

    def _take(self, starts: Int64s, ends: Int64s) -> Int64s:
        """Takes what the known shapes, and new ones, accept; gives the rows that none did."""
        is_open = np.ones(len(starts), np.bool_)
        bad_utf8 = _rows_of_bad_utf8(self._block, starts, ends)
        is_open[bad_utf8] = False
        for shape in self._shapes:
            self._match(shape, starts, ends, is_open)
        while self._tries_left and len(self._shapes) < _MAX_SHAPES:
            rows = np.flatnonzero(is_open)
            if len(rows) < _WORTHWHILE_LINES:
                break
            row = rows[self._tries_left * len(rows) // (_MAX_TRIES + 1)]
            learned = self._learn(self._block[starts[row] : ends[row]].tobytes())
            # What few lines have in common is not worth looking for in all the others.
            if learned and self._match(learned, starts, ends, is_open) >= len(rows) // _MAX_SHAPES:
                self._shapes.append(learned)
            else:
                self._tries_left -= 1
        is_open[bad_utf8] = True
        return np.flatnonzero(is_open)

    def _learn(self, sample: bytes) -> _Shape | None:
        if len(sample) > _MAX_SAMPLE_BYTES or not self._is_event(sample):
            return None
        return _shape_of(sample)

    def _match(self, shape: _Shape, starts: Int64s, ends: Int64s, is_open: Bools) -> int:
        """Takes the open rows that are valid events of a shape; gives their number."""
        rows = np.flatnonzero(is_open)
        rows, found = _match(shape, self._block, starts, ends, rows, self._fields)
        is_open[rows] = False
        if len(rows):
            self._events.append(found)
        return len(rows)


@functools.cache
def _keep_freed_memory() -> None:
    """Makes glibc hand out the memory of the last step again, rather than return it.

    It gives back and faults in anew what is larger than the largest piece yet freed, up to
    32 MB: page by page, 50 to 150 ns a line. (Elsewhere it does nothing.)
    """
    np.empty(31 << 20, np.uint8)


def _lines(block: Bytes, begin: int, end: int) -> tuple[Int64s, Int64s, int]:
    """Where the lines begin and end that are wholly in a piece, and where the next one begins."""
    piece = block[begin:end]
    stops = _positions(piece == ord("\n"))
    has_return = piece[stops - 1] == ord("\r")
    if end >= len(block) and piece[-1] != ord("\n"):
        stops, has_return = np.append(stops, len(piece)), np.append(has_return, False)
    starts = np.zeros_like(stops)
    starts[1:] = stops[:-1] + 1
    has_return &= stops > starts
    return starts + begin, stops - has_return + begin, begin + int(stops[-1:].sum()) + 1


def _positions(flags: Bools) -> Int64s:
    """Where flags are set that lie far apart: twice as fast as `np.flatnonzero`."""
    words = np.zeros(-(-len(flags) // 64), np.uint64)
    words.view(np.uint8)[: -(-len(flags) // 8)] = np.packbits(flags, bitorder="little")
    index = np.flatnonzero(words)
    words = words[index]
    found = [64 * index + _lowest_bit(words)]
    while len(index):
        words &= words - 1  # without the lowest bit
        left = np.flatnonzero(words)
        index, words = index[left], words[left]
        found.append(64 * index + _lowest_bit(words))
    return np.sort(np.concatenate(found)) if len(found) > 2 else found[0]


def _lowest_bit(words: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Its number, which is that of the zero bits below it; all bits if there is none."""
    number: npt.NDArray[np.uint8] = np.bitwise_count((words - 1) & ~words)
    return number


def _rows_of_bad_utf8(block: Bytes, starts: Int64s, ends: Int64s, first: int = 0) -> list[int]:
    """The rows with bad UTF-8 and a few of their neighbours, found by halving."""
    text = block[starts[0] : ends[-1]]
    if not len(text) or text.view(np.int8).min() >= 0:
        return []
    offsets = pa.py_buffer(np.array([0, len(text)], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(text)]).validate(
            full=True
        )
    except pa.ArrowInvalid:
        if len(starts) <= 16:
            return list(range(first, first + len(starts)))
        half = len(starts) // 2
        before = _rows_of_bad_utf8(block, starts[:half], ends[:half], first)
        return before + _rows_of_bad_utf8(block, starts[half:], ends[half:], first + half)
    return []


def _shape_of(sample: bytes) -> _Shape | None:
    """The shape of a line that the model accepted; None if it has escapes or a key twice."""
    if b"\\" in sample or min(sample) < 0x20:
        return None
    shape = _Shape()
    keys: set[bytes] = set()
    key, depth = b"", 0  # the key of the outermost object whose value comes next
    text, done = b"", 0  # the fixed text since the last slot, up to `done` in the sample
    for token in _TOKEN.finditer(sample):
        kind = token.lastgroup or ""
        value, begin, end = token[kind], token.start(kind), token.end(kind)
        depth += (kind == "open") - (kind == "close")
        if kind == "key":
            key = value if depth == 1 else b""
            if key and key in keys:
                return None
            keys.add(key)
        elif kind == "string" and key == b"timestamp":
            if not (match := _TIMESTAMP.fullmatch(value)):
                return None
            text += sample[done:begin]
            shape.timestamp_text, shape.timestamp_offset = len(shape.texts), len(text)
            if match["sign"]:
                shape.zone_minutes = int(match["sign"] + b"1") * (
                    int(match["hours"]) * 60 + int(match["minutes"])
                )
            local = match.end("local")
            text, done = text + _DIGITS[:10] + value[10:11] + _DIGITS[11:local], begin + local
        elif kind == "number" or (kind == "string" and key != b"event_name"):
            shape.texts.append(_Text(text + sample[done:begin]))
            window = next((width for width in (16, 32) if len(value) < width * 3 // 4), 64)
            shape.slots.append(_Slot(key, kind == "number", sample[end], window))
            text, done = b"", end
        if kind in ("string", "number"):
            key = b""
    shape.texts.append(_Text(text + sample[done:]))
    return shape


def _match(
    shape: _Shape, block: Bytes, starts: Int64s, ends: Int64s, rows: Int64s, fields: list[bytes]
) -> tuple[Int64s, _Events]:
    """Those of the rows that are valid events of the shape, and their values."""
    # Of each row: its number, where text 0, slot 0, text 1, slot 1 … begin, where the last ends.
    columns = [rows, starts[rows]]
    for index, text in enumerate(shape.texts):
        is_same = text.is_at(block, columns[-1])
        if not is_same.all():
            columns = [column[is_same] for column in columns]
        columns.append(columns[-1] + text.length)
        if index < len(shape.slots):
            columns.append(_find_end(shape.slots[index], block, columns[-1]))
    rows = columns[0]
    minutes, is_valid = _minutes(
        block, columns[1 + 2 * shape.timestamp_text] + shape.timestamp_offset, shape.zone_minutes
    )
    is_valid &= columns[-1] == ends[rows]
    millionths = _no_ints()
    spans = {}
    for index, slot in enumerate(shape.slots):
        begins, stops = spans[slot.key] = columns[2 + 2 * index], columns[3 + 2 * index]
        if slot.key == b"duration":
            millionths, is_number = _millionths(block, begins, stops)
        elif slot.key == b"nr_words":
            is_number = _digits(block, begins, stops)[1]
        elif slot.is_number:
            is_number = _are_numbers(block, begins, stops)
        else:
            continue
        is_valid &= is_number
    for name in fields:
        is_valid &= spans[name][1] - spans[name][0] <= _MAX_SERIES_BYTES
    strings = [_strings(block, *(column[is_valid] for column in spans[name])) for name in fields]
    return rows[is_valid], _Events(minutes[is_valid], millionths[is_valid], strings)


def _find_end(slot: _Slot, block: Bytes, begins: Int64s, limit: int = 16) -> Int64s:
    """Where a slot ends: at the next mark of a string, before the text behind a number."""
    last = len(block) - slot.window
    inside = np.minimum(begins, last)
    window = _gather(block, inside, slot.window).view(np.uint8)
    if slot.is_number:
        is_stop = window == slot.stop
    else:
        is_stop = (
            window ^ 2
        ) < 33  # control characters, and '"' ^ 2 == 32; ' ' and '!' become 34 and 35
        is_stop |= window == ord("\\")
    stops = np.packbits(is_stop, bitorder="little").view(f"u{slot.window // 8}")
    if begins.max(initial=0) > last:
        stops >>= (begins - inside).astype(stops.dtype)
    ends = begins + _lowest_bit(stops)
    longer = np.flatnonzero(stops == 0)
    if len(longer) and limit and not slot.is_number:
        ends[longer] = _find_end(slot, block, ends[longer], limit - 1)
    return ends


def _gather(block: Bytes, begins: Int64s, width: int) -> npt.NDArray[np.void]:
    """The bytes from each place on: numpy copies scalars of any size in some 5 ns each."""
    everywhere: npt.NDArray[np.void] = np.ndarray(
        len(block) - width + 1, f"V{width}", block.data, strides=(1,)
    )
    return everywhere[begins]


def _strings(block: Bytes, begins: Int64s, ends: Int64s) -> npt.NDArray[np.bytes_]:
    """Strings of at most some 64 bytes, filled up with NUL, which none can hold."""
    widths = ends - begins
    count = int(widths.max(initial=1) + 7) // 8
    last = len(block) - 8 * count
    texts = _gather(block, np.minimum(begins, last), 8 * count).view(np.uint64).reshape(-1, count)
    for index in range(count):
        unused = 8 * (8 * (index + 1) - widths).clip(0, 8)
        texts[:, index] &= np.uint64(0xFFFFFFFFFFFFFFFF) >> unused.view(np.uint64)
    strings: npt.NDArray[np.bytes_] = texts.view(f"S{8 * count}").reshape(-1)
    for row in np.flatnonzero(begins > last):
        strings[row] = block[begins[row] : ends[row]].tobytes()
    return strings


def _texts(block: Bytes, begins: Int64s, ends: Int64s) -> pa.Array:
    """Neighbours share an offset in Arrow, so every second string is the text before."""
    offsets = np.empty(2 * len(begins) + 1, np.int32)
    offsets[:-1:2], offsets[1::2], offsets[-1] = begins, ends, len(block)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    both = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
    return both.take(pa.array(np.arange(0, len(offsets) - 1, 2)))


def _minutes(block: Bytes, begins: Int64s, zone: int) -> tuple[Int64s, Bools]:
    """Minutes since 1970 of timestamps that have their digits in the right places."""
    words = _gather(block, begins, 16).view(np.uint64).reshape(-1, 2).T & _LOW_HALVES
    date, clock = words * 10 + (words >> 8)  # pairs of digits
    month, day, hour = _byte(date, 5), _byte(clock, 0), _byte(clock, 3)
    months = (_byte(date, 0) * 100 + _byte(date, 2) - _FIRST_YEAR) * 12 + month - 1
    is_valid = (
        (months >= 0)
        & (months < len(_MONTH_STARTS) - 1)
        & (month >= 1)
        & (month <= 12)
        & (hour <= 23)
    )
    months *= is_valid
    month_starts = _MONTH_STARTS[months]
    is_valid &= (day >= 1) & (day <= _MONTH_STARTS[months + 1] - month_starts)
    minutes = (month_starts + day - 1) * 1440 + hour * 60 + _byte(clock, 6) - zone
    is_valid &= (minutes >= 0) & (minutes < _END_MINUTE)
    return minutes, is_valid


def _byte(words: Words, index: int) -> Int64s:
    return ((words >> (8 * index)) & 0xFF).view(np.int64)


def _digits(block: Bytes, begins: Int64s, ends: Int64s) -> tuple[Words, Bools]:
    """Whole numbers of up to 8 digits, which are the last bytes of a word."""
    width = ends - begins
    unused = (8 * (8 - np.clip(width, 1, 8))).view(np.uint64)
    digits = (_gather(block, np.maximum(ends - 8, 0), 8).view(np.uint64) ^ _ZEROS) >> unused
    is_valid = (width >= 1) & (width <= 8) & ((width == 1) | (digits & 0xFF != 0))  # 0, but not 007
    is_valid &= ends >= 8  # else the block begins with `{"a":1,`
    digits <<= unused  # as if filled up with zeros on the left
    is_valid &= ((digits + _SIXES) | digits) & _HIGH_HALVES == 0
    return digits, is_valid


def _millionths(block: Bytes, begins: Int64s, ends: Int64s) -> tuple[Int64s, Bools]:
    """Of a whole number exactly, else of the double product, as the model has it."""
    digits, is_valid = _digits(block, begins, ends)
    for factor, shift, mask in _DIGIT_STEPS:  # two neighbours become one number
        digits = np.bitwise_and(digits * factor + (digits >> shift), mask)
    millionths = digits.view(np.int64) * 1_000_000
    others = np.flatnonzero(~is_valid & (ends > begins))
    if len(others):
        texts = _texts(block, begins[others], ends[others])
        is_number = pc.match_substring_regex(texts, _JSON_NUMBER)
        # Arrow rounds a decimal to a double correctly, as Python's `float` does.
        values = (
            pc.if_else(is_number, texts, pa.scalar(b"-1"))
            .cast(pa.string())
            .cast(pa.float64())
            .to_numpy()
        )
        is_valid[others] = (values >= 0) & (values <= _MAX_DURATION)
        millionths[others] = np.rint(np.clip(values, 0, _MAX_DURATION) * 1e6).astype(np.int64)
    return millionths, is_valid


def _are_numbers(block: Bytes, begins: Int64s, ends: Int64s) -> Bools:
    is_number = _digits(block, begins, ends)[1]
    others = np.flatnonzero(~is_number & (ends > begins))
    if len(others):
        matches = pc.match_substring_regex(
            _texts(block, begins[others], ends[others]), _JSON_NUMBER
        )
        is_number[others] = matches.to_numpy(zero_copy_only=False)
    return is_number


def _aggregate(events: list[_Events], fields: int) -> list[tuple[Series, MinuteSums]]:
    if not events:
        return []
    minutes = np.concatenate([found.minutes for found in events])
    millionths = np.concatenate([found.millionths for found in events])
    columns = [np.concatenate([found.strings[i] for found in events]) for i in range(fields)]
    codes, table = _encode_series(columns, len(minutes))
    first = minutes.min()
    span = minutes.max() - first + 1
    distinct, index = _encode(pa.array(codes * span + (minutes - first)))
    cells = distinct.to_numpy()
    order = np.argsort(cells)
    cells, size = cells[order], len(cells)
    # Weights are added as doubles: exact, as a block has less than 2**21 lines.
    high = np.bincount(index, millionths >> 32, size).astype(np.int64)[order]
    low = np.bincount(index, millionths & 0xFFFFFFFF, size).astype(np.int64)[order]
    counts = np.bincount(index, minlength=size)[order]
    sums = (cells % span + first, counts, *carried(high, low))
    bounds = np.searchsorted(cells, np.arange(len(table) + 1) * span).tolist()
    return [
        (series, MinuteSums(*(column[start:stop] for column in sums)))
        for series, start, stop in zip(table, bounds, bounds[1:], strict=False)
    ]


def _encode_series(columns: list[npt.NDArray[np.bytes_]], size: int) -> tuple[Int64s, list[Series]]:
    """A number per event for its series, and the series."""
    codes = np.zeros(size, np.int64)
    names: list[list[str]] = []
    if not size:
        return codes, []
    for column in columns:
        buffers = [None, pa.py_buffer(column)]
        values, index = _encode(pa.Array.from_buffers(pa.binary(column.itemsize), size, buffers))
        pairs, codes = _encode(pa.array(codes * len(values) + index))
        before, latest = np.divmod(pairs.to_numpy(), len(values))
        texts = [
            name.decode()
            for name in np.frombuffer(values.buffers()[1], column.dtype, len(values)).tolist()
        ]
        names = [[name[i] for i in before.tolist()] for name in names]
        names.append([texts[i] for i in latest.tolist()])
    return codes, list(zip(*names, strict=True)) if names else [()]


def _encode(values: pa.Array) -> tuple[pa.Array, Int64s]:
    """The distinct values, as they turn up, and for every value its place there."""
    encoded = values.dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def _no_ints() -> Int64s:
    return np.empty(0, np.int64)
