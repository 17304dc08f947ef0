"""Sorted runs: sorts what may be larger than memory, in files of a scratch folder.

A run is a file of items in order. Many workers write runs; one reads and merges them all, with a
block of each in memory at a time. Of many runs some are merged into one before, which stands beside
them: the limits on open files and on memory do not depend on how many there are.
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

from pipeline import files
from pipeline.durations import Float64s, Int64s
from pipeline.events import DeadLetter
from pipeline.rows import Series

ROWS_PER_RUN = 2**21
DEAD_LETTER_BYTES_PER_RUN = 2**25
"""Short ones take three times as much, with their objects."""
_MAX_OPEN_RUNS = 64
"""A process may open 256 files (macOS) or 1024 (Linux), and may have several merges at a time. The
hundred million rows that are allowed by default are 48 runs, which are merged at once."""
_ROWS_PER_BLOCK = 2**16
_MAX_ROWS_LOADED = 2**19
"""Of all runs that are read at a time: 12 MB, and a few times that while they are put in order."""

_ROW = np.dtype([("date", "<i8"), ("series", "<i8"), ("average", "<f8")])
_Rows = npt.NDArray[np.void]


class RowRun(NamedTuple):
    """A file of `rows` rows of one shard, at least one, from `first_date` to `last_date`."""

    path: str
    shard: int
    rows: int
    first_date: int
    last_date: int


class SortedRows(NamedTuple):
    """Rows as columns, ascending by date and series: `table[series[i]]` is the series of row i."""

    dates: Int64s
    series: Int64s
    averages: Float64s
    table: Sequence[Series]


class RowSorter:
    """Gathers rows in any order, and writes them as runs."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[Series, list[tuple[Int64s, Float64s]]] = {}

    def add(self, series: Series, dates: Int64s, averages: Float64s) -> None:
        """Adds rows of a series."""
        self._columns.setdefault(series, []).append((dates, averages))
        self.rows += len(dates)

    def write(self, folder: str, num_shards: int = 1) -> Iterator[RowRun]:
        """Writes the rows to new files in a folder, one for each shard that has any.

        The rows of a date are in the shard of the number `date % num_shards`.
        """
        table = sorted(self._columns)
        rows = np.empty(self.rows, _ROW)
        start = 0
        for index, series in enumerate(table):
            for dates, averages in self._columns[series]:
                part = rows[start : start + len(dates)]
                part["date"], part["series"], part["average"] = dates, index, averages
                start += len(dates)
        # Stable, and the rows stand in the order of their series.
        rows = rows[np.lexsort((rows["date"], rows["date"] % num_shards))]
        bounds = np.searchsorted(rows["date"] % num_shards, np.arange(num_shards + 1)).tolist()
        for shard, (start, stop) in enumerate(pairwise(bounds)):
            if start < stop:
                yield _write_rows(folder, shard, rows[start:stop], table)


def _write_rows(folder: str, shard: int, rows: _Rows, table: Sequence[Series]) -> RowRun:
    """Writes rows in order, at least one, to a new file with the part of the table they need."""
    is_used = np.zeros(len(table), np.bool_)
    is_used[rows["series"]] = True
    rows["series"] = (np.cumsum(is_used) - 1)[rows["series"]]
    path = _new_path(folder, "rows")
    with files.writing(path), files.create(path) as stream:
        stream.write(_encoded([table[index] for index in np.flatnonzero(is_used).tolist()]))
        stream.write(rows.tobytes())
    return RowRun(path, shard, len(rows), int(rows["date"][0]), int(rows["date"][-1]))


def _encoded(table: Sequence[Series]) -> bytes:
    """The first line of a run of rows."""
    return json.dumps(table).encode() + b"\n"


def _new_path(folder: str, kind: str) -> str:
    return files.join(folder, f"{kind}-{uuid4().hex}")


def merge_rows(runs: Iterable[RowRun]) -> Iterator[SortedRows]:
    """All rows of the runs in order, block by block."""
    with ExitStack() as stack:
        readers, table = _open_rows(_few(list(runs), _merge_into_run), stack)
        for rows in _merged(readers):
            yield SortedRows(rows["date"], rows["series"], rows["average"], table)


