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

ns of CPU per line of 233 bytes, one thread, together 220 to 250 (the model takes 3 700):

    line ends and marks 60, timestamps 35 with the text around them, other texts and the ends
    of values 80, two numbers 25, sums per minute 20; a field of the series +20 to +40

Fetching bytes from where each line has them is a third of that, so a text and the window
behind it are fetched together (`_Slot`). RE2 takes 640 for the proof alone
(`match_substring_regex` of whole lines), finding every quote 170 (`np.flatnonzero`), DuckDB's
`read_json` 340 for three typed columns of the same lines, without being strict.

On two threads a line takes 340 to 380: they share a cache, and each waits for the other to let go
of the GIL around every step, however short.
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
"""Below that (250 lines) the model is as fast: a call costs 0.8 ms, the model 3.7 µs a line."""
MAX_BLOCK_BYTES: Final = 1 << 28
"""So many lines at most that the sums in `_aggregate` stay exact."""

_PIECE_BYTES: Final = 3 << 20  # at a time: more leaves the cache, less pays for calls and the GIL
_PIECE_LINES: Final = 1 << 16  # at a time: three times as many as any events have in so many bytes
_MAX_UNSURE_LINES: Final = 1 << 16  # and those of a piece: then a block is left, for what they take
_WORTHWHILE_LINES: Final = 64  # fewer are not worth another shape
_MAX_SHAPES: Final = 16  # per block
_MAX_TRIES: Final = 8  # samples per block that give no shape worth having
_MAX_SAMPLE_BYTES: Final = 8192
_ROOM_BYTES: Final = _MAX_SAMPLE_BYTES + 64  # behind a piece, for what is gathered at its end
_MAX_VALUE_ROOM: Final = 48  # of the window of a slot
_MAX_STRING_WINDOWS: Final = 16  # beyond the window: longer strings make a line the model's
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
_ONE: Final = np.uint64(ord("1"))
_LOW_HALVES: Final = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH_HALVES: Final = np.uint64(0xF0F0F0F0F0F0F0F0)
_DIGIT_STEPS: Final[list[tuple[np.uint64, np.uint64, np.uint64]]] = [
    (np.uint64(10), np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(100), np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(10_000), np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
]
_IS_SPACE: Final = np.isin(np.arange(256), list(b" \t\n\r\v\f"))  # as bytes.strip() has it
_SIXES: Final = np.uint64(0x0606060606060606)


class BlockSums(NamedTuple):
    """What stands in a block: sums by series and minute of the accepted lines, and the others.

    Line i of those that are neither accepted nor counted as blank is
    `unsure_starts[i]:unsure_ends[i]`, without its end. The lines up to `stop` are in here: a block
    of many unsure ones is not read to its end.
    """

    sums: list[tuple[Series, MinuteSums]]
    accepted: int
    blank: int
    unsure_starts: Int64s
    unsure_ends: Int64s
    stop: int


class _Piece:
    """Some whole lines of a block, on which every step works; positions count from its begin.

    Attributes:
        starts, ends: where its lines begin and end, without their line ends.
        has_specials: whether there are characters that no string of JSON holds as text.
        stop: where the next piece begins in the block.
    """

    def __init__(self, block: Bytes, begin: int, size: int) -> None:
        """Takes the lines that are wholly in `size` bytes, perhaps none, but not too many."""
        piece = block[begin : begin + size]
        self._bytes = block[begin : begin + size + _ROOM_BYTES]
        if len(self._bytes) < len(piece) + _ROOM_BYTES:
            self._bytes = np.concatenate((self._bytes, np.zeros(_ROOM_BYTES, np.uint8)))
        controls = _positions(piece < ord(" "))
        is_line_end = piece[controls] == ord("\n")
        if is_line_end.all():
            stops, has_return, others = controls, np.zeros(len(controls), np.bool_), 0
        else:
            stops = controls[is_line_end]
            has_return = piece[stops - 1] == ord("\r")
            has_return[:1] &= stops[:1] > 0
            others = len(controls) - len(stops) - np.count_nonzero(has_return)
        self.has_specials = bool(others or (piece == ord("\\")).any())
        if begin + size >= len(block) and piece[-1] != ord("\n"):
            stops, has_return = np.append(stops, len(piece)), np.append(has_return, False)
        stops, has_return = stops[:_PIECE_LINES], has_return[:_PIECE_LINES]
        self.starts = np.zeros_like(stops)
        self.starts[1:] = stops[:-1] + 1
        self.ends = stops - has_return
        self.stop = begin + int(stops[-1:].sum()) + 1

    def text(self, start: int, end: int) -> Bytes:
        """The bytes between two positions."""
        return self._bytes[start:end]

    def are_blank(self, rows: Int64s) -> Bools:
        """Whether there is nothing but white space in lines."""
        starts, ends = self.starts[rows], self.ends[rows]
        may_be_blank = _IS_SPACE[self.gather(starts, 1).view(np.uint8)]
        if not may_be_blank.any():
            return may_be_blank
        # The number of other bytes before each position.
        others = np.zeros(self.ends[-1] + 1, np.int32)
        np.cumsum(~_IS_SPACE[self.text(0, self.ends[-1])], out=others[1:])
        is_blank: Bools = others[starts] == others[ends]
        return is_blank

    def gather(self, begins: Int64s, width: int) -> npt.NDArray[np.void]:
        """The bytes from each position on: numpy copies scalars of any size in some 5 ns each.

        What begins behind the lines may be other bytes.
        """
        last = len(self._bytes) - width
        everywhere: npt.NDArray[np.void] = np.ndarray(
            last + 1, f"V{width}", self._bytes.data, strides=(1,)
        )
        try:
            return everywhere[begins]
        except IndexError:
            return everywhere[np.minimum(begins, last)]

    def texts(self, begins: Int64s, ends: Int64s) -> pa.Array:
        """Strings of any length.

        Neighbours share an offset in Arrow, so every second string is the text before.
        """
        offsets = np.empty(2 * len(begins) + 1, np.int32)
        offsets[:-1:2], offsets[1::2], offsets[-1] = begins, ends, len(self._bytes)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._bytes)]
        both = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
        return both.take(pa.array(np.arange(0, len(offsets) - 1, 2)))


