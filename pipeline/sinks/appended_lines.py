"""Lines appended to a file or stream of this machine as they come: a sink of unbounded runs."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import apache_beam as beam

from pipeline.core.errors import OptionError
from pipeline.core.options import UNBOUNDED_HERE, Given, Option, RunKind, chosen, whole_number
from pipeline.formats import DEFAULT_FORMAT, LineFormat, format_of
from pipeline.parsing.timeliness import MAX_SECONDS
from pipeline.sinks.destinations import Destination
from pipeline.sinks.sink import (
    LATE_FILE,
    OUTPUT_FILE,
    REJECTED_FILE,
    Contents,
    LineSink,
    WriteAsLines,
)
from pipeline.storage import files
from pipeline.storage.compression import without_ending
from pipeline.storage.files import STANDARD_STREAM

_logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LAST_PAUSE_SECONDS = 5

_writing = threading.Lock()
_kept: dict[str, int] = {}
_wait = time.sleep


@dataclass(frozen=True)
class AppendedLines(LineSink):
    """A file, a pipe or standard output that lines are appended to.

    Attributes:
        path: where it is; `-` is standard output.
        retry_seconds: how long a file that cannot be written is tried again.
    """

    TITLE: ClassVar[str] = "What is written as it comes"
    OPTIONS: ClassVar[tuple[Option, ...]] = (
        OUTPUT_FILE,
        REJECTED_FILE,
        LATE_FILE,
        Option(
            "retry_seconds",
            "how long to try again when a file cannot be written, for example on a full disk",
            UNBOUNDED_HERE,
            metavar="SECONDS",
            parse=whole_number(0, MAX_SECONDS),
            default_text="60",
        ),
    )

    path: str
    retry_seconds: int = 60
    option: str = field(default="output_file", compare=False)

    @classmethod
    def of(cls, contents: Contents, given: Given, run: RunKind) -> AppendedLines | None:
        option = f"{contents}_file"
        path = given[option]
        if run.is_bounded or run.is_job or path is None:
            return None
        if not files.is_local(path):
            raise OptionError(f"--{option}={path}: rows are appended to files of this machine only")
        if format_of(path) != DEFAULT_FORMAT or without_ending(path) != path:
            raise OptionError(
                f"--{option}={path}: lines are appended as NDJSON, and not compressed: let the "
                "name end otherwise"
            )
        return cls(path=path, option=option, **chosen(given, cls))

    def destination(self) -> Destination:
        return Destination.of(self.option, self.path, "")

    def open_here(self) -> None:
        append(self.path, b"")

    def write_lines(self) -> beam.PTransform:
        return AppendLines(self.path, self.retry_seconds)

    def write_blocks(self, row_format: LineFormat) -> beam.PTransform:
        """The transform that takes `RevisedRows`."""
        return WriteAsLines(row_format.revised_lines, self.write_lines())


@dataclass(eq=False)
class AppendLines(beam.PTransform):
    """Appends its elements (`bytes`, each one line or several, without the last end) to a file.

    A bundle's lines are in the file when the bundle is done. Lines never interleave.

    Args:
        path: a local file or pipe; `-` is standard output.
        retry_seconds: how long a file that cannot be written is tried again.

    Raises:
        OutputError: it cannot be written (when the pipeline runs).
        BrokenPipeError: its reader has gone (when the pipeline runs).
    """

    path: str
    retry_seconds: int = 0

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        return lines | "Append" >> beam.ParDo(_AppendFn(self.path, self.retry_seconds))


class _AppendFn(beam.DoFn):
    def __init__(self, path: str, retry_seconds: int) -> None:
        self._path = path
        self._retry_seconds = retry_seconds

    def start_bundle(self) -> None:
        self._lines: list[bytes] = []

    def process(self, line: bytes) -> None:
        self._lines += line, b"\n"

    def finish_bundle(self) -> None:
        lines = b"".join(self._lines)
        if held := _held.get(self._path):
            held.add(lines)
        elif lines:
            append(self._path, lines, self._retry_seconds)


class HeldLines:
    """Lines that are kept back from their file until they are taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[bytes] = []
        self.size = 0
        self.number = 0

    def add(self, lines: bytes) -> None:
        """Keeps some more whole lines."""
        with self._lock:
            self._parts.append(lines)
            self.size += len(lines)
            self.number += lines.count(b"\n")

    def take(self) -> bytes:
        """Gives the lines that are kept; `number` counts on."""
        with self._lock:
            lines = b"".join(self._parts)
            self._parts, self.size = [], 0
            return lines