def _merge_into_run(runs: list[RowRun]) -> RowRun:
    path = _new_path(posixpath.dirname(runs[0].path), "rows")
    with ExitStack() as stack, files.writing(path), files.create(path) as stream:
        readers, table = _open_rows(runs, stack)
        stream.write(_encoded(table))
        for rows in _merged(readers):
            stream.write(rows.tobytes())
    return RowRun(
        path,
        runs[0].shard,
        sum(run.rows for run in runs),
        min(run.first_date for run in runs),
        max(run.last_date for run in runs),
    )


_Run = TypeVar("_Run")


def _few(runs: list[_Run], merge: Callable[[list[_Run]], _Run]) -> list[_Run]:
    """Merges runs until there are so few that all can be read at a time; no more than that."""
    while len(runs) > _MAX_OPEN_RUNS:
        count = min(_MAX_OPEN_RUNS, len(runs) - _MAX_OPEN_RUNS + 1)
        runs = [*runs[count:], merge(runs[:count])]
    return runs


def _open_rows(
    runs: Sequence[RowRun], stack: ExitStack
) -> tuple[list[_RowReader], Sequence[Series]]:
    """Opens runs until the stack is closed; gives the table of the series of all of them, too."""
    rows_per_block = max(1, min(_ROWS_PER_BLOCK, _MAX_ROWS_LOADED // max(1, len(runs))))
    readers = [
        _RowReader(stack.enter_context(files.open_to_read(run.path)), rows_per_block)
        for run in runs
    ]
    table = sorted({series for reader in readers for series in reader.table})
    places = {series: index for index, series in enumerate(table)}
    for reader in readers:
        reader.places = np.array([places[series] for series in reader.table], np.int64)
    return readers, table


def _merged(readers: list[_RowReader]) -> Iterator[_Rows]:
    """The rows of readers in order, in blocks that are not too large."""
    while readers:
        # Before the date at which the first block ends, nothing more can come.
        open_ends = [reader.last_date for reader in readers if not reader.at_end]
        bound = min(open_ends, default=None)
        parts = [part for part in (reader.take(bound) for reader in readers) if len(part)]
        if parts:
            rows = np.concatenate(parts)
            if len(parts) > 1:
                rows = rows[np.lexsort((rows["series"], rows["date"]))]
            for start in range(0, len(rows), _ROWS_PER_BLOCK):
                yield rows[start : start + _ROWS_PER_BLOCK]
        for reader in readers:
            if not reader.at_end and reader.last_date == bound:
                reader.load()
        readers = [reader for reader in readers if len(reader.rows)]


class _RowReader:
    """A run that is being read: `rows` are loaded and not yet taken."""

    places: Int64s

    def __init__(self, stream: BinaryIO, rows_per_block: int) -> None:
        self._stream = stream
        self._block_bytes = rows_per_block * _ROW.itemsize
        self.table: list[Series] = [tuple(series) for series in json.loads(stream.readline())]
        self.places = np.arange(len(self.table))
        self.rows: _Rows = np.empty(0, _ROW)
        self.at_end = False
        self.load()

    @property
    def last_date(self) -> int:
        return int(self.rows["date"][-1])

    def load(self) -> None:
        encoded = self._stream.read(self._block_bytes)
        self.at_end = len(encoded) < self._block_bytes
        self.rows = np.concatenate((self.rows, np.frombuffer(encoded, _ROW)))

    def take(self, bound: int | None) -> _Rows:
        """Takes the loaded rows before a date, or all of them, with the merged table's series."""
        end = len(self.rows) if bound is None else np.searchsorted(self.rows["date"], bound)
        taken: _Rows = self.rows[:end].copy()
        self.rows = self.rows[end:]
        taken["series"] = self.places[taken["series"]]
        return taken


class DeadLetterSorter:
    """Gathers dead letters in any order, and writes them as a run.

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
    """All lines of the runs in order, each once, with their line ends."""
    for record in _merged_records(_few(list(paths), _merge_into_file)):
        yield record.partition(b"\t")[2]


def _merge_into_file(paths: list[str]) -> str:
    return _write_records(posixpath.dirname(paths[0]), _merged_records(paths))


def _merged_records(paths: Iterable[str]) -> Iterator[bytes]:
    with ExitStack() as stack:
        runs = [stack.enter_context(files.open_to_read(path)) for path in paths]
        yield from heapq.merge(*runs, key=_place)


def _place(record: bytes) -> list[object]:
    place: list[object] = json.loads(record.partition(b"\t")[0])
    return place
