"""Sorts what may be larger than memory, in sorted files of a scratch folder.

Many workers write sorted files. One reads and merges them all, with a block of each in memory at a
time. If there are many, some are first merged into one. So the limits
on open files and on memory do not depend on how many there are.
"""

from __future__ import annotations

import heapq
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import BinaryIO, NamedTuple, TypeVar
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from pipeline.core.events import DeadLetter
from pipeline.core.exact import Int64s, exact, of_json, to_json
from pipeline.core.measures import Values
from pipeline.core.rows import RowBlock, RowKey, SortedRows
from pipeline.storage import files

ROW_BYTES_PER_FILE = 48 * 2**20
DEAD_LETTER_BYTES_PER_FILE = 2**25
"""In memory, short letters take three times as much."""
_MAX_OPEN_FILES = 64
"""A process may open 256 files (macOS) or 1024 (Linux), and may have several merges at a time. The
hundred million rows that are allowed by default are 48 sorted files with one measure, which are
merged at once."""
_ROWS_PER_BLOCK = 2**16
_MAX_INT64 = 2**63 - 1
_MAX_BYTES_LOADED = 12 * 2**20
"""Of all sorted files together; a few times that while they are put in order."""

_NUMBER_BYTES = 8
_DATE, _KEY = "date", "key"  # no measure is called so
# Structured: a date, a key, and a field for each measure. In place of a whole number that is too
# large for 64 bits stands its place in a list: -1 for the first one, -2 for the second.
_Rows = npt.NDArray[np.void]


class SortedFile(NamedTuple):
    """A file of `rows` rows of one shard, at least one, from `first_date` to `last_date`."""

    path: str
    shard: int
    rows: int
    first_date: int
    last_date: int


