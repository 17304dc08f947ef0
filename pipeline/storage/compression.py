"""Compressed files: gzip, bzip2 and Zstandard, by the ending of their names."""

from __future__ import annotations

import bz2
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, Protocol

import zstandard

_MAX_WINDOW_BYTES = 2**31


def is_compressed(path: str) -> bool:
    """Whether a file counts as compressed, by the ending of its name."""
    return _compression(path) is not None


class Reader(Protocol):
    """A stream of bytes; an empty read is its end."""

    def read(self, size: int) -> bytes:
        """Reads at most so many bytes."""


def decompressing(stream: Reader, path: str) -> Reader:
    """Makes a reader of a file's uncompressed bytes; `stream` has its bytes as they are stored.

    Reading raises EOFError where the compressed data is cut off, and ValueError where it is of
    another kind than the path says.
    """
    compression = _compression(path)
    return stream if compression is None else _DecompressingReader(stream, compression)


def without_ending(path: str) -> str:
    """The name of a file without the ending that says how it is compressed."""
    return path if _compression(path) is None else os.path.splitext(path)[0]


def compressed(data: bytes, path: str) -> bytes:
    """Bytes as a file of this name holds them."""
    stream = io.BytesIO()
    with compressing(stream.write, path) as write:
        write(data)
    return stream.getvalue()


@contextmanager
def compressing(write: Callable[[bytes], int], path: str) -> Iterator[Callable[[bytes], int]]:
    """Yields a function that writes bytes as a file of this name holds them.

    The same bytes give the same file: there is neither a time nor a name in it.
    """
    compression = _compression(path)
    if compression is None:
        yield write
        return
    compressor = compression.compressor()

    def compress(data: bytes) -> int:
        write(compressor.compress(data))
        return len(data)

    yield compress
    write(compressor.flush())


def _compression(path: str) -> _Compression | None:
    """The compression of a file, by the ending of its name; None for a plain file."""
    return _COMPRESSIONS.get(os.path.splitext(path)[1].lower())


class _Decompressor(Protocol):
    """Decompresses one stream in steps, as `bz2.BZ2Decompressor` does.

    Attributes:
        needs_input: whether more input is needed before more output.
        eof: whether the stream has come to its end.
        unused_data: the input behind the end.
    """

    @property
    def needs_input(self) -> bool: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Takes input (only when it is needed) and returns about `max_length` bytes at most."""
        ...


class _Compressor(Protocol):
    """Compresses one stream in steps."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _GzipDecompressor:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self.needs_input = not self._inflate.unconsumed_tail and len(output) < max_length
        return output


class _ZstdDecompressor:
    """Returns all that the input expands to: four bytes of input can be a block of 128 KiB."""

    needs_input = True

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._frame.decompress(data)


class _Compression(NamedTuple):
    """How streams are compressed and decompressed, and how much input a decompressor is given.

    The bytes after the end of a stream are copied, so the input is small: a file may have many
    streams.
    """

    name: str
    compressor: Callable[[], _Compressor]
    decompressor: Callable[[], _Decompressor]
    input_bytes: int


def _zstd_compressor() -> _Compressor:
    return zstandard.ZstdCompressor().compressobj()


_COMPRESSIONS = {
    ".gz": _Compression("gzip", partial(zlib.compressobj, wbits=31), _GzipDecompressor, 16 * 2**10),
    ".bz2": _Compression("bzip2", bz2.BZ2Compressor, bz2.BZ2Decompressor, 16 * 2**10),
    # Up to 32 MiB of output; no slower than larger inputs.
    ".zst": _Compression("Zstandard", _zstd_compressor, _ZstdDecompressor, 2**10),
}


class _DecompressingReader:
    """Reads the uncompressed bytes of one or more compressed streams, one after the other.

    Beam's own reader takes the end of the file for the end of the data. This one checks the end of
    each stream, so that a file that is cut off is an error.
    """

    _READ_BYTES = 256 * 2**10

    def __init__(self, stream: Reader, compression: _Compression) -> None:
        self._stream = stream
        self._compression = compression
        self._decompressor = compression.decompressor()
        self._has_begun = False
        self._unused = b""  # the beginning of the next stream
        self._input = memoryview(b"")
        self._output = memoryview(b"")

    def read(self, size: int) -> bytes:
        parts = []
        missing = size
        while missing:
            if not self._output:
                self._output = memoryview(self._decompress(missing))
            if not self._output:
                break
            parts.append(self._output[:missing])
            self._output = self._output[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _decompress(self, max_length: int) -> bytes:
        """Returns the next bytes: at least one, unless the file is at its end."""
        output = b""
        while not output:
            if self._decompressor.eof and not self._begin_next_stream():
                break
            data = self._next_input() if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not data:
                raise EOFError("the compressed data is cut off")
            output = self._decompress_or_tell(data, max_length)
        self._has_begun = True
        return output

    def _decompress_or_tell(self, data: bytes, max_length: int) -> bytes:
        try:
            return self._decompressor.decompress(data, max_length)
        except Exception as error:  # each library raises a kind of its own
            if self._has_begun:
                raise
            name = self._compression.name
            raise ValueError(
                f"this is no {name} data, as its name says: if it is not compressed, let its name "
                "end otherwise"
            ) from error

    def _begin_next_stream(self) -> bool:
        """Skips the zero bytes that may pad a stream; returns whether another stream follows."""
        data = self._decompressor.unused_data
        while not (rest := data.lstrip(b"\0")):
            data = self._next_input()
            if not data:
                return False
        self._decompressor = self._compression.decompressor()
        self._unused = rest
        return True

    def _next_input(self) -> bytes:
        if self._unused:
            data, self._unused = self._unused, b""
            return data
        if not self._input:
            self._input = memoryview(self._stream.read(self._READ_BYTES))
        data = bytes(self._input[: self._compression.input_bytes])
        self._input = self._input[self._compression.input_bytes :]
        return data
