"""From the text of a JSON array to lines: one for each element, however they are laid out.

Only where elements begin and end is looked for. What they hold is for the parser of lines to judge:
a broken element is one dead letter, and those behind it are read. All bytes keep their places, but
white space and commas between elements, and line feeds in them, become other white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.events import LINE_TOO_LONG, FieldError
from pipeline.core.exact import Int64s

ARRAY_BROKEN = FieldError(
    "",
    "json_array_broken",
    "the JSON array goes on without comma and value, or has no end: the rest of it is not read",
)

_WHITE_SPACE = b" \t\r\n"
_IS_WHITE_SPACE = np.isin(np.arange(256), np.frombuffer(_WHITE_SPACE, np.uint8))
_SPACE, _LINE_FEED, _CARRIAGE_RETURN, _QUOTE, _BACKSLASH, _COMMA, _END = b' \n\r"\\,]'
_OPENING, _CLOSING = b"{}"
_BRACE_BIT = _OPENING ^ ord("[")  # set in braces, not in brackets
_SCALAR = re.compile(rb'[^\s,"\\{}\[\]]+')

_Bytes = npt.NDArray[np.uint8]
_Bools = npt.NDArray[np.bool_]


class Elements(NamedTuple):
    """Elements of an array as lines, the first of which begins at `offset`; LF ends each.

    With a `fault` it is instead the beginning of text that is rejected as a whole.
    """

    offset: int
    data: bytes
    fault: FieldError | None = None


class _Marks(NamedTuple):
    """Places in the text of an array, ascending.

    Attributes:
        begins, ends: the first and the last byte of each element that is an object or an array.
        bounds: the commas between elements, and the end of the array.
    """

    begins: Int64s
    ends: Int64s
    bounds: Int64s

    def moved(self, by: int) -> _Marks:
        """The same places counted from another one; those before it are left out."""
        return _Marks(*(each[np.searchsorted(each, -by) :] + by for each in self))


_NO_MARKS = _Marks(*(np.zeros(0, np.int64),) * 3)


class _Lexer:
    """Finds marks in the text of an array that comes in parts."""

    def __init__(self) -> None:
        self._depth = 1  # of open brackets and braces
        self._is_in_string = False
        self._is_escaped = False

    @property
    def is_at_end(self) -> bool:
        """Whether the array's end was found."""
        return not self._depth

    def read(self, text: _Bytes) -> _Marks:
        """Gives the marks in a part, and makes its line feeds other white space.

        In a string a line feed is no JSON, and neither is what it becomes.
        """
        is_quote = text == _QUOTE
        is_quote[self._escaped(text)] = False
        is_inside = _inside(is_quote, self._is_in_string)
        self._is_in_string = bool(is_inside[-1]) if len(text) else self._is_in_string
        line_feeds = np.flatnonzero(text == _LINE_FEED)
        text[line_feeds] = np.where(is_inside[line_feeds], _CARRIAGE_RETURN, _SPACE)

        braces = text | _BRACE_BIT
        is_token = (braces == _OPENING) | (braces == _CLOSING) | (text == _COMMA)
        places = np.flatnonzero(is_token > is_inside)
        tokens = braces[places]
        is_opening, is_closing = tokens == _OPENING, tokens == _CLOSING
        depths = self._depth + np.cumsum(is_opening.astype(np.int8) - is_closing, dtype=np.int64)
        if len(depths):
            self._depth = int(depths[-1]) if depths.all() else 0
        if self.is_at_end:
            stop = int(np.argmin(depths != 0)) + 1
            places, depths = places[:stop], depths[:stop]
            is_opening, is_closing = is_opening[:stop], is_closing[:stop]
        is_bound = (depths == 1) > (is_opening | is_closing)
        is_bound |= depths == 0
        are_marks = is_opening & (depths == 2), is_closing & (depths == 1), is_bound
        return _Marks(*(places[each] for each in are_marks))

    def _escaped(self, text: _Bytes) -> Int64s:
        """The bytes that a backslash stands in front of, unless it is escaped itself."""
        backslashes = np.flatnonzero(text == _BACKSLASH)
        # Of a row of backslashes every second one is escaped.
        firsts = np.flatnonzero(np.diff(backslashes, prepend=-2) != 1)
        lengths = np.diff(firsts, append=len(backslashes))
        begins = np.repeat(backslashes[firsts], lengths)
        if self._is_escaped:
            begins += begins == 0
        escaped: Int64s = backslashes[(backslashes - begins) & 1 == 0] + 1
        if self._is_escaped:
            escaped = np.append(0, escaped)
        if len(text):
            self._is_escaped = bool(len(escaped)) and escaped[-1] == len(text)
            escaped = escaped[: len(escaped) - self._is_escaped]
        return escaped


