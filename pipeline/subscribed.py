"""A run of input without end in this process: messages of Pub/Sub, on Beam's DirectRunner."""

from __future__ import annotations

import time

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.transforms.window import TimestampedValue

from pipeline.account import Account
from pipeline.chunks import Chunk
from pipeline.errors import OptionError
from pipeline.live import appending, prepare_outputs, run_shown
from pipeline.options import PubSubSettings
from pipeline.pubsub import Publish, ReadMessages
from pipeline.streaming import Sinks, average_live


def subscribe(settings: PubSubSettings, options: PipelineOptions) -> None:
    """Takes messages of Pub/Sub on Beam's DirectRunner until it is stopped.

    Raises:
        RunError: an option asks for what this runner cannot do, or an output cannot be written.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """
    if settings.id_label is not None:
        raise OptionError(
            "--id_label is for Dataflow: the DirectRunner takes messages as they come"
        )
    prepare_outputs(settings, ())
    account = Account()
    with account.opened() as told:
        options.view_as(StandardOptions).streaming = True
        pipeline = beam.Pipeline(BundleBasedDirectRunner(), options)
        chunks = (
            pipeline
            | "ReadMessages"
            >> ReadMessages(
                settings.subscription, settings.topic, None, settings.timestamp_attribute
            )
            | "TimeByClock" >> beam.Map(_now).with_output_types(Chunk)
        )
        sinks = Sinks(
            _sink(settings.output_topic, settings.output_file),
            _sink(settings.rejected_topic, settings.rejected_file),
            _sink(settings.late_topic, settings.late_file),
        )
        average_live(chunks, settings, sinks, told)
        # This runner does not tell its watermark: it has passed the dates of all rows.
        run_shown(pipeline, account, lambda: account.last_date)


def _now(chunk: Chunk) -> TimestampedValue:
    # This runner's watermark is the clock, whatever the time of a message.
    return TimestampedValue(chunk, time.time())


def _sink(topic: str | None, path: str | None) -> beam.PTransform | None:
    return appending(path) if topic is None else Publish(topic)
