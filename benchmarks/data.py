"""Made-up logs, of any size: the same description gives the same events and bytes everywhere.

Every value of an event is drawn by hashing its index, so that events can be had in any order, and
the expected rows can be computed from the numbers, without a look at the files.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from benchmarks import lines

Int64s = npt.NDArray[np.int64]

MICROS_PER_MINUTE = 60_000_000
DAY_MICROS = 24 * 60 * MICROS_PER_MINUTE
EVENTS_PER_CLIENT = 100

_START_MICROS = 1_545_782_400_000_000  # 2018-12-26
_MAX_DELAY_MICROS = 5_000_000
_BLOCK_EVENTS = 50_000
_LANGUAGES = ("en", "fr", "de", "pt", "es", "it", "nl", "ja")
_CLIENTS = ("airliberty", "taxi-eats", "hotelo", "playit", "lingo24", "shop24")


@dataclass(frozen=True)
class Events:
    """Some events of a log, as columns; `clients`, `sources` and `targets` are indexes."""

    micros: Int64s
    millionths: Int64s
    words: Int64s
    clients: Int64s
    sources: Int64s
    targets: Int64s
    ids: Int64s


@dataclass(frozen=True)
class Log:
    """What a log is made from.

    Events are logged one every `step_micros`, up to five seconds after they happened: sorted by
    time, with a little disorder. With `fractions` durations have up to three decimals.
    """

    events: int
    step_micros: int = 100_000
    clients: int = len(_CLIENTS)
    fractions: bool = False
    seed: int = 1

    @classmethod
    def of_clients(cls, clients: int) -> Log:
        """A day of so many clients, with a hundred events each."""
        events = clients * EVENTS_PER_CLIENT
        return cls(events, DAY_MICROS // events, clients)

    def at(self, index: Int64s) -> Events:
        """The events at the given places of the log."""
        delays = self._draw(index, 0, _MAX_DELAY_MICROS)
        seconds = 1 + self._draw(index, 1, 90)
        millis = self._draw(index, 2, 1000) if self.fractions else np.zeros_like(seconds)
        source = self._draw(index, 5, len(_LANGUAGES))
        return Events(
            micros=_START_MICROS + index * self.step_micros + delays,
            millionths=seconds * 1_000_000 + millis * 1000,
            words=1 + self._draw(index, 3, 99),
            clients=self._draw(index, 4, self.clients),
            sources=source,
            targets=(source + 1 + self._draw(index, 6, len(_LANGUAGES) - 1)) % len(_LANGUAGES),
            ids=self._draw(index, 7, 2**63 - 1),
        )

    def blocks(self, shuffled: bool = False) -> Iterator[Events]:
        """All events in the order of the log, or in an order that has nothing to do with it."""
        index = np.arange(self.events, dtype=np.int64)
        if shuffled:
            index = np.argsort(self._draw(index, 8, 2**63 - 1), kind="stable")
        for start in range(0, self.events, _BLOCK_EVENTS):
            yield self.at(index[start : start + _BLOCK_EVENTS])

    def values(self, field: str) -> tuple[str, ...]:
        """What the indexes in the column of a group field stand for."""
        if field == "client_name":
            if self.clients <= len(_CLIENTS):
                return _CLIENTS[: self.clients]
            return tuple(f"client-{number:05}" for number in range(self.clients))
        return _LANGUAGES

    def _draw(self, index: Int64s, column: int, below: int) -> Int64s:
        """Numbers from 0 up to, not including, `below`: SplitMix64 of the index and the column."""
        bits = (index.astype(np.uint64) * np.uint64(16) + np.uint64(column)) * np.uint64(
            0x9E3779B97F4A7C15
        ) + np.uint64(self.seed)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
        numbers: Int64s = (bits % np.uint64(below)).astype(np.int64)
        return numbers


@dataclass(frozen=True)
class Input:
    """A log as it lies on disk: `files` is a path or a glob, `byte_count` the size of it all."""

    log: Log
    files: str
    byte_count: int


class Cache:
    """A folder of logs, each made when it is first asked for.

    What is in it depends on this code: another version of it has another folder inside.
    """

    def __init__(self, folder: Path) -> None:
        sources = (Path(__file__), Path(lines.__file__))
        version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        self._folder = folder / f"logs-{version[:8]}"
        self._folder.mkdir(parents=True, exist_ok=True)

    def one_file(self, log: Log, variant: str = "usual") -> Input:
        """The log in one file, its lines as the variant (of `lines.VARIANTS`) has them."""
        return self._made(
            log, f"{variant}-{_name(log)}.json", lambda path: _write(log, variant, path)
        )

    def compressed(self, log: Log) -> Input:
        """The usual log as `gzip` makes it."""
        plain = Path(self.one_file(log).files)
        return self._made(log, f"{plain.name}.gz", lambda path: _compress(plain, path))

    def array(self, log: Log) -> Input:
        """The usual log as a JSON array, an element a line."""
        plain = Path(self.one_file(log).files)
        return self._made(log, f"array-{plain.name}", lambda path: _enclose(plain, path))

    def many_files(self, log: Log, lines_per_file: int) -> Input:
        """The usual log in small files, as a glob."""
        plain = Path(self.one_file(log).files)
        return self._made(
            log,
            f"{plain.stem}-by-{lines_per_file}",
            lambda path: _split(plain, path, lines_per_file),
        )

    def _made(self, log: Log, name: str, make: Callable[[Path], None]) -> Input:
        path = self._folder / name
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=self._folder) as unfinished:
                make(Path(unfinished, name))
                Path(unfinished, name).rename(path)
        if path.is_dir():
            byte_count = sum(entry.stat().st_size for entry in os.scandir(path))
            return Input(log, str(path / "*.json"), byte_count)
        return Input(log, str(path), path.stat().st_size)


def _name(log: Log) -> str:
    decimals = "-fractions" if log.fractions else ""
    events = f"{log.events}-events-every-{log.step_micros}-us"
    return f"{events}-{log.clients}-clients{decimals}-seed-{log.seed}"


def _write(log: Log, variant: str, path: Path) -> None:
    render = lines.VARIANTS[variant]
    with _new_file(path) as file:
        for block in log.blocks(shuffled=variant == "shuffled"):
            text = "\n".join(
                line for number, record in _records(log, block) for line in render(number, record)
            )
            file.write(text.encode() + b"\n")


def _records(log: Log, events: Events) -> Iterator[tuple[int, dict[str, str | int]]]:
    """What the lines of events are filled with, each with a number that is drawn at random."""
    clients = _texts(log.values("client_name"), events.clients)
    sources = _texts(log.values("source_language"), events.sources)
    targets = _texts(log.values("target_language"), events.targets)
    times = np.datetime_as_string(events.micros.astype("datetime64[us]")).tolist()
    millis = (events.millionths // 1000).tolist()
    for time, client, source, target, words, millis_each, number in zip(
        times,
        clients,
        sources,
        targets,
        events.words.tolist(),
        millis,
        events.ids.tolist(),
        strict=True,
    ):
        yield (
            number,
            {
                "date": time[:10],
                "time": time[11:],
                "id": f"5aa5{number:016x}",
                "source": source,
                "target": target,
                "client": client,
                "words": words,
                "duration": millis_each / 1000 if log.fractions else millis_each // 1000,
            },
        )


def _texts(values: Sequence[str], indexes: Int64s) -> list[str]:
    return [values[index] for index in indexes.tolist()]


def _compress(plain: Path, path: Path) -> None:
    with (
        plain.open("rb") as source,
        _new_file(path) as file,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as target,
    ):
        shutil.copyfileobj(source, target, 2**20)


def _enclose(plain: Path, path: Path) -> None:
    with plain.open("rb") as source, _new_file(path) as file:
        separator = b"[\n"
        for line in source:
            file.write(separator + line.removesuffix(b"\n"))
            separator = b",\n"
        file.write(b"\n]\n")


def _split(plain: Path, folder: Path, lines_per_file: int) -> None:
    folder.mkdir()
    with plain.open("rb") as source:
        number = 0
        while part := b"".join(islice(source, lines_per_file)):
            (folder / f"part-{number:06}.json").write_bytes(part)
            number += 1


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is on the disk when it is closed: no run has to wait for it to be written."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
