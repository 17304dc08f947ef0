"""Sorted runs: sorts what may be larger than memory, in files of a scratch folder.

A run is a file of items in order. Many workers write runs; one reads and merges them all, with a
block of each in memory at a time.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import BinaryIO, NamedTuple
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from pipeline import files
from pipeline.durations import Float64s, Int64s
from pipeline.events import DeadLetter
from pipeline.rows import Series

ROWS_PER_RUN = 2**21
DEAD_LETTER_CHARACTERS_PER_RUN = 2**26
_ROWS_PER_BLOCK = 2**16

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
    """Gathers rows in any order, and writes them as a run."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[Series, list[tuple[Int64s, Float64s]]] = {}

    def add(self, series: Series, dates: Int64s, averages: Float64s) -> None:
        """Adds rows of a series."""
        self._columns.setdefault(series, []).append((dates, averages))
        self.rows += len(dates)

    def write(self, folder: str, shard: int) -> RowRun:
        """Writes the rows, at least one, to a new file in a folder."""
        table = sorted(self._columns)
        rows = np.empty(self.rows, _ROW)
        start = 0
        for index, series in enumerate(table):
            for dates, averages in self._columns[series]:
                part = rows[start : start + len(dates)]
                part["date"], part["series"], part["average"] = dates, index, averages
                start += len(dates)
        # Stable, and the rows stand in the order of their series.
        rows = rows[np.argsort(rows["date"], kind="stable")]
        path = files.join(folder, f"rows-{uuid4().hex}")
        with files.writing(path), files.create(path) as stream:
            stream.write(json.dumps(table).encode() + b"\n")
            stream.write(rows.tobytes())
        return RowRun(path, shard, len(rows), int(rows["date"][0]), int(rows["date"][-1]))


def merge_rows(runs: Iterable[RowRun]) -> Iterator[SortedRows]:
    """All rows of the runs in order, block by block."""
    with ExitStack() as stack:
        opened = [_RowReader(stack.enter_context(files.open_to_read(run.path))) for run in runs]
        table = sorted({series for reader in opened for series in reader.table})
        places = {series: index for index, series in enumerate(table)}
        for reader in opened:
            reader.places = np.array([places[series] for series in reader.table], np.int64)
        while opened:
            # Before the date at which the first block ends, nothing more can come.
            open_ends = [reader.last_date for reader in opened if not reader.at_end]
            bound = min(open_ends, default=None)
            parts = [part for part in (reader.take(bound) for reader in opened) if len(part)]
            if parts:
                rows = np.concatenate(parts)
                if len(parts) > 1:
                    rows = rows[np.lexsort((rows["series"], rows["date"]))]
                yield SortedRows(rows["date"], rows["series"], rows["average"], table)
            for reader in opened:
                if not reader.at_end and reader.last_date == bound:
                    reader.load()
            opened = [reader for reader in opened if len(reader.rows)]


class _RowReader:
    """A run that is being read: `rows` are loaded and not yet taken."""

    places: Int64s

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.table: list[Series] = [tuple(series) for series in json.loads(stream.readline())]
        self.places = np.arange(len(self.table))
        self.rows: _Rows = np.empty(0, _ROW)
        self.at_end = False
        self.load()

    @property
    def last_date(self) -> int:
        return int(self.rows["date"][-1])

    def load(self) -> None:
        size = _ROWS_PER_BLOCK * _ROW.itemsize
        encoded = self._stream.read(size)
        self.at_end = len(encoded) < size
        self.rows = np.concatenate((self.rows, np.frombuffer(encoded, _ROW)))

    def take(self, bound: int | None) -> _Rows:
        """Takes the loaded rows before a date, or all of them, with the merged table's series."""
        end = len(self.rows) if bound is None else np.searchsorted(self.rows["date"], bound)
        taken: _Rows = self.rows[:end].copy()
        self.rows = self.rows[end:]
        taken["series"] = self.places[taken["series"]]
        return taken


class DeadLetterSorter:
    """Gathers dead letters in any order, and writes them as a run."""

    def __init__(self) -> None:
        self.characters = 0
        self._letters: list[tuple[str, int, str]] = []

    def add(self, letter: DeadLetter) -> None:
        """Adds a dead letter."""
        self._letters.append((letter.source, letter.offset, letter.to_json()))
        self.characters += len(self._letters[-1][-1])

    def write(self, folder: str) -> str:
        """Writes the dead letters to a new file in a folder, and gives its path."""
        path = files.join(folder, f"rejected-{uuid4().hex}")
        with files.writing(path), files.create(path) as stream:
            for source, offset, line in sorted(self._letters):
                # JSON has no tab and no line end of its own.
                stream.write(f"{json.dumps([source, offset])}\t{line}\n".encode())
        return path


def merge_dead_letters(paths: Iterable[str]) -> Iterator[bytes]:
    """All lines of the runs in order, each once, with their line ends."""
    with ExitStack() as stack:
        runs = [stack.enter_context(files.open_to_read(path)) for path in paths]
        for record in heapq.merge(*runs, key=_place):
            yield record.partition(b"\t")[2]


def _place(record: bytes) -> list[object]:
    place: list[object] = json.loads(record.partition(b"\t")[0])
    return place
