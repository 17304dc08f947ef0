"""Files as they grow: what is new in them, in whole lines, as `tail -F` shows it.

Nothing is remembered beyond the process: a run that is started again begins at the beginning.
"""

from __future__ import annotations

import glob
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence

from pipeline import files
from pipeline.chunks import Chunk, Origin
from pipeline.errors import InputError
from pipeline.reading import BYTE_ORDER_MARK, CUT_LINE_BYTES, MAX_LINE_BYTES, is_compressed

_logger = logging.getLogger(__name__)

_READ_BYTES = 2**20
# Who still writes to a file that was renamed has opened the new one by then.
_ROTATED_SECONDS = 10


class Follower:
    """The files of some paths and globs, whenever they appear, and what is appended to them.

    A file that is renamed is read to its end, and the new one of its name from its beginning. One
    that is truncated is read anew. The last line of a file waits for its end.

    Args:
        patterns: local paths and globs, which need not match anything yet.

    Raises:
        InputError: a pattern is no local one or a folder, or a file is compressed or cannot be
            read.
    """

    def __init__(
        self, patterns: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patterns = patterns
        self._clock = clock
        self._files: dict[tuple[int, int], _File] = {}

    def look(self) -> list[str]:
        """Opens the files that there are and gives their paths; tells of paths that have none."""
        self._look()
        for pattern in self._patterns:
            if not os.path.exists(pattern) and not glob.glob(pattern, recursive=True):
                _logger.warning("%s: no such file yet: waiting for it", pattern)
        return self._paths()

    def poll(self) -> Iterator[Chunk]:
        """Reads what is new in all files, to their ends."""
        named = self._look()
        for identity, file in list(self._files.items()):
            yield from file.read()
            if identity in named:
                file.seen_at = self._clock()
            elif self._clock() - file.seen_at >= _ROTATED_SECONDS:
                yield from file.finish()
                del self._files[identity]

    def finish(self) -> Iterator[Chunk]:
        """Gives the last lines that have no end, and closes the files."""
        for file in self._files.values():
            yield from file.finish()
        self._files.clear()

    def _look(self) -> set[tuple[int, int]]:
        """Opens the files that have appeared; gives the identities of those that have a name."""
        named = set()
        for path in self._paths():
            with files.reading(path):
                try:
                    identity = self._open(path)
                except FileNotFoundError:
                    continue  # it was renamed just now
            named.add(identity)
        return named

    def _open(self, path: str) -> tuple[int, int]:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) not in self._files:
            file = _File(path, self._clock())
            # Asked of what was opened: another may have taken the name meanwhile.
            status = file.status()
            self._files.setdefault((status.st_dev, status.st_ino), file)
        return status.st_dev, status.st_ino

    def _paths(self) -> list[str]:
        paths: set[str] = set()
        for pattern in self._patterns:
            if os.path.isdir(pattern):
                raise InputError(
                    f"{pattern}: is a folder: name its files, {os.path.join(pattern, '*')}"
                )
            found = [pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True)
            paths.update(path for path in found if not os.path.isdir(path))
        for path in paths:
            if is_compressed(path):
                raise InputError(f"{path}: a compressed file cannot be followed: uncompress it")
        return sorted(paths)


class _File:
    """An open file, and the beginning of a line that has not come to its end."""

    def __init__(self, path: str, seen_at: float) -> None:
        self.seen_at = seen_at
        self._path = path
        self._stream = open(path, "rb", buffering=0)  # noqa: SIM115  closed by finish
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._stream.seek(0)
        self._line = b""
        self._line_offset = 0
        self._skips_line = False

    def status(self) -> os.stat_result:
        return os.fstat(self._stream.fileno())

    def read(self) -> Iterator[Chunk]:
        """Reads on to where the file ends now: one that never stops growing has no other end."""
        with files.reading(self._path):
            end = self.status().st_size
            if end < self._stream.tell():
                if self._line:
                    yield from self._whole_lines(self._line)
                self._begin_anew()
            while left := end - self._stream.tell():
                data = self._stream.read(min(left, _READ_BYTES))
                if not data:
                    return
                yield from self._take(data)

    def finish(self) -> Iterator[Chunk]:
        if self._line:
            yield from self._whole_lines(self._line)
        self._stream.close()

    def _take(self, data: bytes) -> Iterator[Chunk]:
        if self._skips_line:
            end = data.find(b"\n") + 1
            self._line_offset += end or len(data)
            self._skips_line = not end
            data = data[end:] if end else b""
        lines, newline, self._line = (self._line + data).rpartition(b"\n")
        if newline:
            yield from self._whole_lines(lines + newline)
        if len(self._line) > MAX_LINE_BYTES:
            beginning, size = self._line[:CUT_LINE_BYTES], len(self._line)
            yield Chunk(beginning, (Origin(0, self._path, self._line_offset),), is_cut=True)
            self._line, self._line_offset, self._skips_line = b"", self._line_offset + size, True

    def _whole_lines(self, lines: bytes) -> Iterator[Chunk]:
        offset = self._line_offset
        self._line_offset += len(lines)
        if offset == 0 and lines.startswith(BYTE_ORDER_MARK):
            offset = len(BYTE_ORDER_MARK)
            lines = lines[offset:]
        yield Chunk(lines, (Origin(0, self._path, offset),))
