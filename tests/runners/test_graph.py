"""The graphs that are submitted: what is in which windows, and what updates of jobs need."""

from typing import Any

import pytest

pytest.importorskip("apache_beam.runners.dataflow.dataflow_runner", reason="extra gcp is missing")
import graph

from pipeline.cli import job
from pipeline.sinks import hourly_files

pytestmark = pytest.mark.slow

_SLIDING = "beam:window_fn:sliding_windows:v1"
_ALL = {**graph.BATCH_CALLS, **graph.CALLS}
_EVERY = pytest.mark.parametrize("name", _ALL)

_NUMBER = "beam:coder:varint:v1"
_SUM, _SUMS = "DurationSumCoder", ["beam:coder:iterable:v1", "DurationSumCoder"]
_MEASURED, _WINDOW = "MeasuredCoder", ["beam:coder:kv:v1", _NUMBER, "MeasuredCoder"]


def _built(name: str) -> graph.Graph:
    return graph.built(*_ALL[name])


def _value_coder(coder: Any) -> Any:
    kind, _key, value = coder
    assert kind == "beam:coder:kv:v1"
    return value


@pytest.mark.parametrize("name", graph.CALLS)
def test_nothing_that_an_update_minds_has_changed(name: str) -> None:
    changes = graph.changes(graph.accepted(name), _built(name))
    assert not changes, "jobs that run may not be updated (see tests/graph.py): " + "\n".join(
        changes
    )


@pytest.mark.parametrize(
    ("option", "step", "changed"),
    [
        ("--allowed_lateness_seconds=1", "MovingAverage/Live/Panes/FixedWindows", "3601000"),
    ],
)
def test_what_changes_the_windows_of_a_running_job_is_told(
    option: str, step: str, changed: str
) -> None:
    name = option.partition("=")[0]
    call = graph.CALLS["streaming-by-windows"]
    others = [each for each in call if not each.startswith(name)]
    changes = graph.changes(_built("streaming-by-windows"), graph.built(*others, option))
    (found,) = [each for each in changes if each.startswith(f"changed: {step}: gives")]
    assert changed in found


def test_another_size_of_windows_is_other_steps() -> None:
    call = graph.CALLS["streaming-by-windows"]
    others = [each for each in call if not each.startswith("--window_size")]
    other_size = graph.built(*others, "--window_size=11")
    changes = graph.changes(_built("streaming-by-windows"), other_size)
    assert any("MovingAverage/Live/Windows10/Revise" in each for each in changes)
    assert any("MovingAverage/Live/Windows11/Revise" in each for each in changes)


@pytest.mark.parametrize(
    ("name", "module", "writer"),
    [("batch", job, "Output"), ("streaming-to-folder", hourly_files, "WriteHours")],
)
def test_each_job_has_a_run_id_of_its_own(
    name: str, module: Any, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    kind = getattr(module, writer)

    def make(*arguments: Any) -> Any:
        made.append(kind(*arguments))
        return made[-1]

    monkeypatch.setattr(module, writer, make)
    jobs = []
    for _ in range(2):
        graph.built.__wrapped__(*_ALL[name])
        jobs.append({each.run_id for each in made})
        made.clear()
    (first,), (second,) = jobs
    assert first != second


def test_a_step_that_comes_goes_or_is_another_is_told() -> None:
    before: graph.Graph = {"Parse": {"does": "x"}, "Sum": {"state": {"sum": "A"}}}
    now: graph.Graph = {"Read": {"does": "x"}, "Sum": {"state": {"sum": "B"}, "timers": ["end"]}}
    assert graph.changes(before, now) == [
        "changed: Sum: state, from {'sum': 'A'} to {'sum': 'B'}",
        "changed: Sum: timers, from None to ['end']",
        "gone: Parse",
        "new: Read",
    ]


@_EVERY
def test_panes_enter_sliding_windows_and_events_do_not(name: str) -> None:
    coders = {
        label: _value_coder(collection["coder"])
        for label, step in _built(name).items()
        for collection in step.get("gives", {}).values()
        if collection["windows"] == _SLIDING
    }
    entered = [coder for label, coder in coders.items() if label.endswith("/SlidingWindows")]
    assert entered == ([_SUM] if name.endswith("by-windows") else [])
    for label, coder in coders.items():
        assert coder in (_SUM, _SUMS, _MEASURED, _WINDOW), label


# What goes from worker to worker, by the step that it is brought together for.
_SHUFFLED: dict[str, dict[str, Any]] = {
    "batch": {
        "AddUp/Sum/CombinePerKey/GroupByKey": "TallyCoder",
        "MovingAverage/Gather": "MinuteSumsCoder",
    },
    "batch-by-windows": {
        "AddUp/Sum/CombinePerKey/GroupByKey": "TallyCoder",
        "MovingAverage/Panes/Sum/GroupByKey": _SUM,
        "MovingAverage/Bound/Count/CombinePerKey/GroupByKey": _NUMBER,
        "MovingAverage/Windows10/Measure/Combine/GroupByKey": _SUM,
        "MovingAverage/Windows10/Gather": _WINDOW,
    },
    "streaming-to-topics": {
        # The lines themselves, since each chunk is told the watermark that it came at.
        "ParseEvents/StampArrival/Stamp": "ChunkCoder",
        "MovingAverage/Live/Roll": "ShardSumsCoder",
    },
    "streaming-by-windows": {
        "ParseEvents/StampArrival/Stamp": "ChunkCoder",
        "MovingAverage/Live/Panes/Sum/GroupByKey": _SUM,
        "MovingAverage/Live/Windows10/Measure/Combine/GroupByKey": _SUM,
        "MovingAverage/Live/Windows10/EmptyRows/Wait": _NUMBER,
        "MovingAverage/Live/Windows10/Revise/Revise": _WINDOW,
    },
}
_SHUFFLED["streaming-to-folder"] = {
    **_SHUFFLED["streaming-to-topics"],
    "WriteRows/Write/Gather": "beam:coder:bytes:v1",
}


@_EVERY
def test_what_is_shuffled_is_already_added_up(name: str) -> None:
    shuffled = {
        label: _value_coder(coder)
        for label, step in _built(name).items()
        if "state" in step or step["does"] == "beam:transform:group_by_key:v1"
        for coder in step["takes"].values()
    }
    tasks = shuffled.pop("Read/Spread/ReshufflePerKey/GroupByKey", None)
    assert ("ReadTaskCoder" in str(tasks)) == name.startswith("batch")
    assert shuffled == _SHUFFLED[name]


@_EVERY
def test_a_step_that_has_state_says_how_it_is_encoded(name: str) -> None:
    for label, step in _built(name).items():
        for coder in (*step.get("state", {}).values(), step.get("accumulator", "")):
            assert "Pickle" not in str(coder), label
            assert "FastPrimitives" not in str(coder), label
