"""Files, streams, devices and pipes of this machine as places for the outputs of a run."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import RawIOBase
from typing import BinaryIO

from pipeline.core.errors import OptionError, OutputError
from pipeline.storage import files
from pipeline.storage.compression import without_ending
from pipeline.storage.files import STANDARD_STREAM

_COPY_BYTES = 2**20


@dataclass(frozen=True)
class Destination:
    """The place that an option names for a result, and the file that is written first.

    Attributes:
        option: the option.
        asked: the place.
        path: the file that is written first; the same as `asked` if that is a file.
        descriptor: the descriptor of this process that `asked` names, if it names one. It is
            appended to, even if a file is behind it.
    """

    option: str
    asked: str
    path: str
    descriptor: int | None = None

    @classmethod
    def of(cls, option: str, asked: str, scratch: str) -> Destination:
        """Decides where a result is written first: for a stream, in the folder `scratch`."""
        descriptor = 1 if asked == STANDARD_STREAM else files.descriptor_of(asked)
        if descriptor is not None or files.is_stream(asked):
            asked = STANDARD_STREAM if descriptor == 1 else asked
            ending = asked.removeprefix(without_ending(asked))
            return cls(option, asked, files.join(scratch, option + ending), descriptor)
        return cls(option, asked, asked)

    @property
    def is_file(self) -> bool:
        """Whether the place is a file, which is written directly."""
        return self.path == self.asked

    def check(self) -> None:
        """Raises OutputError if it is known in advance that the place cannot be written."""
        if self.descriptor is not None:
            self._check_descriptor(self.descriptor)
        if not self.is_file or not files.is_local(self.asked):
            return
        folder = os.path.dirname(os.path.realpath(self.asked))
        if os.path.isdir(self.asked) or self.asked.endswith(os.sep):
            raise OutputError(f"{self.asked}: is a folder, and --{self.option} takes a file")
        if not os.path.isdir(folder):
            raise OutputError(f"{self.asked}: there is no folder {folder}")
        if not os.access(folder, os.W_OK):
            raise OutputError(f"{self.asked}: cannot be written: permission denied")

    def _check_descriptor(self, descriptor: int) -> None:
        name = "standard output" if self.asked == STANDARD_STREAM else self.asked
        try:
            mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        except OSError:
            mode = None
        if mode is None or (descriptor == 1 and sys.stdout is None):
            raise OutputError(f"{name}: is closed: name a file with --{self.option}")
        if mode == os.O_RDONLY:
            raise OutputError(f"{name}: is open for reading only")

    def identity(self) -> tuple[int, int] | None:
        """The device and inode of the file, if it is one and exists."""
        return _identity(self.asked if self.descriptor is None else self.descriptor)

    def copy(self, path: str) -> None:
        """Copies a file to the stream that was asked for.

        Raises:
            OutputError: it cannot be written.
            BrokenPipeError: its reader has gone.
        """
        with files.writing(self.asked), open(path, "rb") as source, self._opened() as stream:
            _copy(source, stream)

    def _opened(self) -> RawIOBase:
        if self.descriptor is None:
            return open(self.asked, "wb", buffering=0)
        # Opening it by its path would truncate a file behind it.
        return open(self.descriptor, "wb", buffering=0, closefd=False)


def _identity(file: str | int) -> tuple[int, int] | None:
    """The device and inode of a file, by its path or descriptor; None if there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _copy(source: BinaryIO, target: RawIOBase) -> None:
    """Copies everything; the target may take less than all at a time."""
    while data := memoryview(source.read(_COPY_BYTES)):
        while data:
            data = data[target.write(data) or 0 :]


def check_destinations(
    destinations: Sequence[Destination], patterns: Sequence[str], found: Iterable[str]
) -> None:
    """Refuses outputs that are inputs or match a pattern of them, and outputs that collide.

    Raises:
        OptionError, OutputError: an output cannot be what it is asked to be.
    """
    inputs = {
        (status.st_dev, status.st_ino) for status in map(os.stat, filter(files.is_local, found))
    }
    if STANDARD_STREAM in patterns:
        status = os.fstat(0)
        inputs.add((status.st_dev, status.st_ino))
    streams = {each.identity(): each.asked for each in destinations if not each.is_file}
    streams[_identity(2)] = "standard error"
    for each in destinations:
        each.check()
        identity = each.identity()
        if identity in inputs:
            raise OptionError(f"--{each.option}={each.asked} is one of the inputs")
        if each.is_file and identity is not None and identity in streams:
            raise OptionError(
                f"--{each.option}={each.asked} is the file behind {streams[identity]}, which would "
                "be lost: name another one"
            )
    check_not_inputs(((each.option, each.asked) for each in destinations if each.is_file), patterns)
    check_distinct((each.option, each.asked) for each in destinations)


def check_not_inputs(outputs: Iterable[tuple[str, str]], patterns: Sequence[str]) -> None:
    """Refuses outputs that are or match an input, by their paths alone.

    Args:
        outputs: files, each after the option that names it.
        patterns: the paths and globs of the inputs.

    Raises:
        OptionError: one is.
    """
    for name, path in outputs:
        if any(files.names(pattern, path) for pattern in patterns if pattern != STANDARD_STREAM):
            raise OptionError(f"--{name}={path} is one of the inputs")


def check_distinct(outputs: Iterable[tuple[str, str]]) -> None:
    """Refuses outputs that are the same file, by their paths alone.

    Raises:
        OptionError: two are.
    """
    taken: dict[str, str] = {}
    for name, path in outputs:
        identity = path if path == STANDARD_STREAM else files.identity(path)
        same = taken.setdefault(identity, name)
        if same != name:
            raise OptionError(f"--{name} and --{same} are both {path}")
