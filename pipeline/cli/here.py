"""A run in this process: opens the source, runs the flow, and puts the results in their places."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from pipeline.cli import status
from pipeline.cli.account import Account
from pipeline.cli.batch import build_pipeline, sorted_files
from pipeline.cli.settings import Settings
from pipeline.cli.streaming import average_live, stream_sinks
from pipeline.cli.summary import Summary
from pipeline.core.errors import TooManyRejectedError, run_error_in
from pipeline.core.rejection import refusal
from pipeline.runners import LAUNCHERS
from pipeline.sinks.appended_lines import append
from pipeline.sinks.destinations import Destination, check_destinations
from pipeline.sinks.results import Results
from pipeline.sinks.sorted_files import SortedFiles
from pipeline.sources import progress
from pipeline.sources.source import Opened
from pipeline.storage import files
from pipeline.storage.compression import compressed
from pipeline.storage.replacing import replacing

_logger = logging.getLogger(__name__)


def run_here(settings: Settings, options: PipelineOptions, is_debugging: bool) -> None:
    """Runs the flow of the settings to its end, or until it is stopped.

    Raises:
        RunError: a bounded run has no result, and earlier files are as they were; or an unbounded
            run cannot go on.
        BrokenPipeError: the reader of standard output, standard error or a pipe has gone.
    """
    if settings.source.HERE.is_bounded:
        _run_bounded(settings, options, is_debugging)
    else:
        _run_unbounded(settings, options, is_debugging)


def _run_bounded(settings: Settings, options: PipelineOptions, is_debugging: bool) -> None:
    """Runs the batch flow. After success, streams get their results, then files their places."""
    run_id = uuid4().hex[:12]
    files.set_options(options)
    patterns = settings.source.patterns
    with contextlib.ExitStack() as on_failure:
        with (
            LAUNCHERS[settings.source.LAUNCHER](options, is_debugging) as runner,
            files.scratch_folder() as scratch,
            settings.source.opened_here(scratch) as source,
        ):
            results = Results(scratch, run_id)
            rejected = results.add(sorted_files(settings.rejected)) if settings.rejected else None
            account = (
                results.add(SortedFiles(settings.summary_file, option="summary_file"))
                if settings.summary_file is not None
                else None
            )
            rows = results.add(sorted_files(settings.rows))
            results.check(patterns, source.sizes)
            on_failure.enter_context(results.abandoned_on_failure())

            pipeline = beam.Pipeline(runner, options)
            letters = rejected.output if rejected else None
            build_pipeline(pipeline, settings, source.read, rows.output, letters)
            summary = _run(pipeline, source)
            if account:
                results.write(account, summary.to_json())
            is_allowed = settings.max_rejected.allows(summary.rejected, summary.non_blank)
            if not is_allowed:
                results.leave_out(rows)
            results.give_to_streams()
            with files.writing("standard error"):
                print(summary.text(), file=sys.stderr, flush=True)
        results.take_places(patterns)
    if not is_allowed:
        raise TooManyRejectedError(refusal(summary.rejected, summary.non_blank, summary.reasons))
    if summary.non_blank and not summary.accepted:
        _logger.warning("no valid event is named %r (--event_name)", settings.event_name)


def _run(pipeline: beam.Pipeline, source: Opened) -> Summary:
    """Runs a pipeline over a bounded source to its end."""
    total_bytes = sum(source.sizes.values())
    runner = type(pipeline.runner).__name__
    _logger.info("%d bytes in %d files, on %s", total_bytes, len(source.sizes), runner)
    with progress.shown(total_bytes):
        started = time.monotonic()
        result = pipeline.run()
        result.wait_until_finish()
    return Summary.of(result.metrics(), time.monotonic() - started)


def _run_unbounded(settings: Settings, options: PipelineOptions, is_debugging: bool) -> None:
    """Runs the streaming flow until it is stopped, or its source ends."""
    account = Account()
    launcher = LAUNCHERS[settings.source.LAUNCHER]
    # DoFns may still run until the runner has ended.
    with (
        files.scratch_folder() as scratch,
        _temporary_files_in(scratch),
        settings.source.opened_here(scratch) as source,
        account.opened() as account_name,
    ):
        _open_sinks(settings, source)
        with launcher(options, is_debugging) as runner:
            pipeline = beam.Pipeline(runner, options)
            average_live(pipeline | "Read" >> source.read, settings, account_name)
            started = time.monotonic()
            result = _run_shown(pipeline, account, source)
            summary = Summary.of(result.metrics(), time.monotonic() - started, is_live=True)
    if settings.summary_file is not None:
        _write_summary(settings.summary_file, summary)
    print(summary.text(), file=sys.stderr)


@contextlib.contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """Makes Beam put its temporary folders, which it does not remove, into a folder."""
    previous = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = previous


def _open_sinks(settings: Settings, source: Opened) -> None:
    """Checks the outputs of an unbounded run, and creates what will be appended to.

    Raises:
        OptionError: an output is an input or matches one, or two outputs are the same.
        OutputError: one cannot be written.
    """
    sinks = stream_sinks(settings)
    destinations = [sink.destination() for sink in sinks]
    if settings.summary_file is not None:
        destinations.append(Destination.of("summary_file", settings.summary_file, ""))
    check_destinations(
        [each for each in destinations if each is not None], settings.source.patterns, source.sizes
    )
    for sink in sinks:
        sink.open_here()


def _run_shown(pipeline: beam.Pipeline, account: Account, source: Opened) -> PipelineResult:
    """Runs a pipeline to its end, and shows its status.

    Raises:
        RunError: the pipeline failed with it.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """

    def describe() -> str:
        # Without a watermark of the source: it has passed the dates of all rows.
        return status.text(account, source.watermark() if source.watermark else account.last_date)

    try:
        with status.shown(describe):
            result = pipeline.run()
            result.wait_until_finish()
    except Exception as error:
        if BrokenPipeError.__name__ in f"{type(error).__name__}: {error}":
            raise BrokenPipeError from error
        raise (run_error_in(error) or error) from error
    return result


def _write_summary(path: str, summary: Summary) -> None:
    data = compressed(summary.to_json(), path)
    if Destination.of("summary_file", path, "").is_file:
        with replacing(path, run_id=uuid4().hex) as write:
            write(data)
    else:
        append(path, data)
