"""A run as a job of a service: it is submitted from here, and reads and writes elsewhere."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
from fnmatch import fnmatch
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from pipeline import dataflow, files
from pipeline.batch import build_pipeline
from pipeline.errors import OptionError, RunError, run_error_in
from pipeline.hourly import WriteHours
from pipeline.options import STANDARD_STREAM, PubSubSettings, RunOptions, Settings
from pipeline.pubsub import Publish, ReadMessages
from pipeline.reading import Input
from pipeline.streaming import Sinks, average_live
from pipeline.summary import Summary
from pipeline.writing import Output

_logger = logging.getLogger(__name__)

# The names that Beam stages.
_STAGED = {
    "setup_file": ("setup.py", "pyproject.toml"),
    "requirements_file": ("*",),
    "extra_package": ("*.whl", "*.tar.gz", "*.tar", "*.zip"),
}


def submit(settings: Settings, options: PipelineOptions, runner: PipelineRunner) -> None:
    """Submits the batch flow, and waits for its end unless it is to be detached.

    Raises:
        OptionError: the options name what a job cannot have.
        RunError: the job failed.
    """
    outputs = {"output_file": settings.output_file, "rejected_file": settings.rejected_file}
    on_workers = [("input_file", pattern) for pattern in settings.patterns]
    on_workers += [(name, path) for name, path in outputs.items() if path is not None]
    for name, path in (*on_workers, ("summary_file", settings.summary_file)):
        if path == STANDARD_STREAM:
            raise OptionError(
                f"--{name}=-: a remote runner has no standard input or output: name a file"
            )
    summary_file = settings.summary_file
    is_waited_for = not (
        options.view_as(RunOptions).detach or dataflow.is_launched_as_template(options)
    )
    if summary_file and not is_waited_for:
        raise OptionError(
            f"--summary_file={summary_file} is written when the job has ended, and this "
            "call would not wait for it: leave it out"
        )
    if summary_file and files.is_local(summary_file):
        folder = os.path.dirname(os.path.abspath(summary_file))
        if not os.access(folder, os.W_OK):
            raise OptionError(f"--summary_file={summary_file}: there is no folder to write it to")
    if _is_dataflow(runner):
        dataflow.check_options(options, on_workers)
        dataflow.check_update(options)
    _let_workers_install_this(options)
    run_id = uuid4().hex[:12]
    # A name of its own: the output is prepared under that of `output_file`.
    scratch = files.temporary_name(f"{settings.output_file}.runs", run_id)
    rows = Output(settings.output_file, scratch, run_id, settings.num_shards)
    rejected = Output(settings.rejected_file, scratch, run_id) if settings.rejected_file else None
    pipeline = _pipeline(runner, options)
    inputs = tuple(Input(pattern) for pattern in settings.patterns)
    build_pipeline(pipeline, settings, inputs, rows, rejected)
    started = time.monotonic()
    result = _start(pipeline, options, runner)
    if result is None or not is_waited_for:
        return
    try:
        result.wait_until_finish()
    except Exception as error:
        if not PipelineState.is_terminal(result.state):
            raise
        # Whatever it was, the call was right.
        raise RunError(f"the job ended in state {result.state}{_reason(error)}") from error
    if result.state != PipelineState.DONE:
        raise RunError(f"the job ended in state {result.state}")
    summary = Summary.of(result.metrics(), time.monotonic() - started)
    print(summary.text(), file=sys.stderr)
    if summary_file:
        summary.write(summary_file, run_id)


def submit_streaming(
    settings: PubSubSettings, options: PipelineOptions, runner: PipelineRunner
) -> None:
    """Submits the flow of messages without end, and returns once the job is accepted.

    Raises:
        OptionError: the options name what a job cannot have.
    """
    for name in ("rejected", "late"):
        if getattr(settings, f"{name}_file") is not None:
            raise OptionError(f"--{name}_file is for files: name a --{name}_topic")
    folder = settings.output_file
    if folder == STANDARD_STREAM or (folder is not None and not folder.endswith("/")):
        raise OptionError(
            f"--output_file={folder}: name a folder in a bucket (gs://BUCKET/FOLDER/), which gets "
            "a file for each hour, or an --output_topic"
        )
    options.view_as(StandardOptions).streaming = True
    dataflow.check_options(options, [] if folder is None else [("output_file", folder)])
    dataflow.check_update(options)
    _let_workers_install_this(options)
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


def _is_dataflow(runner: PipelineRunner) -> bool:
    return type(runner).__name__ == "DataflowRunner"


def _pipeline(runner: PipelineRunner, options: PipelineOptions) -> beam.Pipeline:
    try:
        return beam.Pipeline(runner, options)
    except ValueError as error:
        # After a heading Beam has a line for each of its own options that is wrong.
        heading, *wrong = str(error).splitlines()
        raise OptionError("; ".join(wrong) or heading) from error


def _start(
    pipeline: beam.Pipeline, options: PipelineOptions, runner: PipelineRunner
) -> PipelineResult | None:
    """Submits a job and tells where it is; None where there is none to wait for."""
    result = pipeline.run()
    if options.view_as(TestOptions).dry_run:
        _logger.warning("dry run: the job was built, and not submitted")
        return None
    if dataflow.is_launched_as_template(options):
        return None
    if _is_dataflow(runner):
        job_id = result.job_id()
        print(f"job {job_id}: {dataflow.job_address(options, job_id)}", file=sys.stderr)
    return result


def _reason(error: Exception) -> str:
    """Why a job failed, after a colon: an error of ours, or the last line of what Beam says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = str(run_error_in(error) or (lines[-1] if lines else ""))
    # Of a cancelled job Beam has no reason, and says "None".
    return "" if reason in ("", "None") else f": {reason}"


def _let_workers_install_this(options: PipelineOptions) -> None:
    """Names the package's own setup.py, if it runs from a checkout and nothing else is named."""
    setup = options.view_as(SetupOptions)
    remedy = (
        "--setup_file=./setup.py from a checkout, --extra_package=WHEEL, "
        "or --sdk_container_image=IMAGE with the package installed"
    )
    named = [("setup_file", setup.setup_file), ("requirements_file", setup.requirements_file)]
    named += [("extra_package", each) for each in setup.extra_packages or ()]
    for name, path in named:
        if path and files.is_local(path) and not os.path.isfile(path):
            raise OptionError(f"--{name}={path} does not exist; pass {remedy}")
        if path and not any(fnmatch(os.path.basename(path), staged) for staged in _STAGED[name]):
            raise OptionError(
                f"--{name}={path} is none of {', '.join(_STAGED[name])}; pass {remedy}"
            )
    image = options.view_as(WorkerOptions).sdk_container_image
    if not (setup.setup_file or setup.extra_packages or image):
        checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        setup_file = os.path.join(checkout, "setup.py")
        if not os.path.exists(setup_file):
            raise OptionError(f"the workers need this package too: pass {remedy}")
        setup.setup_file = setup_file
    if importlib.util.find_spec("pip") is None:
        # With pip Beam notes what is installed here; without, it prints that there is none.
        options.view_as(DebugOptions).add_experiment("disable_logging_submission_environment")
