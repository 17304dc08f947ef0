"""Growing files: their new content in whole lines, as `tail -F` shows it.

Nothing is kept when the process ends: a new run reads from the beginning.
"""

from __future__ import annotations

import glob
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence

from pipeline.core.errors import InputError
from pipeline.core.events import LINE_TOO_LONG
from pipeline.parsing.chunks import Chunk, Origin
from pipeline.sources.sections import (
    BYTE_ORDER_MARK,
    CUT_LINE_BYTES,
    MAX_LINE_BYTES,
)
from pipeline.storage import compression, files

_logger = logging.getLogger(__name__)

_READ_BYTES = 2**20
# By then a writer has reopened a file that was renamed.
_ROTATED_SECONDS = 10
# A process may open 256 files on macOS, and Beam's connections need some dozens.
_MAX_OPEN_FILES = 32
# Enough to recognize a line: it has a time, and usually an identifier.
_REMEMBERED_BYTES = 1024

_Identity = tuple[int, int]


class Tail:
    """The files of paths and globs, when they appear, and the lines appended to them.

    A renamed file is read to its end, and a new file of its name from its beginning. A truncated
    file is read again from its beginning, even if it has grown since: then the bytes before the
    last position have changed. An unfinished last line waits for its line end.

    A file that is not regular, is compressed or cannot be read is left out, with one warning, until
    that changes.

    Args:
        patterns: local paths and globs, which need not match anything yet.
    """

    def __init__(
        self, patterns: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patterns = patterns
        self._clock = clock
        self._files: dict[_Identity, _File] = {}
        self._left_out: dict[str, str] = {}
        # In the order of their last new content.
        self._open: dict[_File, None] = {}

    def look(self) -> list[str]:
        """Returns the paths of the existing files; warns of paths that do not exist yet.

        Raises:
            InputError: a path without a wildcard names something that cannot be followed.
        """
        for pattern in self._patterns:
            if _is_path(pattern) and (reason := _why_not(pattern)):
                raise InputError(f"{pattern}: {reason}")
            if not glob.glob(pattern, recursive=True) and not os.path.lexists(pattern):
                _logger.warning("%s: no such file yet: waiting for it", pattern)
        self._look()
        return [file.path for file in self._files.values()]

    def poll(self) -> Iterator[Chunk]:
        """Reads what is new in all files, to their ends."""
        named = self._look()
        for identity, file in list(self._files.items()):
            try:
                if identity not in named:
                    file.find_renamed()
                yield from file.read()
                self._close_quiet_files(file)
                if identity in named:
                    self._left_out.pop(file.path, None)
            except OSError as error:
                # Try again at the next look, and read the other files.
                self._leave_out(file.path, files.reason(error))
                file.close()
            if identity in named:
                file.seen_at = self._clock()
            elif self._clock() - file.seen_at >= _ROTATED_SECONDS:
                yield from file.finish()
                del self._files[identity]
                self._open.pop(file, None)

    def finish(self) -> Iterator[Chunk]:
        """Yields the last lines that have no line end, and closes the files."""
        for file in self._files.values():
            yield from file.finish()
        self._files.clear()

    def _look(self) -> set[_Identity]:
        """Adds the files that have appeared; returns the identities of those with a name."""
        named: set[_Identity] = set()
        paths = self._paths()
        for path in paths:
            if reason := _why_not(path):
                self._leave_out(path, reason)
                continue
            try:
                identity = _identity(os.stat(path))
            except OSError:
                continue  # it was renamed just now
            named.add(identity)
            file = self._files.setdefault(identity, _File(path, identity, self._clock()))
            file.path = path
        self._left_out = {path: each for path, each in self._left_out.items() if path in paths}
        return named

    def _paths(self) -> list[str]:
        paths: set[str] = set()
        for pattern in self._patterns:
            found = [pattern] if _is_path(pattern) else glob.glob(pattern, recursive=True)
            paths.update(path for path in found if not os.path.isdir(path))
        return sorted(path for path in paths if os.path.lexists(path))

    def _leave_out(self, path: str, reason: str) -> None:
        if self._left_out.get(path) != reason:
            self._left_out[path] = reason
            _logger.warning("%s: is left out for now: %s", path, reason)

    def _close_quiet_files(self, read: _File) -> None:
        """Closes the files without new content for longest, if too many are open."""
        if read.has_grown:
            self._open.pop(read, None)
            self._open[read] = None
        while len(self._open) > _MAX_OPEN_FILES:
            quiet = next(iter(self._open))
            quiet.close()
            del self._open[quiet]


def _is_path(pattern: str) -> bool:
    """Whether it is a path, not a glob: an existing path is no glob, whatever its characters."""
    return os.path.lexists(pattern) or not glob.has_magic(pattern)


def _why_not(path: str) -> str | None:
    """Why a path cannot be followed now; None if it can, or if it does not exist."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path):
            return f"this is a link to {os.readlink(path)}, which is not there"
        return None
    except OSError as error:
        return files.reason(error)
    if stat.S_ISDIR(mode):
        return f"is a folder: name its files, {os.path.join(path, '*')}"
    if not stat.S_ISREG(mode):
        return "is no regular file, and only such are followed"
    if compression.is_compressed(path):
        return "a compressed file cannot be followed: uncompress it"
    if not os.access(path, os.R_OK):
        return "cannot be read: permission denied"
    return None


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


class _File:
    """A file, the position up to which it is read, and the beginning of its unfinished last line.

    It is opened when it has changed.

    Attributes:
        path: its last known path; its lines bear the path at which reading began.
        seen_at: when a pattern last matched it.
        has_grown: whether it had new content at the last look.
    """

    def __init__(self, path: str, identity: _Identity, seen_at: float) -> None:
        self.path = path
        self.seen_at = seen_at
        self.has_grown = False
        self._identity = identity
        self._descriptor: int | None = None
        self._state: tuple[int, int] | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._source = self.path
        self._offset = 0
        self._before_offset = b""
        self._line = b""
        self._line_offset = 0
        self._skips_line = False

    @property
    def is_open(self) -> bool:
        return self._descriptor is not None

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def find_renamed(self) -> None:
        """Looks in its folder for its new name, if the file is closed."""
        if self.is_open:
            return
        _, number = self._identity
        folder = os.path.dirname(self.path) or "."
        with os.scandir(folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False) if entry.inode() == number else None
                if status is not None and _identity(status) == self._identity:
                    self.path = os.path.join(folder, entry.name)

    def read(self) -> Iterator[Chunk]:
        """Reads to the present end of the file, which may never stop growing.

        Raises:
            OSError: it cannot be read; the next call continues there.
        """
        self.has_grown = False
        try:
            status = os.stat(self.path if self._descriptor is None else self._descriptor)
        except FileNotFoundError:
            return
        state = status.st_size, status.st_mtime_ns
        if _identity(status) != self._identity or state == self._state:
            return
        descriptor = self._open()
        if status.st_size < self._offset or not self._goes_on(descriptor):
            if self._line:
                yield from self._whole_lines(self._line)
            self._begin_anew()
        while left := max(status.st_size - self._offset, 0):
            data = os.pread(descriptor, min(left, _READ_BYTES), self._offset)
            if not data:
                break
            self._offset += len(data)
            self._before_offset = (self._before_offset + data)[-_REMEMBERED_BYTES:]
            yield from self._take(data)
        self._state = state
        self.has_grown = True

    def finish(self) -> Iterator[Chunk]:
        """Gives the last line, if it has no end, and closes the file."""
        self.close()
        if self._line:
            yield from self._whole_lines(self._line)

    def _open(self) -> int:
        if self._descriptor is None:
            # Without waiting, in case a pipe has the name by now.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
            if _identity(os.fstat(descriptor)) != self._identity:
                os.close(descriptor)
                raise FileNotFoundError(0, "was renamed just now")
            self._descriptor = descriptor
        return self._descriptor

    def _goes_on(self, descriptor: int) -> bool:
        """Whether the bytes that were read last are still there."""
        size = len(self._before_offset)
        return os.pread(descriptor, size, self._offset - size) == self._before_offset

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
            yield Chunk(beginning, (Origin(0, self._source, self._line_offset),), LINE_TOO_LONG)
            self._line, self._line_offset, self._skips_line = b"", self._line_offset + size, True

    def _whole_lines(self, lines: bytes) -> Iterator[Chunk]:
        offset = self._line_offset
        self._line_offset += len(lines)
        if offset == 0 and lines.startswith(BYTE_ORDER_MARK):
            offset = len(BYTE_ORDER_MARK)
            lines = lines[offset:]
        yield Chunk(lines, (Origin(0, self._source, offset),))
