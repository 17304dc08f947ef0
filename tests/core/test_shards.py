"""The rows of series whose events still come: held to rules that are applied anew at every step."""

from collections import Counter
from fractions import Fraction
from operator import attrgetter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core.durations import MinuteSums
from pipeline.core.measures import details_of, measures_named
from pipeline.core.row_rules import RowRules
from pipeline.core.rows import Row
from pipeline.core.shards import Shard, ShardCounts, ShardRules, ShardSums

_MEASURES = measures_named(["mean", "words", "min", "max", "p50", "within_3"])
_DETAILS = details_of(_MEASURES.values())
_START = 25_764_131  # 2018-12-26 18:11

_Event = tuple[str, int, int]  # the series, the minute, the duration in units
_Place = tuple[str, int, int]  # the series, the size of the window, the date


class _Model:
    """All rows that there are, found anew from all events, and what was given."""

    def __init__(self, rules: ShardRules) -> None:
        self.rules = rules
        self.events: list[_Event] = []
        self.reached = self.confirmed = -1
        self.given: dict[_Place, tuple[int, int]] = {}

    def rows(self) -> dict[_Place, list[int]]:
        """The durations behind each row that is due."""
        rows: dict[_Place, list[int]] = {}
        for series in {series for series, *_ in self.events}:
            mine = [(minute, duration) for each, minute, duration in self.events if each == series]
            minutes = sorted({minute for minute, _ in mine})
            for each in self.rules.rows:
                size, silence = (
                    each.window_minutes,
                    max(each.window_minutes + 1, each.max_gap_minutes),
                )
                end = max(min(self.reached, minutes[-1] + size), self.confirmed)
                for date in range(minutes[0], min(end, self.reached) + 1):
                    over = [minute for minute in minutes if minute < min(date, self.reached)]
                    begins = date in minutes and date < self.reached
                    if begins or (over and date - over[-1] <= silence):
                        rows[series, size, date] = [
                            duration for minute, duration in mine if date - size <= minute < date
                        ]
        return rows

    def answer(self) -> Counter[tuple[_Place, int, tuple[int, ...]]]:
        """What is given now: the place, the revision and the durations of each row."""
        answer: Counter[tuple[_Place, int, tuple[int, ...]]] = Counter()
        for place, durations in self.rows().items():
            count, revision = self.given.get(place, (-1, -1))
            if count != len(durations):
                self.given[place] = len(durations), revision + 1
                answer[place, revision + 1, tuple(sorted(durations))] += 1
        return answer


def _sums(events: list[_Event]) -> ShardSums:
    return ShardSums.of(
        ((series,), MinuteSums.of([minute], [duration * 1_000_000], [1], _DETAILS))
        for series, minute, duration in events
    )


