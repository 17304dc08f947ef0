"""A run that follows files in this process: rows come while the files grow."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricResults
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.utils.timestamp import MIN_TIMESTAMP

from pipeline import files, prism, status
from pipeline.appending import AppendLines, append
from pipeline.errors import OptionError, run_error_in
from pipeline.event_clock import EventClock
from pipeline.events import EPOCH, DeadLetter
from pipeline.follow import Follower
from pipeline.following import Follow, Session
from pipeline.moving_average import MovingAverage
from pipeline.options import LiveSettings
from pipeline.parsing import ParseEvents
from pipeline.rows import Row, RowFormat
from pipeline.summary import Summary
from pipeline.writing import WriteRows

_MINUTE = timedelta(minutes=1)


def run_live(settings: LiveSettings, options: PipelineOptions) -> None:
    """Follows files on Prism until it is stopped, or the input has been idle for long enough.

    Raises:
        RunError: an input cannot be read, an output cannot be written, or there is no Prism.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """
    _prepare_outputs(settings)
    clock = EventClock(
        settings.event_name, settings.out_of_order_seconds, settings.max_future_seconds
    )
    follower = Follower(settings.patterns)
    follower.look()
    session = Session(follower, clock, settings.stop_after_idle_seconds)
    with prism.serving(options) as endpoint, session.opened() as name:
        options.view_as(StandardOptions).streaming = True
        portable = options.view_as(PortableOptions)
        portable.job_endpoint, portable.environment_type = endpoint, "LOOPBACK"
        # To Beam this is also how long it waits for the end of a run: 300 seconds by default.
        portable.job_server_timeout = None
        pipeline = beam.Pipeline("PortableRunner", options)
        build_live_pipeline(pipeline, settings, name)
        started = time.monotonic()
        try:
            result = pipeline.run()
            with status.shown(lambda: _status(prism.metrics(result), session)):
                result.wait_until_finish()
        except RuntimeError as error:
            if BrokenPipeError.__name__ in str(error):
                raise BrokenPipeError from error
            raise (run_error_in(error) or error) from error
        summary = Summary.of(prism.metrics(result), time.monotonic() - started, is_live=True)
    if settings.summary_file is not None:
        summary.write(settings.summary_file, run_id=name)
    print(summary.text(), file=sys.stderr)


def _status(metrics: MetricResults, session: Session) -> str:
    summary = Summary.of(metrics, seconds=0, is_live=True)
    now, watermark = time.time(), session.watermark()
    reached = "none yet"
    if watermark > MIN_TIMESTAMP:
        seconds = watermark.micros // 1_000_000
        reached = f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S}"
        reached += f" ({_duration(now - seconds)} behind the clock)"
    return (
        f"{summary.lines:,} lines, {summary.rows:,} rows, watermark {reached}, "
        f"{summary.rejected:,} rejected, {summary.late:,} late"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _prepare_outputs(settings: LiveSettings) -> None:
    """Creates what will be appended to; what is there stays there.

    Raises:
        OptionError: an output is, or would be matched by, an input.
        OutputError: one cannot be written.
    """
    for option in ("output_file", "rejected_file", "late_file"):
        path = getattr(settings, option)
        if path is None:
            continue
        if any(files.names(pattern, path) for pattern in settings.patterns):
            raise OptionError(f"--{option}={path} is one of the inputs")
        append(path, b"")


def build_live_pipeline(pipeline: beam.Pipeline, settings: LiveSettings, session: str) -> None:
    """Adds the whole flow to a pipeline that runs in this process, where the session is."""
    parsed = (
        pipeline
        | "Session" >> beam.Create([session], reshuffle=False)
        | "Follow" >> Follow()
        | "ParseEvents"
        >> ParseEvents(
            settings.event_name,
            settings.group_by,
            settings.allowed_lateness_seconds,
            settings.max_future_seconds,
        )
    )
    rows = parsed | "MovingAverage" >> MovingAverage(
        settings.window_minutes,
        max_gap_minutes=settings.max_gap_minutes,
        decimals=settings.decimals,
    )
    row_format = RowFormat(settings.group_by, settings.empty_value)
    _ = (
        rows
        | "FormatRows" >> beam.ParDo(_FormatRowFn(row_format)).with_output_types(bytes)
        | "AppendRows" >> AppendLines(settings.output_file)
    )
    for name, letters, path in (
        ("Rejected", parsed.rejected, settings.rejected_file),
        ("Late", parsed.late, settings.late_file),
    ):
        if path is not None:
            _ = (
                letters
                | f"Format{name}" >> beam.Map(_letter_line).with_output_types(bytes)
                | f"Append{name}" >> AppendLines(path)
            )


class _FormatRowFn(beam.DoFn):
    """Writes rows as lines, and counts them as `WriteRows` does, for the same account."""

    def __init__(self, row_format: RowFormat) -> None:
        self._format = row_format
        self._rows = Metrics.counter(WriteRows, "rows")
        self._dates = Metrics.distribution(WriteRows, "dates")

    def process(self, row: Row) -> Iterator[bytes]:
        for line in self._format.revised_lines(row):
            self._rows.inc()
            self._dates.update((row.date - EPOCH) // _MINUTE)
            yield line


def _letter_line(letter: DeadLetter) -> bytes:
    return f"{letter.to_json()}\n".encode()
