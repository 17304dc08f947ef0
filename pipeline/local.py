"""A run in this process: files, streams and pipes of this machine may be inputs and outputs."""

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
from apache_beam.runners.runner import PipelineRunner

from pipeline import files, progress
from pipeline.batch import build_pipeline
from pipeline.errors import OptionError, TooManyRejectedError, run_error_in
from pipeline.events import JSON_ARRAY
from pipeline.options import Settings
from pipeline.reading import find_inputs
from pipeline.streams import Destination, check_destinations, spool_inputs
from pipeline.summary import Summary
from pipeline.writing import Output

_logger = logging.getLogger(__name__)


def run_here(settings: Settings, options: PipelineOptions, runner: PipelineRunner) -> None:
    """Runs the batch flow; files and streams get its results once it has succeeded.

    Raises:
        RunError: there is no result, and what stood in the output's place is there as it was.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """
    run_id = uuid4().hex[:12]
    files.set_options(options)
    # After an interruption a step may still be writing there.
    with tempfile.TemporaryDirectory(prefix="unbabel_cli-", ignore_cleanup_errors=True) as scratch:
        inputs = spool_inputs(settings.patterns, scratch)
        sizes = {info.path: info.size for info, _ in find_inputs(inputs)}
        total_bytes = sum(sizes.values())
        rows_to = Destination.of("output_file", settings.output_file, scratch)
        rejected_to = Destination.of("rejected_file", settings.rejected_file, scratch)
        summary_to = Destination.of("summary_file", settings.summary_file, scratch)
        rows = Output(rows_to.path, scratch, run_id, settings.num_shards)
        destinations = [each for each in (rows_to, rejected_to, summary_to) if each]
        if settings.num_shards > 1:
            destinations += _shards(rows_to, rows)
        check_destinations(destinations, settings.patterns, sizes)
        rejected = Output(rejected_to.path, scratch, run_id) if rejected_to else None

        pipeline = beam.Pipeline(runner, options)
        build_pipeline(pipeline, settings, inputs, rows, rejected)
        _logger.info("%d bytes in %d files, on %s", total_bytes, len(sizes), type(runner).__name__)
        with _removing_temporaries(rows, rejected), progress.shown(total_bytes):
            started = time.monotonic()
            result = pipeline.run()
            result.wait_until_finish()
        summary = Summary.of(result.metrics(), time.monotonic() - started)

        if summary_to:
            summary.write(summary_to.path, run_id)
            summary_to.publish()
        if rejected_to:
            rejected_to.publish()
        allowed = settings.max_rejected.allows(summary.rejected, summary.non_blank)
        if allowed:
            rows_to.publish()
    print(summary.text(), file=sys.stderr)
    if not allowed:
        raise TooManyRejectedError(_refusal(summary))
    if summary.non_blank and not summary.accepted:
        _logger.warning("no valid event is named %r (--event_name)", settings.event_name)


def _shards(rows_to: Destination, rows: Output) -> list[Destination]:
    """The files that the shards take the place of, and those of an earlier run that are removed.

    Raises:
        OptionError, OutputError: there can be none.
    """
    if not rows_to.is_file:
        raise OptionError(f"--num_shards above 1 needs files, not {rows_to.asked}")
    rows_to.check()
    with files.writing(rows_to.path):
        paths = {*rows.paths(), *files.shards_of(rows_to.path)}
    return [Destination(rows_to.option, path, path) for path in sorted(paths)]


@contextlib.contextmanager
def _removing_temporaries(*outputs: Output | None) -> Iterator[None]:
    """Removes what a run that fails or is interrupted leaves beside its outputs."""
    try:
        yield
    except BaseException as error:
        for output in filter(None, outputs):
            for path in output.temporary_paths():
                with contextlib.suppress(OSError):  # what went wrong first is what is told
                    files.remove(path)
        raise (run_error_in(error) or error) from error


def _refusal(summary: Summary) -> str:
    if summary.rejected < summary.non_blank:
        return (
            f"{summary.rejected:,} of {summary.non_blank:,} lines were rejected, more than "
            "--max_rejected allows; no rows were written"
        )
    hint = f"; it looks like {JSON_ARRAY.message}" if JSON_ARRAY.type in summary.reasons else ""
    return (
        "every line was rejected, so that this is most likely the wrong file; no rows were "
        f"written (--max_rejected=100% allows it){hint}"
    )
