"""Messages of Google Cloud Pub/Sub as lines: a source of unbounded runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar
from uuid import uuid4

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub
from apache_beam.transforms.window import TimestampedValue

from pipeline.core.errors import InputError
from pipeline.core.options import Given, Option, RunKind, Use, checked, chosen
from pipeline.parsing.chunks import Chunk, Origin
from pipeline.sources.source import Opened, Runners
from pipeline.storage import pubsub

PUBSUB = Use("--input_subscription and --input_topic", lambda run: run.source == "PubSubMessages")
_PUBSUB_JOB = Use("streaming jobs", lambda run: run.source == "PubSubMessages" and run.is_job)


@dataclass(frozen=True)
class PubSubMessages:
    """The messages of a subscription, or of a topic from now on: each holds a line, or several.

    Attributes:
        input_subscription: `projects/PROJECT/subscriptions/NAME`; or
        input_topic: `projects/PROJECT/topics/NAME`.
        timestamp_attribute: the attribute of messages that drives the watermark; None for the time
            of their publication.
        id_label: the attribute that identifies a message that was published twice; None for the id
            that Pub/Sub gives it.
    """

    TITLE: ClassVar[str] = "How Pub/Sub is read"
    HERE: ClassVar[RunKind] = RunKind("Pub/Sub on this machine", "PubSubMessages", False, False)
    AS_JOB: ClassVar[RunKind] = RunKind("a streaming job", "PubSubMessages", False, True)
    RUNNERS: ClassVar[Runners | None] = Runners(
        ("direct", "dataflow"), "Pub/Sub is read on the DirectRunner and the DataflowRunner"
    )
    LAUNCHER: ClassVar[str] = "direct_streaming"
    INPUTS: ClassVar[tuple[str, ...]] = ("input_subscription", "input_topic")
    SWITCH: ClassVar[str | None] = None
    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option(
            "input_subscription",
            "the messages of `projects/PROJECT/subscriptions/NAME`, each a line or several",
            PUBSUB,
            metavar="SUBSCRIPTION",
            parse=checked(pubsub.subscription_name),
        ),
        Option(
            "input_topic",
            "the messages of `projects/PROJECT/topics/NAME` from now on",
            PUBSUB,
            metavar="TOPIC",
            parse=checked(pubsub.topic_name),
        ),
        Option(
            "timestamp_attribute",
            "the attribute of a message whose time moves the watermark; the time of an event is "
            "always its timestamp",
            _PUBSUB_JOB,
            metavar="NAME",
            default_text="the time of publication",
        ),
        Option(
            "id_label",
            "on Dataflow: the attribute that identifies a message that is published twice",
            _PUBSUB_JOB,
            metavar="NAME",
            default_text="the id that Pub/Sub gives",
        ),
    )

    input_subscription: str | None = None
    input_topic: str | None = None
    timestamp_attribute: str | None = None
    id_label: str | None = None

    @property
    def patterns(self) -> tuple[str, ...]:
        return ()

    @classmethod
    def of(cls, given: Given) -> PubSubMessages:
        pubsub.check_installed()
        return cls(**chosen(given, cls))

    @contextmanager
    def opened_here(self, scratch: str) -> Iterator[Opened]:
        with self._subscription() as subscription:
            yield Opened(_ReadByClock(subscription))

    def read_in_job(self) -> beam.PTransform:
        return ReadMessages(
            self.input_subscription, self.input_topic, self.id_label, self.timestamp_attribute
        )

    @contextmanager
    def _subscription(self) -> Iterator[str]:
        """The one that is asked for, or one of the topic that lasts as long as the run."""
        from google.cloud.pubsub import SubscriberClient

        client = SubscriberClient()
        request = {"timeout": pubsub.REQUEST_SECONDS, "retry": None}
        if self.input_subscription is not None:
            with pubsub.refused_as(InputError, self.input_subscription):
                client.get_subscription(subscription=self.input_subscription, **request)
            yield self.input_subscription
            return
        assert self.input_topic is not None
        project = self.input_topic.split("/")[1]
        name = f"projects/{project}/subscriptions/unbabel-cli-{uuid4().hex}"
        with pubsub.refused_as(InputError, self.input_topic):
            client.create_subscription(name=name, topic=self.input_topic, **request)
        try:
            yield name
        finally:
            client.delete_subscription(subscription=name, timeout=pubsub.REQUEST_SECONDS)


@dataclass(eq=False)
class ReadMessages(beam.PTransform):
    """Reads messages; takes a pipeline. Gives each as a `Chunk`: its data is a line, or several.

    The runner decides which messages come only once, and how the watermark moves. On Dataflow each
    comes once, by `id_label` even if it was published twice. The DirectRunner acknowledges messages
    before they are processed, takes no `id_label`, and its watermark is the wall clock.

    Args:
        subscription: `projects/PROJECT/subscriptions/NAME`; or
        topic: `projects/PROJECT/topics/NAME`, whose messages are taken from now on.
        id_label: the attribute that identifies a message; None for the id that Pub/Sub gives it.
        timestamp_attribute: the attribute with the element's timestamp, in milliseconds since
            1970-01-01 or as in RFC 3339; None for the time of publication.
    """

    subscription: str | None = None
    topic: str | None = None
    id_label: str | None = None
    timestamp_attribute: str | None = None

    def expand(self, start: beam.pvalue.PBegin) -> beam.PCollection:
        source = self.subscription or self.topic
        return (
            start
            | "Read"
            >> ReadFromPubSub(
                topic=self.topic,
                subscription=self.subscription,
                id_label=self.id_label,
                timestamp_attribute=self.timestamp_attribute,
                with_attributes=True,
            )
            | "Chunk" >> beam.Map(_chunk, source).with_output_types(Chunk)
        )


def _chunk(message: PubsubMessage, source: str) -> Chunk:
    return Chunk(message.data, (Origin(0, source, 0, message.message_id),))


@dataclass(eq=False)
class _ReadByClock(beam.PTransform):
    """`ReadMessages` for the DirectRunner, whose watermark is the wall clock."""

    subscription: str

    def expand(self, start: beam.pvalue.PBegin) -> beam.PCollection:
        return (
            start
            | "Messages" >> ReadMessages(self.subscription)
            | "TimeByClock" >> beam.Map(_now).with_output_types(Chunk)
        )


def _now(chunk: Chunk) -> TimestampedValue:
    return TimestampedValue(chunk, time.time())
