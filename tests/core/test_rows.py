"""Rows, one by one and in blocks."""

import math
from datetime import datetime, timezone

import numpy as np

from pipeline.core.durations import DurationSum
from pipeline.core.exact import exact
from pipeline.core.measures import measures_named
from pipeline.core.rows import Measured, Row, RowBlock


def _block() -> RowBlock:
    """An empty row between one that is not and one of deliveries without words."""
    values = {
        "mean": np.array([1e-06, math.nan, 2.5]),
        "per_word": np.array([0.5, math.nan, math.inf]),
        "words": exact([1, 0, 10**5000]),
    }
    return RowBlock(("fr",), 10, np.arange(3), np.array([1, 0, 2]), values)


def test_a_block_without_its_empty_rows_has_the_others_as_they_were() -> None:
    full = _block().without_empty()
    assert list(full) == [row for row in _block() if row.count]
    assert list(full.without_empty()) == list(full)


def test_a_block_gives_its_rows_with_none_for_what_is_no_number() -> None:
    def date(minute: int) -> datetime:
        return datetime(1970, 1, 1, 0, minute, tzinfo=timezone.utc)

    assert list(_block()) == [
        Row(("fr",), date(0), 10, 1, {"mean": 1e-06, "per_word": 0.5, "words": 1}),
        Row(("fr",), date(1), 10, 0, {"mean": None, "per_word": None, "words": 0}),
        Row(("fr",), date(2), 10, 2, {"mean": 2.5, "per_word": None, "words": 10**5000}),
    ]
    assert len(_block()) == 3


def test_a_block_is_made_of_dates_and_what_was_measured() -> None:
    measures = measures_named(["count", "mean", "per_word"])
    windows = [
        (3, Measured((2, 1.5, 0.25), DurationSum(3_000_000, 2))),
        (4, Measured((1, 0.0, None), DurationSum(0, 1))),
    ]
    block = RowBlock.of(("fr",), 10, windows, measures)
    assert (block.series, block.window_minutes) == (("fr",), 10)
    assert block.dates.tolist() == [3, 4]
    assert block.values["count"].dtype == np.int64
    assert [(row.count, row.values) for row in block] == [
        (2, {"count": 2, "mean": 1.5, "per_word": 0.25}),
        (1, {"count": 1, "mean": 0, "per_word": None}),
    ]
