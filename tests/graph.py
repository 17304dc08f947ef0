"""What a job keeps from one version of the pipeline to the next, as it stands in tests/graphs.

`python tests/graph.py` accepts the graphs as they are now. Before that, mind what it means for jobs
that run: `--update` finds the state of a step by its label, reads it by its coder, and keeps timers
by their names. Where one of these has changed the service refuses the update, or needs to be told
with `--transform_name_mapping`; otherwise drain the job and start the new one.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from apache_beam.portability.api import beam_runner_api_pb2 as proto
from apache_beam.runners.runner import create_runner
from google.protobuf import json_format
from google.protobuf.wrappers_pb2 import BytesValue

from pipeline.cli.job import submit
from pipeline.cli.options import parse_options, settings_of

GRAPHS = Path(__file__).parent / "graphs"

_PICKLED_CODER = "beam:coder:pickled_python:v1"
_COMBINE = "beam:transform:combine"
_PARDO = "beam:transform:pardo:v1"
_PUBSUB = {
    "beam:transform:pubsub_read:v1": proto.PubSubReadPayload,
    "beam:transform:pubsub_write:v1": proto.PubSubWritePayload,
}

_JOB = (
    *("--runner=DataflowRunner", "--dry_run=True", "--sdk_container_image=image"),
    *("--project=my-project", "--region=europe-west1", "--temp_location=gs://bucket/temp"),
)
_BATCH = (
    *("--input_file=gs://bucket/events.json", "--output_file=gs://bucket/rows.json"),
    *("--rejected_file=gs://bucket/rejected.json", "--window_size=10"),
)
_STREAMING = (
    *("--input_subscription=projects/my-project/subscriptions/events", "--id_label=id"),
    "--timestamp_attribute=at",
    *("--rejected_topic=projects/my-project/topics/rejected", "--group_by=client_name"),
    *("--late_topic=projects/my-project/topics/late", "--window_size=10"),
)
# A batch job is not updated: its graph may change.
BATCH_CALLS: dict[str, tuple[str, ...]] = {
    "batch": _BATCH,
    "batch-by-windows": (*_BATCH, "--plan=windows"),
}
CALLS: dict[str, tuple[str, ...]] = {
    "streaming-to-topics": (*_STREAMING, "--output_topic=projects/my-project/topics/rows"),
    "streaming-to-folder": (*_STREAMING, "--output_file=gs://bucket/rows/"),
    "streaming-by-windows": (
        *_STREAMING,
        *("--output_topic=projects/my-project/topics/rows", "--plan=windows"),
    ),
}

Graph = dict[str, dict[str, Any]]


@cache
def built(*arguments: str) -> Graph:
    """What a call would submit: its steps by label, with all that an update minds."""
    options = parse_options([*_JOB, *arguments])
    settings = settings_of(options)
    runner = create_runner("DataflowRunner")
    submit(settings, options, runner, is_detached=False, is_debugging=False)
    components = runner.proto_pipeline.components
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


def changes(before: Graph, now: Graph) -> list[str]:
    """What is different, a line for each."""
    found = [f"gone: {label}" for label in before.keys() - now.keys()]
    found += [f"new: {label}" for label in now.keys() - before.keys()]
    found += [
        f"changed: {label}: {key}, from {before[label].get(key)} to {now[label].get(key)}"
        for label in before.keys() & now.keys()
        for key in before[label].keys() | now[label].keys()
        if before[label].get(key) != now[label].get(key)
    ]
    return sorted(found)


class _Reader:
    def __init__(self, components: proto.Components) -> None:
        self._components = components

    def step(self, step: proto.PTransform) -> dict[str, Any]:
        found: dict[str, Any] = {
            "does": step.spec.urn,
            "takes": {
                name: self._coder(self._components.pcollections[id_].coder_id)
                for name, id_ in step.inputs.items()
            },
            "gives": {name: self._collection(id_) for name, id_ in step.outputs.items()},
        }
        if step.spec.urn == _PARDO:
            payload = proto.ParDoPayload.FromString(step.spec.payload)
            found["state"] = {name: self._state(spec) for name, spec in payload.state_specs.items()}
            found["timers"] = {
                name: [
                    proto.TimeDomain.Enum.Name(spec.time_domain),
                    self._coder(spec.timer_family_coder_id),
                ]
                for name, spec in payload.timer_family_specs.items()
            }
            found["side inputs"] = sorted(payload.side_inputs)
        if step.spec.urn in _PUBSUB:
            payload = _PUBSUB[step.spec.urn].FromString(step.spec.payload)
            found["of"] = json_format.MessageToDict(payload)
        if step.spec.urn.startswith(_COMBINE):
            combine = proto.CombinePayload.FromString(step.spec.payload)
            found["accumulator"] = self._coder(combine.accumulator_coder_id)
        return {key: each for key, each in found.items() if each}

    def _state(self, spec: proto.StateSpec) -> Any:
        kind = spec.WhichOneof("spec")
        if kind == "bag_spec":
            return ["bag", self._coder(spec.bag_spec.element_coder_id)]
        assert kind == "read_modify_write_spec", f"no coder is read yet of a {kind}"
        return self._coder(spec.read_modify_write_spec.coder_id)

    def _collection(self, id_: str) -> dict[str, Any]:
        collection = self._components.pcollections[id_]
        windowing = self._components.windowing_strategies[collection.windowing_strategy_id]
        return {
            "coder": self._coder(collection.coder_id),
            "windows": windowing.window_fn.urn,
            "window parameters": windowing.window_fn.payload.hex(),
            "trigger": json_format.MessageToDict(windowing.trigger),
            "lateness": windowing.allowed_lateness,
            "accumulates": proto.AccumulationMode.Enum.Name(windowing.accumulation_mode),
            "timestamps": proto.OutputTime.Enum.Name(windowing.output_time),
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
    for name, call in CALLS.items():
        text = json.dumps(built(*call), indent=1, sort_keys=True)
        (GRAPHS / f"{name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    _accept()
