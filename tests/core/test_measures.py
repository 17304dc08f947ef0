"""What rows say: every measure as the oracle has it, of windows of any size, by either plan."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Context, Decimal

import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core import row_rules
from pipeline.core.durations import DurationSum, MinuteSums
from pipeline.core.histograms import codes_of, durations_of
from pipeline.core.measures import details_of, measure_named, measures_named
from pipeline.core.row_rules import RollingSums, RowRules
from pipeline.core.rows import Measured

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_START = 25_764_131  # 2018-12-26 18:11
_NAMES = [
    *("mean", "count", "words", "per_word", "min", "max"),
    *("p0.001", "p5", "p50", "p95", "p99.9", "p99.999", "within_30", "within_0.5", "within_0"),
]

_Delivery = tuple[int, int, int]
"""A minute, a duration in millionths, a number of words."""

_durations = (
    st.integers(0, 2_000)
    | st.integers(0, 10**15)
    | st.sampled_from([0, 30_000_000, 30_000_001, 500_000, 999_500, 1_000_500, 10**15])
    | st.integers(1, 999).map(lambda number: number * 10**6)
)
_words = st.integers(0, 50) | st.just(0) | st.integers(0, 10**18) | st.integers(0, 10**40)
_deliveries = st.lists(
    st.tuples(st.integers(_START, _START + 30), _durations, _words), min_size=1, max_size=40
)
_measures = st.lists(st.sampled_from(_NAMES), min_size=1, unique=True)
_decimals = st.none() | st.integers(0, 15)


def _events(deliveries: Sequence[_Delivery]) -> list[oracle.Event]:
    return [
        oracle.Event(_EPOCH + timedelta(minutes=minute, seconds=index % 60), millionths, {}, words)
        for index, (minute, millionths, words) in enumerate(deliveries)
    ]


def _sums(deliveries: Sequence[_Delivery], names: Sequence[str]) -> MinuteSums:
    minutes, millionths, words = zip(*deliveries, strict=True)
    return MinuteSums.of(minutes, millionths, words, details_of(measures_named(names).values()))


def _merged(deliveries: Sequence[_Delivery], names: Sequence[str], cuts: set[int]) -> MinuteSums:
    """The sums of deliveries that came in several parts."""
    bounds = sorted({0, len(deliveries), *(cut for cut in cuts if cut < len(deliveries))})
    parts = [_sums(deliveries[start:stop], names) for start, stop in itertools.pairwise(bounds)]
    return MinuteSums.merge(parts)


@pytest.mark.clause("2.7", "2.13", "2.14")
@settings(max_examples=300)
@given(
    deliveries=_deliveries,
    names=_measures,
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3, unique=True),
    decimals=_decimals,
    cuts=st.sets(st.integers(1, 39), max_size=4),
    rows_per_block=st.sampled_from([1, 3, 65_536]),
)
def test_rows_say_what_the_oracle_says_however_the_deliveries_came(
    deliveries: list[_Delivery],
    names: list[str],
    sizes: list[int],
    decimals: int | None,
    cuts: set[int],
    rows_per_block: int,
) -> None:
    panes = RollingSums(_merged(deliveries, names, cuts))
    measures = measures_named(names)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_rules, "ROWS_PER_BLOCK", rows_per_block)
        for size in sizes:
            rules = RowRules(size, "drain", 40, decimals, measures)
            for block in rules.roll((), panes):
                for row in block:
                    found[row.date, row.window_minutes] = row.count, dict(row.values)
    options = {"until": "drain", "max_gap": 40, "decimals": decimals, "empty_value": "null"}
    rows = oracle.rows(_events(deliveries), sizes, measures=names, **options)
    assert found == {
        (row.date, row.window): (
            row.count,
            {name: oracle.shown(name, value) for name, value in row.values},
        )
        for row in rows
    }


@settings(max_examples=300)
@given(_deliveries, _measures, _decimals, st.randoms())
def test_one_window_is_measured_as_the_oracle_measures_it_whatever_the_order_of_adding(
    deliveries: list[_Delivery], names: list[str], decimals: int | None, random: object
) -> None:
    measures = measures_named(names)
    details = details_of(measures.values())
    parts = [
        DurationSum.of_delivery(millionths, words, details) for _, millionths, words in deliveries
    ]
    while len(parts) > 1:
        random.shuffle(parts)  # type: ignore[attr-defined]
        parts.append(parts.pop() + parts.pop())
    found = Measured.of(parts[0] + DurationSum(), measures.values(), decimals).values
    (row, *_) = oracle.rows(
        _events([(_START, *rest) for _, *rest in deliveries]),
        1,
        measures=names,
        decimals=decimals,
        rows_from=_EPOCH + timedelta(minutes=_START + 1),
    )
    assert list(found) == [oracle.shown(name, value) for name, value in row.values]


@pytest.mark.parametrize("name", _NAMES)
def test_no_deliveries_have_no_number_but_for_counts(name: str) -> None:
    value = measure_named(name).value(DurationSum(), None)
    assert value == (0 if name in ("count", "words") else None)


# ---------------------------------------------------------------------------------------------
# Percentiles


@given(_durations)
@example(1_005_000)
@example(1_015_000)
@example(999_500)
def test_durations_are_rounded_half_even_to_three_significant_digits(millionths: int) -> None:
    context = Context(prec=3, rounding=ROUND_HALF_EVEN)
    rounded = int(context.create_decimal(Decimal(millionths)))
    (found,) = durations_of(codes_of(np.array([millionths]))).tolist()
    assert found == rounded / 1_000_000


def test_codes_ascend_with_durations_and_each_stands_for_one() -> None:
    codes = np.arange(codes_of(np.array([10**15]))[0] + 1)
    durations = durations_of(codes)
    assert (np.diff(durations) > 0).all()
    millionths = np.array([round(each * 1e6) for each in durations.tolist()])
    assert codes_of(millionths).tolist() == codes.tolist()


@pytest.mark.parametrize(
    ("name", "durations", "value"),
    [
        ("p50", [1], 1),
        ("p50", [1, 2], 1),
        ("p51", [1, 2], 2),
        ("p95", [*range(1, 21)], 19),
        ("p95.001", [*range(1, 21)], 20),
        ("p99.999", [*range(1, 1_001)], 1000),
        ("p0.001", [7, 8], 7),
    ],
)
def test_a_percentile_is_that_of_the_nearest_rank(
    name: str, durations: list[int], value: float
) -> None:
    deliveries = [(_START, duration * 1_000_000, 1) for duration in durations]
    rules = RowRules(1, measures=measures_named([name]))
    (block,) = rules.roll((), RollingSums(_sums(deliveries, [name])))
    assert block.values[name].tolist()[1:] == [value]


# ---------------------------------------------------------------------------------------------
# Names


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("mean", "average_delivery_time"),
        ("count", "deliveries"),
        ("words", "words"),
        ("per_word", "delivery_time_per_word"),
        ("min", "min_delivery_time"),
        ("max", "max_delivery_time"),
        ("p99.9", "p99.9_delivery_time"),
        ("within_0.5", "within_0.5"),
    ],
)
def test_each_measure_has_its_key(name: str, key: str) -> None:
    assert measure_named(name).key == key == oracle.key_of(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "Mean", "average", "p", "p0", "p100", "p-1", "p1e1", "p01", "p50.", "p50.0"),
        *("p99.9999", "pp", "within", "within_", "within_-1", "within_1.0", "within_0.0000001"),
        *("within_01", "within_1e3", "count "),
    ],
)
def test_what_is_no_measure_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no measure"):
        measure_named(name)


def test_measures_are_named_once_and_at_least_one_is() -> None:
    with pytest.raises(ValueError, match="mean is named twice"):
        measures_named(["mean", "count", "mean"])
    with pytest.raises(ValueError, match="at least one"):
        measures_named([])
    assert [*measures_named(["p95", "mean"])] == ["p95", "mean"]


def test_nothing_is_kept_for_what_is_not_asked_for() -> None:
    assert details_of(measures_named(["mean", "count"]).values()) == ()
    shared = details_of(measures_named(["p50", "p95", "words", "per_word"]).values())
    assert [detail.name for detail in shared] == ["histogram", "words"]
