"""What a job keeps from one version of the pipeline to the next, as it stands in tests/graphs.

`python tests/graph.py` accepts the graphs as they are now. Before that, mind what it means for jobs
that run: `--update` finds the state of a step by its label, reads it by its coder, and keeps timers
by their names. Where one of these has changed the service refuses the update, or needs to be told
with `--transform_name_mapping`; otherwise drain the job and start the new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.portability.api import beam_runner_api_pb2 as proto
from google.protobuf.wrappers_pb2 import BytesValue

from pipeline.batch import build_pipeline
from pipeline.hourly import WriteHours
from pipeline.options import PubSubSettings, Settings
from pipeline.pubsub import Publish, ReadMessages
from pipeline.reading import Input
from pipeline.rolling import SeriesRows
from pipeline.streaming import Sinks, average_live
from pipeline.writing import Output

GRAPHS = Path(__file__).parent / "graphs"

_PICKLED_CODER = "beam:coder:pickled_python:v1"
_COMBINE = "beam:transform:combine"
_PARDO = "beam:transform:pardo:v1"
_BUCKET = "gs://bucket"
_TOPIC = "projects/my-project/topics"

Graph = dict[str, dict[str, Any]]


def _batch(plan: Any) -> beam.Pipeline:
    pipeline = beam.Pipeline()
    settings = Settings((f"{_BUCKET}/events.json",), SeriesRows(10), plan)
    outputs = [Output(f"{_BUCKET}/{name}.json", f"{_BUCKET}/scratch", "run") for name in "ab"]
    build_pipeline(pipeline, settings, (Input(settings.patterns[0]),), *outputs)
    return pipeline


def _streaming(rows: beam.PTransform) -> beam.Pipeline:
    pipeline = beam.Pipeline()
    settings = PubSubSettings(window_minutes=10, group_by=("client_name",))
    messages = ReadMessages("projects/my-project/subscriptions/events", id_label="id")
    sinks = Sinks(rows, Publish(f"{_TOPIC}/rejected"), Publish(f"{_TOPIC}/late"))
    average_live(pipeline | "ReadMessages" >> messages, settings, sinks)
    return pipeline


_BUILD: dict[str, Callable[[], beam.Pipeline]] = {
    "batch": lambda: _batch("rolling"),
    "batch-by-windows": lambda: _batch("windows"),
    "streaming-to-topics": lambda: _streaming(Publish(f"{_TOPIC}/rows")),
    "streaming-to-folder": lambda: _streaming(WriteHours(f"{_BUCKET}/rows/", "run", 600)),
}
NAMES = tuple(_BUILD)


def built(name: str) -> Graph:
    """The graph as the pipeline makes it now: steps by label, with all that an update minds."""
    components = _BUILD[name]().to_runner_api().components
    reader = _Reader(components)
    return {
        step.unique_name: reader.step(step)
        for step in components.transforms.values()
        if step.unique_name and (not step.subtransforms or step.spec.urn.startswith(_COMBINE))
    }


def accepted(name: str) -> Graph:
    """The graph as it was accepted."""
    graph: Graph = json.loads((GRAPHS / f"{name}.json").read_text())
    return graph


class _Reader:
    def __init__(self, components: proto.Components) -> None:
        self._components = components

    def step(self, step: proto.PTransform) -> dict[str, Any]:
        collections = {name: self._collection(id_) for name, id_ in sorted(step.outputs.items())}
        found: dict[str, Any] = {"does": step.spec.urn, "gives": collections}
        if step.spec.urn == _PARDO:
            payload = proto.ParDoPayload.FromString(step.spec.payload)
            found["state"] = {
                name: self._coder(spec.read_modify_write_spec.coder_id)
                for name, spec in sorted(payload.state_specs.items())
            }
            found["timers"] = sorted(payload.timer_family_specs)
            found["side inputs"] = sorted(payload.side_inputs)
        if step.spec.urn.startswith(_COMBINE):
            combine = proto.CombinePayload.FromString(step.spec.payload)
            found["accumulator"] = self._coder(combine.accumulator_coder_id)
        return {key: each for key, each in found.items() if each}

    def _collection(self, id_: str) -> dict[str, Any]:
        collection = self._components.pcollections[id_]
        windowing = self._components.windowing_strategies[collection.windowing_strategy_id]
        return {
            "coder": self._coder(collection.coder_id),
            "windows": windowing.window_fn.urn,
            "trigger": windowing.trigger.WhichOneof("trigger"),
            "lateness": windowing.allowed_lateness,
            "accumulates": proto.AccumulationMode.Enum.Name(windowing.accumulation_mode),
            "window parameters": windowing.window_fn.payload.hex(),
        }

    def _coder(self, id_: str) -> Any:
        coder = self._components.coders[id_]
        if coder.spec.urn == _PICKLED_CODER:
            # Its class, without the pickle: those bytes are not the same in every Python.
            name: Any = BytesValue.FromString(coder.spec.payload).value.split(b"$")[0].decode()
        elif coder.spec.payload:
            name = f"{coder.spec.urn} {hashlib.sha256(coder.spec.payload).hexdigest()[:12]}"
        else:
            name = coder.spec.urn
        if not coder.component_coder_ids:
            return name
        return [name, *map(self._coder, coder.component_coder_ids)]


def _accept() -> None:
    GRAPHS.mkdir(exist_ok=True)
    for name in NAMES:
        text = json.dumps(built(name), indent=1, sort_keys=True)
        (GRAPHS / f"{name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    _accept()
