"""A run in this process: files, streams and pipes of this machine may be inputs and outputs."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner

from pipeline import files, progress
from pipeline.batch import build_pipeline
from pipeline.errors import OptionError, TooManyRejectedError, run_error_in
from pipeline.options import Settings
from pipeline.reading import find_inputs
from pipeline.replacing import preparing, replace_together
from pipeline.streams import Destination, check_destinations, scratch_folder, spool_inputs
from pipeline.summary import Summary
from pipeline.tally import refusal
from pipeline.writing import Output

_logger = logging.getLogger(__name__)


class _Result(NamedTuple):
    """Where a result is asked for, and the files that it is prepared in."""

    destination: Destination
    output: Output

    @classmethod
    def of(cls, option: str, asked: str, scratch: str, run_id: str, num_shards: int = 1) -> _Result:
        """Decides where a result is prepared: beside its place, or in a folder for a stream."""
        destination = Destination.of(option, asked, scratch)
        return cls(destination, Output(destination.path, scratch, run_id, num_shards))


def run_here(settings: Settings, options: PipelineOptions, runner: PipelineRunner) -> None:
    """Runs the batch flow; once it has succeeded, streams get its results, and then files.

    Raises:
        RunError: there is no result, and what stood in the places of outputs is there as it was.
        BrokenPipeError: the reader of standard output, standard error or a pipe has gone.
    """
    run_id = uuid4().hex[:12]
    files.set_options(options)
    with contextlib.ExitStack() as on_failure:
        with scratch_folder() as scratch:
            inputs = spool_inputs(settings.patterns, scratch)
            sizes = {info.path: info.size for info, _ in find_inputs(inputs)}
            rows = _Result.of(
                "output_file", settings.output_file, scratch, run_id, settings.num_shards
            )
            asked = {"rejected_file": settings.rejected_file, "summary_file": settings.summary_file}
            others = {
                option: _Result.of(option, path, scratch, run_id)
                for option, path in asked.items()
                if path is not None
            }
            rejected, account = others.get("rejected_file"), others.get("summary_file")
            results = [*others.values(), rows]
            destinations = [each.destination for each in results]
            if settings.num_shards > 1:
                destinations += _shards(rows)
            check_destinations(destinations, settings.patterns, sizes)
            on_failure.enter_context(_removing_temporaries(results))

            pipeline = beam.Pipeline(runner, options)
            build_pipeline(
                pipeline, settings, inputs, rows.output, rejected.output if rejected else None
            )
            summary = _run(pipeline, sizes)
            if account:
                with preparing(account.output.path, run_id) as write:
                    write(summary.to_json())
            is_refused = not settings.max_rejected.allows(summary.rejected, summary.non_blank)
            if is_refused:
                results.remove(rows)
            _give_to_streams(results, summary)
        outputs = [each.output for each in results if each.destination.is_file]
        replace_together(
            [path for output in outputs for path in output.paths()],
            run_id,
            [path for output in outputs for path in output.stale_paths(settings.patterns)],
        )
    if is_refused:
        raise TooManyRejectedError(refusal(summary.rejected, summary.non_blank, summary.reasons))
    if summary.non_blank and not summary.accepted:
        _logger.warning("no valid event is named %r (--event_name)", settings.event_name)


def _run(pipeline: beam.Pipeline, sizes: dict[str, int]) -> Summary:
    """Runs a pipeline over files of these sizes to its end."""
    total_bytes = sum(sizes.values())
    runner = type(pipeline.runner).__name__
    _logger.info("%d bytes in %d files, on %s", total_bytes, len(sizes), runner)
    with progress.shown(total_bytes):
        started = time.monotonic()
        result = pipeline.run()
        result.wait_until_finish()
    return Summary.of(result.metrics(), time.monotonic() - started)


def _give_to_streams(results: Iterable[_Result], summary: Summary) -> None:
    """Does all that can fail before an earlier file is replaced: streams get results and summary.

    Raises:
        OutputError: one cannot be written.
        BrokenPipeError: the reader of one has gone.
    """
    for destination, output in results:
        if not destination.is_file:
            (prepared,) = output.temporary_paths()
            destination.copy(prepared)
    with files.writing("standard error"):
        print(summary.text(), file=sys.stderr, flush=True)


def _shards(rows: _Result) -> list[Destination]:
    """The files that the shards take the place of, and those of an earlier run that are removed.

    Raises:
        OptionError, OutputError: there can be none.
    """
    destination, output = rows
    if not destination.is_file:
        raise OptionError(f"--num_shards above 1 needs files, not {destination.asked}")
    destination.check()
    with files.writing(output.path):
        paths = {*output.paths(), *files.shards_of(output.path)}
    return [Destination(destination.option, path, path) for path in sorted(paths)]


@contextlib.contextmanager
def _removing_temporaries(results: Iterable[_Result]) -> Iterator[None]:
    """Removes what a run that fails or is interrupted leaves beside its outputs."""
    paths = [path for _, output in results for path in output.temporary_paths()]
    try:
        yield
    except BaseException as error:
        for path in paths:
            with contextlib.suppress(OSError):  # the first error is the one that is reported
                files.remove(path)
        raise (run_error_in(error) or error) from error