def _check(rows: list[Row], expected: Counter[tuple[_Place, int, tuple[int, ...]]]) -> None:
    answers = {(place, revision): durations for place, revision, durations in expected}
    given = Counter((_place(row), row.revision) for row in rows)
    assert given == Counter((place, revision) for place, revision, _ in expected.elements())
    for row in rows:
        durations = answers[_place(row), row.revision or 0]
        count = len(durations)
        assert row.count == row.values["words"] == count
        if count:
            assert row.values["mean"] == float(Fraction(sum(durations), count))
            assert (row.values["min"], row.values["max"]) == (durations[0], durations[-1])
            assert row.values["p50"] == durations[(count + 1) // 2 - 1]
            assert row.values["within_3"] == sum(each <= 3 for each in durations) / count


def _place(row: Row) -> _Place:
    minute = int(row.date.timestamp()) // 60
    return row.series[0], row.window_minutes, minute


_steps = st.lists(
    st.one_of(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.integers(-12, 40), st.integers(0, 9)),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from([1, 1, 2, 7, 40]),
        st.just("confirm"),
        st.just("store"),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=400)
@given(
    _steps,
    st.sampled_from([(1,), (3,), (2, 5)]),
    st.integers(5, 12),
    st.sampled_from([0, 4, 12]),
    st.sampled_from([0, _START]),
    st.booleans(),
)
@example([[("a", -1, 0)], [("a", 0, 0)], "store"], (1,), 5, 0, 0, True)  # nothing, then something
def test_rows_are_given_once_they_are_due_and_again_when_they_change(
    steps: list[object],
    windows: tuple[int, ...],
    max_gap: int,
    retention: int,
    start: int,
    keeps_all: bool,
) -> None:
    rules = ShardRules(
        [RowRules(each, "drain", max_gap, None, _MEASURES) for each in windows], retention
    )
    shard, model = Shard(rules), _Model(rules)
    stored: list[MinuteSums] = []
    for step in steps:
        if isinstance(step, list):
            now = max(model.reached, start)
            events = [
                (series, minute, duration)
                for series, ahead, duration in step
                if (minute := now + ahead) >= max(model.reached - retention, 0)
            ]
            model.events += events
            stored.append(shard.numbered([_sums(events)]))
            blocks = shard.add(stored[-1])
        elif isinstance(step, int):
            model.reached = max(model.reached, start) + step
            blocks = shard.advance(model.reached)
        elif step == "confirm":
            model.confirmed = model.reached
            blocks = shard.confirm(model.reached)
        else:
            assert not shard.take_counts().overdue
            shard, blocks = Shard(rules, shard.book, stored if keeps_all else [shard.sums]), []
        _check([row for block in blocks for row in block], model.answer())
    if model.events:
        model.reached = max(
            model.reached, max(minute for _, minute, _ in model.events) + max(windows)
        )
        _check([row for block in shard.end() for row in block], model.answer())
    assert not shard.take_counts().overdue


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), min_size=1, max_size=9))
def test_every_date_that_is_waited_for_brings_all_rows_and_rest(
    events: list[tuple[str, int]],
) -> None:
    rules = ShardRules([RowRules(2, "drain", 4, None, _MEASURES)], 3)
    shard, model = Shard(rules), _Model(rules)
    model.events = [(series, _START + minute, 1) for series, minute in events]
    shard.add(shard.numbered([_sums(model.events)]))
    wakes = 0
    while not shard.is_empty:
        date = shard.next_date()
        assert date > shard.reached
        before = model.reached
        model.reached = date - 1
        assert not model.answer() or before == -1
        model.reached = date
        _check([row for block in shard.advance(date) for row in block], model.answer())
        if shard.needs_confirmation:
            model.confirmed = date
            _check([row for block in shard.confirm(date) for row in block], model.answer())
        wakes += 1
    assert wakes < 60
    assert not len(shard.sums)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60)), min_size=1, max_size=9),
    st.integers(0, 90),
    st.integers(1, 30),
)
def test_parts_bring_the_rows_of_the_whole(
    events: list[tuple[str, int]], date: int, max_rows: int
) -> None:
    rules = ShardRules([RowRules(size, "drain", 9, None, _MEASURES) for size in (2, 5)], 3)
    parts, whole = Shard(rules), Shard(rules)
    for shard in (parts, whole):
        shard.add(shard.numbered([_sums([(*event, 1) for event in events])]))
    in_parts = [
        [row for block in blocks for row in block]
        for go_on in (parts.advance_in_parts, parts.confirm_in_parts)
        for blocks in go_on(date, max_rows)
    ]
    at_once = [row for block in whole.advance(date) + whole.confirm(date) for row in block]
    key = attrgetter("series", "date", "window_minutes")
    assert sorted((row for rows in in_parts for row in rows), key=key) == sorted(at_once, key=key)
    # A minute has a row of each series and size, and the first one is due with the second.
    assert max(map(len, in_parts), default=0) <= max(max_rows, 4) * 2
    assert repr(parts.book) == repr(whole.book)
    for_parts, for_whole = (
        [row for block in each.end() for row in block] for each in (parts, whole)
    )
    assert sorted(for_parts, key=key) == sorted(for_whole, key=key)


def test_events_after_all_retention_are_counted() -> None:
    shard = Shard(ShardRules([RowRules(2, "drain", 4, None, _MEASURES)], 3))
    shard.add(shard.numbered([_sums([("a", 10, 1), ("a", 20, 1)])]))
    shard.advance(21)
    assert shard.add(shard.numbered([_sums([("a", 17, 1)])])) == []
    assert shard.take_counts().overdue == 1
    assert shard.take_counts().overdue == 0
    # Nothing of them is kept, also where their series has no other events.
    added = shard.numbered([_sums([("a", 17, 1), ("b", 17, 1)])])
    assert (len(added), shard.take_counts()) == (0, ShardCounts(overdue=2))


@pytest.mark.parametrize("size", [1, 10, 1440])
def test_what_is_kept_of_a_series_is_bounded_and_nothing_at_rest(size: int) -> None:
    rules = ShardRules([RowRules(size, "drain", 1440, None, _MEASURES)], 70)
    shard = Shard(rules)
    most = 0
    for minute in range(3 * 1440):
        shard.add(shard.numbered([_sums([("a", _START + minute, 1)])]))
        shard.advance(_START + minute)
        most = max(most, len(shard.sums))
    assert most <= rules.kept * 9 / 8 + 1
    shard.advance(shard.reached + 10_000)
    shard.confirm(shard.reached)
    assert (shard.is_empty, len(shard.sums)) == (True, 0)
