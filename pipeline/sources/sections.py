"""From files to chunks of whole lines.

A file is cut into sections at any bytes: a section has the lines that start in it. A large file has
many sections, and many small files make up one task. The lines and their offsets do not depend on
sections, tasks and blocks. A file that holds a JSON array is one section, and its elements are its
lines.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from pipeline.core.events import LINE_TOO_LONG, FieldError
from pipeline.parsing.arrays import ArrayLines
from pipeline.parsing.chunks import Chunk, Origin
from pipeline.sources import progress
from pipeline.storage import compression, files

BLOCK_BYTES = 16 * 2**20
MAX_LINE_BYTES = 64 * 2**20
CUT_LINE_BYTES = 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TASK_BYTES = 64 * 2**20
TASK_FILES = 500

ARRAY_PART_BYTES = 2**19

_BEGINNING = re.compile(rb"(%s)?[ \t\r\n]*" % BYTE_ORDER_MARK)
_MIN_BLOCK_BYTES = 64 * 2**10
_TYPICAL_LINE_BYTES = 256


class Section(NamedTuple):
    """The lines of a file that start at `start` up to, not including, `stop`.

    Bytes count in the uncompressed file. The last section has no `stop`: it ends where the file
    ends. A compressed file has one section. `source` is the name of the file in dead letters.
    """

    path: str
    source: str
    start: int
    stop: int | None


class ReadTask(NamedTuple):
    """Sections that are read one after the other."""

    sections: tuple[Section, ...]


class Input(NamedTuple):
    """A path or a glob, and its name in dead letters if that is another one."""

    pattern: str
    source: str | None = None


def find_inputs(inputs: Iterable[Input]) -> list[tuple[files.FileInfo, str]]:
    """The files of all inputs, each once, with its name in dead letters.

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
        if size > TASK_BYTES and not compression.is_compressed(path) and not _is_array(path):
            while start + TASK_BYTES < size:
                yield Section(path, source, start, start + TASK_BYTES), TASK_BYTES
                start += TASK_BYTES
        # A file of /proc has the size 0, and may have content; an empty object has none.
        if size or files.is_local(path) or compression.is_compressed(path):
            yield Section(path, source, start, None), size - start


def _is_array(path: str) -> bool:
    """Whether a file holds a JSON array: whether its first character is an opening bracket."""
    with files.reading(path), files.open_to_read(path) as stream:
        reader = compression.decompressing(stream, path)
        position = 0
        while block := reader.read(_MIN_BLOCK_BYTES):
            begin = _begin(block, position)
            if begin < len(block):
                return block[begin : begin + 1] == b"["
            position += len(block)
    return False


def _begin(block: bytes, position: int) -> int:
    """The first byte of a block that is neither white space nor the mark of a file's beginning."""
    found = _BEGINNING.match(block)
    assert found is not None, "the pattern matches anything"
    return found.end() if position == 0 or not found[1] else 0


def read_chunks(task: ReadTask, max_lines: int | None = None) -> Iterator[Chunk]:
    """Reads the lines of a task, in chunks of about 16 MiB and at most `max_lines` lines.

    A line of more than 64 MiB becomes a chunk that is cut. Memory depends neither on the size
    of a file nor on what a compressed one expands to.

    Raises:
        InputError: a file cannot be read, or a compressed one is cut off.
    """
    _keep_freed_memory()
    block_bytes = BLOCK_BYTES
    if max_lines is not None:
        block_bytes = max(_MIN_BLOCK_BYTES, min(block_bytes, max_lines * _TYPICAL_LINE_BYTES))
    for chunk in _pack(_blocks_of_sections(task.sections, block_bytes), block_bytes):
        yield from [chunk] if max_lines is None else _split(chunk, max_lines)


@functools.cache
def _keep_freed_memory() -> None:
    """Makes glibc reuse the memory of freed blocks, rather than return it to the system.

    glibc returns pieces larger than the largest that was ever freed, up to 32 MB. New pages are
    page faults, which take longer than copying a page from the page cache. (This is a hint: other C
    libraries have other rules.)
    """
    np.empty(31 * 2**20, np.uint8)


class _Block(NamedTuple):
    source: str
    offset: int
    data: bytes | memoryview
    fault: FieldError | None = None


def _blocks_of_sections(sections: Iterable[Section], block_bytes: int) -> Iterator[_Block]:
    for section in sections:
        with files.reading(section.path), files.open_to_read(section.path) as stream:
            reader = compression.decompressing(_CountingReader(stream), section.path)
            if section.start:
                stream.seek(section.start - 1)
            if section.start == 0 and section.stop is None:
                yield from _blocks_of_file(reader.read, section, block_bytes)
            else:
                yield from _blocks(reader.read, section, block_bytes)


def _blocks_of_file(
    read: Callable[[int], bytes], section: Section, block_bytes: int
) -> Iterator[_Block]:
    first = read(max(block_bytes, len(BYTE_ORDER_MARK)))
    begin = _begin(first, 0)
    is_blank = begin == len(first)
    unread = [first]

    def read_again(size: int) -> bytes:
        return unread.pop() if unread else read(size)

    if first and (_is_array(section.path) if is_blank else first[begin] == ord("[")):
        yield from _blocks_of_array(read_again, section.source, block_bytes)
    else:
        yield from _blocks(read_again, section, block_bytes)


def _blocks_of_array(
    read: Callable[[int], bytes], source: str, block_bytes: int
) -> Iterator[_Block]:
    position = 0
    while (begin := _begin(block := read(block_bytes), position)) == len(block):
        position += len(block)
    begin += 1
    lines = ArrayLines(position + begin, MAX_LINE_BYTES, CUT_LINE_BYTES)
    while block:
        for start in range(begin, len(block), ARRAY_PART_BYTES):
            part = memoryview(block)[start : start + ARRAY_PART_BYTES]
            for elements in lines.read(part):
                yield _Block(source, *elements)
        block, begin = read(block_bytes), 0
    for elements in lines.end():
        yield _Block(source, *elements)


def _blocks(read: Callable[[int], bytes], section: Section, block_bytes: int) -> Iterator[_Block]:
    """The lines that start in a section; `read` continues just before it.

    Blocks are passed on without a copy; only the line between two blocks is put together.
    """
    _, source, start, stop = section
    # The section begins with the rest of a line that belongs to the section before.
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
            yield _Block(source, offset, bytes(beginning[:CUT_LINE_BYTES]), LINE_TOO_LONG)
            # Skip the rest of it, here or in the next blocks, like the rest of a first line.
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
            # The first line is done; the rest of the block begins after it.
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
    """Puts small blocks together into chunks with complete lines; large blocks are not copied."""
    parts: list[bytes | memoryview] = []
    origins: list[Origin] = []
    size = 0
    for source, offset, data, fault in blocks:
        stands_alone = fault is not None or len(data) > block_bytes // 8
        if parts and (stands_alone or size + len(data) > block_bytes):
            yield Chunk(b"".join(parts), tuple(origins))
            parts, origins, size = [], [], 0
        if fault is None and data[-1:] != b"\n":
            # With CR LF, so that a CR at the end of the file stays in its line.
            data = b"".join((data, b"\r\n"))
        if stands_alone:
            yield Chunk(data, (Origin(0, source, offset),), fault)
        else:
            origins.append(Origin(size, source, offset))
            parts.append(data)
            size += len(data)
    if parts:
        yield Chunk(b"".join(parts), tuple(origins))


def _split(chunk: Chunk, max_lines: int) -> Iterator[Chunk]:
    if chunk.fault is not None:
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
    """Reads, and reports to the progress bar."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        progress.advance(len(data))
        return data
