"""Which module may import which, what the steps are called, and how what they shuffle is coded."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_stream
from google.protobuf.wrappers_pb2 import BytesValue

from pipeline import MovingAverage, ParseEvents
from pipeline.batch import build_pipeline, publish_on_workers
from pipeline.options import Settings
from pipeline.reading import Input
from pipeline.rolling import SeriesRows
from pipeline.writing import Output

_PACKAGE = Path(__file__).parents[1] / "pipeline"

# A module imports only from those above it.
_WITHOUT_BEAM = [
    *("errors", "events", "durations", "rows", "tally", "timeliness", "columnar", "chunks"),
    *("rolling", "silences"),
    *("in_process", "account", "signals", "log"),
]
_LAYERS = [
    *_WITHOUT_BEAM,
    *("files", "replacing", "progress"),
    *("reading", "runs", "follow", "event_clock"),
    *("coders", "arrival", "parsing"),
    *("revisions", "moving_average"),
    *("writing", "options", "summary"),
    *("streams", "batch", "streaming"),
    *("appending", "hourly", "pubsub", "following", "beam_threads", "prism", "status"),
    *("local", "live", "subscribed", "staging", "portable", "dataflow", "remote"),
    *("run", "__main__"),
]

both_plans = pytest.mark.parametrize("plan", ["rolling", "windows"])


# ---------------------------------------------------------------------------------------------
# Modules


def _modules() -> list[str]:
    return sorted(path.stem for path in _PACKAGE.glob("*.py") if path.stem != "__init__")


def _imports(module: str) -> Iterator[str]:
    """The full names of what a module imports, at its top or inside."""
    for node in ast.walk(ast.parse((_PACKAGE / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_modules(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    parts = [name.split(".") for name in _imports(module)]
    return {names[1] for names in parts if names[0] == "pipeline" and names[1] in _modules()}


def test_every_module_has_its_place_in_the_layers() -> None:
    assert sorted(_LAYERS) == _modules()


@pytest.mark.parametrize("module", _LAYERS)
def test_a_module_imports_only_from_those_above_it(module: str) -> None:
    assert _imported_modules(module) <= set(_LAYERS[: _LAYERS.index(module)])


@pytest.mark.parametrize("module", _WITHOUT_BEAM)
def test_logic_is_free_of_beam(module: str) -> None:
    above = {module, *_imported_modules(module)}
    assert above <= set(_WITHOUT_BEAM)
    assert not [name for name in _imports(module) if name.startswith("apache_beam")]


def test_every_module_has_a_name_that_says_something() -> None:
    assert not {"utils", "util", "helpers", "common", "misc", "base"} & {*_modules()}
    assert not [path for path in _PACKAGE.iterdir() if path.is_dir() and path.name[0] not in "._"]


# ---------------------------------------------------------------------------------------------
# Steps


def _built(plan: Any) -> beam.Pipeline:
    """The whole flow with everything in it that options can ask for."""
    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))
    settings = Settings(("gs://in/*",), SeriesRows(10), plan, num_shards=3)
    rows = Output("gs://out/rows.json", "gs://out/scratch", "run", 3)
    rejected = Output("gs://out/rejected.json", "gs://out/scratch", "run")
    prepared = build_pipeline(pipeline, settings, (Input("gs://in/*"),), rows, rejected)
    publish_on_workers(pipeline, settings, prepared)
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


@both_plans
def test_every_step_has_a_label_of_words(plan: Any) -> None:
    label = re.compile(r"([A-Z][a-z]+)+(/([A-Z][a-z]+)+)*")
    assert [each for each in _OurSteps(_built(plan)).labels if not label.fullmatch(each)] == []


_LIVE_STEPS = """
    Lines
    ParseEvents ParseEvents/StampArrival ParseEvents/StampArrival/Once
    ParseEvents/StampArrival/Start ParseEvents/StampArrival/GlobalWindow
    ParseEvents/StampArrival/Shard ParseEvents/StampArrival/Flatten ParseEvents/StampArrival/Stamp
    ParseEvents/Parse ParseEvents/AllowLateness
    MovingAverage MovingAverage/Live
    MovingAverage/Live/Panes MovingAverage/Live/Panes/Minutes MovingAverage/Live/Panes/FixedWindows
    MovingAverage/Live/Panes/Sum
    MovingAverage/Live/Windows MovingAverage/Live/Windows/SlidingWindows
    MovingAverage/Live/Windows/AddHour MovingAverage/Live/Windows/Mean
    MovingAverage/Live/Windows/Date MovingAverage/Live/Windows/GlobalWindow
    MovingAverage/Live/Minutes MovingAverage/Live/Minutes/Minute
    MovingAverage/Live/Minutes/GlobalWindow
    MovingAverage/Live/EmptyRows MovingAverage/Live/EmptyRows/AddKey
    MovingAverage/Live/EmptyRows/Wait
    MovingAverage/Live/Flatten MovingAverage/Live/Revise MovingAverage/Live/Revise/AddHour
    MovingAverage/Live/Revise/Revise
