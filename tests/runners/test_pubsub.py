"""Messages of Pub/Sub, against an emulator of it: rows and letters out, every message acknowledged.

What only Dataflow does cannot be seen here: that it acknowledges what has been processed and not
before, takes a message once by its `id_label`, and has its watermark wait for old messages. That
the options for it reach it is seen.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections import defaultdict
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import apache_beam as beam
import oracle
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from copies import CHECKOUT
from examples import line
from google.cloud import pubsub
from processes import running, wait_for

from pipeline.parsing.chunks import Chunk, Origin
from pipeline.sources.pubsub import ReadMessages, _chunk

pytestmark = pytest.mark.slow

_PROJECT = "projects/test-project"
_MINUTE = timedelta(minutes=1)


def test_a_message_is_a_chunk_that_knows_its_place() -> None:
    message = PubsubMessage(b'{"a": 1}\n{}', {}, message_id="17")
    assert _chunk(message, "a subscription") == Chunk(
        b'{"a": 1}\n{}', (Origin(0, "a subscription", 0, "17"),)
    )


def test_what_dataflow_needs_to_know_reaches_its_source() -> None:
    sources = []

    class _Visitor(PipelineVisitor):
        def enter_composite_transform(self, transform_node: AppliedPTransform) -> None:
            if isinstance(transform_node.transform, ReadFromPubSub):
                sources.append(transform_node.transform._source)

    pipeline = beam.Pipeline()
    subscription = f"{_PROJECT}/subscriptions/events"
    _ = pipeline | ReadMessages(subscription, id_label="id", timestamp_attribute="sent_at")
    pipeline.visit(_Visitor())
    (source,) = sources
    assert (source.full_subscription, source.full_topic) == (subscription, None)
    assert (source.id_label, source.timestamp_attribute) == ("id", "sent_at")


# ---------------------------------------------------------------------------------------------
# The command, with topics and subscriptions of a test's own


class _PubSub:
    """A Pub/Sub with a topic and a subscription of it for events, rows, rejected and late ones."""

    def __init__(self, address: str, messages: str) -> None:
        self.environment = {
            **os.environ,
            "PUBSUB_EMULATOR_HOST": address,
            "PYTHONPATH": str(CHECKOUT),
        }
        self._messages = messages
        self._suffix = uuid4().hex
        self._publisher = pubsub.PublisherClient()
        self._subscriber = pubsub.SubscriberClient()
        for name in ("events", "rows", "rejected", "late"):
            self._publisher.create_topic(name=self.topic(name))
            self._subscriber.create_subscription(
                name=self.subscription(name), topic=self.topic(name)
            )

    def topic(self, name: str) -> str:
        return f"{_PROJECT}/topics/{name}-{self._suffix}"

    def subscription(self, name: str) -> str:
        return f"{_PROJECT}/subscriptions/{name}-{self._suffix}"

    def publish(self, data: bytes, **attributes: str) -> str:
        """Publishes an event; gives the id of its message."""
        return self._publisher.publish(self.topic("events"), data, **attributes).result()

    def pull(self, name: str) -> list[bytes]:
        """What has come to a topic since the last time."""
        subscription = self.subscription(name)
        found = self._subscriber.pull(
            subscription=subscription, max_messages=1000, return_immediately=True
        ).received_messages
        if found:
            ids = [each.ack_id for each in found]
            self._subscriber.acknowledge(subscription=subscription, ack_ids=ids)
        return [each.message.data for each in found]

    def acknowledged(self) -> list[bool]:
        """Of each event whether it is."""
        with urllib.request.urlopen(self._messages) as answer:
            messages = json.load(answer)
        return [each["acks"] > 0 for each in messages if each["topic"] == self.topic("events")]

    def subscriptions(self) -> list[str]:
        """The subscriptions of the events' topic."""
        return [*self._publisher.list_topic_subscriptions(topic=self.topic("events"))]


@pytest.fixture
def emulated(pubsub_emulator: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> _PubSub:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator[0])
    return _PubSub(*pubsub_emulator)


