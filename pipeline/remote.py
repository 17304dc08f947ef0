"""A run as a job of a service: it is submitted from here, and reads and writes elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.runners.runner import PipelineRunner, PipelineState

from pipeline import files
from pipeline.batch import build_pipeline
from pipeline.errors import OptionError, RunError
from pipeline.hourly import WriteHours
from pipeline.options import STANDARD_STREAM, PubSubSettings, RunOptions, Settings
from pipeline.pubsub import Publish, ReadMessages
from pipeline.reading import Input
from pipeline.streaming import Sinks, average_live
from pipeline.summary import Summary
from pipeline.writing import Output

_logger = logging.getLogger(__name__)


def submit(settings: Settings, options: PipelineOptions, runner: PipelineRunner) -> None:
    """Submits the batch flow, and waits for its end unless it is to be detached.

    Raises:
        OptionError: the options name what a job cannot have.
        RunError: the job failed.
    """
    outputs = (settings.output_file, settings.rejected_file, settings.summary_file)
    if STANDARD_STREAM in (*settings.patterns, *outputs):
        raise OptionError("a remote runner has no standard input or output: name files")
    if type(runner).__name__ == "DataflowRunner":
        _check_cloud_options(options)
    _let_workers_install_this(options)
    run_id = uuid4().hex[:12]
    scratch = files.temporary_name(settings.output_file, run_id)
    rows = Output(settings.output_file, scratch, run_id, settings.num_shards)
    rejected = Output(settings.rejected_file, scratch, run_id) if settings.rejected_file else None
    pipeline = beam.Pipeline(runner, options)
    inputs = tuple(Input(pattern) for pattern in settings.patterns)
    build_pipeline(pipeline, settings, inputs, rows, rejected)
    started = time.monotonic()
    result = pipeline.run()
    if options.view_as(TestOptions).dry_run:
        _logger.warning("dry run: the job was built, and not submitted")
        return
    if options.view_as(RunOptions).detach:
        return
    result.wait_until_finish()
    if result.state != PipelineState.DONE:
        raise RunError(f"the job ended in state {result.state}")
    summary = Summary.of(result.metrics(), time.monotonic() - started)
    if settings.summary_file:
        summary.write(settings.summary_file, run_id)
    print(summary.text(), file=sys.stderr)


def submit_streaming(
    settings: PubSubSettings, options: PipelineOptions, runner: PipelineRunner
) -> None:
    """Submits the flow of messages without end, and returns once the job is accepted.

    Raises:
        OptionError: the options name what a job cannot have.
    """
    for name in ("rejected", "late"):
        if getattr(settings, f"{name}_file") is not None:
            raise OptionError(f"--{name}_file is of this machine: name a --{name}_topic")
    folder = settings.output_file
    if folder is not None and (files.is_local(folder) or not folder.endswith("/")):
        raise OptionError(
            f"--output_file={folder}: name a folder in a bucket (gs://BUCKET/FOLDER/), which gets "
            "a file for each hour, or an --output_topic"
        )
    _check_cloud_options(options)
    _let_workers_install_this(options)
    options.view_as(StandardOptions).streaming = True
    pipeline = beam.Pipeline(runner, options)
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
    pipeline.run()
    if options.view_as(TestOptions).dry_run:
        _logger.warning("dry run: the job was built, and not submitted")


def _check_cloud_options(options: PipelineOptions) -> None:
    """Raises OptionError for what Beam would ask the cloud for, and wait minutes for an answer."""
    cloud = options.view_as(GoogleCloudOptions)
    for name in ("project", "region", "temp_location"):
        if not getattr(cloud, name):
            raise OptionError(f"--{name} is required by the DataflowRunner")


def _let_workers_install_this(options: PipelineOptions) -> None:
    """Names the package's own setup.py, if it runs from a checkout and nothing else is named."""
    setup = options.view_as(SetupOptions)
    remedy = (
        "--setup_file=./setup.py from a checkout, --extra_package=WHEEL, "
        "or --sdk_container_image=IMAGE with the package installed"
    )
    if setup.setup_file and not os.path.exists(setup.setup_file):
        raise OptionError(f"--setup_file={setup.setup_file} does not exist; pass {remedy}")
    image = options.view_as(WorkerOptions).sdk_container_image
    if not (setup.setup_file or setup.extra_packages or image):
        checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        setup_file = os.path.join(checkout, "setup.py")
        if not os.path.exists(setup_file):
            raise OptionError(f"the workers need this package too: pass {remedy}")
        setup.setup_file = setup_file
