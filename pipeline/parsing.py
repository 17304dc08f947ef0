"""From chunks of lines to duration sums by minute, and to dead letters."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import coders  # noqa: F401  registers the coders of the types below
from pipeline.chunks import Chunk, ParsedChunk, parse_chunk
from pipeline.durations import MinuteSums
from pipeline.events import DEFAULT_EVENT_NAME, GROUP_FIELDS, DeadLetter
from pipeline.rows import Series
from pipeline.tally import Tally

_REJECTED = "rejected"
_TALLY = "tally"


class ParsedEvents(NamedTuple):
    """What `ParseEvents` gives; `MovingAverage` takes it as it is.

    Attributes:
        sums: `tuple[Series, MinuteSums]`, the durations of a series' events by minute.
        rejected: `DeadLetter`, one for each line that is no valid event.
        tally: `Tally`, to be added up: every line is in exactly one.
    """

    sums: beam.PCollection
    rejected: beam.PCollection
    tally: beam.PCollection


@dataclass(eq=False)
class ParseEvents(beam.PTransform):
    """Parses and validates lines, and sums up the durations of each series by minute.

    Takes `str` or `bytes` (a line, with or without its end, or several) or `Chunk`s, in any
    windowing, and gives `ParsedEvents`. What a valid event is, `pipeline.events.Event` defines.

    Counts `lines`, `blank`, `other_events`, `accepted` and `rejected` in the namespace of this
    class; the first is the sum of the others. Nothing that a line holds raises.

    Args:
        event_name: which events are measured; others are only counted.
        group_by: the fields whose distinct values make up the series, of `GROUP_FIELDS`;
            with none there is one series, `()`.

    Raises:
        ValueError: `group_by` names another field, or one twice.

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

    def __post_init__(self) -> None:
        check_group_by(self.group_by)

    def expand(self, lines: beam.PCollection) -> ParsedEvents:
        parse = beam.ParDo(_ParseFn(self.event_name, tuple(self.group_by))).with_output_types(
            tuple[Series, MinuteSums], **{_REJECTED: DeadLetter, _TALLY: Tally}
        )
        outputs = lines | "Parse" >> parse.with_outputs(_REJECTED, _TALLY, main="sums")
        return ParsedEvents(outputs.sums, outputs[_REJECTED], outputs[_TALLY])


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

    def __init__(self, event_name: str, group_by: tuple[str, ...]) -> None:
        self._event_name = event_name
        self._group_by = group_by
        self._counters = {name: Metrics.counter(ParseEvents, name) for name in Tally().counts()}

    def setup(self) -> None:
        self._workers = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(self._workers)

    def start_bundle(self) -> None:
        self._parsing: deque[tuple[WindowedValue, Future[ParsedChunk]]] = deque()

    def process(
        self,
        lines: str | bytes | Chunk,
        element: WindowedValue = beam.DoFn.WindowedValueParam,
    ) -> Iterator[Any]:
        chunk = Chunk.of(lines)
        if not chunk.is_block:
            yield from self._outputs(parse_chunk(chunk, self._event_name, self._group_by))
            return
        while len(self._parsing) >= self._workers:
            yield from self._next_outputs()
        parsed = self._threads.submit(parse_chunk, chunk, self._event_name, self._group_by)
        self._parsing.append((element.with_value(None), parsed))

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

    def _outputs(self, parsed: ParsedChunk) -> Iterator[Any]:
        for name, count in parsed.tally.counts().items():
            self._counters[name].inc(count)
        yield from parsed.sums
        for dead_letter in parsed.dead_letters:
            yield TaggedOutput(_REJECTED, dead_letter)
        yield TaggedOutput(_TALLY, parsed.tally)