def _running(
    emulated: _PubSub, folder: Path, *arguments: str
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return running([sys.executable, "-m", "pipeline", *arguments], folder, emulated.environment)


def _event(at: datetime, duration: str = "20") -> bytes:
    return line(timestamp=f'"{at:%Y-%m-%d %H:%M:%S.%f}"', duration=duration)


class _Rows:
    """Rows as they come: of each date the one of the highest revision."""

    def __init__(self, emulated: _PubSub) -> None:
        self._emulated = emulated
        self._rows: dict[str, dict[int, float]] = defaultdict(dict)

    def have(self, rows: bytes) -> bool:
        """Whether these, as batch writes them, are the latest of their dates by now."""
        for data in self._emulated.pull("rows"):
            row = json.loads(data)
            self._rows[row["date"]][row["revision"]] = row["average_delivery_time"]
        latest = {date: each[max(each)] for date, each in self._rows.items()}
        expected = {
            row["date"]: row["average_delivery_time"] for row in map(json.loads, rows.splitlines())
        }
        return latest.items() >= expected.items()


@pytest.mark.pubsub
def test_rows_and_letters_go_to_their_topics_and_every_message_is_acknowledged(
    emulated: _PubSub, tmp_path: Path
) -> None:
    now = datetime.now(timezone.utc)
    events = [_event(now - 6 * _MINUTE, "20"), _event(now - 5 * _MINUTE, "30.5")]
    late = _event(now - 120 * _MINUTE)
    with _running(
        emulated,
        tmp_path,
        *(f"--input_subscription={emulated.subscription('events')}", "--window_size=2"),
        *(f"--output_topic={emulated.topic('rows')}", f"--late_topic={emulated.topic('late')}"),
        f"--rejected_topic={emulated.topic('rejected')}",
    ) as process:
        for event in events:
            emulated.publish(event)
        emulated.publish(late)
        id_of_malformed = emulated.publish(b'{"timestamp": 5')
        emulated.publish(b"\n" + _event(now - 4 * _MINUTE, "40") + b"\n")
        rows = _Rows(emulated)
        expected = oracle.output(
            b"\n".join([*events, _event(now - 4 * _MINUTE, "40")]), 2, until="drain"
        )
        wait_for(lambda: rows.have(expected), process)
        letters: dict[str, list[bytes]] = {"rejected": [], "late": []}
        for name, found in letters.items():

            def has_come(name: str = name, found: list[bytes] = found) -> bool:
                found += emulated.pull(name)
                return bool(found)

            wait_for(has_come, process)
        wait_for(lambda: emulated.acknowledged() == [True] * 5, process)
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, out) == (143, b""), err
    (rejected,) = map(json.loads, letters["rejected"])
    assert rejected["source"] == emulated.subscription("events")
    assert rejected["message_id"] == id_of_malformed
    assert "offset" not in rejected
    (came_late,) = map(json.loads, letters["late"])
    assert came_late["line"] == late.decode()
    assert [error["type"] for error in came_late["errors"]] == ["late"]


@pytest.mark.pubsub
def test_a_topic_is_read_from_now_on_and_rows_may_go_to_a_file(
    emulated: _PubSub, tmp_path: Path
) -> None:
    now = datetime.now(timezone.utc)
    emulated.publish(_event(now - 5 * _MINUTE, "1000"))
    with _running(
        emulated,
        tmp_path,
        *(f"--input_topic={emulated.topic('events')}", "--window_size=1"),
        "--output_file=rows.json",
    ) as process:
        wait_for(lambda: len(emulated.subscriptions()) == 2, process)
        emulated.publish(_event(now - 5 * _MINUTE, "20"))
        emulated.publish(b"[")
        wanted = f'{now - 4 * _MINUTE:%Y-%m-%d %H:%M:00}", "average_delivery_time": 20, "rev'

        def has_come() -> bool:
            rows = tmp_path / "rows.json"
            return rows.exists() and wanted in rows.read_text()

        wait_for(has_come, process)
        assert process.stderr is not None
        shown = process.stderr.readline().decode()
        process.terminate()
        assert process.wait() == 143
    assert "rejected: " in shown
    assert ", message " in shown
    assert emulated.subscriptions() == [emulated.subscription("events")]


@pytest.mark.pubsub
@pytest.mark.parametrize("option", ["input_subscription", "input_topic", "output_topic"])
def test_what_does_not_exist_is_named(emulated: _PubSub, option: str, tmp_path: Path) -> None:
    missing = f"{_PROJECT}/{option.partition('_')[2]}s/missing"
    source = [] if option.startswith("input") else [emulated.subscription("events")]
    options = [f"--{option}={missing}", *(f"--input_subscription={each}" for each in source)]
    with _running(emulated, tmp_path, *options, "--window_size=2") as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    (message,) = err.decode().splitlines()
    assert message.startswith(f"unbabel_cli: error: {missing}: ")
