"""A topic of Google Cloud Pub/Sub, which gets a message for each line: a sink of unbounded runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import apache_beam as beam
from apache_beam.io.gcp.pubsub import WriteToPubSub

from pipeline.core.errors import OutputError
from pipeline.core.options import Given, Option, RunKind, checked
from pipeline.sinks.sink import Contents, LineSink
from pipeline.sources.pubsub import PUBSUB
from pipeline.storage import pubsub


def _topic_option(contents: Contents, what: str, default_text: str = "none") -> Option:
    return Option(
        f"{contents}_topic",
        f"the topic for {what}, one a message, in place of a file",
        PUBSUB,
        metavar="TOPIC",
        parse=checked(pubsub.topic_name),
        default_text=default_text,
    )


@dataclass(frozen=True)
class PubSubTopic(LineSink):
    """A topic.

    Attributes:
        topic: `projects/PROJECT/topics/NAME`.
    """

    TITLE: ClassVar[str] = "How Pub/Sub is written"
    OPTIONS: ClassVar[tuple[Option, ...]] = (
        _topic_option("output", "the rows"),
        _topic_option("rejected", "dead letters"),
        _topic_option("late", "events that arrive too late", "with the dead letters"),
    )

    topic: str
    option: str = field(default="output_topic", compare=False)

    @property
    def path(self) -> None:
        return None

    @classmethod
    def of(cls, contents: Contents, given: Given, run: RunKind) -> PubSubTopic | None:
        option = f"{contents}_topic"
        return None if given[option] is None else cls(given[option], option)

    def open_here(self) -> None:
        from google.cloud.pubsub import PublisherClient

        with pubsub.refused_as(OutputError, self.topic):
            PublisherClient().get_topic(
                topic=self.topic, timeout=pubsub.REQUEST_SECONDS, retry=None
            )

    def write_lines(self) -> beam.PTransform:
        return PublishLines(self.topic)


@dataclass(eq=False)
class PublishLines(beam.PTransform):
    """Publishes its elements (`bytes`, each a line without its end), each as a message.

    Args:
        topic: `projects/PROJECT/topics/NAME`.
    """

    topic: str

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        return lines | "Publish" >> WriteToPubSub(self.topic)
