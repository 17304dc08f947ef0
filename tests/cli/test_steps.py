"""What the steps of the flows are called, and how what they shuffle is encoded."""

import re
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_stream
from google.protobuf.wrappers_pb2 import BytesValue

from pipeline import MovingAverage, ParseEvents
from pipeline.cli.batch import build_pipeline, finish_on_workers
from pipeline.cli.settings import Settings
from pipeline.sinks.sorted_files import Output, SortedFiles
from pipeline.sources.whole_files import WholeFiles

both_plans = pytest.mark.parametrize("plan", ["rolling", "windows"])


# ---------------------------------------------------------------------------------------------
# Steps


def _built(plan: Any) -> beam.Pipeline:
    """The whole flow with everything in it that options can ask for."""
    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))
    source, sink = WholeFiles(("gs://in/*",)), SortedFiles("gs://out/rows.json", 3)
    settings = Settings(source=source, window_minutes=(10,), rows=sink, plan=plan)
    rows = Output("gs://out/rows.json", "gs://out/scratch", "run", 3)
    rejected = Output("gs://out/rejected.json", "gs://out/scratch", "run")
    prepared = build_pipeline(pipeline, settings, source.read_in_job(), rows, rejected)
    finish_on_workers(pipeline, settings, prepared)
    return pipeline


def _built_live() -> beam.Pipeline:
    """The transforms over an unbounded input."""
    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))
    parsed = pipeline | "Lines" >> test_stream.TestStream() | "ParseEvents" >> ParseEvents()
    _ = parsed | "MovingAverage" >> MovingAverage(10)
    return pipeline


class _OurSteps(PipelineVisitor):
    """All steps but those that Beam's own transforms are made of."""

    def __init__(self, pipeline: beam.Pipeline) -> None:
        self.nodes: list[AppliedPTransform] = []
        self._inside: str | None = None
        pipeline.visit(self)

    @property
    def labels(self) -> list[str]:
        return [node.full_label for node in self.nodes]

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        self._visit(node)
        if self._inside is None and type(node.transform).__module__.startswith("apache_beam."):
            self._inside = node.full_label

    def leave_composite_transform(self, node: AppliedPTransform) -> None:
        if self._inside == node.full_label:
            self._inside = None

    def visit_transform(self, node: AppliedPTransform) -> None:
        self._visit(node)

    def _visit(self, node: AppliedPTransform) -> None:
        if self._inside is None and node.full_label:
            self.nodes.append(node)


def _all_steps() -> list[str]:
    pipelines = (_built("rolling"), _built("windows"), _built_live())
    return [label for each in pipelines for label in _OurSteps(each).labels]


def test_every_step_has_a_label_of_words() -> None:
    label = re.compile(r"([A-Z][a-z]+)+(/([A-Z][a-z]+)+|/Windows[0-9]+)*")
    labels = _all_steps()
    assert len(labels) > 60
    assert [each for each in labels if not label.fullmatch(each)] == []


# ---------------------------------------------------------------------------------------------
# Coders


class _Graph:
    """The graph as a runner gets it."""

    def __init__(self, pipeline: beam.Pipeline) -> None:
        self._components = pipeline.to_runner_api().components
        self._by_label = {each.unique_name: each for each in self._components.transforms.values()}

    def coder_of_input(self, label: str) -> str:
        """How the elements of a step's main input are encoded."""
        inputs = self._by_label[label].inputs
        (pcollection,) = [each for tag, each in inputs.items() if "side_input" not in tag]
        return self._coder(self._components.pcollections[pcollection].coder_id)

    def coders_of_side_inputs(self) -> dict[str, list[str]]:
        """How the elements of all side inputs are encoded, by the labels of those who take them."""
        coders: dict[str, list[str]] = {}
        for label, each in self._by_label.items():
            for tag, pcollection in each.inputs.items():
                if "side_input" in tag:
                    coder_id = self._components.pcollections[pcollection].coder_id
                    coders.setdefault(label, []).append(self._coder(coder_id))
        return coders

    def _coder(self, coder_id: str) -> str:
        """A coder's name; for a pair those of its parts, for a sequence that of its elements."""
        coder = self._components.coders[coder_id]
        name = coder.spec.urn.removeprefix("beam:coder:").removesuffix(":v1")
        if name == "pickled_python":
            # The name stands before the pickled coder.
            payload = BytesValue.FromString(coder.spec.payload).value
            name = payload.partition(b"$")[0].decode().removesuffix("V2")
        parts = ", ".join(self._coder(each) for each in coder.component_coder_ids)
        return f"{name}({parts})" if parts else name


@both_plans
def test_nothing_that_is_shuffled_or_a_side_input_is_pickled(plan: Any) -> None:
    pipeline = _built(plan)
    graph = _Graph(pipeline)
    shuffling = (beam.GroupByKey, beam.CombinePerKey, beam.CombineGlobally, beam.Reshuffle)
    coders = graph.coders_of_side_inputs()
    assert len(coders) >= 4
    for node in _OurSteps(pipeline).nodes:
        if isinstance(node.transform, shuffling):
            coders[node.full_label] = [graph.coder_of_input(node.full_label)]
    pickled = re.compile(r"(?<!Deterministic)FastPrimitivesCoder|Pickle")
    assert {label: each for label, each in coders.items() if pickled.search(str(each))} == {}
