"""A chunk of whole lines, and what its lines hold."""

from __future__ import annotations

import codecs
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.details import Detail
from pipeline.core.durations import MinuteSums
from pipeline.core.events import (
    EPOCH,
    DeadLetter,
    Event,
    FieldError,
    OtherEvent,
    parse_line,
)
from pipeline.core.rows import Series
from pipeline.core.tally import Tally, first_of, keep_names
from pipeline.core.where import EVERY_EVENT, Where
from pipeline.parsing.timeliness import Timeliness

if TYPE_CHECKING:
    from pipeline.parsing.library import Walk

WORTHWHILE_BYTES = 64 * 1024
"""Below that (250 lines) the model is fast enough, and the kernel need not be loaded."""
MAX_BLOCK_BYTES = 1 << 28

_PIECE_BYTES = 2**22
"""About what the dead letters and names of other events of one `ParsedLines` may take."""
_LETTER_BYTES = 1024
"""What one of them takes besides its text: its objects, with one to a few errors."""
_SECOND = timedelta(seconds=1)
_CLOCK_SKEW_SECONDS = 60
"""So much the clocks of machines may differ."""


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
    begin at 0. A chunk with a `fault` holds no lines, but the beginning of a text that is
    rejected for it as a whole, like a line that is too long.
    `data` may be a view of the block that was read: a copy of each would take a third of the time
    that parsing it takes. `watermark` is how far event time was known to be when the chunk came, in
    seconds since 1970-01-01 UTC; None for an input that is all there.
    """

    data: bytes | memoryview
    origins: tuple[Origin, ...]
    fault: FieldError | None = None
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
        return self.fault is None and WORTHWHILE_BYTES <= len(self.data) <= MAX_BLOCK_BYTES

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
    """What lines of a chunk hold: each line is in the tally of one `ParsedLines`.

    `latest` is the last whole second of an event, taken, filtered or late, but not in the future;
    -1 without any. Events of which nobody knows whether they are late are `unsure` and in no tally.
    """

    sums: list[tuple[Series, MinuteSums]]
    dead_letters: list[DeadLetter]
    late: list[DeadLetter]
    tally: Tally
    latest: int
    unsure: Chunk | None


def parse_chunk(
    chunk: Chunk,
    event_name: str,
    group_by: tuple[str, ...],
    timeliness: Timeliness | None = None,
    details: tuple[Detail, ...] = (),
    where: Where = EVERY_EVENT,
) -> Iterator[ParsedLines]:
    """Sums up the events of a chunk by series and minute; `group_by` names the series' fields.

    Gives one `ParsedLines` for a chunk of usual lines. Where many lines are dead letters it gives
    several, whose sums and tallies add up: each takes a few megabytes, however many there are.

    Events that do not come in time are dead letters: late ones on a list of their own. Without a
    `timeliness` all do.
    """
    builder = _Builder(chunk, event_name, group_by, timeliness, details, where)
    if chunk.fault is not None:
        builder.reject(0, _whole_characters(bytes(chunk.data)), (chunk.fault,))
    else:
        for _ in builder.parse_all():
            if builder.is_full:
                yield builder.take()
    builder.sum_up()
    yield builder.take()


@dataclass(frozen=True)
class ChunkParser:
    """What is asked of the lines of all chunks of an input; `parse_chunk` has the terms.

    Attributes:
        allowed_lateness_seconds, max_future_seconds: what makes events of an unbounded input late
            or of the future, as in `Timeliness`.
    """

    event_name: str
    group_by: tuple[str, ...]
    allowed_lateness_seconds: int
    max_future_seconds: int
    details: tuple[Detail, ...]
    where: Where

    def parse(self, chunk: Chunk, clock: float) -> Iterator[ParsedLines]:
        """Parses a chunk at a time on the wall clock, in seconds since 1970-01-01 UTC.

        If it has a watermark, events must come in time.
        """
        if chunk.watermark is None:
            return self._parse(chunk, None)
        return self._parse(chunk, self._timeliness(chunk.watermark, clock, is_bound=False))

    def parse_recent(self, chunk: Chunk, clock: float) -> Iterator[ParsedLines]:
        """The same where the watermark is not known, but never passes the wall clock."""
        bound = int(clock) + _CLOCK_SKEW_SECONDS
        return self._parse(chunk, self._timeliness(bound, clock, is_bound=True))

    def _timeliness(self, watermark: int, clock: float, *, is_bound: bool) -> Timeliness:
        lateness, future = self.allowed_lateness_seconds, self.max_future_seconds
        return Timeliness(watermark, lateness, clock, future, is_bound)

    def _parse(self, chunk: Chunk, timeliness: Timeliness | None) -> Iterator[ParsedLines]:
        asked = self.event_name, self.group_by, timeliness, self.details, self.where
        return parse_chunk(chunk, *asked)


def _whole_characters(cut: bytes) -> bytes:
    """Text without the character that the cut goes through."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(cut)
    except UnicodeDecodeError:
        return cut
    rest, _ = decoder.getstate()
    return cut[: len(cut) - len(rest)]


def _kernel() -> Walk | None:
    """The compiled kernel; imported by those who need it, as most runs on small files do not."""
    from pipeline.parsing.trust import trusted_kernel

    return trusted_kernel()


