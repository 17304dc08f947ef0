"""From the minutes of a series to its rows: every row that the oracle has, and no other."""

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core import row_rules
from pipeline.core.durations import MinuteSums
from pipeline.core.row_rules import Dates, RollingSums, RowRules, Span
from pipeline.core.rows import RowBlock

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_START = 25_764_131  # 2018-12-26 18:11
_MICROSECONDS = [0, 1, 59_999_999, 30_000_000]

Rows = list[tuple[int, int, float | None]]


def _panes(minutes: Sequence[int], millionths: Sequence[int] | None = None) -> MinuteSums:
    durations = itertools.cycle(millionths or [1_000_000])
    return MinuteSums.of(minutes, list(itertools.islice(durations, len(minutes))))


def _shown(blocks: Iterable[RowBlock]) -> Rows:
    """Date, count and mean of each row."""
    rows = [row for block in blocks for row in block]
    return [
        ((row.date - _EPOCH) // timedelta(minutes=1), row.count, row.values["mean"]) for row in rows
    ]


def _expected(minutes: Sequence[int], millionths: Sequence[int], **options: Any) -> Rows:
    """The rows that the oracle has of one event in each of some minutes, at odd seconds."""
    events = [
        oracle.Event(_EPOCH + timedelta(minutes=minute, microseconds=microseconds), duration, {})
        for minute, duration, microseconds in zip(
            minutes, millionths, itertools.cycle(_MICROSECONDS), strict=False
        )
    ]
    rows: Rows = []
    for row in oracle.rows(events, empty_value="null", **options):
        average = None if row.average is None else float(row.average)
        rows.append(((row.date - _EPOCH) // timedelta(minutes=1), row.count, average))
    return rows


def _dates(minutes: Sequence[int], **options: Any) -> list[int]:
    blocks = RowRules(**options).roll((), RollingSums(_panes(minutes)))
    return [date for block in blocks for date in block.dates.tolist()]


@st.composite
def _cases(draw: st.DrawFn) -> tuple[list[int], list[int], dict[str, Any]]:
    """Events whose silences lie around the window and the longest gap that is filled."""
    window = draw(st.integers(1, 12))
    max_gap = draw(st.sampled_from([window, window + 1]) | st.integers(window, 3 * window))
    near = [window - 1, window, window + 1, window + 2, max_gap, max_gap + 1, max_gap + 2]
    silences = st.lists(st.sampled_from(near) | st.integers(0, 8), max_size=8)
    minutes = list(itertools.accumulate([_START, *draw(silences)]))
    durations = st.integers(0, 10**9) | st.just(10**15)
    millionths = draw(st.lists(durations, min_size=len(minutes), max_size=len(minutes)))
    decimals = draw(st.none() | st.integers(0, 15))
    until = draw(st.sampled_from(["last", "drain"]))
    options = {"window": window, "until": until, "max_gap": max_gap, "decimals": decimals}
    return minutes, millionths, options


def _rows_of(options: dict[str, Any]) -> RowRules:
    return RowRules(options["window"], options["until"], options["max_gap"], options["decimals"])


# ---------------------------------------------------------------------------------------------
# Against the oracle


@pytest.mark.clause("2.1")
@settings(max_examples=300, deadline=None)
@given(_cases(), st.sampled_from([1, 2, 3, 7, 65_536]))
def test_rows_are_those_of_the_oracle_whatever_the_size_of_blocks(
    case: tuple[list[int], list[int], dict[str, Any]], rows_per_block: int
) -> None:
    minutes, millionths, options = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_rules, "ROWS_PER_BLOCK", rows_per_block)
        blocks = list(_rows_of(options).roll(("fr",), RollingSums(_panes(minutes, millionths))))
    assert _shown(blocks) == _expected(minutes, millionths, **options)
    assert all(1 <= len(block) <= rows_per_block for block in blocks)
    assert {block.series for block in blocks} == {("fr",)}


@settings(max_examples=300, deadline=None)
@given(_cases(), st.sampled_from([1, 2, 3, 7, 65_536]))
def test_rows_can_be_made_of_the_non_empty_ones(
    case: tuple[list[int], list[int], dict[str, Any]], rows_per_block: int
) -> None:
    minutes, millionths, options = case
    series_rows = _rows_of({**options, "until": "drain"})
    rolled = series_rows.roll(("fr",), RollingSums(_panes(minutes, millionths)))
    drained = [block.without_empty() for block in rolled]
    full = RowBlock(
        ("fr",),
        options["window"],
        np.concatenate([block.dates for block in drained]),
        np.concatenate([block.counts for block in drained]),
        {"mean": np.concatenate([block.values["mean"] for block in drained])},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_rules, "ROWS_PER_BLOCK", rows_per_block)
        blocks = list(_rows_of(options).fill(full))
    assert _shown(blocks) == _expected(minutes, millionths, **options)
    assert {block.series for block in blocks} == {("fr",)}


# ---------------------------------------------------------------------------------------------
# Rows, one rule at a time


def test_the_challenge_example_has_its_fourteen_rows() -> None:
    panes = _panes([_START, _START + 4, _START + 12], [20_000_000, 31_000_000, 54_000_000])
    averages = [row[-1] for row in _shown(RowRules(10).roll((), RollingSums(panes)))]
    assert averages == [None, *[20] * 4, *[25.5] * 6, 31, 31, 42.5]


@pytest.mark.clause("2.3")
def test_one_event_has_an_empty_row_and_its_own() -> None:
    assert _dates([5], window_minutes=10) == [5, 6]


@pytest.mark.clause("2.4")
def test_with_drain_the_last_row_is_the_last_that_holds_the_last_event() -> None:
    assert _dates([5], window_minutes=3, until="drain") == [5, 6, 7, 8]


@pytest.mark.clause("2.1")
def test_an_event_counts_in_the_rows_from_the_next_minute_to_x_minutes_later() -> None:
    rows = _shown(RowRules(3).roll((), RollingSums(_panes([5, 10]))))
    assert [(date, count) for date, count, _ in rows] == [
        (5, 0), (6, 1), (7, 1), (8, 1), (9, 0), (10, 0), (11, 1)
    ]  # fmt: skip


@pytest.mark.clause("2.5")
def test_a_silence_of_the_longest_gap_is_filled() -> None:
    assert _dates([0, 20], window_minutes=3, max_gap_minutes=20) == [*range(22)]


@pytest.mark.clause("2.6")
def test_a_longer_silence_is_not_filled_but_for_one_empty_row() -> None:
    dates = _dates([0, 21], window_minutes=3, max_gap_minutes=20)
    assert dates == [0, 1, 2, 3, 4, 21, 22]


@pytest.mark.clause("2.6")
@pytest.mark.parametrize(
    ("silence", "dates"),
    [
        (3, [0, 1, 2, 3, 4]),
        (4, [0, 1, 2, 3, 4, 5]),  # drained at 3, and the empty row is the first of what follows
        (5, [0, 1, 2, 3, 4, 5, 6]),
        (6, [0, 1, 2, 3, 4, 6, 7]),
    ],
)
def test_where_the_gap_is_the_window_no_date_comes_twice(silence: int, dates: list[int]) -> None:
    assert _dates([0, silence], window_minutes=3, max_gap_minutes=3) == dates


def test_the_default_gap_is_a_leap_year() -> None:
    leap_year = 366 * 24 * 60
    assert len(_dates([0, leap_year], window_minutes=1)) == leap_year + 2
    assert len(_dates([0, leap_year + 1], window_minutes=1)) == 5


def test_dates_reach_from_the_epoch_to_the_end_of_the_calendar() -> None:
    last = (datetime(9998, 1, 1, tzinfo=timezone.utc) - _EPOCH) // timedelta(minutes=1) - 1
    dates = _dates([0, last], window_minutes=527_040, until="drain")
    assert (dates[0], dates[-1]) == (0, last + 527_040)
    assert len(dates) == 2 * (527_040 + 1) + 1


def test_sums_of_windows_may_outgrow_64_bits() -> None:
    part = MinuteSums.of([7] * 10_000, [10**15] * 10_000)
    panes = MinuteSums.merge([part, MinuteSums.of([8] * 10_000, [10**15] * 10_000)])
    assert _shown(RowRules(2).roll((), RollingSums(panes))) == [
        (7, 0, None),
        (8, 10_000, 1e9),
        (9, 20_000, 1e9),
    ]


def test_an_average_is_not_disturbed_by_larger_ones_before_it() -> None:
    minutes = [*range(100), 200]
    rows = _shown(RowRules(1).roll((), RollingSums(_panes(minutes, [10**15] * 100 + [1]))))
    assert rows[-1] == (201, 1, 1e-06)


@pytest.mark.clause("2.7")
@pytest.mark.parametrize(
    ("decimals", "average"), [(None, 2 / 3), (0, 1.0), (4, 0.6667), (15, 0.666666666666667)]
)
def test_averages_are_rounded_to_decimals(decimals: int | None, average: float) -> None:
    panes = MinuteSums.of([0, 0, 0], [1_000_000, 1_000_000, 0])
    assert _shown(RowRules(1, decimals=decimals).roll((), RollingSums(panes)))[-1][-1] == average


# ---------------------------------------------------------------------------------------------
# Spans


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=12, unique=True),
    st.integers(1, 20),
    st.integers(0, 20),
)
@example([0, 21], 3, 17)
@example([0, 20], 3, 17)
def test_spans_of_panes_and_of_windows_are_the_same(
    minutes: list[int], window: int, more: int
) -> None:
    panes = np.array(sorted(minutes))
    dates = np.unique(np.add.outer(panes, np.arange(1, window + 1)))
    series_rows = RowRules(window, max_gap_minutes=window + more)
    assert series_rows.spans_of_panes(panes) == series_rows.spans_of_windows(dates)


def test_spans_are_cut_at_silences_longer_than_the_gap() -> None:
    series_rows = RowRules(3, max_gap_minutes=10)
    spans = series_rows.spans_of_panes(np.array([1, 2, 12, 23, 40]))
    assert spans == [Span(1, 12), Span(23, 23), Span(40, 40)]
    assert series_rows.dates(spans) == [Dates(1, 16), Dates(23, 27), Dates(40, 41)]


# ---------------------------------------------------------------------------------------------
# Arguments


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"window_minutes": 0}, "window_minutes"),
        ({"window_minutes": 527_041}, "window_minutes"),
        ({"window_minutes": 10, "until": "first"}, "until"),
        ({"window_minutes": 10, "max_gap_minutes": 9}, "max_gap_minutes"),
        ({"window_minutes": 10, "decimals": -1}, "decimals"),
        ({"window_minutes": 10, "decimals": 16}, "decimals"),
    ],
)
def test_an_argument_out_of_its_range_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RowRules(**options)


@pytest.mark.parametrize("window", [1, 527_040])
def test_arguments_at_the_ends_of_their_ranges_are_taken(window: int) -> None:
    for decimals in (0, 15):
        RowRules(window, "drain", max_gap_minutes=window, decimals=decimals)
