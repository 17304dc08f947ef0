"""A run of input without end in this process: files that grow."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
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
from pipeline.replacing import replacing
from pipeline.streaming import Sinks, average_live
from pipeline.streams import Destination, check_destinations, scratch_folder
from pipeline.summary import Summary


def follow(settings: FollowSettings, options: PipelineOptions) -> None:
    """Follows files on Prism until it is stopped, or the input has been idle for long enough.

    Raises:
        RunError: an input cannot be read, an output cannot be written, or there is no Prism.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """
    clock = EventClock(
        settings.event_name, settings.out_of_order_seconds, settings.max_future_seconds
    )
    follower = Follower(settings.patterns)
    prepare_outputs(settings, settings.patterns, follower.look())
    session = Session(follower, clock, settings.stop_after_idle_seconds)
    account = Account()

    def watermark() -> datetime | None:
        if session.reached == MIN_TIMESTAMP:
            return None
        reached: datetime = session.reached.to_utc_datetime(has_tz=True)
        return reached

    # The steps may still run until Prism has ended.
    with (
        scratch_folder() as scratch,
        _temporary_files_in(scratch),
        session.opened() as name,
        account.opened() as told,
        prism.serving(options),
    ):
        pipeline = beam.Pipeline("PortableRunner", options)
        chunks = pipeline | "Session" >> beam.Create([name], reshuffle=False) | "Follow" >> Follow()
        sinks = Sinks(
            AppendLines(settings.output_file, settings.retry_seconds),
            appending(settings.rejected_file, settings.retry_seconds),
            appending(settings.late_file, settings.retry_seconds),
        )
        average_live(chunks, settings, sinks, told)
        started = time.monotonic()
        try:
            result = run_shown(pipeline, account, watermark)
        except grpc.RpcError as error:
            raise RunError(f"Prism has ended before the run: {error.details()}") from error
        summary = Summary.of(result.metrics(), time.monotonic() - started, is_live=True)
    summary_to = Destination.of("summary_file", settings.summary_file, "")
    if summary_to and summary_to.asked == summary_to.path:
        with replacing(summary_to.path, run_id=name) as write:
            write(summary.to_json())
    elif summary_to:
        append(summary_to.asked, summary.to_json())
    print(summary.text(), file=sys.stderr)


@contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """Lets Beam, which leaves its temporary folders where they are, make them in a folder."""
    previous = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = previous


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


def prepare_outputs(
    settings: LiveSettings, patterns: Sequence[str] = (), found: Iterable[str] = ()
) -> None:
    """Creates what will be appended to; what is there stays there.

    Args:
        settings: the outputs; dead letters and late events may go to the same one.
        patterns: those of the inputs.
        found: the inputs that there are already.

    Raises:
        OptionError: an output is, or would be matched by, an input, or two are the same.
        OutputError: one cannot be written.
    """
    asked = {"output_file": settings.output_file, "rejected_file": settings.rejected_file}
    if settings.late_file != settings.rejected_file:
        asked["late_file"] = settings.late_file
    for option, path in asked.items():
        if path is not None and not files.is_local(path):
            raise OptionError(f"--{option}={path}: rows are appended to files of this machine only")
    written = asked
    if isinstance(settings, FollowSettings):
        written = {**asked, "summary_file": settings.summary_file}
    destinations = (Destination.of(option, path, "") for option, path in written.items())
    check_destinations([each for each in destinations if each], patterns, found)
    for path in filter(None, asked.values()):
        append(path, b"")


def appending(path: str | None, retry_seconds: int) -> AppendLines | None:
    """What appends to a file, if one is asked for."""
    return None if path is None else AppendLines(path, retry_seconds)
