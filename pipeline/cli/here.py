"""A run in this process: opens the source, runs the flow, and puts the results in their places."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.cli.batch import build_pipeline, sorted_files
from pipeline.cli.settings import Settings
from pipeline.cli.summary import Summary
from pipeline.cli.unbounded import run_unbounded
from pipeline.core.errors import TooManyRejectedError
from pipeline.core.rejection import refusal
from pipeline.runners import LAUNCHERS
from pipeline.sinks.results import Results
from pipeline.sinks.sorted_files import SortedFiles
from pipeline.sources import progress
from pipeline.sources.source import Opened
from pipeline.storage import files

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
        run_unbounded(settings, options, is_debugging)


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
            build_pipeline(pipeline, settings, source.lines, rows.output, letters)
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
