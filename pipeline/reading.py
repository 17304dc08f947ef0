"""From files to chunks of whole lines.

A file is cut into sections at bytes that need not be line ends: the lines that start in a section
are its own. Large files give many sections, and many small files make up one task. Whatever the
sections, tasks and blocks are, the lines and their offsets are the same.
"""

from __future__ import annotations

import bz2
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

import apache_beam as beam
import numpy as np
import zstandard

from pipeline import files, progress
from pipeline.chunks import Chunk, Origin

_logger = logging.getLogger(__name__)

BLOCK_BYTES = 16 * 2**20
MAX_LINE_BYTES = 64 * 2**20
CUT_LINE_BYTES = 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TASK_BYTES = 64 * 2**20
TASK_FILES = 500

_MAX_WINDOW_BYTES = 2**31
_MIN_BLOCK_BYTES = 64 * 2**10
_TYPICAL_LINE_BYTES = 256


class Section(NamedTuple):
    """The lines of a file that start at `start` up to, not including, `stop`.

    Bytes count in the uncompressed file. The last section has no `stop`, but goes on to the end of
    the file, whatever its size was said to be; a compressed file has no other. `source` is what
    dead letters call the file.
    """

    path: str
    source: str
    start: int
    stop: int | None


class ReadTask(NamedTuple):
    """Sections that are read one after the other."""

    sections: tuple[Section, ...]


class Input(NamedTuple):
    """A path or a glob, and another name for it in dead letters where it needs one."""

    pattern: str
    source: str | None = None


def find_inputs(inputs: Iterable[Input]) -> list[tuple[files.FileInfo, str]]:
    """The files of all inputs, each once, with what dead letters call it.

    Raises:
        InputError: an input names no file, or a folder.
    """
    found: dict[str, tuple[files.FileInfo, str]] = {}
    for pattern, source in inputs:
        for info in files.find(pattern):
            found.setdefault(files.identity(info.path), (info, source or info.path))
    return list(found.values())


def plan_tasks(found: Iterable[tuple[files.FileInfo, str]]) -> Iterator[ReadTask]:
    """Cuts large files into sections, and packs small ones together, about evenly by bytes."""
    sections: list[Section] = []
    task_bytes = 0
    for section, size in _sections(found):
        if sections and (task_bytes + size > TASK_BYTES or len(sections) == TASK_FILES):
            yield ReadTask(tuple(sections))
            sections, task_bytes = [], 0
        sections.append(section)
        task_bytes += size
    if sections:
        yield ReadTask(tuple(sections))


def _sections(found: Iterable[tuple[files.FileInfo, str]]) -> Iterator[tuple[Section, int]]:
    for (path, size), source in found:
        start = 0
        if not is_compressed(path):
            while start + TASK_BYTES < size:
                yield Section(path, source, start, start + TASK_BYTES), TASK_BYTES
                start += TASK_BYTES
        # What the system makes up as it is read (/proc) has the size 0; an object has its own.
        if size or files.is_local(path) or is_compressed(path):
            yield Section(path, source, start, None), size - start


def read_chunks(task: ReadTask, max_lines: int | None = None) -> Iterator[Chunk]:
    """Reads the lines of a task, in chunks of about 16 MiB and at most `max_lines` lines.

    A line of more than 64 MiB is given as a chunk that is cut. Memory depends neither on the size
    of a file nor on what a compressed one expands to.

    Raises:
        InputError: a file cannot be read, or a compressed one is cut off.
    """
    block_bytes = BLOCK_BYTES
    if max_lines is not None:
        block_bytes = max(_MIN_BLOCK_BYTES, min(block_bytes, max_lines * _TYPICAL_LINE_BYTES))
    for chunk in _pack(_blocks_of_sections(task.sections, block_bytes), block_bytes):
        yield from [chunk] if max_lines is None else _split(chunk, max_lines)


class _Block(NamedTuple):
    source: str
    offset: int
    data: bytes | memoryview
    is_cut: bool = False


def _blocks_of_sections(sections: Iterable[Section], block_bytes: int) -> Iterator[_Block]:
    for section in sections:
        with files.reading(section.path), files.open_to_read(section.path) as stream:
            counted = _CountingReader(stream)
            compression = _compression(section.path)
            reader = _DecompressingReader(counted, compression) if compression else counted
            if section.start:
                stream.seek(section.start - 1)
            yield from _blocks(reader.read, section, block_bytes)


