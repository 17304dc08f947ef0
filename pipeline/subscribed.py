"""A run of input without end in this process: messages of Pub/Sub, on Beam's DirectRunner."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.transforms.window import TimestampedValue
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub import PublisherClient, SubscriberClient

from pipeline.account import Account
from pipeline.chunks import Chunk
from pipeline.errors import InputError, OutputError, RunError
from pipeline.live import appending, prepare_outputs, run_shown
from pipeline.options import PubSubSettings
from pipeline.pubsub import Publish, ReadMessages
from pipeline.streaming import Sinks, average_live

_REQUEST_SECONDS = 20


def subscribe(settings: PubSubSettings, options: PipelineOptions) -> None:
    """Takes messages of Pub/Sub on Beam's DirectRunner until it is stopped.

    Raises:
        RunError: an option asks for what this runner cannot do, or an input or output cannot be
            had.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """
    prepare_outputs(settings)
    for topic in (settings.output_topic, settings.rejected_topic, settings.late_topic):
        if topic is not None:
            with _found(topic, OutputError):
                PublisherClient().get_topic(topic=topic, timeout=_REQUEST_SECONDS, retry=None)
    account = Account()
    with account.opened() as told, _subscription(settings) as subscription:
        options.view_as(StandardOptions).streaming = True
        pipeline = beam.Pipeline(BundleBasedDirectRunner(), options)
        messages = pipeline | "ReadMessages" >> ReadMessages(subscription)
        chunks = messages | "TimeByClock" >> beam.Map(_now).with_output_types(Chunk)
        sinks = Sinks(
            _sink(settings.output_topic, settings.output_file, settings.retry_seconds),
            _sink(settings.rejected_topic, settings.rejected_file, settings.retry_seconds),
            _sink(settings.late_topic, settings.late_file, settings.retry_seconds),
        )
        average_live(chunks, settings, sinks, told)
        # This runner does not tell its watermark: it has passed the dates of all rows.
        run_shown(pipeline, account, lambda: account.last_date)


@contextmanager
def _subscription(settings: PubSubSettings) -> Iterator[str]:
    """The one that is asked for, or one of the topic that lasts as long as the run."""
    client = SubscriberClient()
    if settings.subscription is not None:
        with _found(settings.subscription, InputError):
            client.get_subscription(
                subscription=settings.subscription, timeout=_REQUEST_SECONDS, retry=None
            )
        yield settings.subscription
        return
    assert settings.topic is not None
    project = settings.topic.split("/")[1]
    name = f"projects/{project}/subscriptions/unbabel-cli-{uuid4().hex}"
    with _found(settings.topic, InputError):
        client.create_subscription(
            name=name, topic=settings.topic, timeout=_REQUEST_SECONDS, retry=None
        )
    try:
        yield name
    finally:
        client.delete_subscription(subscription=name, timeout=_REQUEST_SECONDS)


@contextmanager
def _found(name: str, kind: type[RunError]) -> Iterator[None]:
    """Raises an error of the kind, with its name, where Pub/Sub does not let us have it."""
    try:
        yield
    except (GoogleAPICallError, GoogleAuthError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise kind(f"{name}: {first_line}") from error


def _now(chunk: Chunk) -> TimestampedValue:
    # This runner's watermark is the clock, whatever the time of a message.
    return TimestampedValue(chunk, time.time())


def _sink(topic: str | None, path: str | None, retry_seconds: int) -> beam.PTransform | None:
    return appending(path, retry_seconds) if topic is None else Publish(topic)
