"""The flow of an input without end: chunks of lines to rows, dead letters and late events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import TimestampedValue

from pipeline.account import Account
from pipeline.errors import one_line
from pipeline.events import EPOCH, DeadLetter
from pipeline.in_process import Few
from pipeline.moving_average import MovingAverage
from pipeline.options import LiveSettings
from pipeline.parsing import ParseEvents
from pipeline.rows import Row, RowFormat
from pipeline.tally import SAMPLE_SIZE, Tally
from pipeline.writing import WriteRows

_MINUTE = timedelta(minutes=1)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sinks:
    """Where lines go: each takes `bytes`, a line without its end.

    Without one for them, the first few dead letters and late events are shown in the log.
    """

    rows: beam.PTransform
    rejected: beam.PTransform | None = None
    late: beam.PTransform | None = None


def average_live(
    chunks: beam.PCollection, settings: LiveSettings, sinks: Sinks, account: str | None = None
) -> None:
    """Adds all that comes after reading to a pipeline.

    Args:
        chunks: `Chunk`s of an input without end.
        settings: what is averaged, and what is late.
        sinks: where it goes.
        account: the name of an `Account` in this process that is told of lines and rows.
    """
    parsed = chunks | "ParseEvents" >> ParseEvents(
        settings.event_name,
        settings.group_by,
        settings.allowed_lateness_seconds,
        settings.max_future_seconds,
    )
    rows = parsed | "MovingAverage" >> MovingAverage(
        settings.window_minutes,
        max_gap_minutes=settings.max_gap_minutes,
        decimals=settings.decimals,
    )
    row_format = RowFormat(settings.group_by, settings.empty_value)
    _ = (
        rows
        | "FormatRows" >> beam.ParDo(_FormatRowFn(row_format, account)).with_output_types(bytes)
        | "WriteRows" >> sinks.rows
    )
    for kind, letters, sink in (
        ("Rejected", parsed.rejected, sinks.rejected),
        ("Late", parsed.late, sinks.late),
    ):
        if sink is None:
            _ = letters | f"Show{kind}" >> beam.ParDo(_ShowFirstFn(kind.lower()))
        else:
            lines = letters | f"Format{kind}" >> beam.Map(_line).with_output_types(bytes)
            _ = lines | f"Write{kind}" >> sink
    if account is not None:
        _ = parsed.tally | "Account" >> beam.Map(_account_for, account)


class _FormatRowFn(beam.DoFn):
    """Writes rows as lines, timed at their dates, and counts them as `WriteRows` does."""

    def __init__(self, row_format: RowFormat, account: str | None) -> None:
        self._format = row_format
        self._account = account
        self._rows = Metrics.counter(WriteRows, "rows")
        self._dates = Metrics.distribution(WriteRows, "dates")

    def process(self, row: Row) -> Iterator[TimestampedValue]:
        for line in self._format.revised_lines(row):
            self._rows.inc()
            self._dates.update((row.date - EPOCH) // _MINUTE)
            if self._account is not None:
                Account.find(self._account).add_row(row)
            yield TimestampedValue(line, (row.date - EPOCH).total_seconds())


def _account_for(tally: Tally, account: str) -> None:
    Account.find(account).add_lines(tally)


def _line(letter: DeadLetter) -> bytes:
    return letter.to_json().encode()


class _ShowFirstFn(beam.DoFn):
    """Writes the first few dead letters that it gets to the log."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._few = Few(SAMPLE_SIZE)

    def process(self, letter: DeadLetter) -> None:
        if self._few.take():
            _logger.warning("%s: %s", self._kind, one_line(letter.reason()))