def _blocks(read: Callable[[int], bytes], section: Section, block_bytes: int) -> Iterator[_Block]:
    """The lines that start in a section, which `read` stands in front of.

    What `read` gives is handed on as it is; only the line between two blocks is put together.
    """
    _, source, start, stop = section
    # Before the first whole line stands the rest of one that belongs to the section before.
    skipping = start > 0
    offset = max(start - 1, 0)
    carry = bytearray()  # the beginning of the line at `offset`
    while True:
        beyond = offset + len(carry)
        left = block_bytes if stop is None else max(stop - beyond, _MIN_BLOCK_BYTES)
        block = read(max(min(block_bytes, left), len(BYTE_ORDER_MARK)))
        begin = 0
        if skipping:
            begin = block.find(b"\n") + 1
            offset += begin or len(block)
            if not block or (stop is not None and offset >= stop):
                return
            if not begin:
                continue
            skipping = False
        elif offset == 0 and not carry and block.startswith(BYTE_ORDER_MARK):
            offset = begin = len(BYTE_ORDER_MARK)

        first_end = block.find(b"\n", begin) + 1
        begun = len(carry)
        first_size = begun + (first_end - 1 if first_end else len(block)) - begin
        is_too_long = first_size > MAX_LINE_BYTES
        if is_too_long:
            beginning = carry[:CUT_LINE_BYTES] + block[begin : begin + CUT_LINE_BYTES]
            yield _Block(source, offset, bytes(beginning[:CUT_LINE_BYTES]), is_cut=True)
            # What is left of it, here or in the blocks to come, is skipped like a first rest.
            skipping = not first_end
        elif not block:
            if carry:
                yield _Block(source, offset, memoryview(carry))
            return
        elif not first_end:
            carry += memoryview(block)[begin:]
            continue
        elif carry:
            carry += memoryview(block)[begin:first_end]
            yield _Block(source, offset, memoryview(carry))
        if begun or is_too_long:
            # The first line is done with: what is left of the block begins behind it.
            end = first_end or len(block)
            offset, begin, carry = offset + begun + end - begin, end, bytearray()
            if stop is not None and offset >= stop:
                return

        if stop is not None and offset + len(block) - begin >= stop:
            # The last line is the one that holds the byte before `stop`.
            end = block.find(b"\n", begin + max(stop - 1 - offset, 0)) + 1
            if end:
                yield _Block(source, offset, memoryview(block)[begin:end])
                return
        end = block.rfind(b"\n", begin) + 1 or begin
        if end > begin:
            yield _Block(source, offset, memoryview(block)[begin:end])
        offset, carry = offset + end - begin, bytearray(memoryview(block)[end:])


def _pack(blocks: Iterable[_Block], block_bytes: int) -> Iterator[Chunk]:
    """Puts small blocks together into chunks, each line ended; large ones need not be copied."""
    parts: list[bytes | memoryview] = []
    origins: list[Origin] = []
    size = 0
    for source, offset, data, is_cut in blocks:
        stands_alone = is_cut or len(data) > block_bytes // 8
        if parts and (stands_alone or size + len(data) > block_bytes):
            yield Chunk(b"".join(parts), tuple(origins))
            parts, origins, size = [], [], 0
        if not is_cut and data[-1:] != b"\n":
            # With CR LF, so that a CR which the file ends in stays in its line.
            data = b"".join((data, b"\r\n"))
        if stands_alone:
            yield Chunk(data, (Origin(0, source, offset),), is_cut)
        else:
            origins.append(Origin(size, source, offset))
            parts.append(data)
            size += len(data)
    if parts:
        yield Chunk(b"".join(parts), tuple(origins))


def _split(chunk: Chunk, max_lines: int) -> Iterator[Chunk]:
    if chunk.is_cut:
        yield chunk
        return
    ends = np.flatnonzero(np.frombuffer(chunk.data, np.uint8) == ord("\n")) + 1
    cuts = ends[max_lines - 1 :: max_lines].tolist()
    if not cuts or cuts[-1] < len(chunk.data):
        cuts.append(len(chunk.data))
    start = 0
    for end in cuts:
        inside = [
            origin._replace(position=origin.position - start)
            for origin in chunk.origins
            if start < origin.position < end
        ]
        first = chunk.origin(start)._replace(position=0)
        yield Chunk(chunk.data[start:end], (first, *inside))
        start = end


