"""A chunk of whole lines, and what its lines hold."""

from __future__ import annotations

import codecs
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from pipeline.columnar import MAX_BLOCK_BYTES, WORTHWHILE_BYTES, sum_block
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
from pipeline.tally import Tally, first_of, keep_names
from pipeline.timeliness import Timeliness

_PIECE_BYTES = 2**22
"""About what the dead letters and names of other events of one `ParsedLines` may take."""
_LETTER_BYTES = 1024
"""What one of them takes besides its text: its objects, with one to a few errors."""


class Origin(NamedTuple):
    """From `position` in a chunk on, its bytes stand in `source` from `offset` on.

    In a source of messages, they stand there in the one that `message_id` names.
    """

    position: int
    source: str
    offset: int
    message_id: str | None = None


class Chunk(NamedTuple):
    """Bytes that hold one or more whole lines, of one source or of several.

    Lines end in LF or CR LF, the last one perhaps in nothing. `origins` ascend by position and
    begin at 0. `is_cut` marks a chunk that holds only the beginning of one line that is too long.
    `data` may be a view of the block that was read: a copy of each would take a third of the time
    that parsing it takes. `watermark` is how far event time was known to be when the chunk came, in
    seconds since 1970-01-01 UTC; None for an input that is all there.
    """

    data: bytes | memoryview
    origins: tuple[Origin, ...]
    is_cut: bool = False
    watermark: int | None = None

    @classmethod
    def of(cls, lines: str | bytes | Chunk) -> Chunk:
        """Makes a chunk of lines whose source is not known."""
        if isinstance(lines, Chunk):
            return lines
        # Lone surrogates become bytes that are not UTF-8, and the line a dead letter.
        data = lines.encode(errors="surrogatepass") if isinstance(lines, str) else lines
        return cls(data, (Origin(0, "", 0),))

    @property
    def is_block(self) -> bool:
        """Whether its lines are many enough to be worth taking all at once."""
        return not self.is_cut and WORTHWHILE_BYTES <= len(self.data) <= MAX_BLOCK_BYTES

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines without their ends, each with its position in the chunk."""
        return _lines(bytes(self.data))

    def origin(self, position: int) -> Origin:
        """Where the byte at `position` stands."""
        index = bisect_right(self.origins, position, key=attrgetter("position")) - 1
        start, source, offset, message_id = self.origins[index]
        return Origin(position, source, offset + position - start, message_id)


def _lines(data: bytes, position: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines of some bytes, which begin at a position in their chunk."""
    begin = 0
    # One after the other: a list of short lines takes thirty times as much as their bytes.
    while (end := data.find(b"\n", begin)) >= 0:
        yield position + begin, data[begin:end].removesuffix(b"\r")
        begin = end + 1
    if begin < len(data) or not begin:
        yield position + begin, data[begin:]


class ParsedLines(NamedTuple):
    """What lines of a chunk hold: each line is in the tally of one `ParsedLines`."""

    sums: list[tuple[Series, MinuteSums]]
    dead_letters: list[DeadLetter]
    late: list[DeadLetter]
    tally: Tally


