"""Lines that are appended to a file or stream of this machine as they come."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import apache_beam as beam

from pipeline import files
from pipeline.options import STANDARD_STREAM

_writing = threading.Lock()
_pipes: dict[str, int] = {}


@dataclass(eq=False)
class AppendLines(beam.PTransform):
    """Appends its elements (`bytes`, each a line without its end) to a file.

    They are there, and nothing of another line between them, when their bundle is done.

    Args:
        path: a local file or pipe; `-` is standard output.

    Raises:
        OutputError: it cannot be written (when the pipeline runs).
        BrokenPipeError: its reader has gone (when the pipeline runs).
    """

    path: str

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        return lines | "Append" >> beam.ParDo(_AppendFn(self.path))


class _AppendFn(beam.DoFn):
    def __init__(self, path: str) -> None:
        self._path = path

    def start_bundle(self) -> None:
        self._lines: list[bytes] = []

    def process(self, line: bytes) -> None:
        self._lines += line, b"\n"

    def finish_bundle(self) -> None:
        if self._lines:
            append(self._path, b"".join(self._lines))


def append(path: str, data: bytes) -> None:
    """Appends whole lines to a file, or writes them to standard output or a pipe.

    Raises:
        OutputError: it cannot be written; a file is left as it was.
        BrokenPipeError: the reader has gone.
    """
    # Bundles are done side by side, and what a pipe takes at a time may be less than all.
    with _writing, files.writing(path), _opened(path) as descriptor:
        status = os.fstat(descriptor)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            if stat.S_ISREG(status.st_mode):
                os.ftruncate(descriptor, status.st_size)
            raise


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A descriptor to append with; of a pipe always the same, whose reader waits for its end."""
    if path == STANDARD_STREAM:
        yield 1
        return
    if path in _pipes:
        yield _pipes[path]
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        _pipes[path] = descriptor
        yield descriptor
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
