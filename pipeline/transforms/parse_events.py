"""From chunks of lines to duration sums by minute, and to dead letters."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.core.details import detail_named
from pipeline.core.durations import MinuteSums
from pipeline.core.events import DEFAULT_EVENT_NAME, GROUP_FIELDS, DeadLetter, FieldError
from pipeline.core.exact import Exact
from pipeline.core.measures import details_of, measures_named
from pipeline.core.rows import Series
from pipeline.core.tally import Tally
from pipeline.core.where import Where
from pipeline.parsing.chunks import Chunk, ChunkParser, ParsedLines
from pipeline.parsing.timeliness import MAX_SECONDS
from pipeline.transforms.arrival import StampArrival
from pipeline.transforms.coders import ColumnsCoder, JsonCoder, fields_of

_SUMS = "sums"
_REJECTED = "rejected"
_LATE = "late"
_TALLY = "tally"
_UNSURE = "unsure"


class MinuteSumsCoder(ColumnsCoder):
    """Minutes, counts, totals, and the arrays of each detail.

    Without details, and with totals of 64 bits, a length of 0 and three columns of int64.
    """

    def pack(self, value: MinuteSums) -> bytes:
        if value.details or value.totals.dtype == object:
            return super().pack(value)
        columns = (value.minutes, value.counts, value.totals)
        return bytes(4) + b"".join(column.astype("<i8", copy=False).tobytes() for column in columns)

    def unpack(self, payload: memoryview) -> MinuteSums:
        if any(payload[:4]):
            sums: MinuteSums = super().unpack(payload)
            return sums
        return MinuteSums(*np.frombuffer(payload, "<i8", offset=4).reshape(3, -1))

    def to_arrays(self, value: MinuteSums) -> tuple[Any, list[Exact]]:
        details = {each: each.arrays(column) for each, column in value.details.items()}
        head = {each.name: len(arrays) for each, arrays in details.items()}
        return head, [value.minutes, value.counts, value.totals, *chain(*details.values())]

    def of_arrays(self, head: Any, arrays: list[Exact]) -> MinuteSums:
        minutes, counts, totals, *others = arrays
        left = iter(others)
        details = {}
        for name, number in head.items():
            detail = detail_named(name)
            details[detail] = detail.of_arrays(*islice(left, number))
        return MinuteSums(minutes, counts, totals, details)


class DeadLetterCoder(JsonCoder):
    """The fields in order."""

    def to_json(self, value: DeadLetter) -> Any:
        return fields_of(value)

    def from_json(self, value: Any) -> DeadLetter:
        source, offset, line, is_base64, truncated, errors, *message_id = value
        reasons = tuple(FieldError(*error) for error in errors)
        return DeadLetter(source, offset, line, is_base64, truncated, reasons, *message_id)


class TallyCoder(JsonCoder):
    """The fields by name."""

    def to_json(self, value: Tally) -> Any:
        letters = [fields_of(letter) for letter in value.first_rejected]
        fields = {**vars(value), "first_rejected": letters}
        for name in ("unnamed", "filtered"):
            # So were tallies encoded before there were these fields.
            if not fields[name]:
                del fields[name]
        return fields

    def from_json(self, value: Any) -> Tally:
        letters = map(DeadLetterCoder().from_json, value.pop("first_rejected"))
        names, reasons = Counter(value.pop("other_events")), Counter(value.pop("rejected"))
        return Tally(**value, other_events=names, rejected=reasons, first_rejected=tuple(letters))


class ParsedEvents(NamedTuple):
    """What `ParseEvents` gives; `MovingAverage` takes it as it is.

    Attributes:
        sums: `tuple[Series, MinuteSums]`, the durations of a series' events by minute, and what
            else the measures need.
        rejected: `DeadLetter`, one for each line that is not a valid event.
        late: `DeadLetter`, one for each valid event that is too late; none for a bounded input.
        tally: `Tally`, to be added up: every line is in exactly one.
    """

    sums: beam.PCollection
    rejected: beam.PCollection
    late: beam.PCollection
    tally: beam.PCollection


@dataclass(eq=False)
class ParseEvents(beam.PTransform):
    """Parses and validates lines, and sums up the durations of each series by minute.

    Takes `str` or `bytes` (a line, with or without its end, or several) or `Chunk`s, in any
    windowing, and gives `ParsedEvents`. `pipeline.core.events.Event` defines a valid event.

    Of unbounded lines, each event is, as a whole, in the sums or late. It is late if the watermark
    on arrival has reached the end of the event's minute plus the allowed lateness. (The watermark
    may not pass the wall clock by more than a minute.) The sums are in the global window, and their
    windowing has the allowed lateness, for `MovingAverage`.

    Counts `lines`, `blank`, `other_events`, `filtered`, `accepted`, `rejected` and `late` in the
    namespace of this class; the first is the sum of the others. No content of a line raises an
    error.

    Args:
        event_name: which events are measured; others are only counted.
        group_by: the fields whose distinct values make up the series, of `GROUP_FIELDS`;
            with none there is one series, `()`.
        allowed_lateness_seconds: how long after the end of its minute, in event time, an event of
            an unbounded input may arrive.
        max_future_seconds: an event of an unbounded input that is further ahead of the wall clock
            is rejected, with an error of the type `future`.
        where: takes only events that have, in each of these fields of `GROUP_FIELDS`, one of its
            values. Others are counted as `filtered`, whether they come in time or not.
        measures: what rows will say, as in `MovingAverage`: the sums hold what these need.

    Raises:
        ValueError: `group_by` names another field, or one twice; so do `measures`; `where` names
            another field; a number of seconds is negative, or more than
            `pipeline.parsing.timeliness.MAX_SECONDS`.

    Example:
        >>> import apache_beam as beam
        >>> from pipeline import MovingAverage, ParseEvents
        >>> with beam.Pipeline() as p:
        ...     parsed = p | beam.io.ReadFromText("events.json") | ParseEvents()
        ...     _ = parsed | MovingAverage(window_minutes=10) | beam.Map(print)
        ...     _ = parsed.rejected | "Bad" >> beam.Map(print)
    """

    event_name: str = DEFAULT_EVENT_NAME
    group_by: tuple[str, ...] = ()
    allowed_lateness_seconds: int = 600
    max_future_seconds: int = 300
    measures: tuple[str, ...] = ("mean",)
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_group_by(self.group_by)
        self._where = Where.of(self.where)
        self._details = details_of(measures_named(self.measures).values())
        for name in ("allowed_lateness_seconds", "max_future_seconds"):
            if not 0 <= getattr(self, name) <= MAX_SECONDS:
                raise ValueError(f"{name} takes 0 to {MAX_SECONDS}, not {getattr(self, name)}")

    def parser(self) -> ChunkParser:
        """What it does with a chunk, without Beam."""
        return ChunkParser(
            self.event_name,
            tuple(self.group_by),
            self.allowed_lateness_seconds,
            self.max_future_seconds,
            self._details,
            self._where,
        )

    def expand(self, lines: beam.PCollection) -> ParsedEvents:
        names = (_SUMS, _REJECTED, _LATE, _TALLY)
        if lines.is_bounded:
            parsed = lines | "Parse" >> _parse(_ParseFn(self.parser()))
            return ParsedEvents(*(parsed[name] for name in names))
        # Only lines that may be late have to be brought to where the watermark is known.
        lines = lines | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
        recent = lines | "Parse" >> _parse(_ParseFn(self.parser(), is_recent=True))
        unsure = recent[_UNSURE] | "StampArrival" >> StampArrival(self.allowed_lateness_seconds)
        old = unsure | "ParseOld" >> _parse(_ParseFn(self.parser()))
        sums, *others = (
            (recent[name], old[name]) | f"Flatten{name.title()}" >> beam.Flatten() for name in names
        )
        return ParsedEvents(sums | allow_lateness(self.allowed_lateness_seconds), *others)


def allow_lateness(seconds: int) -> beam.PTransform:
    """Puts unbounded sums into the global window, for `MovingAverage`, with an allowed lateness."""
    return "AllowLateness" >> beam.WindowInto(GlobalWindows(), allowed_lateness=seconds)


def _parse(parse: _ParseFn) -> beam.PTransform:
    step = beam.ParDo(parse).with_output_types(
        tuple[Series, MinuteSums],
        **{_REJECTED: DeadLetter, _LATE: DeadLetter, _TALLY: Tally, _UNSURE: Chunk},
    )
    return step.with_outputs(_REJECTED, _LATE, _TALLY, _UNSURE, main=_SUMS)


def check_group_by(group_by: Iterable[str]) -> None:
    """Raises ValueError unless all are fields that make up a series, and each is named once."""
    names = list(group_by)
    for name in names:
        if name not in GROUP_FIELDS:
            raise ValueError(f"group_by takes {', '.join(GROUP_FIELDS)}, not {name!r}")
        if names.count(name) > 1:
            raise ValueError(f"group_by names {name} twice")


class _ParseFn(beam.DoFn):
    """Parses large chunks in threads while the next ones are read; others directly."""

    def __init__(self, parser: ChunkParser, is_recent: bool = False) -> None:
        self._parse = parser.parse_recent if is_recent else parser.parse
        self._counters = {name: Metrics.counter(ParseEvents, name) for name in Tally().counts()}
        self._late = Metrics.counter(ParseEvents, _LATE)

    def setup(self) -> None:
        self._workers = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(self._workers)

    def start_bundle(self) -> None:
        self._parsing: deque[tuple[WindowedValue, Future[Iterator[ParsedLines]]]] = deque()

    def process(
        self,
        lines: str | bytes | Chunk,
        element: WindowedValue = beam.DoFn.WindowedValueParam,
    ) -> Iterator[Any]:
        chunk = Chunk.of(lines)
        parsed = self._parse(chunk, time.time())
        if not chunk.is_block:
            yield from self._outputs(parsed)
            return
        while len(self._parsing) >= self._workers:
            yield from self._next_outputs()
        self._parsing.append((element.with_value(None), self._threads.submit(_begun, parsed)))

    def finish_bundle(self) -> Iterator[Any]:
        while self._parsing:
            yield from self._next_outputs()

    def teardown(self) -> None:
        self._threads.shutdown()

    def _next_outputs(self) -> Iterator[Any]:
        """The outputs of the oldest block, with the timestamp and window of its element."""
        element, parsed = self._parsing.popleft()
        for output in self._outputs(parsed.result()):
            if isinstance(output, TaggedOutput):
                yield TaggedOutput(output.tag, element.with_value(output.value))
            else:
                yield element.with_value(output)

    def _outputs(self, parsed: Iterable[ParsedLines]) -> Iterator[Any]:
        """The outputs of a chunk; one piece of it after the other is in memory."""
        for sums, dead_letters, late, tally, _, unsure in parsed:
            for name, count in tally.counts().items():
                self._counters[name].inc(count)
            if tally.late:
                self._late.inc(tally.late)
            yield from sums
            for dead_letter in dead_letters:
                yield TaggedOutput(_REJECTED, dead_letter)
            for dead_letter in late:
                yield TaggedOutput(_LATE, dead_letter)
            yield TaggedOutput(_TALLY, tally)
            if unsure is not None:
                yield TaggedOutput(_UNSURE, unsure)


def _begun(parsed: Iterator[ParsedLines]) -> Iterator[ParsedLines]:
    """Parses up to the first piece, which is all of a usual block.

    The rest are lines that the model parses one by one. Threads do not do that: the model needs the
    GIL, and a thread must not run ahead of its reader.
    """
    return chain([next(parsed)], parsed)