_held: dict[str, HeldLines] = {}


@contextlib.contextmanager
def holding(paths: Iterable[str]) -> Iterator[Mapping[str, HeldLines]]:
    """Makes `AppendLines` of this process keep back the lines of some files during the body."""
    held = {path: HeldLines() for path in paths}
    _held.update(held)
    try:
        yield held
    finally:
        for path in held:
            del _held[path]


def append(path: str, data: bytes, retry_seconds: int = 0, is_synced: bool = False) -> None:
    """Appends whole lines to a file, or writes them to standard output or a pipe.

    A file that cannot be written is tried again for `retry_seconds`, with one warning. A pipe is
    not tried again: what was written to it cannot be taken back. If `is_synced` the lines are on
    the disk when it returns.

    Raises:
        OutputError: it cannot be written; a file is left as it was.
        BrokenPipeError: the reader has gone.
    """

    def write() -> None:
        # Several bundles run at the same time.
        with _writing:
            _append(path, data, is_synced)

    retried(path, retry_seconds, write)


def retried(path: str, retry_seconds: int, write: Callable[[], None]) -> None:
    """Calls `write` until it raises no `NotWrittenError`, for a time, with one warning.

    Raises:
        OutputError: the last reason.
    """
    deadline = time.monotonic() + retry_seconds
    pause = _FIRST_PAUSE_SECONDS
    with files.writing(path):
        while True:
            try:
                write()
                return
            except NotWrittenError as error:
                if time.monotonic() >= deadline:
                    raise error.reason from None
                if pause == _FIRST_PAUSE_SECONDS:
                    reason = files.reason(error.reason)
                    _logger.warning(
                        "%s: cannot be written: %s: trying for %d s", path, reason, retry_seconds
                    )
            _wait(pause)
            pause = min(2 * pause, _LAST_PAUSE_SECONDS)


class NotWrittenError(Exception):
    """Nothing was written, for a reason."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason)
        self.reason = reason


def _append(path: str, data: bytes, is_synced: bool) -> None:
    try:
        descriptor = _open(path)
    except OSError as error:
        raise NotWrittenError(error) from error
    try:
        _write_whole(descriptor, data, is_synced)
    finally:
        if path not in _kept and _own_descriptor(path) is None:
            os.close(descriptor)


def _write_whole(descriptor: int, data: bytes, is_synced: bool) -> None:
    status = os.fstat(descriptor)
    is_file = stat.S_ISREG(status.st_mode)
    position = os.lseek(descriptor, 0, os.SEEK_CUR) if is_file else 0
    left = memoryview(data)
    try:
        # A pipe may take less than all at a time.
        while left:
            left = left[os.write(descriptor, left) :]
        if is_synced:
            os.fsync(descriptor)
    except OSError as error:
        if not is_file:
            raise
        os.ftruncate(descriptor, status.st_size)
        # Standard output may not be in append mode: the next write would leave a hole.
        os.lseek(descriptor, position, os.SEEK_SET)
        raise NotWrittenError(error) from error


def _own_descriptor(path: str) -> int | None:
    return 1 if path == STANDARD_STREAM else files.descriptor_of(path)


def _open(path: str) -> int:
    """A descriptor to append with. A pipe keeps its descriptor: closing it would end its reader."""
    descriptor = _own_descriptor(path)
    if descriptor is not None:
        return descriptor
    if path in _kept:
        return _kept[path]
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        _kept[path] = descriptor
    return descriptor
