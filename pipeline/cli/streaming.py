"""The flow of an unbounded input: chunks of lines to rows, dead letters and late events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import cast

import apache_beam as beam
from apache_beam.transforms.window import TimestampedValue

from pipeline.cli.settings import Settings
from pipeline.core.errors import one_line
from pipeline.core.events import EPOCH, DeadLetter
from pipeline.core.rows import Row
from pipeline.core.tally import SAMPLE_SIZE, Tally
from pipeline.live.account import Account
from pipeline.live.following_step import Followed
from pipeline.sinks.appended_lines import AppendedLines
from pipeline.sinks.sink import RowCounters, Sink, StreamSink
from pipeline.transforms.in_process import Few
from pipeline.transforms.moving_average import DEFAULT_SHARDS
from pipeline.transforms.parse_events import allow_lateness

_MINUTE = timedelta(minutes=1)

_logger = logging.getLogger(__name__)


def average_live(chunks: beam.PCollection, settings: Settings, account: str | None = None) -> None:
    """Adds all steps after reading to a pipeline.

    Without a sink for them, the first few dead letters and late events are shown in the log.

    Args:
        chunks: `Chunk`s of an unbounded input.
        settings: what is averaged, what is late, and where it goes.
        account: the name of an `Account` in this process that counts lines and rows.
    """
    # In this process one worker does all: each shard more would only cost time.
    shards = DEFAULT_SHARDS if account is None else 1
    parsed = chunks | "ParseEvents" >> settings.parse_events()
    _average(parsed.sums, settings, shards, account)
    _write_letters(parsed.rejected, parsed.late, settings)
    if account is not None:
        _ = parsed.tally | "Account" >> beam.Map(_account_for, account)


def average_followed(followed: Followed, settings: Settings, account: str) -> None:
    """Adds all steps after following to a pipeline of this process; the rest as `average_live`."""
    if settings.plan == "rolling":
        assert isinstance(settings.rows, AppendedLines), "what is followed is written by no other"
        _ = followed.rows | "WriteRows" >> settings.rows.write_blocks(settings.line_format())
    else:
        lateness = allow_lateness(settings.allowed_lateness_seconds)
        _average(followed.sums | lateness, settings, 1, account)
    _write_letters(followed.rejected, followed.late, settings)


def _average(sums: beam.PCollection, settings: Settings, shards: int, account: str | None) -> None:
    count_rows = beam.ParDo(_CountRowFn(settings.empty_value == "skip", account))
    _ = (
        sums
        | "MovingAverage" >> settings.moving_average(shards)
        | "CountRows" >> count_rows.with_output_types(Row)
        | "WriteRows" >> _stream(settings.rows).write_rows(settings.line_format())
    )


def _write_letters(rejected: beam.PCollection, late: beam.PCollection, settings: Settings) -> None:
    for kind, letters, sink in (
        ("Rejected", rejected, settings.rejected),
        ("Late", late, settings.late),
    ):
        if sink is None:
            _ = letters | f"Show{kind}" >> beam.ParDo(_ShowFirstFn(kind.lower()))
        else:
            lines = letters | f"Format{kind}" >> beam.Map(_line).with_output_types(bytes)
            _ = lines | f"Write{kind}" >> _stream(sink).write_lines()


def stream_sinks(settings: Settings) -> list[StreamSink]:
    """The sinks of an unbounded run. Dead letters and late events may go to the same one."""
    sinks = (settings.rows, *dict.fromkeys((settings.rejected, settings.late)))
    return [_stream(sink) for sink in sinks if sink is not None]


def _stream(sink: Sink) -> StreamSink:
    # The sinks of an unbounded run are of this kind.
    return cast("StreamSink", sink)


class _CountRowFn(beam.DoFn):
    """Times rows at their dates, and counts them; leaves out empty ones that are to be skipped."""

    def __init__(self, skips_empty: bool, account: str | None) -> None:
        self._skips_empty = skips_empty
        self._account = account
        self._counters = RowCounters()

    def process(self, row: Row) -> Iterator[TimestampedValue]:
        if self._skips_empty and not row.count:
            return
        date = (row.date - EPOCH) // _MINUTE
        self._counters.add(1, date, date)
        if self._account is not None:
            Account.find(self._account).add_rows(1, date, date)
        yield TimestampedValue(row, (row.date - EPOCH).total_seconds())


def _account_for(tally: Tally, account: str) -> None:
    Account.find(account).add_lines(tally)


def _line(letter: DeadLetter) -> bytes:
    return letter.to_json().encode()


class _ShowFirstFn(beam.DoFn):
    """Writes the first few dead letters to the log."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._few = Few(SAMPLE_SIZE)

    def process(self, letter: DeadLetter) -> None:
        if self._few.take():
            _logger.warning("%s: %s", self._kind, one_line(letter.reason()))