class RowSorter:
    """Gathers rows in any order, and writes them as sorted files.

    Attributes:
        rows: the number of rows gathered.
        size: theirs, in bytes as they are written.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.size = 0
        self._blocks: dict[RowKey, list[RowBlock]] = {}

    def add(self, block: RowBlock) -> None:
        """Adds rows; all have the same measures."""
        self._blocks.setdefault((block.series, block.window_minutes), []).append(block)
        self.rows += len(block)
        self.size += len(block) * _NUMBER_BYTES * (2 + len(block.values))

    def write(self, folder: str, num_shards: int = 1) -> Iterator[SortedFile]:
        """Writes the rows to new files in a folder, one for each shard that has any.

        The rows of a date are in the shard of the number `date % num_shards`.
        """
        if not self.rows:
            return
        table = sorted(self._blocks)
        head = _Head.of(table, next(iter(self._blocks.values()))[0])
        rows = np.empty(self.rows, head.dtype)
        start = 0
        for index, key in enumerate(table):
            for block in self._blocks[key]:
                part = rows[start : start + len(block)]
                part[_DATE], part[_KEY] = block.dates, index
                for name, column in block.values.items():
                    part[name] = head.placed(column)
                start += len(block)
        # The sort is stable, and the rows are in the order of their keys.
        rows = rows[np.lexsort((rows[_DATE], rows[_DATE] % num_shards))]
        bounds = np.searchsorted(rows[_DATE] % num_shards, np.arange(num_shards + 1)).tolist()
        for shard, (start, stop) in enumerate(pairwise(bounds)):
            if start < stop:
                yield _write_rows(folder, shard, rows[start:stop], head)


class _Head(NamedTuple):
    """What stands before the rows of a sorted file, as a line of JSON.

    Attributes:
        table: the keys of the rows.
        dtype: of the rows.
        large: the whole numbers that are too large for 64 bits.
    """

    table: list[RowKey]
    dtype: np.dtype[np.void]
    large: list[int]

    @classmethod
    def of(cls, table: list[RowKey], block: RowBlock) -> _Head:
        """The head of a file of rows with the measures of a block."""
        values = [
            (name, "<f8" if column.dtype == np.float64 else "<i8")
            for name, column in block.values.items()
        ]
        return cls(table, np.dtype([(_DATE, "<i8"), (_KEY, "<i8"), *values]), [])

    @classmethod
    def read(cls, stream: BinaryIO) -> _Head:
        """The inverse of `line`."""
        table, fields, large = json.loads(stream.readline())
        return cls(
            [(tuple(series), size) for series, size in table],
            np.dtype([(name, dtype) for name, dtype in fields]),
            [of_json(number) for number in large],
        )

    def line(self) -> bytes:
        """The line."""
        head = [self.table, self.dtype.descr, [*map(to_json, self.large)]]
        return json.dumps(head).encode() + b"\n"

    def placed(self, column: Values) -> Values:
        """A column as it stands in rows."""
        if column.dtype != object:
            return column
        numbers = []
        for number in column.tolist():
            if number > _MAX_INT64:
                self.large.append(number)
                number = -len(self.large)
            numbers.append(number)
        return np.array(numbers, np.int64)

    def values(self, column: Values) -> Values:
        """The inverse of `placed`."""
        if column.dtype == np.float64 or not self.large or column.min(initial=0) >= 0:
            return column
        return exact(self.large[-1 - each] if each < 0 else each for each in column.tolist())


def _write_rows(folder: str, shard: int, rows: _Rows, head: _Head) -> SortedFile:
    """Writes rows in order, at least one, to a new file with the part of the table they need."""
    is_used = np.zeros(len(head.table), np.bool_)
    is_used[rows[_KEY]] = True
    rows[_KEY] = (np.cumsum(is_used) - 1)[rows[_KEY]]
    table = [head.table[index] for index in np.flatnonzero(is_used).tolist()]
    path = _new_path(folder, "rows")
    with files.writing(path), files.create(path) as stream:
        stream.write(head._replace(table=table).line())
        stream.write(rows.tobytes())
    return SortedFile(path, shard, len(rows), int(rows[_DATE][0]), int(rows[_DATE][-1]))


def _new_path(folder: str, kind: str) -> str:
    return files.join(folder, f"{kind}-{uuid4().hex}")


def merge_rows(sorted_files: Iterable[SortedFile]) -> Iterator[SortedRows]:
    """All rows of the sorted files in order, block by block."""
    with ExitStack() as stack:
        few = _few(list(sorted_files), _merge_row_files)
        if not few:
            return
        readers, head = _open_rows(few, stack)
        names = [name for name in head.dtype.names or () if name not in (_DATE, _KEY)]
        for rows in _merged(readers):
            values = {name: head.values(rows[name]) for name in names}
            yield SortedRows(rows[_DATE], rows[_KEY], values, head.table)


def _merge_row_files(sorted_files: list[SortedFile]) -> SortedFile:
    path = _new_path(posixpath.dirname(sorted_files[0].path), "rows")
    with ExitStack() as stack, files.writing(path), files.create(path) as stream:
        readers, head = _open_rows(sorted_files, stack)
        stream.write(head.line())
        for rows in _merged(readers):
            stream.write(rows.tobytes())
    return SortedFile(
        path,
        sorted_files[0].shard,
        sum(each.rows for each in sorted_files),
        min(each.first_date for each in sorted_files),
        max(each.last_date for each in sorted_files),
    )


_T = TypeVar("_T")


def _few(sorted_files: list[_T], merge: Callable[[list[_T]], _T]) -> list[_T]:
    """Merges sorted files, no more than needed, until all can be open at a time."""
    while len(sorted_files) > _MAX_OPEN_FILES:
        count = min(_MAX_OPEN_FILES, len(sorted_files) - _MAX_OPEN_FILES + 1)
        sorted_files = [*sorted_files[count:], merge(sorted_files[:count])]
    return sorted_files


def _open_rows(
    sorted_files: Sequence[SortedFile], stack: ExitStack
) -> tuple[list[_RowReader], _Head]:
    """Opens sorted files, at least one, until the stack is closed; also returns a joint head."""
    max_bytes = _MAX_BYTES_LOADED // len(sorted_files)
    readers = [
        _RowReader(stack.enter_context(files.open_to_read(each.path)), max_bytes)
        for each in sorted_files
    ]
    table = sorted({key for reader in readers for key in reader.head.table})
    places = {key: index for index, key in enumerate(table)}
    large: list[int] = []
    for reader in readers:
        reader.places = np.array([places[key] for key in reader.head.table], np.int64)
        reader.large_before = len(large)
        large += reader.head.large
    return readers, _Head(table, readers[0].head.dtype, large)


def _merged(readers: list[_RowReader]) -> Iterator[_Rows]:
    """The rows of readers in order, in blocks that are not too large."""
    while readers:
        # No more rows can come before the date at which the first block ends.
        open_ends = [reader.last_date for reader in readers if not reader.at_end]
        bound = min(open_ends, default=None)
        parts = [part for part in (reader.take(bound) for reader in readers) if len(part)]
        if parts:
            rows = np.concatenate(parts)
            if len(parts) > 1:
                rows = rows[np.lexsort((rows[_KEY], rows[_DATE]))]
            for start in range(0, len(rows), _ROWS_PER_BLOCK):
                yield rows[start : start + _ROWS_PER_BLOCK]
        for reader in readers:
            if not reader.at_end and reader.last_date == bound:
                reader.load()
        readers = [reader for reader in readers if len(reader.rows)]


class _RowReader:
    """A sorted file that is being read.

    Attributes:
        head: of the file.
        rows: those that are loaded and not yet taken.
        places: where the file's keys stand in the table of all files.
        large_before: how many large numbers stand before the file's, of those of all files.
    """

    places: Int64s
    large_before = 0

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._stream = stream
        self.head = _Head.read(stream)
        row_bytes = self.head.dtype.itemsize
        self._block_bytes = row_bytes * max(1, min(_ROWS_PER_BLOCK, max_bytes // row_bytes))
        self.rows: _Rows = np.empty(0, self.head.dtype)
        self.at_end = False
        self.load()

    @property
    def last_date(self) -> int:
        return int(self.rows[_DATE][-1])

    def load(self) -> None:
        encoded = self._stream.read(self._block_bytes)
        self.at_end = len(encoded) < self._block_bytes
        self.rows = np.concatenate((self.rows, np.frombuffer(encoded, self.head.dtype)))

    def take(self, bound: int | None) -> _Rows:
        """Takes the loaded rows before a date, or all of them, for the joint head."""
        end = len(self.rows) if bound is None else np.searchsorted(self.rows[_DATE], bound)
        taken: _Rows = self.rows[:end].copy()
        self.rows = self.rows[end:]
        taken[_KEY] = self.places[taken[_KEY]]
        if self.large_before and self.head.large:
            for name in self.head.dtype.names or ():
                taken[name][taken[name] < 0] -= self.large_before
        return taken


class DeadLetterSorter:
    """Gathers dead letters in any order, and writes them as a sorted file.

    Attributes:
        size: of the letters gathered, in bytes as they are written.
    """

    def __init__(self) -> None:
        self.size = 0
        self._records: list[tuple[str, int, bytes]] = []

    def add(self, letter: DeadLetter) -> None:
        """Adds a dead letter."""
        # JSON has no tab and no line end of its own.
        place = json.dumps([letter.source, letter.offset])
        record = f"{place}\t{letter.to_json()}\n".encode()
        self._records.append((letter.source, letter.offset, record))
        self.size += len(record)

    def write(self, folder: str) -> str:
        """Writes the dead letters to a new file in a folder, and gives its path."""
        self._records.sort()
        return _write_records(folder, (record for *_, record in self._records))


def _write_records(folder: str, records: Iterable[bytes]) -> str:
    path = _new_path(folder, "rejected")
    with files.writing(path), files.create(path) as stream:
        for record in records:
            stream.write(record)
    return path


def merge_dead_letters(paths: Iterable[str]) -> Iterator[bytes]:
    """All lines of the sorted files in order, each once, with their line ends."""
    for record in _merged_records(_few(list(paths), _merge_letter_files)):
        yield record.partition(b"\t")[2]


def _merge_letter_files(paths: list[str]) -> str:
    return _write_records(posixpath.dirname(paths[0]), _merged_records(paths))


def _merged_records(paths: Iterable[str]) -> Iterator[bytes]:
    with ExitStack() as stack:
        sorted_files = [stack.enter_context(files.open_to_read(path)) for path in paths]
        yield from heapq.merge(*sorted_files, key=_place)


def _place(record: bytes) -> list[object]:
    place: list[object] = json.loads(record.partition(b"\t")[0])
    return place
