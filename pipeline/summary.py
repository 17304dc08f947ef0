"""The account of a run: published as metrics while it runs, read from them at its end."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.coders import Coder
from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricResults, MetricsFilter

from pipeline.coders import TallyCoder
from pipeline.errors import one_line
from pipeline.moving_average import MovingAverage
from pipeline.parsing import ParseEvents
from pipeline.revisions import EmptyRows
from pipeline.rows import date_texts
from pipeline.tally import Tally
from pipeline.writing import WriteRows

_OTHER_EVENTS = "other_events"
_REASONS = "rejected"
_MOST_FREQUENT = 10
_REASONS_SHOWN = 3
_NAME_CHARACTERS = 100

_logger = logging.getLogger(__name__)


class AddUp(beam.PTransform):
    """Adds the `Tally`s of a run up into one, also where there are none."""

    def expand(self, tallies: beam.PCollection) -> beam.PCollection:
        nothing = tallies.pipeline | "Nothing" >> beam.Create([Tally()], reshuffle=False)
        return (
            (tallies, nothing)
            | "Flatten" >> beam.Flatten()
            | "Sum"
            >> beam.CombineGlobally(_SumTalliesFn()).without_defaults().with_output_types(Tally)
        )


class _SumTalliesFn(beam.CombineFn):
    def create_accumulator(self) -> Tally:
        return Tally()

    def add_input(self, accumulator: Tally, element: Tally) -> Tally:
        return accumulator + element

    def merge_accumulators(self, accumulators: Any) -> Tally:
        return sum(accumulators, Tally())

    def extract_output(self, accumulator: Tally) -> Tally:
        return accumulator

    def get_accumulator_coder(self) -> Coder:
        return TallyCoder()


class Report(beam.PTransform):
    """Makes what the one `Tally` of a run tells of names and reasons known.

    The most frequent names of other events and reasons of rejection become counters of these
    names, in namespaces of this module.

    Args:
        show_rejected: whether the first few rejected lines are written to the log.
    """

    def __init__(self, show_rejected: bool) -> None:
        super().__init__()
        self._show_rejected = show_rejected

    def expand(self, tally: beam.PCollection) -> beam.PCollection:
        return tally | "Report" >> beam.ParDo(_ReportFn(self._show_rejected))


class _ReportFn(beam.DoFn):
    def __init__(self, show_rejected: bool) -> None:
        self._show_rejected = show_rejected

    def process(self, tally: Tally) -> Iterator[None]:
        for kind, counts in ((_OTHER_EVENTS, tally.other_events), (_REASONS, tally.rejected)):
            for name, count in counts.most_common(_MOST_FREQUENT):
                # A metric must have a name, an event's may be empty.
                shown = name[:_NAME_CHARACTERS] or '""'
                Metrics.counter(f"{__name__}.{kind}", shown).inc(count)
        if self._show_rejected:
            for letter in tally.first_rejected:
                _logger.warning("rejected: %s", one_line(letter.reason()))
        yield from ()


@dataclass(frozen=True)
class Summary:
    """What became of the lines of a run, and what it gave."""

    lines: int
    blank: int
    other_events: int
    accepted: int
    rejected: int
    rows: int
    series: int
    first_row: str | None
    last_row: str | None
    seconds: float
    names: Counter[str]
    reasons: Counter[str]
    late: int | None = None

    @classmethod
    def of(cls, metrics: MetricResults, seconds: float, is_live: bool = False) -> Summary:
        """Reads the summary of a run that took so many seconds from its metrics.

        Events can be late where rows are given while they come: there `late` is not None.
        """
        found = metrics.query(MetricsFilter())
        counters: dict[tuple[str, str], int] = Counter()
        for each in found["counters"]:
            counters[each.key.metric.namespace, each.key.metric.name] += each.result or 0

        def count(transform: type, name: str) -> int:
            return counters[_namespace(transform), name]

        def counts(kind: str) -> Counter[str]:
            namespace = f"{__name__}.{kind}"
            return Counter({name: n for (space, name), n in counters.items() if space == namespace})

        dates = [
            each.result
            for each in found["distributions"]
            if each.key.metric.namespace == _namespace(WriteRows) and each.result.count
        ]
        return cls(
            **{name: count(ParseEvents, name) for name in Tally().counts()},
            rows=count(WriteRows, "rows"),
            series=count(MovingAverage, "series") + count(EmptyRows, "series"),
            first_row=_date_text(min((each.min for each in dates), default=None)),
            last_row=_date_text(max((each.max for each in dates), default=None)),
            seconds=round(seconds, 3),
            names=counts(_OTHER_EVENTS),
            reasons=counts(_REASONS),
            late=count(ParseEvents, "late") if is_live else None,
        )

    @property
    def non_blank(self) -> int:
        """The lines that hold something."""
        return self.lines - self.blank

    def to_json(self) -> bytes:
        """The summary as one JSON object on a line."""
        left_out = {"names", "reasons"} | ({"late"} if self.late is None else set())
        shown = {key: each for key, each in vars(self).items() if key not in left_out}
        return f"{json.dumps(shown)}\n".encode()

    def text(self) -> str:
        """The summary for a person, who has five seconds."""
        speed = f"{self.lines / self.seconds:,.0f} lines/s" if self.seconds else ""
        span = f", {self.first_row} to {self.last_row}" if self.rows else ""
        series = f" of {self.series:,} series" if self.series > 1 else ""
        lines = [
            f"{self.lines:,} lines: {self.accepted:,} accepted, {self.rejected:,} rejected, "
            f"{self.other_events:,} other events, {self.blank:,} blank"
            + ("" if self.late is None else f", {self.late:,} late"),
            *_most_frequent("rejected", self.reasons, _REASONS_SHOWN),
            *_most_frequent("other events", self.names, _REASONS_SHOWN),
            f"{self.rows:,} rows{series}{span}",
            f"{self.seconds:,.1f} s, {speed}",
        ]
        return "\n".join(lines)


def _most_frequent(title: str, counts: Counter[str], number: int) -> Iterator[str]:
    if counts:
        most = (f"{one_line(name)} ({count:,})" for name, count in counts.most_common(number))
        yield f"  {title}: {', '.join(most)}"


def _date_text(minute: int | None) -> str | None:
    return None if minute is None else date_texts(np.array([minute]))[0]


def _namespace(transform: type) -> str:
    return f"{transform.__module__}.{transform.__name__}"