def parse_chunk(
    chunk: Chunk,
    event_name: str,
    group_by: tuple[str, ...],
    timeliness: Timeliness | None = None,
) -> Iterator[ParsedLines]:
    """Sums up the events of a chunk by series and minute; `group_by` names the series' fields.

    Gives one `ParsedLines` for a chunk of usual lines. Where many lines are dead letters it gives
    several, whose sums and tallies add up: each takes a few megabytes, however many there are.

    Events that do not come in time are dead letters: late ones on a list of their own. Without a
    `timeliness` all do.
    """
    builder = _Builder(chunk, event_name, group_by, timeliness)
    if chunk.is_cut:
        builder.reject(0, _whole_characters(bytes(chunk.data)), (LINE_TOO_LONG,))
    else:
        for position, line in builder.sum_block() if chunk.is_block else chunk.lines():
            builder.parse(position, line)
            if builder.is_full:
                yield builder.take()
    builder.sum_up()
    yield builder.take()


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
    def __init__(
        self,
        chunk: Chunk,
        event_name: str,
        group_by: tuple[str, ...],
        timeliness: Timeliness | None,
    ) -> None:
        self._group_by = group_by
        self._chunk = chunk
        self._event_name = event_name
        self._timeliness = timeliness
        self._durations: dict[Series, tuple[list[int], list[int]]] = {}
        self._sums: list[tuple[Series, MinuteSums]] = []
        self._begin_piece()

    def _begin_piece(self) -> None:
        self._size = 0
        self._blank = 0
        self._accepted = 0
        self._other_events: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._dead_letters: list[DeadLetter] = []
        self._late: list[DeadLetter] = []

    @property
    def is_full(self) -> bool:
        """Whether what was parsed is to be taken before more is."""
        return self._size >= _PIECE_BYTES

    def sum_block(self) -> Iterator[tuple[int, bytes]]:
        """Takes the usual lines all at once; gives what is left, to be parsed one by one."""
        data = memoryview(self._chunk.data)
        begin = 0
        while begin < len(data):
            block = sum_block(data[begin:], self._group_by, self._is_event)
            end = begin + block.stop
            if self._are_in_time(block.sums):
                self._sums += block.sums
                self._accepted += block.accepted
                self._blank += block.blank
                starts, ends = block.unsure_starts + begin, block.unsure_ends + begin
                for start, stop in zip(starts.tolist(), ends.tolist(), strict=True):
                    yield start, bytes(data[start:stop])
            else:
                yield from _lines(bytes(data[begin:end]), begin)
            begin = end

    def _are_in_time(self, sums: Iterable[tuple[Series, MinuteSums]]) -> bool:
        """Whether it is certain that all events of a block come in time."""
        timeliness = self._timeliness
        return timeliness is None or all(timeliness.holds_for_all(each) for _, each in sums)

    def _is_event(self, line: bytes) -> bool:
        return isinstance(parse_line(line, self._event_name), Event)

    def parse(self, position: int, line: bytes) -> None:
        if not line.strip():
            self._blank += 1
            return
        parsed = parse_line(line, self._event_name)
        if isinstance(parsed, Event):
            if self._timeliness is None or self._is_in_time(
                self._timeliness, position, line, parsed
            ):
                self._accept(parsed)
        elif isinstance(parsed, OtherEvent):
            if parsed.event_name not in self._other_events:
                self._size += _LETTER_BYTES + len(parsed.event_name)
            self._other_events[parsed.event_name] += 1
        else:
            self.reject(position, line, parsed.errors)

    def _is_in_time(self, timeliness: Timeliness, position: int, line: bytes, event: Event) -> bool:
        if timeliness.is_late(event.minute):
            self._late.append(self._dead_letter(position, line, (timeliness.late_error,)))
            return False
        if timeliness.is_from_the_future(event):
            self.reject(position, line, (timeliness.future_error,))
            return False
        return True

    def _accept(self, event: Event) -> None:
        series = tuple([getattr(event, field) for field in self._group_by])
        if series not in self._durations:
            self._durations[series] = [], []
        minutes, millionths = self._durations[series]
        minutes.append(event.minute)
        millionths.append(event.duration_millionths)
        self._accepted += 1

    def reject(self, position: int, line: bytes, errors: tuple[FieldError, ...]) -> None:
        self._dead_letters.append(self._dead_letter(position, line, errors))
        reason = errors[0]
        self._rejected[f"{reason.field}: {reason.type}" if reason.field else reason.type] += 1

    def _dead_letter(
        self, position: int, line: bytes, errors: tuple[FieldError, ...]
    ) -> DeadLetter:
        _, source, offset, message_id = self._chunk.origin(position)
        letter = DeadLetter.of(source, offset, line, errors, message_id)
        self._size += _LETTER_BYTES + len(letter.line)
        return letter

    def sum_up(self) -> None:
        """Makes sums of the events that were parsed one by one."""
        self._sums += [
            (series, MinuteSums.of(minutes, millionths))
            for series, (minutes, millionths) in self._durations.items()
        ]

    def take(self) -> ParsedLines:
        """Gives what the lines since the last time hold, with the sums that there are by now."""
        names = keep_names(self._other_events)
        tally = Tally(
            self._blank,
            self._accepted,
            names,
            self._rejected,
            first_of(self._dead_letters),
            len(self._late),
            self._other_events.total() - names.total(),
        )
        taken = ParsedLines(self._sums, self._dead_letters, self._late, tally)
        self._sums = []
        self._begin_piece()
        return taken