"""


def test_the_steps_of_unbounded_input_are_called_as_metrics_and_updates_know_them() -> None:
    assert sorted(_OurSteps(_built_live()).labels) == sorted(_LIVE_STEPS.split())


_STEPS = """
    Inputs FindInputs FindInputs/Find FindInputs/Spread ReadChunks ReadChunks/Read
    ParseEvents ParseEvents/Parse
    AddUp AddUp/Nothing AddUp/Flatten AddUp/Sum Report Report/Report
    MovingAverage {} MovingAverage/Gather
    WriteRows WriteRows/Sort WriteRows/Shards WriteRows/Write WriteRows/Count
    WriteDeadLetters WriteDeadLetters/Sort WriteDeadLetters/Once WriteDeadLetters/Write
    Publish Publish/Once Publish/Replace
    CleanUp CleanUp/CleanUp
"""
_STEPS_OF_PLANS = {
    "rolling": "MovingAverage/Roll",
    "windows": """
        MovingAverage/Panes MovingAverage/Panes/Minutes MovingAverage/Panes/FixedWindows
        MovingAverage/Panes/Sum
        MovingAverage/Bound MovingAverage/Bound/One MovingAverage/Bound/GlobalWindow
        MovingAverage/Bound/Count
        MovingAverage/Bound/Check
        MovingAverage/Windows MovingAverage/Windows/SlidingWindows MovingAverage/Windows/AddHour
        MovingAverage/Windows/Mean MovingAverage/Windows/Date MovingAverage/Windows/GlobalWindow
        MovingAverage/Fill
    """,
}


@both_plans
def test_the_steps_are_called_as_metrics_and_updates_know_them(plan: Any) -> None:
    expected = _STEPS.format(_STEPS_OF_PLANS[plan]).split()
    assert sorted(_OurSteps(_built(plan)).labels) == sorted(expected)


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

    def coders_of_accumulators(self) -> dict[str, str]:
        """How the accumulators of the steps that combine by key are encoded, by their labels."""
        return {
            label: self._coder(
                beam_runner_api_pb2.CombinePayload.FromString(
                    each.spec.payload
                ).accumulator_coder_id
            )
            for label, each in self._by_label.items()
            if each.spec.urn == "beam:transform:combine_per_key:v1"
        }

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


# A series is a tuple of strings, which Beam's coder of plain values takes as it is.
_SERIES = "DeterministicFastPrimitivesCoder"
_SHUFFLED: dict[str, dict[str, str]] = {
    "rolling": {"MovingAverage/Gather": f"kv({_SERIES}, MinuteSumsCoder)"},
    "windows": {
        "MovingAverage/Panes/Sum": f"kv({_SERIES}, DurationSumCoder)",
        "MovingAverage/Windows/Mean": f"kv(kv({_SERIES}, varint), DurationSumCoder)",
        "MovingAverage/Gather": f"kv({_SERIES}, kv(varint, MeanDurationCoder))",
    },
}
_WRITTEN = {
    "AddUp/Sum": "TallyCoder",
    "WriteRows/Sort": "RowBlockCoder",
    "WriteDeadLetters/Sort": "DeadLetterCoder",
}


@both_plans
def test_sums_and_rows_and_dead_letters_are_encoded_by_coders_of_their_own(plan: Any) -> None:
    graph, expected = _Graph(_built(plan)), _SHUFFLED[plan] | _WRITTEN
    assert {label: graph.coder_of_input(label) for label in expected} == expected


@both_plans
def test_accumulators_are_encoded_by_coders_of_their_own(plan: Any) -> None:
    found = _Graph(_built(plan)).coders_of_accumulators()
    expected = {"AddUp/Sum/CombinePerKey": "TallyCoder"}
    if plan == "windows":
        expected["MovingAverage/Bound/Count/CombinePerKey"] = "varint"
        expected["MovingAverage/Panes/Sum"] = "DurationSumCoder"
        expected["MovingAverage/Windows/Mean"] = "DurationSumCoder"
    assert found == expected


def test_what_is_shuffled_of_unbounded_input_is_encoded_by_coders_of_its_own() -> None:
    graph = _Graph(_built_live())
    expected = {
        "ParseEvents/StampArrival/Stamp": "kv(varint, ChunkCoder)",
        "MovingAverage/Live/Panes/Sum": f"kv({_SERIES}, DurationSumCoder)",
        "MovingAverage/Live/Windows/Mean": f"kv(kv({_SERIES}, varint), DurationSumCoder)",
        "MovingAverage/Live/EmptyRows/Wait": "kv(StateKeyCoder, varint)",
        "MovingAverage/Live/Revise/Revise": "kv(StateKeyCoder, kv(varint, MeanDurationCoder))",
    }
    assert {label: graph.coder_of_input(label) for label in expected} == expected
    assert graph.coders_of_accumulators() == {
        "MovingAverage/Live/Panes/Sum": "DurationSumCoder",
        "MovingAverage/Live/Windows/Mean": "DurationSumCoder",
    }


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