class _Repeated:
    """A row of bytes, repeated for as many lines as were asked for.

    Comparing flat arrays takes 2 ns a line, numpy's broadcasting over short rows 15.
    """

    def __init__(self, row: Bytes) -> None:
        self._width = len(row)
        self._rows = row

    def flat(self, size: int) -> Bytes:
        if len(self._rows) < size:
            self._rows = np.tile(self._rows[: self._width], size * 5 // 4 // self._width + 1)
        return self._rows[:size]


class _Text:
    """Text with a range for every byte: one value, or the digits up to some limit."""

    def __init__(self, text: bytes) -> None:
        """A byte m < 10 in the text, where none can be, means a digit of at most m."""
        given = np.frombuffer(text, np.uint8)
        is_digit = given < 10
        self.length = len(text)
        self._lowest = _Repeated(np.where(is_digit, ord("0"), given).astype(np.uint8))
        self._spread = _Repeated(np.where(is_digit, given, 0).astype(np.uint8))

    def match(self, piece: _Piece, begins: Int64s) -> tuple[Int64s, Bools | None]:
        """Where the text ends, and in which lines it stands there; None for all."""
        text = piece.gather(begins, self.length).view(np.uint8)
        text -= self._lowest.flat(len(text))
        is_same = text <= self._spread.flat(len(text))
        ends = begins + self.length
        if is_same.all():
            return ends, None
        return ends, np.logical_and.reduce(is_same.reshape(-1, self.length), axis=1)


class _Slot:
    """Fixed text, the value behind it, and the mark that ends it: a quote, or what is no number.

    All lie in a window of as many bytes as a word has bits. One comparison finds the text, which
    sets its bits, and the mark, which is the lowest bit above them. Two threads wait for each other
    whenever a step is short, so there are few: 10 where all is as usual.
    """

    def __init__(self, key: bytes, text: bytes, mark: int, is_number: bool, room: int) -> None:
        """The key is empty where it is not one of the outermost object."""
        self.key = key
        self.length = len(text)
        self.is_number = is_number
        self._mark = mark
        self._width = 32 if len(text) + room <= 32 else 64
        row = text + bytes([mark]) * (self._width - len(text))
        self._row = _Repeated(np.frombuffer(row, np.uint8))

    def match(self, piece: _Piece, begins: Int64s) -> tuple[Int64s, Bools | None]:
        """Where the mark ends, and in which lines the slot stands there; None for all."""
        window = piece.gather(begins, self._width).view(np.uint8)
        hits = _words(window == self._row.flat(len(window)), self._width)
        text = hits.dtype.type((1 << self.length) - 1)
        is_same = None
        if np.bitwise_and.reduce(hits) & text != text:
            is_same = hits & text == text
        hits &= ~text
        up_to_mark = hits ^ (hits - 1)
        sizes: npt.NDArray[np.uint8] = np.bitwise_count(up_to_mark)
        ends = begins + sizes
        if piece.has_specials and not self.is_number:
            specials = _words(_is_special(window), self._width) & up_to_mark & ~text
            is_same = specials == 0 if is_same is None else is_same & (specials == 0)
        if sizes.max(initial=0) == self._width and not hits.all():
            rows = np.flatnonzero(hits == 0)
            is_same = np.ones(len(begins), np.bool_) if is_same is None else is_same
            is_same[rows] &= not self.is_number and self._find_mark(piece, ends, rows)
        return ends, is_same

    def _find_mark(self, piece: _Piece, ends: Int64s, rows: Int64s) -> Bools:
        """Looks for marks from `ends` on, which it moves behind them; whether there are any."""
        at = ends[rows]
        is_open = np.ones(len(rows), np.bool_)
        for _ in range(_MAX_STRING_WINDOWS):
            left = np.flatnonzero(is_open)
            if not len(left):
                break
            window = piece.gather(at[left], 64).view(np.uint8)
            stops = _words(_is_special(window) | (window == self._mark), 64)
            at[left] += _lowest_bit(stops)
            is_open[left] = stops == 0
        ends[rows] = at + 1
        is_mark: Bools = piece.gather(at, 1).view(np.uint8) == self._mark
        return is_mark & ~is_open


@dataclass(slots=True)
class _Shape:
    """Lines are the parts, one after the other."""

    parts: list[_Text | _Slot] = field(default_factory=list)
    timestamp_part: int = 0
    timestamp_offset: int = 0
    zone_minutes: int = 0

    def add(self, text: bytes, key: bytes, value: bytes, mark: int, is_number: bool) -> None:
        """Adds a slot behind some text, of which a slot takes the end and no digits."""
        room = min(len(value) * 4 // 3 + 2, _MAX_VALUE_ROOM)
        digits_end = 1 + max((i for i, byte in enumerate(text) if byte < 10), default=-1)
        cut = max(digits_end, len(text) + room - 64)
        if cut:
            self.parts.append(_Text(text[:cut]))
        self.parts.append(_Slot(key, text[cut:], mark, is_number, room))


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
        self._blank = 0
        self._unsure_starts = [_no_ints()]
        self._unsure_ends = [_no_ints()]

    def read(self) -> BlockSums:
        begin, size, unsure = 0, _PIECE_BYTES, 0
        while begin < len(self._block) and unsure < _MAX_UNSURE_LINES:
            piece = _Piece(self._block, begin, size)
            if len(piece.starts):
                rows = self._take(piece)
                self._leave(piece.starts[rows] + begin, piece.ends[rows] + begin)
                unsure += len(rows)
                # Where lines are so short that a piece has too many, a smaller one has enough.
                begin, size = piece.stop, min(2 * (piece.stop - begin), _PIECE_BYTES)
            elif size < _PIECE_BYTES:
                size = _PIECE_BYTES
            else:
                begin = self._leave_long_line(begin)
        return BlockSums(
            _aggregate(self._events, len(self._fields)),
            sum(len(found.minutes) for found in self._events),
            self._blank,
            np.concatenate(self._unsure_starts),
            np.concatenate(self._unsure_ends),
            min(begin, len(self._block)),
        )

    def _leave_long_line(self, begin: int) -> int:
        """Leaves a line that is longer than a piece to the model; gives where the next begins."""
        end = len(self._block)
        for start in range(begin, end, _PIECE_BYTES):
            is_line_end = self._block[start : start + _PIECE_BYTES] == ord("\n")
            if is_line_end.any():
                end = start + int(is_line_end.argmax())
                break
        has_return = end < len(self._block) and self._block[end - 1] == ord("\r")
        self._leave(np.array([begin]), np.array([end - has_return]))
        return end + 1

    def _leave(self, starts: Int64s, ends: Int64s) -> None:
        self._unsure_starts.append(starts)
        self._unsure_ends.append(ends)

    def _take(self, piece: _Piece) -> Int64s:
        """Takes what is blank or what the known shapes, and new ones, accept; gives other rows."""
        has_text = piece.ends > piece.starts
        is_open = has_text.copy()
        bad_utf8 = _rows_of_bad_utf8(piece, 0, len(is_open))
        is_open[bad_utf8] = False
        for shape in self._shapes:
            self._match(shape, piece, is_open)
        rows = np.flatnonzero(is_open)
        rows = rows[piece.are_blank(rows)]
        is_open[rows] = False
        self._blank += len(rows) + int(np.count_nonzero(~has_text))
        while self._tries_left and len(self._shapes) < _MAX_SHAPES:
            rows = np.flatnonzero(is_open)
            if len(rows) < _WORTHWHILE_LINES:
                break
            row = rows[self._tries_left * len(rows) // (_MAX_TRIES + 1)]
            learned = self._learn(piece.text(piece.starts[row], piece.ends[row]).tobytes())
            # What few lines have in common is not worth looking for in all the others.
            if learned and self._match(learned, piece, is_open) >= len(rows) // _MAX_SHAPES:
                self._shapes.append(learned)
            else:
                self._tries_left -= 1
        is_open[bad_utf8] = True
        return np.flatnonzero(is_open & has_text)

    def _learn(self, sample: bytes) -> _Shape | None:
        if len(sample) > _MAX_SAMPLE_BYTES or not self._is_event(sample):
            return None
        return _shape_of(sample)

    def _match(self, shape: _Shape, piece: _Piece, is_open: Bools) -> int:
        """Takes the open rows that are valid events of a shape; gives their number."""
        rows, found = _match(shape, piece, np.flatnonzero(is_open), self._fields)
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


def _positions(flags: Bools) -> Int64s:
    """Where flags are set; if they lie far apart, twice as fast as `np.flatnonzero`."""
    words = np.zeros(-(-len(flags) // 64), np.uint64)
    words.view(np.uint8)[: -(-len(flags) // 8)] = np.packbits(flags, bitorder="little")
    index = np.flatnonzero(words)
    if len(index) > len(words) * 3 // 4:
        return np.flatnonzero(flags)
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


def _words(flags: Bools, width: int) -> npt.NDArray[Any]:
    """Each row of 32 or 64 flags as the bits of a word."""
    words: npt.NDArray[Any] = np.packbits(flags, bitorder="little").view(f"u{width // 8}")
    return words


def _is_special(text: Bytes) -> Bools:
    """What no string of JSON holds as text, besides the quote: control characters, backslashes."""
    is_special: Bools = (text < ord(" ")) | (text == ord("\\"))
    return is_special


def _rows_of_bad_utf8(piece: _Piece, first: int, stop: int) -> list[int]:
    """The rows with bad UTF-8 and a few of their neighbours, found by halving."""
    if first == stop:
        return []
    text = piece.text(piece.starts[first], piece.ends[stop - 1])
    if not len(text) or text.view(np.int8).min() >= 0:
        return []
    offsets = pa.py_buffer(np.array([0, len(text)], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(text)]).validate(
            full=True
        )
    except pa.ArrowInvalid:
        if stop - first <= 16:
            return list(range(first, stop))
        middle = (first + stop) // 2
        return _rows_of_bad_utf8(piece, first, middle) + _rows_of_bad_utf8(piece, middle, stop)
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
            shape.timestamp_part, shape.timestamp_offset = len(shape.parts), len(text)
            if match["sign"]:
                shape.zone_minutes = int(match["sign"] + b"1") * (
                    int(match["hours"]) * 60 + int(match["minutes"])
                )
            local = match.end("local")
            text, done = text + _DIGITS[:10] + value[10:11] + _DIGITS[11:local], begin + local
        elif kind == "number" or (kind == "string" and key != b"event_name"):
            shape.add(text + sample[done:begin], key, value, sample[end], kind == "number")
            text, done = b"", end + 1
        if kind in ("string", "number"):
            key = b""
    if text + sample[done:]:
        shape.parts.append(_Text(text + sample[done:]))
    return shape


def _match(
    shape: _Shape, piece: _Piece, rows: Int64s, fields: list[bytes]
) -> tuple[Int64s, _Events]:
    """Those of the rows that are valid events of the shape, and their values."""
    # Of each row: its number, its end, and where the parts begin, the last of which is the end.
    if len(rows) == len(piece.starts):
        columns = [rows, piece.ends, piece.starts]
    else:
        columns = [rows, piece.ends[rows], piece.starts[rows]]
    for part in shape.parts:
        ends, is_same = part.match(piece, columns[-1])
        columns.append(ends)
        if is_same is not None and not is_same.all():
            columns = [column[is_same] for column in columns]
    rows, line_ends, *begins = columns
    minutes, is_valid = _minutes(
        piece, begins[shape.timestamp_part] + shape.timestamp_offset, shape.zone_minutes
    )
    is_valid &= begins[-1] == line_ends
    millionths = _no_ints()
    spans = {}
    for part, begin, end in zip(shape.parts, begins, begins[1:], strict=False):
        if isinstance(part, _Text):
            continue
        if part.key == b"duration":
            millionths, is_number = _millionths(piece, begin + part.length, end - 1)
            is_valid &= is_number
        elif part.key == b"nr_words":
            is_valid &= _digits(piece, begin + part.length, end - 1)[1]
        elif part.is_number:
            is_valid &= _are_numbers(piece, begin + part.length, end - 1)
        elif part.key in fields:
            spans[part.key] = begin + part.length, end - 1
            is_valid &= end - begin <= part.length + 1 + _MAX_SERIES_BYTES
    if not is_valid.all():
        rows, minutes, millionths = rows[is_valid], minutes[is_valid], millionths[is_valid]
        spans = {key: (begin[is_valid], end[is_valid]) for key, (begin, end) in spans.items()}
    strings = [_strings(piece, *spans[name]) for name in fields]
    return rows, _Events(minutes, millionths, strings)


def _strings(piece: _Piece, begins: Int64s, ends: Int64s) -> npt.NDArray[np.bytes_]:
    """Strings of at most some 64 bytes, filled up with NUL, which none can hold."""
    widths = ends - begins
    count = int(widths.max(initial=1) + 7) // 8
    texts = piece.gather(begins, 8 * count).view(np.uint64).reshape(-1, count)
    for index in range(count):
        unused = 8 * (8 * (index + 1) - widths).clip(0, 8)
        texts[:, index] &= np.uint64(0xFFFFFFFFFFFFFFFF) >> unused.view(np.uint64)
    strings: npt.NDArray[np.bytes_] = texts.view(f"S{8 * count}").reshape(-1)
    return strings


def _minutes(piece: _Piece, begins: Int64s, zone: int) -> tuple[Int64s, Bools]:
    """Minutes since 1970 of timestamps that have their digits in the right places."""
    date, clock = piece.gather(begins, 16).view(np.uint64).reshape(-1, 2).T
    # Lines are about in the order of time: each run of the same minute is read once.
    is_other = (date[1:] != date[:-1]) | (clock[1:] != clock[:-1])
    firsts = np.concatenate(([0], np.flatnonzero(is_other) + 1))[: len(begins)]
    lengths = np.diff(firsts, append=len(begins))
    date, clock = date[firsts] & _LOW_HALVES, clock[firsts] & _LOW_HALVES
    date, clock = date * 10 + (date >> 8), clock * 10 + (clock >> 8)  # pairs of digits
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
    return np.repeat(minutes, lengths), np.repeat(is_valid, lengths)


def _byte(words: Words, index: int) -> Int64s:
    return ((words >> (8 * index)) & 0xFF).view(np.int64)


def _digits(piece: _Piece, begins: Int64s, ends: Int64s) -> tuple[Words, Bools]:
    """Whole numbers of up to 8 digits, the last one in the highest byte, zeros below the first."""
    widths = (ends - begins).view(np.uint64)
    digits = piece.gather(begins, 8).view(np.uint64)
    is_valid = np.ones(len(begins), np.bool_)
    if widths.max(initial=1) > 8 or widths.min(initial=1) == 0:
        is_valid = widths - 1 < 8
    first = digits & 0xFF
    if first.min(initial=_ONE) < _ONE:
        is_valid &= (first != ord("0")) | (widths == 1)  # 0, but not 007
    digits ^= _ZEROS
    digits <<= 64 - 8 * widths
    # What is beyond a digit has a bit in its upper half, or gets one.
    others = (digits + _SIXES) | digits
    if np.bitwise_or.reduce(others) & _HIGH_HALVES:
        is_valid &= others & _HIGH_HALVES == 0
    return digits, is_valid


def _millionths(piece: _Piece, begins: Int64s, ends: Int64s) -> tuple[Int64s, Bools]:
    """Of a whole number exactly, else of the double product, as the model has it."""
    digits, is_valid = _digits(piece, begins, ends)
    for factor, shift, mask in _DIGIT_STEPS:  # two neighbours become one number
        digits = np.bitwise_and(digits * factor + (digits >> shift), mask)
    millionths = digits.view(np.int64) * 1_000_000
    if not is_valid.all():
        others = np.flatnonzero(~is_valid & (ends > begins))
        texts = piece.texts(begins[others], ends[others])
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


def _are_numbers(piece: _Piece, begins: Int64s, ends: Int64s) -> Bools:
    is_number = _digits(piece, begins, ends)[1]
    others = np.flatnonzero(~is_number & (ends > begins))
    if len(others):
        matches = pc.match_substring_regex(piece.texts(begins[others], ends[others]), _JSON_NUMBER)
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
