"""The graphs that are submitted: what is in which windows, and what updates of jobs need."""

import graph
import pytest

_SLIDING = "beam:window_fn:sliding_windows:v1"
_EVERY = pytest.mark.parametrize("name", graph.NAMES)


@_EVERY
def test_nothing_that_an_update_minds_has_changed(name: str) -> None:
    before, now = graph.accepted(name), graph.built(name)
    changes = [f"gone: {label}" for label in before.keys() - now.keys()]
    changes += [f"new: {label}" for label in now.keys() - before.keys()]
    changes += [
        f"changed: {label}: {key}, from {before[label].get(key)} to {now[label].get(key)}"
        for label in before.keys() & now.keys()
        for key in before[label].keys() | now[label].keys()
        if before[label].get(key) != now[label].get(key)
    ]
    assert not changes, "jobs that run may not be updated (see tests/graph.py): " + "\n".join(
        sorted(changes)
    )


@_EVERY
def test_events_do_not_enter_sliding_windows(name: str) -> None:
    collections = [
        collection for step in graph.built(name).values() for collection in step["gives"].values()
    ]
    in_sliding_windows = {str(each["coder"]) for each in collections if each["windows"] == _SLIDING}
    assert bool(in_sliding_windows) == (name != "batch")
    for coder in in_sliding_windows:
        assert "ChunkCoder" not in coder
        assert "MinuteSumsCoder" not in coder


@_EVERY
def test_lines_are_not_gathered_by_key(name: str) -> None:
    gathered = {
        label: str(collection["coder"])
        for label, step in graph.built(name).items()
        if step["does"] == "beam:transform:group_by_key:v1"
        for collection in step["gives"].values()
    }
    assert any(
        "DurationSumCoder" in coder or "MinuteSumsCoder" in coder for coder in gathered.values()
    )
    assert not [label for label, coder in gathered.items() if "ChunkCoder" in coder]


@_EVERY
def test_a_step_that_has_state_says_how_it_is_encoded(name: str) -> None:
    for label, step in graph.built(name).items():
        for coder in step.get("state", {}).values():
            assert "Pickle" not in str(coder), label
        assert "Pickle" not in str(step.get("accumulator", "")), label
