"""A run as a job of a service: submitted from here, read and written elsewhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TestOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from pipeline import beam_internals
from pipeline.cli.batch import build_pipeline, finish_on_workers, sorted_files
from pipeline.cli.settings import Settings
from pipeline.cli.streaming import average_live, stream_sinks
from pipeline.cli.summary import Summary
from pipeline.core.errors import OptionError, RunError, TooManyRejectedError, run_error_in
from pipeline.runners import Service, service_of, staging
from pipeline.sinks.destinations import check_distinct, check_not_inputs
from pipeline.sinks.sorted_files import Output
from pipeline.storage import files
from pipeline.storage.compression import compressed
from pipeline.storage.files import STANDARD_STREAM
from pipeline.storage.replacing import replacing, temporary_name

_logger = logging.getLogger(__name__)


def submit(
    settings: Settings,
    options: PipelineOptions,
    runner: PipelineRunner,
    is_detached: bool,
    is_debugging: bool,
) -> None:
    """Submits the flow of the settings.

    A batch job is waited for unless it is detached; a streaming job is left running.

    Raises:
        OptionError: the options name what a job cannot have.
        RunError: the job failed, was refused for its rejected lines, or could not be watched.
    """
    service = service_of(runner)
    # The workers of --environment_type=LOOPBACK are threads of this process.
    with beam_internals.silenced_threads(is_debugging):
        if settings.source.AS_JOB.is_bounded:
            is_waited_for = not (is_detached or service.is_launched_elsewhere(options))
            _submit_batch(settings, options, runner, service, is_waited_for, is_debugging)
        else:
            _submit_streaming(settings, options, runner, service)


def _submit_batch(
    settings: Settings,
    options: PipelineOptions,
    runner: PipelineRunner,
    service: Service,
    is_waited_for: bool,
    is_debugging: bool,
) -> None:
    run_id = uuid4().hex[:12]
    sinks = [sorted_files(each) for each in (settings.rows, settings.rejected) if each is not None]
    # Another name than the temporary name of the output.
    scratch = temporary_name(sinks[0].path, f"{run_id}-sorted")
    outputs = [Output(each.path, scratch, run_id, each.num_shards) for each in sinks]
    on_workers = [(sink.option, sink.path) for sink in sinks]
    _check_paths(settings, on_workers, outputs[0].paths())
    if settings.summary_file is not None:
        _check_summary_file(settings.summary_file, is_waited_for)
    _prepare(options, service, [*_inputs(settings), *on_workers])
    pipeline = _pipeline(runner, options)
    read = settings.source.read_in_job()
    prepared = build_pipeline(pipeline, settings, read, *outputs)
    finish_on_workers(pipeline, settings, prepared)
    started = time.monotonic()
    result = _start(pipeline, options, service)
    if result is None or not is_waited_for:
        return
    refusal = None
    try:
        _wait(result, is_debugging)
    except RunError as error:
        # Only a refused job has counted every line.
        if not isinstance(run_error_in(error.__cause__ or error), TooManyRejectedError):
            _remove_leftovers(outputs)
            raise
        refusal = error
    _write_summary(result, time.monotonic() - started, settings.summary_file, run_id)
    if refusal is not None:
        raise refusal


def _remove_leftovers(outputs: Iterable[Output]) -> None:
    """Removes the leftovers of a failed job from a folder that it shares with this machine."""
    for output in outputs:
        if files.is_local(output.path):
            with files.writing(output.path):
                for path in output.temporary_paths():
                    files.remove(path)
                files.remove_folder(output.scratch)


def _write_summary(
    result: PipelineResult, seconds: float, summary_file: str | None, run_id: str
) -> None:
    """Writes the summary of a job that took so many seconds.

    Raises:
        RunError: the counters of the job cannot be read.
        OutputError: it cannot be written.
    """
    try:
        summary = Summary.of(result.metrics(), seconds)
    except Exception as error:  # the client of a service may raise anything
        raise RunError(
            f"the job has ended, and what it counted could not be read{_reason(error)}"
        ) from error
    if summary_file is not None:
        with replacing(summary_file, run_id) as write:
            write(compressed(summary.to_json(), summary_file))
    print(summary.text(), file=sys.stderr)


def _submit_streaming(
    settings: Settings, options: PipelineOptions, runner: PipelineRunner, service: Service
) -> None:
    options.view_as(StandardOptions).streaming = True
    sinks = stream_sinks(settings)
    _prepare(options, service, [(sink.option, sink.path) for sink in sinks if sink.path])
    pipeline = _pipeline(runner, options)
    average_live(pipeline | "Read" >> settings.source.read_in_job(), settings)
    _start(pipeline, options, service)


def _inputs(settings: Settings) -> list[tuple[str, str]]:
    return [("input_file", pattern) for pattern in settings.source.patterns]


def _check_paths(
    settings: Settings, on_workers: Sequence[tuple[str, str]], shards: Sequence[str]
) -> None:
    """Refuses standard streams, outputs that are inputs, and outputs that are the same file."""
    outputs = [*on_workers]
    if settings.summary_file is not None:
        outputs.append(("summary_file", settings.summary_file))
    for name, path in (*_inputs(settings), *outputs):
        if path == STANDARD_STREAM:
            raise OptionError(
                f"--{name}=-: a remote runner has no standard input or output: name a file"
            )
    outputs += [("output_file", path) for path in shards]
    check_not_inputs(outputs, settings.source.patterns)
    check_distinct(outputs)


def _check_summary_file(path: str, is_waited_for: bool) -> None:
    if not is_waited_for:
        raise OptionError(
            f"--summary_file={path} is written when the job has ended, and this "
            "call would not wait for it: leave it out"
        )
    if files.is_local(path):
        folder = os.path.dirname(os.path.abspath(path))
        if not os.access(folder, os.W_OK):
            raise OptionError(f"--summary_file={path}: there is no folder to write it to")


def _prepare(
    options: PipelineOptions, service: Service, on_workers: Iterable[tuple[str, str]]
) -> None:
    """Checks the options, stages the package for the workers, and checks the service."""
    service.check_options(options, on_workers)
    staging.check_staged(options)
    staging.stage_this_package(options)
    staging.say_nothing_of_pip(options)
    service.check_service(options)


def _pipeline(runner: PipelineRunner, options: PipelineOptions) -> beam.Pipeline:
    try:
        return beam.Pipeline(runner, options)
    except (ValueError, ImportError) as error:
        # Beam's message has a heading, then a line for each of its options that is wrong.
        heading, *wrong = str(error).splitlines()
        raise OptionError("; ".join(wrong) or heading) from error


def _start(
    pipeline: beam.Pipeline, options: PipelineOptions, service: Service
) -> PipelineResult | None:
    """Submits a job and prints its address; returns None if there is no job to wait for."""
    try:
        result = pipeline.run()
    except ValueError as error:
        # Beam checks some options only when it describes the job.
        raise OptionError(str(error)) from error
    except RuntimeError as error:
        failed = error.__cause__
        if not isinstance(failed, subprocess.CalledProcessError):
            raise
        told = _last_line(os.fsdecode(failed.output or b""))
        raise RunError(f"what the workers are to install could not be made ready{told}") from error
    if options.view_as(TestOptions).dry_run:
        _logger.warning("dry run: the job was built, and not submitted")
        return None
    if service.is_launched_elsewhere(options):
        return None
    if address := service.address(options, result):
        print(address, file=sys.stderr)
    return result


def _wait(result: PipelineResult, is_debugging: bool) -> None:
    """Waits until a job is done.

    Raises:
        RunError: it ended otherwise, or could not be watched to its end.
    """
    failure: BaseException | None = None
    with _failures_of_threads(is_debugging) as failures:
        try:
            result.wait_until_finish()
        except Exception as error:  # the client of a service may raise anything
            failure = failures[0] if failures else error
    try:
        state = result.state
    except Exception as error:  # the same client
        failure, state = failure or error, PipelineState.UNKNOWN
    reason = "" if failure is None else _reason(failure)
    if not PipelineState.is_terminal(state):
        raise RunError(f"the job could not be watched, and may still run{reason}") from failure
    if state != PipelineState.DONE:
        # Not a usage error, even if the cause was one: the call was right.
        raise RunError(f"the job ended in state {state}{reason}") from failure


@contextmanager
def _failures_of_threads(are_shown: bool) -> Iterator[list[BaseException]]:
    """Gathers the errors of other threads: Beam polls in one, and Python would print its error."""
    failures: list[BaseException] = []
    show = threading.excepthook

    def note(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None:
            failures.append(failed.exc_value)
        if are_shown:
            show(failed)

    threading.excepthook = note
    try:
        yield failures
    finally:
        threading.excepthook = show


def _reason(error: BaseException) -> str:
    """Why a job failed, after a colon: our own error, or the last line of Beam's message."""
    ours = run_error_in(error)
    return _last_line(str(error)) if ours is None else f": {ours}"


def _last_line(text: str) -> str:
    """The last line of a text, after a colon; empty for no text."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # For a cancelled job Beam has no reason, and prints "None".
    return f": {lines[-1]}" if lines and lines[-1] != "None" else ""
