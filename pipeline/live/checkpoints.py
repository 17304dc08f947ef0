"""What a followed run remembers in its folder, so that it goes on after any stop.

A checkpoint is one file, which a new one replaces as a whole. It holds all that is known between
two turns, and the lines that were given since the checkpoint before. Only when it is on the disk
are they appended to the outputs. So after any stop the outputs lack at most lines that the
checkpoint holds, and what was read since will be read again: nothing is lost, nothing is written
twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.core.errors import InputError, OptionError
from pipeline.live.following import FollowingState
from pipeline.sinks.appended_lines import NotWrittenError, append, retried
from pipeline.storage import files
from pipeline.transforms.parse_events import MinuteSumsCoder
from pipeline.transforms.rolling_rows import ShardBookCoder

_FILE = "checkpoint"
_LOCK = "lock"
_FORMAT = b"unbabel_cli checkpoint 1\n"
_CHECKSUM = struct.Struct(">I")  # of all that follows
_SIZE = struct.Struct(">Q")  # of the part that follows


class Output(NamedTuple):
    """A file that lines are appended to.

    Attributes:
        size: how many bytes it has without the lines.
        lines: what is to be appended.
    """

    size: int
    lines: bytes


class Checkpoint(NamedTuple):
    """What is known between two turns, and what they gave.

    Attributes:
        state: what is known.
        outputs: by path, what the turns gave since the checkpoint before.
        summary: what is to become the summary file, once the run has ended.
    """

    state: FollowingState
    outputs: Mapping[str, Output]
    summary: bytes | None = None


class StateFolder:
    """The folder of a run; nobody else uses it as long as it is open.

    Args:
        path: the folder, which is made if it is not there.
        meaning: the options that decide what is in the outputs, by name.
        retry_seconds: how long a file that cannot be written is tried again.
    """

    def __init__(self, path: str, meaning: Mapping[str, Any], retry_seconds: int) -> None:
        self._path = path
        self._file = os.path.join(path, _FILE)
        self._meaning: dict[str, Any] = json.loads(json.dumps(meaning))
        self._retry_seconds = retry_seconds

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps the folder for this process during the body.

        Raises:
            OptionError: another run uses it.
            OutputError: it cannot be used.
        """
        with files.writing(self._path):
            os.makedirs(self._path, exist_ok=True)
            files.sync_folder(os.path.dirname(os.path.abspath(self._path)))
            descriptor = os.open(os.path.join(self._path, _LOCK), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OptionError(
                    f"--state_dir={self._path}: another run uses it: wait for its end, or name "
                    "another folder"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def read(self) -> Checkpoint | None:
        """The last checkpoint, if there is one; nothing is changed.

        Raises:
            OptionError: it is that of a run with other options.
            InputError: it is damaged.
        """
        if not os.path.lexists(self._file):
            return None
        with files.reading(self._file), open(self._file, "rb") as stream:
            data = stream.read()
        if not data.startswith(_FORMAT):
            raise InputError(f"{self._file}: is no checkpoint that this version can read")
        parts = _unpacked(data[len(_FORMAT) :])
        if parts is None:
            raise InputError(
                f"{self._file}: is damaged: begin anew with another --state_dir, and other outputs"
            )
        head, book, sums, *lines = parts
        plain = json.loads(head)
        self._check(plain["meaning"])
        state = FollowingState(
            plain["state"], ShardBookCoder().decode(book), MinuteSumsCoder().decode(sums)
        )
        outputs = {
            path: Output(size, each)
            for (path, size), each in zip(plain["outputs"], lines, strict=True)
        }
        summary = plain["summary"]
        return Checkpoint(state, outputs, None if summary is None else summary.encode())

    def _check(self, meaning: Mapping[str, Any]) -> None:
        names = {**self._meaning, **meaning}
        changed = [name for name in names if meaning.get(name) != self._meaning.get(name)]
        if changed:
            raise OptionError(
                f"--state_dir={self._path}: is of a run with another --{changed[0]}: give the same "
                "options, or name another folder"
            )

    def write(self, checkpoint: Checkpoint) -> None:
        """Puts a checkpoint in the place of the last one, and sees that it is on the disk.

        Raises:
            OutputError: it cannot be written.
        """
        state, outputs, summary = checkpoint
        plain = {
            "meaning": self._meaning,
            "state": state.plain,
            "outputs": [(path, output.size) for path, output in outputs.items()],
            "summary": None if summary is None else summary.decode(),
        }
        parts = [
            json.dumps(plain).encode(),
            ShardBookCoder().encode(state.book),
            MinuteSumsCoder().encode(state.sums),
            *(output.lines for output in outputs.values()),
        ]
        data = _packed(parts)
        retried(self._file, self._retry_seconds, lambda: _replace(self._file, data))

    def publish(self, outputs: Mapping[str, Output]) -> None:
        """Appends the lines of a checkpoint, and sees that they are on the disk.

        Raises:
            OutputError: one cannot be written.
        """
        for path, output in outputs.items():
            if output.lines:
                append(path, output.lines, self._retry_seconds, is_synced=True)
            if not output.size:
                with files.writing(path):
                    files.sync_folder(os.path.dirname(path))  # it may be a new file


def repair(outputs: Mapping[str, Output]) -> dict[str, Output]:
    """Sees what of the last checkpoint is in the outputs; gives what is still to be appended.

    An unfinished line at the end of an output is removed. Nothing is changed if one of them is not
    as the run left it.

    Raises:
        InputError: an output is gone, is shorter, or holds something else.
    """
    left: dict[str, Output] = {}
    torn: dict[str, int] = {}
    for path, (size, lines) in outputs.items():
        found = _content(path, size)
        if found is None:
            raise InputError(
                f"{path}: is gone, or shorter than this run left it: put it back, or begin anew "
                "with another --state_dir"
            )
        common = _common(found, lines)
        whole = common + found[common:].rfind(b"\n") + 1
        if common < whole and common < len(lines):
            raise InputError(
                f"{path}: has other lines than this run wrote: begin anew with another --state_dir"
            )
        if whole < len(found):
            torn[path] = size + whole
        left[path] = Output(size + whole, lines[common:])
    for path, size in torn.items():
        with files.writing(path):
            os.truncate(path, size)
    return left


def _common(one: bytes, other: bytes) -> int:
    """The number of bytes that both begin with."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    return next(at for at in range(size) if one[at] != other[at])


def _content(path: str, start: int) -> bytes | None:
    """What a file holds from a position on; None if it is shorter."""
    if not os.path.exists(path):
        return b"" if start == 0 else None
    with files.reading(path), open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size < start:
            return None
        stream.seek(start)
        return stream.read()


def _packed(parts: Sequence[bytes]) -> bytes:
    body = b"".join([_SIZE.pack(len(part)) + part for part in parts])
    return _FORMAT + _CHECKSUM.pack(zlib.crc32(body)) + body


def _unpacked(data: bytes) -> list[bytes] | None:
    """The parts; None if they are not as they were packed."""
    at = _CHECKSUM.size
    if len(data) < at or _CHECKSUM.unpack_from(data) != (zlib.crc32(memoryview(data)[at:]),):
        return None
    parts = []
    while at < len(data):
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size + size
        parts.append(data[at - size : at])
    return parts


def _replace(path: str, data: bytes) -> None:
    temporary = f"{path}.new"
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        # Or a power cut could bring the one before back, whose lines would be written twice.
        files.sync_folder(os.path.dirname(path))
    except OSError as error:
        raise NotWrittenError(error) from error
