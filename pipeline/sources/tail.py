"""Growing files: their new content in whole lines, as `tail -F` shows it."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.core.errors import InputError
from pipeline.parsing.chunks import Chunk
from pipeline.sources.whole_lines import WholeLines
from pipeline.storage import compression, files

_logger = logging.getLogger(__name__)

_READ_BYTES = 2**22
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

    @property
    def has_ended(self) -> bool:
        """Whether nothing more can come: of files nobody knows that."""
        return False

    def state(self) -> list[dict[str, Any]]:
        """How far the files are read, at any chunk that was given: plain data for `restore`."""
        return [file.state() for file in self._files.values()]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Goes on where another process has been, instead of `look`.

        A file is the same if it holds what was read last, where it was read: under its name or,
        renamed, in its folder, or copied back. One that was truncated is read from its beginning.

        Raises:
            InputError: a file is gone, so what was not yet read of it may be lost.
        """
        self._look()
        for each in state:
            file = _found(each)
            if file is None:
                raise InputError(
                    f"{each['path']}: is gone, and may not have been read to its end: put it back, "
                    "or begin anew with another --state_dir"
                )
            file.seen_at = self._clock()
            self._files[file.identity] = file

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
                del self._files[identity]
                self._open.pop(file, None)
                yield from file.finish()

    def finish(self) -> Iterator[Chunk]:
        """Yields the last lines that have no line end, and closes the files."""
        for file in self._files.values():
            yield from file.finish()

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


def _found(state: Mapping[str, Any]) -> _File | None:
    """The file that was read before, as far as it was read; None if it is gone."""
    path, inode = state["path"], state["inode"]
    file = _File.at(path)
    is_same = file is not None and file.identity[1] == inode
    if file is not None and is_same and file.restore(state):
        return file
    for other in _paths_of_inode(os.path.dirname(path), inode):
        renamed = _File.at(other)
        if renamed is not None and renamed.restore(state):
            return renamed
    # Copied back; or truncated, which changes neither the name nor the inode.
    return file if file is not None and (file.restore(state) or is_same) else None


def _paths_of_inode(folder: str, inode: int) -> Iterator[str]:
    """The files of a folder that have an inode; a device may have another number by now."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder or ".") as entries:
        yield from (os.path.join(folder, entry.name) for entry in entries if entry.inode() == inode)


class _File:
    """A file, the position up to which it is read, and the beginning of its unfinished last line.

    It is opened when it has changed.

    Attributes:
        path: its last known path; its lines bear the path at which reading began.
        identity: what tells it from the other files that exist.
        seen_at: when a pattern last matched it.
        has_grown: whether it had new content at the last look.
    """

    def __init__(self, path: str, identity: _Identity, seen_at: float) -> None:
        self.path = path
        self.seen_at = seen_at
        self.has_grown = False
        self.identity = identity
        self._descriptor: int | None = None
        self._state: tuple[int, int] | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._offset = 0
        self._before_offset = b""
        self._lines = WholeLines(self.path)

    @classmethod
    def at(cls, path: str) -> _File | None:
        """The file at a path, if it is one that can be followed."""
        try:
            return None if _why_not(path) else cls(path, _identity(os.stat(path)), 0)
        except OSError:
            return None

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
        for path in _paths_of_inode(os.path.dirname(self.path), self.identity[1]):
            if _identity(os.lstat(path)) == self.identity:
                self.path = path

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
        if _identity(status) != self.identity or state == self._state:
            return
        descriptor = self._open()
        if status.st_size < self._offset or not self._goes_on(descriptor):
            unended = self._lines.finish()
            self._begin_anew()
            yield from unended
        while left := max(status.st_size - self._offset, 0):
            data = os.pread(descriptor, min(left, _READ_BYTES), self._offset)
            if not data:
                break
            self._offset += len(data)
            self._before_offset = (self._before_offset + data)[-_REMEMBERED_BYTES:]
            yield from self._lines.take(data)
        self._state = state
        self.has_grown = True

    def finish(self) -> Iterator[Chunk]:
        """Gives the last line, if it has no end, and closes the file."""
        self.close()
        yield from self._lines.finish()

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {
            "path": self.path,
            "inode": self.identity[1],
            "offset": self._offset,
            "before": self._before_offset.hex(),
            "lines": self._lines.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Takes the state if the file goes on from there; tells whether it does."""
        before = bytes.fromhex(state["before"])
        offset = state["offset"]
        if not before and state["inode"] != self.identity[1]:
            return False
        try:
            with open(self.path, "rb") as stream:
                stream.seek(offset - len(before))
                if stream.read(len(before)) != before:
                    return False
        except OSError:
            return False
        self._offset, self._before_offset = offset, before
        self._lines = WholeLines.restored(state["lines"])
        return True

    def _open(self) -> int:
        if self._descriptor is None:
            # Without waiting, in case a pipe has the name by now.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
            if _identity(os.fstat(descriptor)) != self.identity:
                os.close(descriptor)
                raise FileNotFoundError(0, "was renamed just now")
            self._descriptor = descriptor
        return self._descriptor

    def _goes_on(self, descriptor: int) -> bool:
        """Whether the bytes that were read last are still there."""
        size = len(self._before_offset)
        return os.pread(descriptor, size, self._offset - size) == self._before_offset
