"""A run of input without end in this process: files that grow."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.runner import PipelineResult
from apache_beam.utils.timestamp import MIN_TIMESTAMP

from pipeline import files, prism, status
from pipeline.account import Account
from pipeline.appending import AppendLines, append
from pipeline.errors import OptionError, RunError, run_error_in
from pipeline.event_clock import EventClock
from pipeline.follow import Follower
from pipeline.following import Follow, Session
from pipeline.options import FollowSettings, LiveSettings
from pipeline.streaming import Sinks, average_live
from pipeline.summary import Summary


def follow(settings: FollowSettings, options: PipelineOptions) -> None:
    """Follows files on Prism until it is stopped, or the input has been idle for long enough.

    Raises:
        RunError: an input cannot be read, an output cannot be written, or there is no Prism.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """
    prepare_outputs(settings, settings.patterns)
    clock = EventClock(
        settings.event_name, settings.out_of_order_seconds, settings.max_future_seconds
    )
    follower = Follower(settings.patterns)
    follower.look()
    session = Session(follower, clock, settings.stop_after_idle_seconds)
    account = Account()

    def watermark() -> datetime | None:
        reached = session.watermark()
        return None if reached == MIN_TIMESTAMP else reached.to_utc_datetime(has_tz=True)

    with prism.serving(options) as endpoint, session.opened() as name, account.opened() as told:
        options.view_as(StandardOptions).streaming = True
        portable = options.view_as(PortableOptions)
        portable.job_endpoint, portable.environment_type = endpoint, "LOOPBACK"
        # To Beam this is also how long it waits for the end of a run: 300 seconds by default.
        portable.job_server_timeout = None
        pipeline = beam.Pipeline("PortableRunner", options)
        chunks = pipeline | "Session" >> beam.Create([name], reshuffle=False) | "Follow" >> Follow()
        sinks = Sinks(
            AppendLines(settings.output_file),
            appending(settings.rejected_file),
            appending(settings.late_file),
        )
        average_live(chunks, settings, sinks, told)
        started = time.monotonic()
        result = run_shown(pipeline, account, watermark)
        summary = Summary.of(result.metrics(), time.monotonic() - started, is_live=True)
    if settings.summary_file is not None:
        summary.write(settings.summary_file, run_id=name)
    print(summary.text(), file=sys.stderr)


def run_shown(
    pipeline: beam.Pipeline, account: Account, watermark: Callable[[], datetime | None]
) -> PipelineResult:
    """Runs a pipeline to its end, and shows how it is getting on.

    Args:
        pipeline: a flow that tells the account of its lines and rows.
        account: what is shown.
        watermark: gives how far event time is; None before that is known.

    Raises:
        RunError: what made it fail, if that is an error of ours.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """
    try:
        with status.shown(lambda: _status(account, watermark())):
            result = pipeline.run()
            result.wait_until_finish()
    except grpc.RpcError as error:
        raise RunError(f"Prism has ended before the run: {error.details()}") from error
    except Exception as error:
        if BrokenPipeError.__name__ in f"{type(error).__name__}: {error}":
            raise BrokenPipeError from error
        raise (run_error_in(error) or error) from error
    return result


def _status(account: Account, watermark: datetime | None) -> str:
    reached = "none yet"
    if watermark is not None:
        lag = (datetime.now(timezone.utc) - watermark).total_seconds()
        reached = f"{watermark:%Y-%m-%d %H:%M:%S} ({_duration(lag)} behind the clock)"
    counts = account.tally.counts()
    return (
        f"{counts['lines']:,} lines, {account.rows:,} rows, watermark {reached}, "
        f"{counts['rejected']:,} rejected, {account.tally.late:,} late"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} seconds"


def prepare_outputs(settings: LiveSettings, patterns: Iterable[str]) -> None:
    """Creates what will be appended to; what is there stays there.

    Raises:
        OptionError: an output is, or would be matched by, an input.
        OutputError: one cannot be written.
    """
    for option in ("output_file", "rejected_file", "late_file"):
        path = getattr(settings, option)
        if path is None:
            continue
        if any(files.names(pattern, path) for pattern in patterns):
            raise OptionError(f"--{option}={path} is one of the inputs")
        if not files.is_local(path):
            raise OptionError(f"--{option}={path}: rows are appended to files of this machine only")
        append(path, b"")


def appending(path: str | None) -> AppendLines | None:
    """What appends to a file, if one is asked for."""
    return None if path is None else AppendLines(path)
