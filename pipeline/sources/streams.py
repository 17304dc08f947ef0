"""Standard input and pipes that are followed: what another program prints, until it ends."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator, Sequence

from pipeline.core.errors import InputError
from pipeline.parsing.chunks import Chunk
from pipeline.sources.whole_lines import WholeLines
from pipeline.storage import files
from pipeline.storage.files import STANDARD_STREAM

_READ_BYTES = 2**20
_WAITING_READS = 8
_STANDARD_INPUT = 0


class Streams:
    """Standard input (`-`) and named pipes, as `Tail` is of files; they end with their writers.

    A thread reads each, since only that waits for a pipe alike on all systems. It reads ahead by a
    few megabytes: then the writer waits.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._streams = [_Stream(path) for path in paths]

    @property
    def has_ended(self) -> bool:
        """Whether all have ended, and all was given but last lines that have no line end."""
        return all(each.has_ended for each in self._streams)

    def look(self) -> list[str]:
        """Begins to read; there are no files.

        Raises:
            InputError: standard input is closed.
        """
        if sys.stdin is None and any(each.is_standard for each in self._streams):
            raise InputError("standard input: is closed: name a file with --input_file")
        for each in self._streams:
            threading.Thread(target=each.read, daemon=True).start()
        return []

    def poll(self) -> Iterator[Chunk]:
        """Gives the lines that have come by now.

        Raises:
            InputError: a stream cannot be read.
        """
        for each in self._streams:
            yield from each.poll()

    def finish(self) -> Iterator[Chunk]:
        """Gives the last lines, if they have no line end."""
        for each in self._streams:
            yield from each.finish()

    def state(self) -> None:
        """Nothing: a stream cannot be read again."""

    def restore(self, state: None) -> None:
        """Goes on from nothing."""


class _Stream:
    def __init__(self, path: str) -> None:
        self._path = path
        self.is_standard = path == STANDARD_STREAM
        self._reads: queue.Queue[bytes | OSError] = queue.Queue(_WAITING_READS)
        self._lines = WholeLines(path)
        self.has_ended = False

    def read(self) -> None:
        """Reads to the end, which is an empty read; or up to an error."""
        try:
            descriptor = _STANDARD_INPUT if self.is_standard else os.open(self._path, os.O_RDONLY)
            while data := os.read(descriptor, _READ_BYTES):
                self._reads.put(data)
            self._reads.put(b"")
        except OSError as error:
            self._reads.put(error)

    def poll(self) -> Iterator[Chunk]:
        # No more than there is now: a fast writer must not keep time from going on.
        for _ in range(self._reads.qsize()):
            data = self._reads.get()
            if isinstance(data, OSError):
                raise InputError(f"{self._path}: {files.reason(data)}") from data
            self.has_ended = not data
            yield from self._lines.take(data)

    def finish(self) -> list[Chunk]:
        return self._lines.finish()
