"""The step that keeps series in state: what it stores, and what it makes of bundles that fail."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.durations import MinuteSums
from pipeline.core.measures import details_of, measures_named
from pipeline.core.row_rules import RowRules
from pipeline.core.rows import Row
from pipeline.core.shards import RevisedRows, Shard, ShardRules, ShardSums
from pipeline.transforms import rolling_rows
from pipeline.transforms.rolling_rows import _MAX_WAITING, _Remembered, _RollFn

_MEASURES = measures_named(["mean", "p95", "max"])
_RULES = ShardRules([RowRules(size, "drain", 6, None, _MEASURES) for size in (1, 3)], 5)
_END = GlobalWindow().max_timestamp()
_FIRST_MINUTE = 100


@dataclass
class _Cell:
    """A value, a bag or a timer of one key; values pass through their coder."""

    coder: Any = None
    stored: Any = None

    def read(self) -> Any:
        return None if self.stored is None else self.coder.decode(self.stored)

    def write(self, value: Any) -> None:
        self.stored = self.coder.encode(value)

    def set(self, timestamp: Timestamp) -> None:
        self.stored = timestamp

    def clear(self) -> None:
        self.stored = None


@dataclass
class _Bag:
    coder: Any
    stored: list[bytes] = field(default_factory=list)

    def read(self) -> list[Any]:
        return [*map(self.coder.decode, self.stored)]

    def add(self, value: Any) -> None:
        self.stored.append(self.coder.encode(value))

    def clear(self) -> None:
        self.stored = []


class _Key:
    """A runner for one key. Every bundle may be tried twice: the first time all is undone."""

    def __init__(self, retries: Iterator[bool]) -> None:
        self.step = _RollFn(_RULES)
        self.cells: dict[str, Any] = {
            "clock": _Cell(_RollFn.CLOCK.coder),
            "waiting": _Bag(_RollFn.WAITING.coder),
            "book": _Cell(_RollFn.BOOK.coder),
            "sums": _Bag(_RollFn.SUMS.coder),
            **{name: _Cell() for name in ("near", "far", "confirm", "end")},
        }
        self._retries = retries

    def bundle(self, method: Any, *arguments: Any) -> list[Row]:
        if next(self._retries):
            before = deepcopy(self.cells)
            for _ in method(*arguments, **self.cells):
                pass
            self.cells = before
        return [row for block in method(*arguments, **self.cells) for row in block]

    def add(self, sums: ShardSums) -> list[Row]:
        return self.bundle(self.step.process, (0, sums))

    def reach(self, watermark: Timestamp) -> list[Row]:
        """Fires all timers that are due, in their order, until none is left."""
        methods = {
            "near": self.step.wake,
            "far": self.step.leap,
            "confirm": self.step.go_on,
            "end": self.step.finish,
        }
        rows: list[Row] = []
        while True:
            set_to = {name: self.cells[name].stored for name in methods}
            due = [(each, name) for name, each in set_to.items() if each and each <= watermark]
            if not due:
                return rows
            for _, name in due:
                self.cells[name].clear()
            for fired, name in sorted(due):
                rows += self.bundle(methods[name], *(() if name == "end" else (fired,)))

    @property
    def is_empty(self) -> bool:
        return not any(cell.stored for cell in self.cells.values())


def _sums(*events: tuple[str, int]) -> ShardSums:
    details = details_of(_MEASURES.values())
    return ShardSums.of(
        ((series,), MinuteSums.of([_FIRST_MINUTE + minute], [minute * 10**6], [1], details))
        for series, minute in events
    )


def _watermark(minute: int) -> Timestamp:
    return Timestamp(60 * (_FIRST_MINUTE + minute))


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), min_size=1, max_size=3)
        | st.integers(1, 20),
        max_size=20,
    ),
    st.data(),
    st.sampled_from([0, 2**28]),
    st.sampled_from([0, 10**6]),
)
def test_bundles_that_fail_and_state_that_is_decoded_anew_change_nothing(
    steps: list[Any], data: st.DataObject, remembered: int, min_stored: int
) -> None:
    once, retried = _Key(iter(lambda: False, True)), _Key(iter(lambda: data.draw(st.booleans()), 2))
    now = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_RollFn, "_remembered", _Remembered(remembered))
        patch.setattr(rolling_rows, "_MIN_STORED", min_stored)
        for step in [*steps, None]:
            if isinstance(step, list):
                sums = _sums(*((series, now + ahead) for series, ahead in step))
                rows = [key.add(sums) for key in (once, retried)]
            else:
                now += step or 0
                watermark = _END if step is None else _watermark(now)
                rows = [key.reach(watermark) for key in (once, retried)]
            assert rows[0] == rows[1]
    assert once.is_empty
    assert retried.is_empty


def test_series_at_rest_leave_nothing_behind() -> None:
    key = _Key(iter(lambda: False, True))
    key.add(ShardSums.of(((f"{n}",), MinuteSums.of([_FIRST_MINUTE], [7])) for n in range(1_000)))
    key.step = _RollFn(ShardRules([RowRules(1, "drain", 5)], 5))
    assert len(key.reach(_watermark(30))) == 1_000 * 6
    assert key.is_empty


def test_tables_wait_until_the_watermark_moves_or_there_are_many() -> None:
    key = _Key(iter(lambda: False, True))
    for number in range(_MAX_WAITING - 1):
        assert key.add(_sums(("a", number % 3))) == []
        assert len(key.cells["waiting"].stored) == number + 1
        assert not key.cells["sums"].stored
    key.add(_sums(("a", 0)))
    assert not key.cells["waiting"].stored
    assert len(key.cells["sums"].stored) == 1


def test_what_is_stored_is_rewritten_once_most_of_it_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rolling_rows, "_MIN_STORED", 0)
    key = _Key(iter(lambda: False, True))
    most = 0
    for minute in range(200):
        key.add(_sums(("a", minute)))
        key.reach(_watermark(minute))
        most = max(most, sum(len(each) for each in key.cells["sums"].read()))
    assert most <= 2 * (_RULES.kept + 2)


def test_a_leap_of_the_watermark_is_followed_in_few_wakes() -> None:
    key = _Key(iter(lambda: False, True))
    rules = ShardRules([RowRules(1, "drain", 1_440)], 5)
    key.step = _RollFn(rules)
    key.add(ShardSums.of([(("a",), MinuteSums.of([_FIRST_MINUTE, _FIRST_MINUTE + 1_440], [1, 1]))]))
    wakes = 0
    bundle = key.bundle

    def count(method: Any, *arguments: Any) -> list[Row]:
        nonlocal wakes
        wakes += 1
        return bundle(method, *arguments)

    key.bundle = count  # type: ignore[method-assign]
    assert len(key.reach(_watermark(1_442))) == 1_443
    assert wakes < 80


def _cost_of_a_minute(window: int) -> tuple[int, int]:
    """The wakes of a shard of 125 series, and the bytes that it stores; each has an event."""
    key = _Key(iter(lambda: False, True))
    key.step = _RollFn(ShardRules([RowRules(window, "drain", 1_440)], 70))
    wakes, stored = [0], [0]
    bundle = key.bundle

    def count(method: Any, *arguments: Any) -> list[Row]:
        wakes[0] += 1
        before = len(key.cells["sums"].stored)
        rows = bundle(method, *arguments)
        cells = (key.cells["clock"].stored, key.cells["book"].stored)
        written = [*key.cells["sums"].stored[before:], *filter(None, cells)]
        stored[0] += sum(map(len, written))
        return rows

    key.bundle = count  # type: ignore[method-assign]
    series = [(f"client {number}",) for number in range(125)]
    for minute in range(20):
        wakes[0] = stored[0] = 0
        now = _FIRST_MINUTE + minute
        key.add(ShardSums.of((each, MinuteSums.of([now], [10**6])) for each in series))
        assert len(key.reach(_watermark(minute + 1))) >= 125
    return wakes[0], stored[0]


def test_what_a_minute_costs_does_not_depend_on_the_window() -> None:
    wakes, stored = _cost_of_a_minute(1_440)
    assert _cost_of_a_minute(10) == (wakes, stored)
    assert wakes <= 4
    assert stored < 125 * 150


def test_remembered_shards_take_no_more_memory_than_allowed() -> None:
    shard = Shard(_RULES)
    blocks: list[RevisedRows] = shard.add(shard.numbered([_sums(("a", 1))]))
    assert blocks == []
    remembered = _Remembered(2 * shard.size)
    for token in "abc":
        remembered.put(token, shard)
    assert [remembered.take(token) for token in "aabc"] == [None, None, shard, shard]