def _merged(sums: list[tuple[Series, MinuteSums]]) -> list[tuple[Series, MinuteSums]]:
    """Sums in which no series stands twice."""
    parts: dict[Series, list[MinuteSums]] = {}
    for series, each in sums:
        parts.setdefault(series, []).append(each)
    return [(series, MinuteSums.merge(each)) for series, each in parts.items()]


class _Builder:
    def __init__(
        self,
        chunk: Chunk,
        event_name: str,
        group_by: tuple[str, ...],
        timeliness: Timeliness | None,
        details: tuple[Detail, ...],
        where: Where,
    ) -> None:
        self._group_by = group_by
        self._chunk = chunk
        self._event_name = event_name
        self._timeliness = timeliness
        self._details = details
        self._where = where
        self._deliveries: dict[Series, tuple[list[int], list[int], list[int]]] = {}
        self._sums: list[tuple[Series, MinuteSums]] = []
        self._begin_piece()

    def _begin_piece(self) -> None:
        self._size = 0
        self._blank = 0
        self._accepted = 0
        self._filtered = 0
        self._latest = -1
        self._other_events: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._dead_letters: list[DeadLetter] = []
        self._late: list[DeadLetter] = []
        self._unsure: list[tuple[Origin, bytes]] = []

    @property
    def is_full(self) -> bool:
        """Whether what was parsed is to be taken before more is."""
        return self._size >= _PIECE_BYTES

    def parse_all(self) -> Iterator[None]:
        """Parses the lines; gives the caller its turn whenever something was added."""
        walk = _kernel() if self._chunk.is_block else None
        if walk is None:
            yield from self._parse_each(self._chunk.lines())
            return
        from pipeline.parsing.blocks import EVERY_MINUTE, sum_block

        data = memoryview(self._chunk.data)
        asked = self._group_by, self._event_name, walk, self._details, self._where
        minutes = EVERY_MINUTE if self._timeliness is None else self._timeliness.sure_minutes()
        for block in sum_block(data, *asked, minutes):
            self._sums += block.sums
            self._accepted += block.accepted
            self._filtered += block.filtered
            self._blank += block.blank
            self._latest = max(self._latest, block.latest)
            for name, count in block.other_events.items():
                self._count_other_events(name, count)
                yield
            unsure = ((start, bytes(data[start:stop])) for start, stop in block.unsure.tolist())
            yield from self._parse_each(unsure)

    def _parse_each(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[None]:
        for position, line in lines:
            self.parse(position, line)
            yield

    def parse(self, position: int, line: bytes) -> None:
        if not line.strip():
            self._blank += 1
            return
        parsed = parse_line(line, self._event_name)
        if isinstance(parsed, Event):
            self._judge(position, line, parsed)
        elif isinstance(parsed, OtherEvent):
            self._count_other_events(parsed.event_name, 1)
        else:
            self.reject(position, line, parsed.errors)

    def _count_other_events(self, name: str, count: int) -> None:
        if name not in self._other_events:
            self._size += _LETTER_BYTES + len(name)
        self._other_events[name] += count

    def _judge(self, position: int, line: bytes, event: Event) -> None:
        timeliness = self._timeliness
        is_from_the_future = timeliness is not None and timeliness.is_from_the_future(event)
        if not is_from_the_future:
            self._latest = max(self._latest, (event.timestamp - EPOCH) // _SECOND)
        if not self._where.takes_event(event):
            self._filtered += 1
        elif timeliness is not None and timeliness.is_late(event.minute):
            if timeliness.is_bound:
                self._leave_unsure(position, line)
                return
            self._late.append(self._dead_letter(position, line, (timeliness.late_error,)))
        elif timeliness is not None and is_from_the_future:
            self.reject(position, line, (timeliness.future_error,))
        else:
            self._accept(event)

    def _leave_unsure(self, position: int, line: bytes) -> None:
        origin = self._chunk.origin(position)
        self._unsure.append((origin, line))
        self._size += _LETTER_BYTES + len(line)

    def _unsure_chunk(self) -> Chunk | None:
        """The lines that are unsure, each at its place in its source."""
        if not self._unsure:
            return None
        starts = accumulate((len(line) + 1 for _, line in self._unsure), initial=0)
        origins = [
            origin._replace(position=start)
            for start, (origin, _) in zip(starts, self._unsure, strict=False)
        ]
        return Chunk(b"\n".join(line for _, line in self._unsure), tuple(origins))

    def _accept(self, event: Event) -> None:
        series = tuple([getattr(event, field) for field in self._group_by])
        if series not in self._deliveries:
            self._deliveries[series] = [], [], []
        minutes, millionths, words = self._deliveries[series]
        minutes.append(event.minute)
        millionths.append(event.duration_millionths)
        words.append(event.nr_words)
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
            (series, MinuteSums.of(minutes, millionths, words, self._details))
            for series, (minutes, millionths, words) in self._deliveries.items()
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
            self._filtered,
        )
        sums = _merged(self._sums)
        unsure = self._unsure_chunk()
        taken = ParsedLines(sums, self._dead_letters, self._late, tally, self._latest, unsure)
        self._sums = []
        self._begin_piece()
        return taken
