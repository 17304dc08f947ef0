"""From chunks of lines to duration sums by minute, and to dead letters."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import coders  # noqa: F401  registers the coders of the types below
from pipeline.arrival import StampArrival
from pipeline.chunks import Chunk, ParsedLines, parse_chunk
from pipeline.durations import MinuteSums
from pipeline.events import DEFAULT_EVENT_NAME, GROUP_FIELDS, DeadLetter
from pipeline.rows import Series
from pipeline.tally import Tally
from pipeline.timeliness import MAX_SECONDS, Timeliness

_REJECTED = "rejected"
_LATE = "late"
_TALLY = "tally"


class ParsedEvents(NamedTuple):
    """What `ParseEvents` gives; `MovingAverage` takes it as it is.

    Attributes:
        sums: `tuple[Series, MinuteSums]`, the durations of a series' events by minute.
        rejected: `DeadLetter`, one for each line that is no valid event.
        late: `DeadLetter`, one for each valid event that came too late; none of a bounded input.
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
    windowing, and gives `ParsedEvents`. What a valid event is, `pipeline.events.Event` defines.

    Of unbounded lines each event is, as a whole, in the sums or late: it is late if the watermark
    at which its line comes has reached the end of the event's minute and the allowed lateness
    more. The sums are in the global window and carry the allowed lateness in their windowing, for
    `MovingAverage`, which does not lose any of them.

    Counts `lines`, `blank`, `other_events`, `accepted`, `rejected` and `late` in the namespace of
    this class; the first is the sum of the others. Nothing that a line holds raises.

    Args:
        event_name: which events are measured; others are only counted.
        group_by: the fields whose distinct values make up the series, of `GROUP_FIELDS`;
            with none there is one series, `()`.
        allowed_lateness_seconds: how long after the end of its minute, in event time, an event of
            an unbounded input may come.
        max_future_seconds: an event of an unbounded input that is further ahead of the clock on the
            wall is rejected, with an error of the type `future`.

    Raises:
        ValueError: `group_by` names another field, or one twice; a number of seconds is negative,
            or more than `pipeline.timeliness.MAX_SECONDS`.

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

    def __post_init__(self) -> None:
        check_group_by(self.group_by)
        for name in ("allowed_lateness_seconds", "max_future_seconds"):
            if not 0 <= getattr(self, name) <= MAX_SECONDS:
                raise ValueError(f"{name} takes 0 to {MAX_SECONDS}, not {getattr(self, name)}")

    def expand(self, lines: beam.PCollection) -> ParsedEvents:
        is_bounded = lines.is_bounded
        if not is_bounded:
            lines = lines | "StampArrival" >> StampArrival(self.allowed_lateness_seconds)
        parse = beam.ParDo(
            _ParseFn(
                self.event_name,
                tuple(self.group_by),
                self.allowed_lateness_seconds,
                self.max_future_seconds,
            )
        ).with_output_types(
            tuple[Series, MinuteSums],
            **{_REJECTED: DeadLetter, _LATE: DeadLetter, _TALLY: Tally},
        )
        outputs = lines | "Parse" >> parse.with_outputs(_REJECTED, _LATE, _TALLY, main="sums")
        sums = outputs.sums
        if not is_bounded:
            sums = sums | "AllowLateness" >> beam.WindowInto(
                GlobalWindows(), allowed_lateness=self.allowed_lateness_seconds
            )
        return ParsedEvents(sums, outputs[_REJECTED], outputs[_LATE], outputs[_TALLY])


def check_group_by(group_by: Iterable[str]) -> None:
    """Raises ValueError unless the fields are such that a series can be made of them, each once."""
    fields = list(group_by)
    for field in fields:
        if field not in GROUP_FIELDS:
            raise ValueError(f"group_by takes {', '.join(GROUP_FIELDS)}, not {field!r}")
        if fields.count(field) > 1:
            raise ValueError(f"group_by names {field} twice")


class _ParseFn(beam.DoFn):
    """Parses blocks in threads, while the next ones are being read; all else at once."""

    def __init__(
        self,
        event_name: str,
        group_by: tuple[str, ...],
        allowed_lateness_seconds: int,
        max_future_seconds: int,
    ) -> None:
        self._event_name = event_name
        self._group_by = group_by
        self._allowed_lateness_seconds = allowed_lateness_seconds
        self._max_future_seconds = max_future_seconds
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
        timeliness = None
        if chunk.watermark is not None:
            lateness, future = self._allowed_lateness_seconds, self._max_future_seconds
            timeliness = Timeliness(chunk.watermark, lateness, time.time(), future)
        parsed = parse_chunk(chunk, self._event_name, self._group_by, timeliness)
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
        """The outputs of the block that was begun first, as of the element that it came in."""
        element, parsed = self._parsing.popleft()
        for output in self._outputs(parsed.result()):
            if isinstance(output, TaggedOutput):
                yield TaggedOutput(output.tag, element.with_value(output.value))
            else:
                yield element.with_value(output)

    def _outputs(self, parsed: Iterable[ParsedLines]) -> Iterator[Any]:
        """The outputs of a chunk; one piece of it after the other is in memory."""
        for sums, dead_letters, late, tally in parsed:
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


def _begun(parsed: Iterator[ParsedLines]) -> Iterator[ParsedLines]:
    """Parses up to the first piece, which is all of a usual block.

    What more there is are lines that the model parses one by one: that is not done at the same time
    by several threads, as the model needs the GIL, and a thread does not run ahead of its reader.
    """
    return chain([next(parsed)], parsed)
