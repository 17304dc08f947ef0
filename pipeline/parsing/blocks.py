"""Blocks of lines by the compiled kernel: its arrays, and what it found in them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.details import Column, Deliveries, Detail
from pipeline.core.durations import MinuteSums
from pipeline.core.exact import Exact, Int64s
from pipeline.core.rows import Series
from pipeline.core.where import EVERY_EVENT, Where
from pipeline.parsing import kernel as k
from pipeline.parsing.library import Walk

MAX_BLOCK_BYTES = 1 << 31
"""So many lines at most that no sum overflows."""
EVERY_MINUTE = (0, k.END_MINUTE)

_CAPACITY = 1 << 15
"""Rows of an array: more leaves the cache, fewer return more often."""
_TAIL_BYTES = 4096
_LOW_BITS = 32
_HIGH_END = 1 << 30  # so that both halves are below 2**63
_FIELD_NAMES = b"".join(field.encode().ljust(k.KEY_BYTES, b"\0") for field in k.FIELDS)


class BlockSums(NamedTuple):
    """What the lines of a block hold, from `start` up to `stop`.

    Attributes:
        sums: the accepted events by series and minute; a series may stand here twice.
        accepted: the number of these events.
        filtered: the number of events that are not taken.
        other_events: the number of other events by name.
        blank: the number of blank lines.
        latest: the last whole second of an event of these, since 1970-01-01 UTC; -1 without any.
        unsure: rows of start and end of each line that is left to the model, without its line end.
        start, stop: bytes of the block.
    """

    sums: list[tuple[Series, MinuteSums]]
    accepted: int
    filtered: int
    other_events: Counter[str]
    blank: int
    latest: int
    unsure: Int64s
    start: int
    stop: int


def sum_block(
    data: bytes | memoryview,
    group_by: Sequence[str],
    event_name: str,
    walk: Walk,
    details: tuple[Detail, ...] = (),
    where: Where = EVERY_EVENT,
    minutes: tuple[int, int] = EVERY_MINUTE,
) -> Iterator[BlockSums]:
    """Sums the durations in a block of whole lines, as far as the kernel is sure of them.

    Args:
        data: lines ended by LF or CR LF, the last one possibly unended; at most `MAX_BLOCK_BYTES`.
        group_by: fields whose values make a series; none: all events are one.
        event_name: which events are measured.
        walk: the kernel.
        details: what is known of the events beside their number and total duration.
        where: which events are taken.
        minutes: the first one, and the one behind the last. Events of others are left to the model.
    """
    block = np.frombuffer(data, np.uint8)
    # The kernel looks beyond the lines. So the last ones are copied to where it may.
    cut = _line_start(data, len(block) - k.WIDTH)
    tail = np.concatenate((block[cut:], np.zeros(k.WIDTH, np.uint8)))
    request = _Request(group_by, event_name, walk, details, where, minutes)
    yield from request.read(block, 0, cut)
    yield from request.read(tail, cut, len(block) - cut)


def _line_start(data: bytes | memoryview, before: int) -> int:
    """Where the last line begins that begins at `before` or earlier; 0 if it is none."""
    size = _TAIL_BYTES
    while before > 0:
        start = max(before - size, 0)
        found = bytes(data[start:before]).rfind(b"\n") + 1
        if found or not start:
            return start + found
        size *= 4
    return 0


class _Arrays(NamedTuple):
    """What the kernel works on; see `kernel.walk`."""

    state: Int64s
    layout: Int64s
    found: Int64s
    unsure: Int64s
    groups: Int64s
    cells: Int64s
    events: Int64s
    slots: Int64s

    @classmethod
    def make(cls) -> _Arrays:
        shapes = (
            k.STATE_SIZE,
            (k.LAYOUT_ROWS, k.LAYOUT_SIZE),
            k.FOUND_SIZE,
            (_CAPACITY, 2),
            (_CAPACITY, k.GROUP_SIZE),
            (_CAPACITY, k.CELL_SIZE),
            (_CAPACITY, k.EVENT_SIZE),
            2 * k.SLOTS_PER_ROW * _CAPACITY,
        )
        return cls(*(np.zeros(shape, np.int64) for shape in shapes))


class _Local(threading.local):
    """The arrays of a thread: new ones would cost a page fault for each of their pages."""

    def __init__(self) -> None:
        self.arrays = _Arrays.make()


_local = _Local()


class _Request:
    """What is asked of the lines of a block."""

    def __init__(
        self,
        group_by: Sequence[str],
        event_name: str,
        walk: Walk,
        details: tuple[Detail, ...],
        where: Where,
        minutes: tuple[int, int],
    ) -> None:
        # A name with a backslash is always written with an escape: the text that is compared before
        # it is decoded must not be equal to it. No string holds a NUL.
        name = b"\0" if "\\" in event_name else event_name.encode(errors="surrogatepass")
        self._names = np.frombuffer(_FIELD_NAMES + name + bytes(k.WIDTH), np.uint8)
        self._name_end = k.NAME + len(name)
        self._fields = [k.FIELDS.index(field) for field in group_by]
        self._event_name = event_name
        self._walk = walk
        self._details = details
        self._where = where
        self._minutes = minutes
        self._where_fields = [k.FIELDS.index(field) for field in where.fields]

    def read(self, text: npt.NDArray[np.uint8], offset: int, stop: int) -> Iterator[BlockSums]:
        """Reads the lines up to `stop`, behind which there are more bytes; `offset` is theirs."""
        position = 0
        while position < stop:
            arrays = _local.arrays
            state = arrays.state
            # As many rows as there may be lines of 64 bytes: a table is cleared for each call.
            capacity = min(_CAPACITY, 16 << ((stop - position) >> 10).bit_length())
            state[k.POSITION], state[k.STOP], state[k.CAPACITY] = position, stop, capacity
            state[k.GROUP_BY] = sum(1 << field for field in {*self._fields, *self._where_fields})
            state[k.NAME_END] = self._name_end
            state[k.ARE_LISTED] = len(self._details)
            state[k.FROM_MINUTE], state[k.TO_MINUTE] = self._minutes
            arrays.layout.fill(0)
            arrays.slots[: 2 * k.SLOTS_PER_ROW * capacity].fill(-1)
            self._walk(text, self._names, *arrays)
            start, position = position, int(state[k.POSITION])
            yield self._result(text, offset, start, min(position, stop), arrays)

    def _columns(self, arrays: _Arrays, order: Int64s) -> dict[Detail, Column]:
        """The details of all cells, which stand in an order."""
        if not self._details:
            return {}
        events = arrays.events[: arrays.state[k.EVENTS]]
        places = np.empty(len(order), np.uint16)  # there are no more than _CAPACITY
        places[order] = np.arange(len(order))
        by_event = places[events[:, k.EVENT_CELL]]
        in_order = np.argsort(by_event, kind="stable")
        starts = np.searchsorted(by_event[in_order], np.arange(len(order)))
        events = events[in_order]
        durations, words = events[:, k.EVENT_DURATION].copy(), events[:, k.EVENT_WORDS].copy()
        deliveries = Deliveries(durations, words, starts)
        return {detail: detail.of_deliveries(deliveries) for detail in self._details}

    def _result(
        self, text: npt.NDArray[np.uint8], offset: int, start: int, stop: int, arrays: _Arrays
    ) -> BlockSums:
        state = arrays.state
        groups, cells = arrays.groups[: state[k.GROUPS]], arrays.cells[: state[k.CELLS]]
        order = np.lexsort((cells[:, k.CELL_MINUTE], cells[:, k.CELL_GROUP]))
        cells = cells[order]
        minutes, counts = cells[:, k.CELL_MINUTE].copy(), cells[:, k.CELL_COUNT].copy()
        totals = _totals(cells[:, k.CELL_HIGH], cells[:, k.CELL_LOW])
        details = self._columns(arrays, order)
        bounds = np.searchsorted(cells[:, k.CELL_GROUP], np.arange(len(groups) + 1)).tolist()
        view = text.data
        sums: list[tuple[Series, MinuteSums]] = []
        accepted = filtered = 0
        latest = -1
        other_events: Counter[str] = Counter()
        for row, first, end in zip(groups.tolist(), bounds, bounds[1:], strict=False):
            if row[k.GROUP_FIELDS] & k.BY_NAME:
                (name,) = _strings(view, row, [k.EVENT_NAME])
                if name != self._event_name:
                    other_events[name] += row[k.GROUP_LINES]
                    continue
            latest = max(latest, row[k.GROUP_LATEST])
            if not self._where.takes(_strings(view, row, self._where_fields)):
                filtered += row[k.GROUP_LINES]
                continue
            accepted += row[k.GROUP_LINES]
            series = _strings(view, row, self._fields)
            part = slice(first, end)
            of_series = {detail: column[part] for detail, column in details.items()}
            sums.append((series, MinuteSums(minutes[part], counts[part], totals[part], of_series)))
        unsure = arrays.unsure[: state[k.UNSURE_LINES]] + offset
        found = sums, accepted, filtered, other_events, int(state[k.BLANK]), latest, unsure
        return BlockSums(*found, start + offset, stop + offset)


def _totals(high: Int64s, low: Int64s) -> Exact:
    """The sums of two halves each."""
    if high.max(initial=0) < _HIGH_END:
        return (high << _LOW_BITS) + low
    return (high.astype(object) << _LOW_BITS) + low


def _strings(text: memoryview, group: list[int], fields: Sequence[int]) -> tuple[str, ...]:
    """The decoded strings of some fields of a group."""
    strings = []
    for field in fields:
        at = k.GROUP_STRINGS + 2 * field
        string = str(text[group[at] : group[at + 1]], "utf-8")
        strings.append(json.loads(f'"{string}"') if "\\" in string else string)
    return tuple(strings)
