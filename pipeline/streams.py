"""Standard streams, devices and pipes as inputs and outputs of a run in this process.

Inputs that can be read only once are first written to a file; a result that is to go to a stream
is written to a file, and copied when the run has succeeded.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from typing import BinaryIO, overload

from pipeline import files
from pipeline.errors import InputError, OptionError, OutputError
from pipeline.options import STANDARD_STREAM, check_distinct, check_not_inputs
from pipeline.reading import Input

_COPY_BYTES = 2**20
_HEED_SIGNALS_SECONDS = 0.2


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for what does not fit into memory, or is of this run alone; it goes with the run.

    Raises:
        OutputError: nothing can be written to any of the folders for temporary files.
    """
    try:
        # After an interruption a step may still be writing there.
        return tempfile.TemporaryDirectory(prefix="unbabel_cli-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(
            f"no folder for temporary files: {error.strerror}: name one with TMPDIR"
        ) from error


def spool_inputs(patterns: Iterable[str], scratch: str) -> tuple[Input, ...]:
    """The inputs of patterns, with standard input and pipes written to files in a folder.

    Raises:
        InputError: one cannot be read.
        OutputError: there is no room for one.
    """
    inputs: list[Input] = []
    for pattern in dict.fromkeys(patterns):
        if pattern == STANDARD_STREAM or _is_stream(pattern):
            path = files.join(scratch, f"input-{len(inputs)}")
            with files.writing(path), files.create(path) as spooled:
                for data in _read_stream(pattern):
                    spooled.write(data)
            inputs.append(Input(path, source=pattern))
        else:
            inputs.append(Input(pattern))
    return tuple(inputs)


def _read_stream(path: str) -> Iterator[bytes]:
    """Reads a stream to its end, as it comes."""
    if path == STANDARD_STREAM and sys.stdin is None:
        raise InputError("standard input: is closed: name a file with --input_file")
    with (
        files.reading(path),
        os.fdopen(os.dup(0), "rb") if path == STANDARD_STREAM else open(path, "rb") as stream,
    ):
        while True:
            # A signal just before a blocking call does not interrupt it: it would wait for data.
            while not select.select([stream], [], [], _HEED_SIGNALS_SECONDS)[0]:
                pass
            data = os.read(stream.fileno(), _COPY_BYTES)
            if not data:
                return
            yield data


def _is_stream(path: str) -> bool:
    """Whether a path leads to a device, pipe or socket rather than to a file or folder."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@dataclass(frozen=True)
class Destination:
    """Where a result is asked for, by which option, and the file that it is written to first.

    The two paths are the same where what is asked for is a file. `descriptor` is the number of the
    descriptor of this process that is asked for, if it is one: it is appended to, even where a file
    stands behind it.
    """

    option: str
    asked: str
    path: str
    descriptor: int | None = None

    @overload
    @classmethod
    def of(cls, option: str, asked: str, scratch: str) -> Destination: ...

    @overload
    @classmethod
    def of(cls, option: str, asked: str | None, scratch: str) -> Destination | None: ...

    @classmethod
    def of(cls, option: str, asked: str | None, scratch: str) -> Destination | None:
        """Decides where a result is to be written first; there is none that is not asked for."""
        if asked is None:
            return None
        descriptor = 1 if asked == STANDARD_STREAM else files.descriptor_of(asked)
        if descriptor is not None or _is_stream(asked):
            asked = STANDARD_STREAM if descriptor == 1 else asked
            return cls(option, asked, files.join(scratch, option), descriptor)
        return cls(option, asked, asked)

    @property
    def is_file(self) -> bool:
        """Whether what is asked for is written itself."""
        return self.path == self.asked

    def check(self) -> None:
        """Raises OutputError where it can be seen beforehand that nothing can be written."""
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
        """What tells the file, if it is one and exists, from any other."""
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
        # Opened by its path, a file behind it would be cut to nothing.
        return open(self.descriptor, "wb", buffering=0, closefd=False)


def _identity(file: str | int) -> tuple[int, int] | None:
    """What tells a file, by its path or descriptor, from any other; None if there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _copy(source: BinaryIO, target: RawIOBase) -> None:
    """Copies all there is; the target may take less at a time."""
    while data := memoryview(source.read(_COPY_BYTES)):
        while data:
            data = data[target.write(data) or 0 :]


def check_destinations(
    destinations: Sequence[Destination], patterns: Sequence[str], found: Iterable[str]
) -> None:
    """Refuses outputs that are inputs, or that would be matched by one, and outputs that collide.

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
