"""Sums of durations: exact, the same in any order, and means that are correctly rounded."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.details import Words
from pipeline.core.durations import DurationSum, MinuteSums

_UNIT = 1_000_000
_sums = st.builds(DurationSum, st.integers(0, 2**80), st.integers(0, 2**40))
_decimals = st.none() | st.integers(0, 15)


def _mean(each: DurationSum, decimals: int | None) -> float | None:
    if each.count == 0:
        return None
    exact = Fraction(each.total_millionths, _UNIT * each.count)
    return float(exact if decimals is None else round(exact, decimals))


# ---------------------------------------------------------------------------------------------
# DurationSum


@given(_sums, _sums, _sums)
def test_sums_are_a_commutative_monoid(a: DurationSum, b: DurationSum, c: DurationSum) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + DurationSum() == a == DurationSum() + a


def test_adding_adds_totals_and_counts() -> None:
    assert DurationSum(2**70, 3) + DurationSum(1, 4) == DurationSum(2**70 + 1, 7)


def test_nothing_has_no_mean() -> None:
    assert DurationSum().mean() is None
    assert DurationSum().mean(2) is None


# Totals and counts whose quotients are near the limits of a double, and at ties.
_near_2_53 = st.integers(2**53 - 50, 2**53 + 50)
_totals = st.integers(0, 2**80) | st.integers(0, 10**12) | _near_2_53
_counts = st.integers(1, 1000) | st.integers(1, 2**40) | st.integers(2**33, 2**33 + 2**30)
_ties = st.builds(
    # (odd / 2) * 10**-places, exactly
    lambda odd, places, count: DurationSum((2 * odd + 1) * 10 ** (6 - places) * count // 2, count),
    st.integers(0, 10**10),
    st.integers(0, 5),
    st.integers(1, 1000),
)
_non_empty = st.builds(DurationSum, _totals, _counts) | _ties


@given(_non_empty, _decimals)
@example(DurationSum(25_500_000, 1), 0)
@example(DurationSum(24_500_000, 1), 0)
@example(DurationSum(1, 3), 15)
def test_mean_is_the_correctly_rounded_exact_quotient(
    each: DurationSum, decimals: int | None
) -> None:
    assert each.mean(decimals) == _mean(each, decimals)


@pytest.mark.parametrize(
    ("millionths", "count", "decimals", "mean"),
    [
        (20_000_000, 1, None, 20.0),
        (51_000_000, 2, None, 25.5),
        (1, 1, None, 1e-06),
        (2_000_000, 3, None, 2 / 3),
        (2_000_000, 3, 0, 1.0),
        (2_000_000, 3, 4, 0.6667),
        (500_000, 1, 0, 0.0),
        (1_500_000, 1, 0, 2.0),
        (2_500_000, 1, 0, 2.0),
        (125_000, 1, 2, 0.12),
        (375_000, 1, 2, 0.38),
        (1_005_000, 1, 2, 1.0),  # the double 1.005 is below the tie, the exact quotient is one
        (1_015_000, 1, 2, 1.02),
        (10**15 * 10_000, 10_000, None, 1e9),
        (1, 3, 15, 3.33333333e-07),
    ],
)
def test_mean_of_known_sums(millionths: int, count: int, decimals: int | None, mean: float) -> None:
    assert DurationSum(millionths, count).mean(decimals) == mean


# ---------------------------------------------------------------------------------------------
# MinuteSums

_Events = list[tuple[int, int]]
_minutes = st.integers(0, 6) | st.integers(0, 4_222_000_000)
_events: st.SearchStrategy[_Events] = st.lists(
    st.tuples(_minutes, st.integers(0, 10**15) | st.integers(2**62 - 3, 2**62)), max_size=20
)


def _by_minute(events: Iterable[tuple[int, int]]) -> list[tuple[int, DurationSum]]:
    totals: Counter[int] = Counter()
    counts: Counter[int] = Counter()
    for minute, millionths in events:
        totals[minute] += millionths
        counts[minute] += 1
    return [(minute, DurationSum(totals[minute], counts[minute])) for minute in sorted(counts)]


def _of(events: _Events) -> MinuteSums:
    return MinuteSums.of([minute for minute, _ in events], [each for _, each in events])


def _merged(events: _Events, data: st.DataObject) -> MinuteSums:
    """The sums of events in a tree of merges that is drawn, of any number of parts."""
    if len(events) < 2 or data.draw(st.booleans(), "leaf"):
        return _of(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3), "cuts"))
    bounds = zip([0, *cuts], [*cuts, len(events)], strict=True)
    parts = [events[start:end] for start, end in bounds]
    if len(parts) == 1:
        return MinuteSums.merge([_of(events)])
    return MinuteSums.merge(
        [_of(part) if part == events else _merged(part, data) for part in parts]
    )


def _check_columns(sums: MinuteSums) -> None:
    assert np.all(np.diff(sums.minutes) > 0)


@given(_events)
def test_events_are_summed_up_by_minute_exactly(events: _Events) -> None:
    sums = _of(events)
    assert list(sums) == _by_minute(events)
    assert len(sums) == len({minute for minute, _ in events})
    _check_columns(sums)


@given(_events, st.data())
def test_merging_is_the_same_for_any_order_split_and_tree(
    events: _Events, data: st.DataObject
) -> None:
    sums = _merged(data.draw(st.permutations(events)), data)
    assert list(sums) == _by_minute(events)
    _check_columns(sums)


def test_merging_nothing_is_empty() -> None:
    assert list(MinuteSums.merge([])) == []
    assert list(MinuteSums.merge([MinuteSums.merge([]), _of([])])) == []


def test_merging_with_nothing_changes_nothing_whatever_details_it_has() -> None:
    sums = MinuteSums.of([3], [5], [7], [Words()])
    for nothing in MinuteSums.merge([]), MinuteSums.of((), (), (), [Words()]):
        assert list(MinuteSums.merge([nothing, sums])) == list(sums)
        assert list(MinuteSums.merge([sums, nothing])) == list(sums)


def test_merging_leaves_its_parts_as_they_were() -> None:
    parts = [_of([(2, 5), (1, 7)]), _of([(1, 1)])]
    MinuteSums.merge(parts)
    assert [list(part) for part in parts] == [_by_minute([(2, 5), (1, 7)]), _by_minute([(1, 1)])]


@pytest.mark.clause("2.7")
def test_sums_may_outgrow_64_bits() -> None:
    part = MinuteSums.of([7] * 10_000, [10**15] * 10_000)
    assert list(part) == [(7, DurationSum(10**19, 10_000))]
    assert list(MinuteSums.merge([part] * 1_000)) == [(7, DurationSum(10**22, 10_000_000))]


@given(st.lists(st.tuples(_minutes, _sums), max_size=10))
def test_sums_of_sums_add_up_whatever_their_order(pairs: list[tuple[int, DurationSum]]) -> None:
    expected: dict[int, DurationSum] = {}
    for minute, each in pairs:
        expected[minute] = expected.get(minute, DurationSum()) + each
    sums = MinuteSums.of_sums(pairs)
    assert list(sums) == sorted(expected.items())
    _check_columns(sums)


@given(st.lists(st.just(DurationSum()) | _non_empty, max_size=6), _decimals)
@example([DurationSum(2**53 - 1, 3), DurationSum()], None)
@example([DurationSum(2**53 + 1, 1)], None)
@example([DurationSum(4253608691488932, 7293686924667)], None)  # no double is the divisor
def test_means_of_columns_are_the_means_of_their_sums(
    each: Sequence[DurationSum], decimals: int | None
) -> None:
    means = MinuteSums.of_sums(enumerate(each)).means(decimals)
    assert means.dtype == np.float64
    shown = [None if math.isnan(mean) else mean for mean in means.tolist()]
    assert shown == [_mean(one, decimals) for one in each]
