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
from typing import Any, BinaryIO, NamedTuple

import apache_beam as beam
import numpy as np
import zstandard
from apache_beam.metrics import Metrics

from pipeline import files, progress
from pipeline.chunks import Chunk, Origin

_logger = logging.getLogger(__name__)

BLOCK_BYTES = 16 * 2**20
MAX_LINE_BYTES = 64 * 2**20
CUT_LINE_BYTES = 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TASK_BYTES = 64 * 2**20
TASK_FILES = 500

_MIN_BLOCK_BYTES = 64 * 2**10
_TYPICAL_LINE_BYTES = 256


class Section(NamedTuple):
    """The lines of a file that start at `start` up to, not including, `stop`.

    Bytes count in the uncompressed file, and a compressed one is a single section without a
    `stop`. `source` is what dead letters call the file.
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
        if is_compressed(path):
            yield Section(path, source, 0, None), size
        else:
            for start in range(0, size, TASK_BYTES):
                stop = min(start + TASK_BYTES, size)
                yield Section(path, source, start, stop), stop - start


def read_chunks(task: ReadTask, max_lines: int | None = None) -> Iterator[Chunk]:
    """Reads the lines of a task, in chunks of about 16 MiB and at most `max_lines` lines.

    A line of more than 64 MiB is given as a chunk that is cut.

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
            decompressor = _decompressor(section.path)
            reader = _DecompressingReader(counted, decompressor) if decompressor else counted
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
    carry = b""  # the beginning of the line at `offset`
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
        first_size = len(carry) + (first_end - 1 if first_end else len(block)) - begin
        is_too_long = first_size > MAX_LINE_BYTES
        if is_too_long:
            beginning = carry + block[begin : begin + CUT_LINE_BYTES]
            yield _Block(source, offset, beginning[:CUT_LINE_BYTES], is_cut=True)
            # What is left of it, here or in the blocks to come, is skipped like a first rest.
            skipping = not first_end
        elif not block:
            if carry:
                yield _Block(source, offset, carry)
            return
        elif not first_end:
            carry += block[begin:]
            continue
        elif carry:
            yield _Block(source, offset, carry + block[begin:first_end])
        if carry or is_too_long:
            # The first line is done with: what is left of the block begins behind it.
            end = first_end or len(block)
            offset, begin, carry = offset + len(carry) + end - begin, end, b""
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
        offset, carry = offset + end - begin, block[end:]


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
            data = bytes(data) + b"\r\n"
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
    return _decompressor(path) is not None


def _decompressor(path: str) -> Callable[[], Any] | None:
    """What makes a decompressor of one stream, by the ending of a path; None for plain files."""
    return _DECOMPRESSORS.get(os.path.splitext(path)[1].lower())


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".bz2": bz2.BZ2Decompressor,
    ".zst": lambda: zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj(),
}


class _DecompressingReader:
    """Reads the uncompressed bytes of one or more compressed streams, one after the other.

    Beam's own reader takes the end of the file for the end of the data; a file that is cut off
    must be told from one that is whole, so the end of each stream is asked for.
    """

    _INPUT_BYTES = 256 * 2**10

    def __init__(self, stream: _CountingReader, new_decompressor: Callable[[], Any]) -> None:
        self._stream = stream
        self._new_decompressor = new_decompressor
        self._decompressor = new_decompressor()
        self._rest = b""

    def read(self, size: int) -> bytes:
        parts = [self._rest]
        missing = size - len(self._rest)
        while missing > 0:
            compressed = self._stream.read(self._INPUT_BYTES)
            if not compressed:
                if not self._decompressor.eof:
                    raise EOFError("the compressed data is cut off")
                break
            parts.append(self._decompress(compressed))
            missing -= len(parts[-1])
        self._rest = b""
        if missing < 0:
            parts[-1], self._rest = parts[-1][:missing], parts[-1][missing:]
        return b"".join(parts)

    def _decompress(self, compressed: bytes) -> bytes:
        output = b""
        while compressed:
            if self._decompressor.eof:
                # Zero bytes may pad a stream; what else follows is the next one.
                compressed = compressed.lstrip(b"\0")
                if not compressed:
                    break
                self._decompressor = self._new_decompressor()
            output += self._decompressor.decompress(compressed)
            compressed = self._decompressor.unused_data if self._decompressor.eof else b""
        return output


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
        self._sections = Metrics.counter(ReadChunks, "sections")

    def process(self, task: ReadTask) -> Iterator[Chunk]:
        first = task.sections[0]
        _logger.info("reading %d section(s) from %s on", len(task.sections), first.source)
        yield from read_chunks(task, self._max_lines)
        self._sections.inc(len(task.sections))
