"""Messages of Google Cloud Pub/Sub as lines, and lines as messages."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub, WriteToPubSub

from pipeline import coders  # noqa: F401  registers the coder of chunks
from pipeline.chunks import Chunk, Origin


@dataclass(eq=False)
class ReadMessages(beam.PTransform):
    """Gives each message as a `Chunk`: its data is a line, or several.

    Which messages come once only, and how the watermark goes, is the runner's affair: on Dataflow
    each comes once, by `id_label` even if it was published twice. The DirectRunner acknowledges
    messages before they are processed, takes no `id_label`, and its watermark is the clock.

    Args:
        subscription: `projects/PROJECT/subscriptions/NAME`; or
        topic: `projects/PROJECT/topics/NAME`, whose messages are taken from now on.
        id_label: the attribute that tells messages apart; None for the id that Pub/Sub gives them.
        timestamp_attribute: the attribute with the element's timestamp, in milliseconds since
            1970-01-01 or as RFC 3339 has it; None for the time of publication.
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
class Publish(beam.PTransform):
    """Publishes its elements (`bytes`, each a line without its end), each as a message.

    Args:
        topic: `projects/PROJECT/topics/NAME`.
    """

    topic: str

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        return lines | "Publish" >> WriteToPubSub(self.topic)
