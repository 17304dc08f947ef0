"""A chunk of whole lines, and what its lines hold."""

from __future__ import annotations

import codecs
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from pipeline.columnar import MAX_BLOCK_BYTES, WORTHWHILE_BYTES, BlockSums, sum_block
from pipeline.durations import MinuteSums
from pipeline.events import (
    LINE_TOO_LONG,
    DeadLetter,
    Event,
    FieldError,
    OtherEvent,
    parse_line,
)
from pipeline.rows import Series
from pipeline.tally import Tally, first_of

_MIN_PART_BYTES = 2**21


class Origin(NamedTuple):
    """From `position` in a chunk on, its bytes stand in `source` from `offset` on."""

    position: int
    source: str
    offset: int


class Chunk(NamedTuple):
    """Bytes that hold one or more whole lines, of one source or of several.

    Lines end in LF or CR LF, the last one perhaps in nothing. `origins` ascend by position and
    begin at 0. `is_cut` marks a chunk that holds only the beginning of one line that is too long.
    """

    data: bytes
    origins: tuple[Origin, ...]
    is_cut: bool = False

    @classmethod
    def of(cls, lines: str | bytes | Chunk) -> Chunk:
        """Makes a chunk of lines whose source is not known."""
        if isinstance(lines, Chunk):
            return lines
        # Lone surrogates become bytes that are not UTF-8, and the line a dead letter.
        data = lines.encode(errors="surrogatepass") if isinstance(lines, str) else lines
        return cls(data, (Origin(0, "", 0),))

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines without their ends, each with its position in the chunk."""
        position = 0
        pieces = self.data.split(b"\n")
        last = pieces.pop()
        for piece in pieces:
            yield position, piece[:-1] if piece.endswith(b"\r") else piece
            position += len(piece) + 1
        if last or not pieces:
            yield position, last

    def place(self, position: int) -> tuple[str, int]:
        """The source of the byte at `position`, and its offset there."""
        index = bisect_right(self.origins, position, key=attrgetter("position")) - 1
        start, source, offset = self.origins[index]
        return source, offset + position - start


class ParsedChunk(NamedTuple):
    """What the lines of a chunk hold: every line is in the tally."""

    sums: list[tuple[Series, MinuteSums]]
    dead_letters: list[DeadLetter]
    tally: Tally


def parse_chunk(chunk: Chunk, event_name: str, group_by: tuple[str, ...]) -> ParsedChunk:
    """Sums up the events of a chunk by series and minute; `group_by` names the series' fields."""
    builder = _Builder(chunk, event_name, group_by)
    if chunk.is_cut:
        builder.reject(0, _whole_characters(chunk.data), (LINE_TOO_LONG,))
    elif not WORTHWHILE_BYTES <= len(chunk.data) <= MAX_BLOCK_BYTES:
        for position, line in chunk.lines():
            builder.parse(position, line)
    else:
        _parse_in_parts(chunk, event_name, builder)
    return builder.build()


def _parse_in_parts(chunk: Chunk, event_name: str, builder: _Builder) -> None:
    """Takes the usual lines in blocks, one per processor, and parses what is left one by one."""

    def is_event(line: bytes) -> bool:
        return isinstance(parse_line(line, event_name), Event)

    def sum_part(bounds: tuple[int, int]) -> BlockSums:
        return sum_block(memoryview(chunk.data)[slice(*bounds)], builder.group_by, is_event)

    parts = _parts(chunk.data)
    with ThreadPoolExecutor(len(parts)) as threads:
        blocks = threads.map(sum_part, parts)
    for (start, _), block in zip(parts, blocks, strict=True):
        builder.add(block)
        unsure = zip(block.unsure_starts.tolist(), block.unsure_ends.tolist(), strict=True)
        for line_start, line_end in unsure:
            position = start + line_start
            builder.parse(position, chunk.data[position : start + line_end])


def _parts(data: bytes) -> list[tuple[int, int]]:
    """Cuts whole lines into parts of whole lines, about one per processor and none too small."""
    number = max(1, min(os.cpu_count() or 1, len(data) // _MIN_PART_BYTES))
    cuts = [data.find(b"\n", len(data) * i // number) + 1 or len(data) for i in range(1, number)]
    bounds = sorted({0, *cuts, len(data)})
    return list(pairwise(bounds))


def _whole_characters(cut: bytes) -> bytes:
    """Text without the character that the cut goes through."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(cut)
    except UnicodeDecodeError:
        return cut
    rest, _ = decoder.getstate()
    return cut[: len(cut) - len(rest)]


class _Builder:
    def __init__(self, chunk: Chunk, event_name: str, group_by: tuple[str, ...]) -> None:
        self.group_by = group_by
        self._chunk = chunk
        self._event_name = event_name
        self._blank = 0
        self._accepted = 0
        self._other_events: Counter[str] = Counter()
        self._sums: list[tuple[Series, MinuteSums]] = []
        self._durations: dict[Series, tuple[list[int], list[int]]] = {}
        self._rejected: Counter[str] = Counter()
        self._dead_letters: list[DeadLetter] = []

    def add(self, block: BlockSums) -> None:
        self._sums += block.sums
        self._accepted += block.accepted

    def parse(self, position: int, line: bytes) -> None:
        if not line.strip():
            self._blank += 1
            return
        parsed = parse_line(line, self._event_name)
        if isinstance(parsed, Event):
            self._accept(parsed)
        elif isinstance(parsed, OtherEvent):
            self._other_events[parsed.event_name] += 1
        else:
            self.reject(position, line, parsed.errors)

    def _accept(self, event: Event) -> None:
        series = tuple(getattr(event, field) for field in self.group_by)
        minutes, millionths = self._durations.setdefault(series, ([], []))
        minutes.append(event.minute)
        millionths.append(event.duration_millionths)
        self._accepted += 1

    def reject(self, position: int, line: bytes, errors: tuple[FieldError, ...]) -> None:
        source, offset = self._chunk.place(position)
        self._dead_letters.append(DeadLetter.of(source, offset, line, errors))
        reason = errors[0]
        self._rejected[f"{reason.field}: {reason.type}" if reason.field else reason.type] += 1

    def build(self) -> ParsedChunk:
        sums = self._sums + [
            (series, MinuteSums.of(minutes, millionths))
            for series, (minutes, millionths) in self._durations.items()
        ]
        tally = Tally(
            self._blank,
            self._accepted,
            self._other_events,
            self._rejected,
            first_of(self._dead_letters),
        )
        return ParsedChunk(sums, self._dead_letters, tally)