class _CountingReader:
    """Reads, and tells the progress bar about it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        progress.advance(len(data))
        return data


def is_compressed(path: str) -> bool:
    """Whether a file is taken for a compressed one, by its ending."""
    return _compression(path) is not None


def _compression(path: str) -> _Compression | None:
    """How a file is compressed, by the ending of its path; None for plain files."""
    return _COMPRESSIONS.get(os.path.splitext(path)[1].lower())


class _Decompressor(Protocol):
    """Decompresses one stream in steps, as `bz2.BZ2Decompressor` does.

    Attributes:
        needs_input: whether there is nothing more to give without more input.
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
        """Takes some input (none unless it is needed) and gives about so many bytes at most."""
        ...


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
    """Gives all that its input expands to: four bytes of it can be a block of 128 KiB."""

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
    """How streams are decompressed, and how much input is given to a decompressor at a time.

    What lies behind the end of a stream is copied: a file of many small ones takes small inputs.
    """

    name: str
    decompressor: Callable[[], _Decompressor]
    input_bytes: int


_COMPRESSIONS = {
    ".gz": _Compression("gzip", _GzipDecompressor, 16 * 2**10),
    ".bz2": _Compression("bzip2", bz2.BZ2Decompressor, 16 * 2**10),
    # Up to 32 MiB of output; no slower than larger inputs.
    ".zst": _Compression("Zstandard", _ZstdDecompressor, 2**10),
}


class _DecompressingReader:
    """Reads the uncompressed bytes of one or more compressed streams, one after the other.

    Beam's own reader takes the end of the file for the end of the data; a file that is cut off
    must be told from one that is whole, so the end of each stream is asked for.
    """

    _READ_BYTES = 256 * 2**10

    def __init__(self, stream: _CountingReader, compression: _Compression) -> None:
        self._stream = stream
        self._compression = compression
        self._decompressor = compression.decompressor()
        self._has_begun = False
        self._unused = b""  # the beginning of a stream, behind the end of the one before
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
        """Gives what comes next, at least one byte unless the file has come to its end."""
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
        except Exception as error:  # each library has a kind of its own
            if self._has_begun:
                raise
            name = self._compression.name
            raise ValueError(
                f"this is no {name} data, as its name says: if it is not compressed, let its name "
                "end otherwise"
            ) from error

    def _begin_next_stream(self) -> bool:
        """Skips the zero bytes that may pad a stream; whether another one follows."""
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


class FindInputs(beam.PTransform):
    """The read tasks of the inputs that are its elements (`tuple[Input, ...]`).

    Inputs are looked up where the pipeline runs, not where it is submitted. A pattern that matches
    nothing fails the run.
    """

    def expand(self, inputs: beam.PCollection) -> beam.PCollection:
        return (
            inputs
            | "Find"
            >> beam.FlatMap(lambda each: plan_tasks(find_inputs(each))).with_output_types(ReadTask)
            | "Spread" >> beam.Reshuffle()
        )


class ReadChunks(beam.PTransform):
    """Reads `ReadTask`s; gives `Chunk`s of whole lines that know where each line came from.

    Args:
        max_lines: at most so many lines a chunk; None leaves it to their size.

    Raises:
        InputError: a file cannot be read, or a compressed one is cut off (when the pipeline runs).
    """

    def __init__(self, max_lines: int | None = None) -> None:
        super().__init__()
        self._max_lines = max_lines

    def expand(self, tasks: beam.PCollection) -> beam.PCollection:
        return tasks | "Read" >> beam.ParDo(_ReadFn(self._max_lines)).with_output_types(Chunk)


class _ReadFn(beam.DoFn):
    def __init__(self, max_lines: int | None) -> None:
        self._max_lines = max_lines

    def process(self, task: ReadTask) -> Iterator[Chunk]:
        first = task.sections[0]
        _logger.info("reading %d section(s) from %s on", len(task.sections), first.source)
        yield from read_chunks(task, self._max_lines)