def _inside(is_quote: _Bools, is_in_string: bool) -> _Bools:
    """Which bytes stand in strings, the first quote of a string included, the last one not.

    Those that an odd number of quotes stand in front of: 64 of them are counted at a time.
    """
    packed = np.packbits(is_quote, bitorder="little")
    words = np.append(packed, np.zeros(-len(packed) % 8, np.uint8)).view("<u8")
    for shift in (1, 2, 4, 8, 16, 32):
        words ^= words << np.uint64(shift)
    are_odd = np.bitwise_xor.accumulate(words >> np.uint64(63))
    words ^= np.append(np.uint64(0), are_odd)[:-1] * np.uint64(2**64 - 1)
    if is_in_string:
        words = ~words
    inside = np.unpackbits(words.view(np.uint8), count=len(is_quote), bitorder="little")
    return inside.view(np.bool_)


class ArrayLines:
    """Makes lines of the text of an array, which comes in parts.

    Memory depends neither on the length of the array nor on that of an element.

    Args:
        offset: the place of the first byte that comes: the one behind the array's first bracket.
        max_bytes: a longer element is rejected; it is at least the length of a part.
        cut_bytes: so much is kept of what is rejected.
    """

    def __init__(self, offset: int, max_bytes: int, cut_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._cut_bytes = cut_bytes
        self._lexer = _Lexer()
        # What was read behind the last bound, where it begins, and the first marks in it.
        self._begun = bytearray()
        self._offset = offset
        self._marks = _NO_MARKS
        self._is_first = True
        self._is_skipping = False  # the rest of an element that is too long
        self._is_rest = False  # nothing but white space may come

    def read(self, part: bytes | memoryview) -> Iterator[Elements]:
        """Gives the elements that end in a part."""
        if self._is_rest:
            self._add_to_rest(bytes(part))
            return
        text = np.array(np.frombuffer(part, np.uint8))
        marks = self._lexer.read(text).moved(len(self._begun))
        marks = _Marks(*map(np.concatenate, zip(self._marks, marks, strict=True)))
        self._begun += text.data
        if len(marks.bounds):
            yield from self._give(np.frombuffer(self._begun, np.uint8), marks)
        else:
            yield from self._keep(marks)

    def end(self) -> Iterator[Elements]:
        """Gives what is left at the end of the file."""
        if self._is_skipping:
            return
        begun = np.frombuffer(self._begun, np.uint8)
        start = 0
        if not self._is_rest:
            marks = self._marks._replace(bounds=np.array([len(begun)]))
            starts, stops, fault = self._elements(begun, marks)
            yield from self._lines(begun, starts, stops, marks.bounds)
            start = len(begun) if fault is None else fault
        if len(begun) or not self._is_rest:
            rest = begun[start : start + self._cut_bytes].tobytes()
            yield Elements(self._offset + start, rest, ARRAY_BROKEN)

    def _add_to_rest(self, part: bytes) -> None:
        if not self._begun:
            self._offset += len(part)
            part = part.lstrip(_WHITE_SPACE)
            self._offset -= len(part)
        self._begun += part[: self._cut_bytes - len(self._begun)]

    def _keep(self, marks: _Marks) -> Iterator[Elements]:
        """Keeps what was begun until its end comes, without the white space before it."""
        size = len(self._begun)
        begin = size if self._is_skipping else size - len(self._begun.lstrip(_WHITE_SPACE))
        if size - begin > self._max_bytes:
            beginning = bytes(self._begun[begin : begin + self._cut_bytes])
            yield Elements(self._offset + begin, beginning, LINE_TOO_LONG)
            self._is_skipping, begin = True, size
        self._drop(begin, marks)

    def _drop(self, size: int, marks: _Marks) -> None:
        if size:
            self._offset += size
            self._begun = self._begun[size:]
        # The second one tells that something is wrong.
        self._marks = _Marks(*(each[:2] for each in marks.moved(-size)))

    def _give(self, text: _Bytes, marks: _Marks) -> Iterator[Elements]:
        """Gives what ends at the bounds in a text."""
        starts, stops, fault = self._elements(text, marks)
        yield from self._lines(text, starts, stops, marks.bounds)
        self._is_first = self._is_skipping = False
        bound = int(marks.bounds[-1])
        if fault is None and not self._lexer.is_at_end:
            self._drop(bound + 1, marks)
        else:
            self._is_rest = True
            behind = bound + 1 if text[bound] == _END else bound
            rest = text[behind if fault is None else fault :].tobytes()
            self._offset += len(text) - len(rest)
            self._begun = bytearray()
            self._add_to_rest(rest)

    def _lines(
        self, text: _Bytes, starts: Int64s, stops: Int64s, bounds: Int64s
    ) -> Iterator[Elements]:
        """Makes lines of elements in a text, the first of which may be too long."""
        if len(starts) and stops[0] - starts[0] > self._max_bytes:
            beginning = text[starts[0] : starts[0] + self._cut_bytes].tobytes()
            yield Elements(self._offset + int(starts[0]), beginning, LINE_TOO_LONG)
            starts, stops = starts[1:], stops[1:]
        if len(starts):
            begin = int(starts[0])
            lines = np.append(text[begin : stops[-1]], np.uint8(_LINE_FEED))
            commas = bounds[np.searchsorted(bounds, begin) :][: len(starts) - 1]
            lines[commas - begin] = _SPACE
            lines[starts[1:] - begin - 1] = _LINE_FEED
            yield Elements(self._offset + begin, lines.tobytes())

    def _elements(self, text: _Bytes, marks: _Marks) -> tuple[Int64s, Int64s, int | None]:
        """Where the elements in a text start and stop, and from where on it is no array."""
        first = int(self._is_skipping)  # the rest of an element is none
        bounds = marks.bounds
        behind = np.concatenate(([0], bounds[:-1] + 1))
        begins, ends = (np.searchsorted(each, bounds) for each in marks[:2])
        is_usual = (np.diff(begins, prepend=0) == 1) & (np.diff(ends, prepend=0) == 1)
        starts, stops = behind.copy(), bounds.copy()
        starts[is_usual] = marks.begins[begins[is_usual] - 1]
        stops[is_usual] = marks.ends[ends[is_usual] - 1] + 1
        is_usual &= _are_blank(text, behind, starts) & _are_blank(text, stops, bounds)
        for index in np.flatnonzero(~is_usual[first:]) + first:
            start = behind[index] + _blank_bytes(text[behind[index] : bounds[index]])
            stop = _end_of_value(text, int(start), int(bounds[index]), marks)
            is_nothing = stop == start
            is_empty = self._is_first and self._lexer.is_at_end and len(bounds) == 1
            if is_empty and start == bounds[0]:
                return starts[:0], stops[:0], None
            starts[index], stops[index] = start, stop
            fault = stop + _blank_bytes(text[stop : bounds[index]])
            if is_nothing or fault < bounds[index]:
                last = index + (not is_nothing)
                return starts[first:last], stops[first:last], int(fault)
        return starts[first:], stops[first:], None


def _are_blank(text: _Bytes, starts: Int64s, stops: Int64s) -> _Bools:
    """Whether only white space stands in each of some parts of a text."""
    lengths = stops - starts
    owners = np.repeat(np.arange(len(lengths)), lengths)
    places = (stops - np.cumsum(lengths))[owners] + np.arange(len(owners))
    are_blank = np.ones(len(lengths), np.bool_)
    are_blank[owners[~_IS_WHITE_SPACE[text[places]]]] = False
    return are_blank


def _blank_bytes(text: _Bytes) -> int:
    """How much white space a text begins with."""
    data = text.tobytes()
    return len(data) - len(data.lstrip(_WHITE_SPACE))


def _end_of_value(text: _Bytes, start: int, bound: int, marks: _Marks) -> int:
    """Where the value stops that starts in front of a bound; at its start if there is none."""
    if start in marks.begins:
        ends = marks.ends[marks.ends > start]
        return int(ends[0]) + 1 if len(ends) else start
    span = text[start:bound].tobytes()
    if span[:1] == b'"':
        quote = span.find(b'"', 1)
        while quote > 0 and (quote - len(span[:quote].rstrip(b"\\"))) & 1:
            quote = span.find(b'"', quote + 1)
        return start + quote + 1
    scalar = _SCALAR.match(span)
    return start + scalar.end() if scalar else start
