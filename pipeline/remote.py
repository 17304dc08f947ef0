"""A run as a job of a service: it is submitted from here, and reads and writes elsewhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TestOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from pipeline import beam_threads, dataflow, files, portable, staging
from pipeline.batch import build_pipeline, publish_on_workers
from pipeline.errors import OptionError, RunError, TooManyRejectedError, run_error_in
from pipeline.hourly import WriteHours
from pipeline.options import (
    STANDARD_STREAM,
    PubSubSettings,
    RunOptions,
    Settings,
    check_distinct,
    check_not_inputs,
)
from pipeline.pubsub import Publish, ReadMessages
from pipeline.reading import Input
from pipeline.replacing import replacing, temporary_name
from pipeline.streaming import Sinks, average_live
from pipeline.summary import Summary
from pipeline.writing import Output

_logger = logging.getLogger(__name__)


def submit(settings: Settings, options: PipelineOptions, runner: PipelineRunner) -> None:
    """Submits the batch flow, and waits for its end unless it is to be detached.

    Raises:
        OptionError: the options name what a job cannot have.
        RunError: the job failed, was refused for its rejected lines, or could not be watched.
    """
    run_id = uuid4().hex[:12]
    # A name of its own: under that of the run, the output is prepared.
    scratch = temporary_name(settings.output_file, f"{run_id}-runs")
    rows = Output(settings.output_file, scratch, run_id, settings.num_shards)
    rejected = Output(settings.rejected_file, scratch, run_id) if settings.rejected_file else None
    is_waited_for = not (
        options.view_as(RunOptions).detach or dataflow.is_launched_as_template(options)
    )
    _check_paths(settings, rows)
    if settings.summary_file is not None:
        _check_summary_file(settings.summary_file, is_waited_for)
    on_workers = [("input_file", pattern) for pattern in settings.patterns]
    on_workers += [("output_file", rows.path)]
    if rejected is not None:
        on_workers.append(("rejected_file", rejected.path))
    _prepare(options, runner, on_workers)
    pipeline = _pipeline(runner, options)
    inputs = tuple(map(Input, settings.patterns))
    prepared = build_pipeline(pipeline, settings, inputs, rows, rejected)
    publish_on_workers(pipeline, settings, prepared)
    started = time.monotonic()
    is_debugging = options.view_as(RunOptions).debug
    refusal = None
    # The workers of --environment_type=LOOPBACK are threads of this process.
    with beam_threads.silenced(is_debugging):
        result = _start(pipeline, options, runner)
        if result is None or not is_waited_for:
            return
        try:
            _wait(result, is_debugging)
        except RunError as error:
            # A job that is refused at its end has counted every line; others have not.
            if not isinstance(run_error_in(error.__cause__ or error), TooManyRejectedError):
                _remove_leftovers(rows, rejected)
                raise
            refusal = error
    _tell(result, time.monotonic() - started, settings.summary_file, run_id)
    if refusal is not None:
        raise refusal


def _remove_leftovers(*outputs: Output | None) -> None:
    """Removes what a job that failed has left in a folder that it shares with this machine."""
    for output in filter(None, outputs):
        if files.is_local(output.path):
            with files.writing(output.path):
                for path in output.temporary_paths():
                    files.remove(path)
                files.remove_folder(output.scratch)


def _tell(result: PipelineResult, seconds: float, summary_file: str | None, run_id: str) -> None:
    """Writes the summary of a job that took so many seconds.

    Raises:
        RunError: it cannot be read.
        OutputError: it cannot be written.
    """
    try:
        summary = Summary.of(result.metrics(), seconds)
    except Exception as error:  # a service's client raises what it likes
        raise RunError(
            f"the job has ended, and what it counted could not be read{_reason(error)}"
        ) from error
    if summary_file is not None:
        with replacing(summary_file, run_id) as write:
            write(summary.to_json())
    print(summary.text(), file=sys.stderr)


def submit_streaming(
    settings: PubSubSettings, options: PipelineOptions, runner: PipelineRunner
) -> None:
    """Submits the flow of messages without end, and returns once the job is accepted.

    Raises:
        OptionError: the options name what a job cannot have.
    """
    folder = settings.output_file
    if folder == STANDARD_STREAM or (folder is not None and not folder.endswith("/")):
        raise OptionError(
            f"--output_file={folder}: name a folder in a bucket (gs://BUCKET/FOLDER/), which gets "
            "a file for each hour, or an --output_topic"
        )
    options.view_as(StandardOptions).streaming = True
    _prepare(options, runner, [] if folder is None else [("output_file", folder)])
    pipeline = _pipeline(runner, options)
    chunks = pipeline | "ReadMessages" >> ReadMessages(
        settings.subscription, settings.topic, settings.id_label, settings.timestamp_attribute
    )
    if folder is None:
        rows = Publish(settings.output_topic)
    else:
        rows = WriteHours(folder, uuid4().hex[:12], settings.allowed_lateness_seconds)
    letters = [
        None if topic is None else Publish(topic)
        for topic in (settings.rejected_topic, settings.late_topic)
    ]
    average_live(chunks, settings, Sinks(rows, *letters))
    _start(pipeline, options, runner)


def _check_paths(settings: Settings, rows: Output) -> None:
    """Refuses what is not a file, or not one of its own, by its path alone."""
    asked = {
        "output_file": settings.output_file,
        "rejected_file": settings.rejected_file,
        "summary_file": settings.summary_file,
    }
    outputs = [(name, path) for name, path in asked.items() if path is not None]
    inputs = [("input_file", pattern) for pattern in settings.patterns]
    for name, path in (*inputs, *outputs):
        if path == STANDARD_STREAM:
            raise OptionError(
                f"--{name}=-: a remote runner has no standard input or output: name a file"
            )
    outputs += [("output_file", path) for path in rows.paths()]
    check_not_inputs(outputs, settings.patterns)
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
    options: PipelineOptions, runner: PipelineRunner, on_workers: Iterable[tuple[str, str]]
) -> None:
    """Checks the options, the service last, and sees that the workers get the package."""
    if _is_dataflow(runner):
        dataflow.check_options(options, on_workers)
    portable.check_options(options, type(runner).__name__)
    staging.check_staged(options)
    staging.stage_this_package(options)
    staging.say_nothing_of_pip(options)
    if _is_dataflow(runner):
        dataflow.check_service(options)
    else:
        portable.check_service(options)


def _is_dataflow(runner: PipelineRunner) -> bool:
    return type(runner).__name__ == "DataflowRunner"


def _pipeline(runner: PipelineRunner, options: PipelineOptions) -> beam.Pipeline:
    try:
        return beam.Pipeline(runner, options)
    except (ValueError, ImportError) as error:
        # After a heading Beam has a line for each of its own options that is wrong.
        heading, *wrong = str(error).splitlines()
        raise OptionError("; ".join(wrong) or heading) from error


def _start(
    pipeline: beam.Pipeline, options: PipelineOptions, runner: PipelineRunner
) -> PipelineResult | None:
    """Submits a job and tells where it is; None where there is none to wait for."""
    try:
        result = pipeline.run()
    except ValueError as error:
        # Some options Beam looks at only when it describes the job.
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
    if dataflow.is_launched_as_template(options):
        return None
    if _is_dataflow(runner):
        job_id = result.job_id()
        print(f"job {job_id}: {dataflow.job_address(options, job_id)}", file=sys.stderr)
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
        except Exception as error:  # a service's client raises what it likes
            failure = failures[0] if failures else error
    try:
        state = result.state
    except Exception as error:  # the same client
        failure, state = failure or error, PipelineState.UNKNOWN
    reason = "" if failure is None else _reason(failure)
    if not PipelineState.is_terminal(state):
        raise RunError(f"the job could not be watched, and may still run{reason}") from failure
    if state != PipelineState.DONE:
        # Whatever it was, the call was right.
        raise RunError(f"the job ended in state {state}{reason}") from failure


@contextmanager
def _failures_of_threads(are_shown: bool) -> Iterator[list[BaseException]]:
    """Gathers what goes wrong in other threads: Beam polls in one, and Python would print it."""
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
    """Why a job failed, after a colon: an error of ours, or the last line of what Beam says."""
    ours = run_error_in(error)
    return _last_line(str(error)) if ours is None else f": {ours}"


def _last_line(text: str) -> str:
    """The last line of what was said, after a colon, if anything was."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Of a cancelled job Beam has no reason, and says "None".
    return f": {lines[-1]}" if lines and lines[-1] != "None" else ""
