"""MovingAverage: the combiner by itself, both plans against the oracle, and their graphs."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import apache_beam as beam
import oracle
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.testing.util import assert_that, equal_to, equal_to_per_window
from apache_beam.transforms.window import FixedWindows, IntervalWindow, SlidingWindows
from examples import CHALLENGE_EVENTS
from hypothesis import given, settings
from hypothesis import strategies as st
from local_runners import transform_pipeline

from pipeline import (
    DurationSum,
    MeanDuration,
    MeanDurationCombineFn,
    MeasuresCombineFn,
    MinuteSums,
    MovingAverage,
    ParseEvents,
    Row,
)
from pipeline.core.errors import TooManyWindowsError, run_error_in
from pipeline.core.events import parse_line
from pipeline.core.measures import details_of, measures_named
from pipeline.transforms import moving_average
from pipeline.transforms.combine_fns import SumDurationsCombineFn

pytestmark = pytest.mark.slow

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MINUTE = 25_764_131  # 2018-12-26 18:11
_CHALLENGE_SUMS = [
    ((), MinuteSums.of([_MINUTE], [20_000_000])),
    ((), MinuteSums.of([_MINUTE + 4, _MINUTE + 12], [31_000_000, 54_000_000])),
]

both_plans = pytest.mark.parametrize("plan", ["rolling", "windows"])


# ---------------------------------------------------------------------------------------------
# The combiner


_sums = st.builds(DurationSum, st.integers(0, 2**80), st.integers(1, 2**40))


def _combined(sums: Sequence[DurationSum], cuts: st.DataObject) -> DurationSum:
    """The accumulator of sums, added and merged in a tree that is drawn."""
    combine = MeanDurationCombineFn()
    if len(sums) < 2 or cuts.draw(st.booleans(), "in one bundle"):
        accumulator = combine.create_accumulator()
        for each in sums:
            accumulator = combine.add_input(accumulator, each)
        return accumulator
    cut = cuts.draw(st.integers(1, len(sums) - 1), "cut")
    return combine.merge_accumulators([_combined(sums[:cut], cuts), _combined(sums[cut:], cuts)])


@given(st.lists(_sums, max_size=8), st.data())
def test_mean_is_the_same_for_any_order_and_any_tree_of_merges(
    sums: list[DurationSum], data: st.DataObject
) -> None:
    combine = MeanDurationCombineFn()
    total = sum(each.total_millionths for each in sums)
    count = sum(each.count for each in sums)
    mean = float(Fraction(total, 1_000_000 * count)) if count else None
    accumulator = _combined(data.draw(st.permutations(sums)), data)
    assert combine.extract_output(accumulator) == MeanDuration(mean, DurationSum(total, count))


def test_mean_of_nothing_is_none() -> None:
    combine = MeanDurationCombineFn()
    nothing = MeanDuration(None, DurationSum())
    assert combine.extract_output(combine.create_accumulator()) == nothing
    assert combine.extract_output(combine.merge_accumulators([])) == nothing


@pytest.mark.parametrize(
    ("millionths", "count", "decimals", "mean"),
    [
        (25_500_000, 1, 0, 26),
        (24_500_000, 1, 0, 24),  # half goes to even
        (250_000, 2, 2, 0.12),  # the double 0.125 is exact, and so is the tie
        (2_000_000, 3, 4, 0.6667),
        (2_000_000, 3, None, 2 / 3),
    ],
)
def test_mean_is_rounded_half_even_from_the_exact_quotient(
    millionths: int, count: int, decimals: int | None, mean: float
) -> None:
    combine = MeanDurationCombineFn(decimals)
    accumulator = combine.add_input(combine.create_accumulator(), DurationSum(millionths, count))
    assert combine.extract_output(accumulator).mean == mean


def test_combiner_averages_per_key_in_a_pipeline() -> None:
    sums = [("a", DurationSum(1_000_000, 1)), ("a", DurationSum(4_000_000, 1))]
    with transform_pipeline() as p:
        means = (
            p
            | beam.Create([*sums, ("b", DurationSum(7, 1))])
            | beam.CombinePerKey(MeanDurationCombineFn())
            | beam.MapTuple(lambda key, average: (key, average.mean))
        )
        assert_that(means, equal_to([("a", 2.5), ("b", 0.000007)]))


# ---------------------------------------------------------------------------------------------
# Rows


def _row(date: int, mean: float | None, count: int) -> Row:
    return Row((), _EPOCH + timedelta(minutes=date), 10, count, {"mean": mean})


@both_plans
def test_rows_carry_the_number_and_the_mean_of_the_deliveries_before_each_minute(plan: Any) -> None:
    expected = [
        _row(_MINUTE, None, 0),
        *(_row(_MINUTE + i, 20, 1) for i in (1, 2, 3, 4)),
        *(_row(_MINUTE + i, 25.5, 2) for i in range(5, 11)),
        *(_row(_MINUTE + i, 31, 1) for i in (11, 12)),
        _row(_MINUTE + 13, 42.5, 2),
    ]
    with transform_pipeline() as p:
        rows = p | beam.Create(_CHALLENGE_SUMS) | MovingAverage(10, plan=plan)
        assert_that(rows, equal_to(expected))


@both_plans
def test_there_are_no_rows_without_events(plan: Any) -> None:
    with transform_pipeline() as p:
        rows = p | beam.Create(["", "no event"]) | ParseEvents() | MovingAverage(10, plan=plan)
        assert_that(rows, equal_to([]))


_Event = tuple[tuple[str, ...], int, int, int]
"""A series, a minute, a duration in millionths, and a number of words."""

_series = st.sampled_from([("en",), ("fr",), ("",)])
_steps = st.one_of(st.integers(0, 3), st.integers(0, 40), st.integers(60, 200))
_durations = st.one_of(st.integers(0, 10**15), st.sampled_from([0, 1, 10**15]))
_words = st.integers(0, 3) | st.integers(0, 2**70)
_MEASURES = ("mean", "count", "words", "per_word", "min", "max", "p50", "p99.9", "within_30")


@st.composite
def _events(draw: st.DrawFn) -> list[_Event]:
    """Events with silences short and long, in any order."""
    steps = draw(st.lists(st.tuples(_series, _steps, _durations, _words), min_size=1, max_size=40))
    minutes = itertools.accumulate((step for _, step, *_ in steps), initial=_MINUTE)
    events = [
        (series, minute, millionths, words)
        for (series, _, millionths, words), minute in zip(steps, minutes, strict=False)
    ]
    return draw(st.permutations(events))


def _oracle_rows(events: list[_Event], **options: Any) -> list[Row]:
    """What the oracle makes of events."""
    of_oracle = [
        oracle.Event(
            _EPOCH + timedelta(minutes=minute), millionths, {"client_name": series[0]}, words
        )
        for series, minute, millionths, words in events
    ]
    return [
        Row(
            tuple(value for _, value in row.series),
            row.date,
            row.window,
            row.count,
            {name: oracle.shown(name, value) for name, value in row.values},
        )
        for row in oracle.rows(of_oracle, group_by=["client_name"], empty_value="null", **options)
    ]


@pytest.mark.clause("2.9", "2.11", "2.12", "2.13", "2.14")
@both_plans
@settings(max_examples=8, deadline=None)
@given(
    events=_events(),
    sizes=st.lists(st.sampled_from([1, 2, 10, 60, 90]), min_size=1, max_size=3, unique=True),
    more_gap=st.integers(0, 60),
    until=st.sampled_from(["last", "drain"]),
    decimals=st.sampled_from([None, 0, 3, 15]),
    measures=st.lists(st.sampled_from(_MEASURES), min_size=1, unique=True),
    dates=st.lists(st.integers(_MINUTE - 5, _MINUTE + 300), max_size=2, unique=True).map(sorted),
    parts=st.integers(1, 5),
)
def test_rows_are_those_of_the_oracle(
    plan: Any,
    events: list[_Event],
    sizes: list[int],
    more_gap: int,
    until: Any,
    decimals: int | None,
    measures: list[str],
    dates: list[int],
    parts: int,
) -> None:
    max_gap = max(sizes) + more_gap
    rows_from = dates[0] if dates else None
    rows_before = dates[1] if len(dates) > 1 else None
    expected = _oracle_rows(
        events,
        window=sizes,
        max_gap=max_gap,
        until=until,
        decimals=decimals,
        measures=measures,
        rows_from=_EPOCH + timedelta(minutes=rows_from or 0),
        rows_before=_EPOCH + timedelta(minutes=rows_before) if rows_before else oracle.NEVER,
    )
    details = details_of(measures_named(measures).values())
    sums = [
        (series, MinuteSums.of([minute], [millionths], [words], details))
        for series, minute, millionths, words in events
    ]
    merged = [
        (series, MinuteSums.merge(each for key, each in sums[part::parts] if key == series))
        for part in range(parts)
        for series in sorted({key for key, _ in sums[part::parts]})
    ]
    average = MovingAverage(sizes, until, max_gap, decimals, plan, measures, rows_from, rows_before)
    with transform_pipeline() as p:
        assert_that(p | beam.Create(merged) | average, equal_to(expected))


@both_plans
def test_sums_that_do_not_hold_what_a_measure_needs_are_an_error_that_says_so(plan: Any) -> None:
    pipeline = transform_pipeline()
    parsed = pipeline | beam.Create(CHALLENGE_EVENTS.splitlines()) | ParseEvents()
    _ = parsed | MovingAverage(10, plan=plan, measures=["p95"])
    with pytest.raises(Exception, match=r"hold no histogram: ParseEvents\(measures=...\)"):
        pipeline.run()


def test_a_combiner_measures_events_in_windows_of_ones_own() -> None:
    events = [parse_line(each) for each in CHALLENGE_EVENTS.splitlines()]
    with transform_pipeline() as p:
        measured = (
            p
            | beam.Create([(event.client_name, event) for event in events])
            | beam.CombinePerKey(MeasuresCombineFn(["p50", "within_30", "words"]))
            | beam.MapTuple(lambda client, measured: (client, measured.values))
        )
        assert_that(
            measured, equal_to([("airliberty", (20.0, 0.5, 60)), ("taxi-eats", (54.0, 0.0, 100))])
        )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MovingAverage(0), "1 to 527040, not 0"),
        (lambda: MovingAverage(527_041), "1 to 527040, not 527041"),
        (lambda: MovingAverage([10, 60, 10]), "named twice"),
        (lambda: MovingAverage([]), "1 to 8 sizes"),
        (lambda: MovingAverage(range(1, 10)), "1 to 8 sizes"),
        (lambda: MovingAverage([60, 10], max_gap_minutes=59), "max_gap_minutes"),
        (lambda: MovingAverage(10, measures=["p0"]), "is no measure"),
        (lambda: MovingAverage(10, until="end"), "until"),  # type: ignore[arg-type]
        (lambda: MovingAverage(10, max_gap_minutes=9), "max_gap_minutes"),
        (lambda: MovingAverage(10, decimals=16), "decimals"),
        (lambda: MovingAverage(10, plan="sliding"), "plan"),  # type: ignore[arg-type]
    ],
)
def test_an_argument_out_of_its_range_is_refused_when_it_is_built(
    build: Callable[[], MovingAverage], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# ---------------------------------------------------------------------------------------------
# Counters


def _counts(pipeline: beam.Pipeline) -> dict[str, int]:
    found = pipeline.result.metrics().query(MetricsFilter().with_namespace(MovingAverage))
    return {each.key.metric.name: each.result for each in found["counters"] if each.result}


@both_plans
@pytest.mark.parametrize(("max_gap", "gaps"), [(30, {}), (29, {"gaps": 1}), (10, {"gaps": 3})])
def test_series_and_silences_that_are_too_long_are_counted(
    plan: Any, max_gap: int, gaps: dict[str, int]
) -> None:
    sums = [
        (("a",), MinuteSums.of([_MINUTE, _MINUTE + 30, _MINUTE + 50], [1, 1, 1])),
        (("b",), MinuteSums.of([_MINUTE, _MINUTE + 12], [1, 1])),
        (("c",), MinuteSums.of([_MINUTE], [1])),
    ]
    with transform_pipeline() as p:
        _ = p | beam.Create(sums) | MovingAverage(5, max_gap_minutes=max_gap, plan=plan)
    assert _counts(p) == {"series": 3, **gaps}


@both_plans
def test_a_silence_that_is_too_long_is_warned_of_with_its_series(
    plan: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sums = [
        (("taxi-eats", "en"), MinuteSums.of([_MINUTE, _MINUTE + 12], [1, 1])),
        (("airliberty", "en"), MinuteSums.of([_MINUTE, _MINUTE + 11], [1, 1])),
    ]
    with caplog.at_level(logging.WARNING, "pipeline"), transform_pipeline() as p:
        _ = p | beam.Create(sums) | MovingAverage(5, max_gap_minutes=11, plan=plan)
    (warning,) = [each.getMessage() for each in caplog.records if each.name.startswith("pipeline")]
    assert "taxi-eats, en" in warning
    assert "--max_gap_minutes=11" in warning


# ---------------------------------------------------------------------------------------------
# The graph of the plan `windows`


class _Steps(PipelineVisitor):
    """The applied transforms of a pipeline, by their labels."""

    def __init__(self, pipeline: beam.Pipeline) -> None:
        self.by_label: dict[str, AppliedPTransform] = {}
        pipeline.visit(self)

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        self.by_label[node.full_label] = node

    def visit_transform(self, node: AppliedPTransform) -> None:
        self.by_label[node.full_label] = node

    def window_intos(self, window_fn: object) -> list[AppliedPTransform]:
        """The steps that assign windows of this kind."""
        return [
            node
            for node in self.by_label.values()
            if isinstance(node.transform, beam.WindowInto)
            and node.transform.windowing.windowfn == window_fn
        ]

    def combines(self, kind: type) -> list[AppliedPTransform]:
        """The steps that combine by key with this kind of CombineFn."""
        return [
            node
            for node in self.by_label.values()
            if isinstance(node.transform, beam.CombinePerKey)
            and isinstance(node.transform.fn, kind)
        ]


def _main_input(node: AppliedPTransform) -> beam.PCollection:
    (main_input,) = node.main_inputs.values()
    return main_input


def _built(plan: Any, window: int = 10) -> tuple[beam.Pipeline, _Steps]:
    pipeline = transform_pipeline()
    _ = (
        pipeline
        | beam.Create(CHALLENGE_EVENTS.splitlines())
        | ParseEvents()
        | MovingAverage(window, plan=plan)
    )
    return pipeline, _Steps(pipeline)


def test_plan_windows_averages_sliding_windows_of_x_minutes_each_minute() -> None:
    _, steps = _built("windows")
    (sliding,) = steps.window_intos(SlidingWindows(600, 60))
    (mean,) = steps.combines(MeasuresCombineFn)
    windowing = _main_input(mean).windowing
    assert windowing.windowfn == SlidingWindows(600, 60)
    assert sliding.outputs[None].windowing.windowfn == windowing.windowfn


def test_plan_windows_lets_only_the_sums_of_minutes_into_sliding_windows() -> None:
    _, steps = _built("windows")
    (sliding,) = steps.window_intos(SlidingWindows(600, 60))
    panes = _main_input(sliding)
    (summed,) = steps.combines(SumDurationsCombineFn)
    assert _main_input(panes.producer) in summed.outputs.values()
    assert panes.windowing.windowfn == FixedWindows(60)


def test_plan_rolling_has_no_sliding_windows() -> None:
    _, steps = _built("rolling")
    window_fns = {
        type(output.windowing.windowfn)
        for node in steps.by_label.values()
        for output in node.outputs.values()
        if isinstance(output, beam.PCollection)
    }
    assert SlidingWindows not in window_fns
    assert not steps.combines(MeasuresCombineFn)


def test_plan_windows_gives_each_window_the_mean_of_its_panes() -> None:
    pipeline, steps = _built("windows")
    (mean,) = steps.combines(MeasuresCombineFn)
    averages = mean.outputs[None] | beam.MapTuple(lambda _, measured: measured.values[0])
    assert_that(
        averages,
        equal_to_per_window(
            {
                IntervalWindow((_MINUTE + end - 10) * 60, (_MINUTE + end) * 60): [expected]
                for end, expected in enumerate(
                    [*[20] * 4, *[25.5] * 6, *[31] * 2, *[42.5] * 2, *[54] * 8], start=1
                )
            }
        ),
        reify_windows=True,
    )
    pipeline.run().wait_until_finish()


# Steps run in this process, and those of this module are known to them by name.
_inputs_of_windows: Counter[object] = Counter()
_windows_of_keys: Counter[object] = Counter()
_date = moving_average._date


def _count_window(element: Any, window: Any = beam.DoFn.WindowParam) -> Any:
    _windows_of_keys[element[0]] += 1
    return _date(element, window)


class _CountingCombineFn(MeasuresCombineFn):
    def add_input(self, accumulator: DurationSum, element: DurationSum) -> DurationSum:
        _inputs_of_windows["all"] += 1
        return super().add_input(accumulator, element)


@pytest.mark.parametrize("panes", [50, 100, 400])
def test_plan_windows_takes_linearly_many_steps_in_the_number_of_panes(
    panes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_average, "_date", _count_window)
    monkeypatch.setattr(moving_average, "MeasuresCombineFn", _CountingCombineFn)
    _inputs_of_windows.clear()
    _windows_of_keys.clear()
    # Three events a minute, in chunks that do not know of each other.
    sums = [((), MinuteSums.of(range(_MINUTE, _MINUTE + panes), [1] * panes)) for _ in range(3)]
    with transform_pipeline() as p:
        _ = p | beam.Create(sums) | MovingAverage(10, plan="windows")
    assert _inputs_of_windows.total() == panes * 10
    assert _windows_of_keys.total() == panes + 9
    # All windows of a key lie in one group, which takes quadratically long.
    assert max(_windows_of_keys.values()) <= 60


# ---------------------------------------------------------------------------------------------
# What would take hours


@pytest.mark.parametrize(("window", "is_refused"), [(500, False), (501, True)])
def test_windows_that_copy_too_many_panes_are_refused_before_any_copy_is_made(
    monkeypatch: pytest.MonkeyPatch, window: int, is_refused: bool
) -> None:
    monkeypatch.setattr(moving_average, "MAX_COPIES", 1_500)
    windows = []
    monkeypatch.setattr(SlidingWindows, "assign", _noting(SlidingWindows.assign, windows))

    def run() -> None:
        with transform_pipeline() as p:
            _ = p | beam.Create(_CHALLENGE_SUMS) | MovingAverage(window, plan="windows")

    if is_refused:
        message = r"each of 3 minutes with events into 501 windows.*--plan=rolling"
        with pytest.raises(Exception, match=message) as caught:
            run()
        assert isinstance(run_error_in(caught.value), TooManyWindowsError)
    else:
        run()
    assert bool(windows) != is_refused


def _noting(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return call
