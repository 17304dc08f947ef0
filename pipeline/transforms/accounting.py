"""The account of a bounded run: counts of its lines, and whether its rows may be written."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.coders import Coder
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList

from pipeline.core.errors import TooManyRejectedError, one_line
from pipeline.core.rejection import MaxRejected, refusal
from pipeline.core.tally import Tally
from pipeline.transforms.parse_events import TallyCoder

OTHER_EVENTS = f"{__name__}.other_events"
"""The namespace of the counters that are named after other events."""
REASONS = f"{__name__}.rejected"
"""The namespace of the counters that are named after reasons of rejection."""

_MOST_FREQUENT = 10
_NAME_CHARACTERS = 100

_logger = logging.getLogger(__name__)


class AddUp(beam.PTransform):
    """Adds `Tally`s up into one; yields an empty `Tally` for empty input."""

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

    def merge_accumulators(self, accumulators: Iterable[Tally]) -> Tally:
        return sum(accumulators, Tally())

    def extract_output(self, accumulator: Tally) -> Tally:
        return accumulator

    def get_accumulator_coder(self) -> Coder:
        return TallyCoder()


@dataclass(eq=False)
class Report(beam.PTransform):
    """Reports the names and reasons in the one `Tally` of a run.

    The most frequent names of other events become counters in the namespace `OTHER_EVENTS`, the
    most frequent reasons of rejection in `REASONS`.

    Args:
        show_rejected: whether the first few rejected lines are written to the log.
    """

    show_rejected: bool

    def expand(self, tally: beam.PCollection) -> beam.PCollection:
        return tally | "Report" >> beam.ParDo(_ReportFn(self.show_rejected))


class _ReportFn(beam.DoFn):
    def __init__(self, show_rejected: bool) -> None:
        self._show_rejected = show_rejected

    def process(self, tally: Tally) -> Iterator[None]:
        for namespace, counts in ((OTHER_EVENTS, tally.other_events), (REASONS, tally.rejected)):
            for name, count in counts.most_common(_MOST_FREQUENT):
                # The name of a metric may not be empty; that of an event may.
                Metrics.counter(namespace, name[:_NAME_CHARACTERS] or '""').inc(count)
        if self._show_rejected:
            for letter in tally.first_rejected:
                _logger.warning("rejected: %s", one_line(letter.reason()))
        yield from ()


@dataclass(eq=False)
class Gate(beam.PTransform):
    """Says of the one `Tally` of a run whether its rows may be written (`bool`)."""

    max_rejected: MaxRejected

    def expand(self, tally: beam.PCollection) -> beam.PCollection:
        return tally | "Allow" >> beam.Map(self.max_rejected.allows_run).with_output_types(bool)


@dataclass(eq=False)
class Refuse(beam.PTransform):
    """Fails a run whose rows may not be written; takes its one `Tally`.

    Args:
        max_rejected: how many lines may be rejected.
        done: what has to be done first.

    Raises:
        TooManyRejectedError: when the pipeline runs.
    """

    max_rejected: MaxRejected
    done: beam.PCollection

    def expand(self, tally: beam.PCollection) -> beam.PCollection:
        return tally | "Refuse" >> beam.ParDo(_RefuseFn(self.max_rejected), AsList(self.done))


class _RefuseFn(beam.DoFn):
    def __init__(self, max_rejected: MaxRejected) -> None:
        self._max_rejected = max_rejected

    def process(self, tally: Tally, _done: list[int]) -> None:
        if not self._max_rejected.allows_run(tally):
            rejected = tally.rejected.total()
            raise TooManyRejectedError(refusal(rejected, tally.non_blank, tally.rejected))
