"""Rows: what measures say of the deliveries of one series in the window that ends at a date."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np

from pipeline.core.durations import DurationSum
from pipeline.core.events import EPOCH
from pipeline.core.exact import Int64s, exact
from pipeline.core.measures import Measure, Value, Values

Series = tuple[str, ...]
"""The values of the group fields, in the order asked for; `()` is the whole input."""

EmptyValue = Literal["0", "null", "skip"]


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of the `count` deliveries of `series` in a window.

    The window is of `window_minutes` and ends, exclusively, at `date` (UTC). `values` are numbers
    by the names of the measures (`"mean"`, `"p95"`); None where there is no such number.
    `revision` counts how often the row has been emitted before with fewer deliveries; None for
    bounded input.
    """

    series: Series
    date: datetime
    window_minutes: int
    count: int
    values: Mapping[str, Value]
    revision: int | None = None


class Measured(NamedTuple):
    """The numbers of a window, in the order of the measures, and the exact sum behind them."""

    values: tuple[Value, ...]
    sum: DurationSum

    @classmethod
    def of(cls, total: DurationSum, measures: Iterable[Measure], decimals: int | None) -> Measured:
        """What measures say of a window."""
        return cls(tuple([each.value(total, decimals) for each in measures]), total)


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Rows of one series and one size of windows, as columns.

    Attributes:
        dates: ascending, in minutes since 1970-01-01 UTC.
        counts: the number of deliveries in each window.
        values: a column for each measure, by its name.
    """

    series: Series
    window_minutes: int
    dates: Int64s
    counts: Int64s
    values: Mapping[str, Values]

    @classmethod
    def of(
        cls,
        series: Series,
        window_minutes: int,
        windows: Sequence[tuple[int, Measured]],
        measures: Mapping[str, Measure],
    ) -> RowBlock:
        """Makes a block of windows, ascending by their dates."""
        columns = zip(*(measured.values for _, measured in windows), strict=True)
        return cls(
            series,
            window_minutes,
            np.array([date for date, _ in windows], np.int64),
            np.array([measured.sum.count for _, measured in windows], np.int64),
            {
                name: _column(values, measures[name].is_whole)
                for name, values in zip(measures, columns, strict=True)
            },
        )

    def without_empty(self) -> RowBlock:
        """The rows whose windows have deliveries."""
        full = self.counts > 0
        values = {name: column[full] for name, column in self.values.items()}
        return RowBlock(
            self.series, self.window_minutes, self.dates[full], self.counts[full], values
        )

    def __len__(self) -> int:
        return len(self.dates)

    def __iter__(self) -> Iterator[Row]:
        columns = [column.tolist() for column in self.values.values()]
        for minute, count, *values in zip(
            self.dates.tolist(), self.counts.tolist(), *columns, strict=True
        ):
            by_name = dict(zip(self.values, map(finite, values), strict=True))
            date = EPOCH + timedelta(minutes=minute)
            yield Row(self.series, date, self.window_minutes, count, by_name)


RowKey = tuple[Series, int]
"""A series and a size of windows: what tells the rows of a date apart, and orders them."""


class SortedRows(NamedTuple):
    """Rows as columns, ascending by date and key: `table[keys[i]]` is the key of row i.

    `dates` and `values` are as in `RowBlock`.
    """

    dates: Int64s
    keys: Int64s
    values: Mapping[str, Values]
    table: Sequence[RowKey]


def finite(value: int | float) -> Value:
    """A value of a column: None where there is no such number."""
    return value if isinstance(value, int) or math.isfinite(value) else None


def _column(values: Sequence[Value], is_whole: bool) -> Values:
    if is_whole:
        return exact(int(value or 0) for value in values)
    return np.array([math.inf if value is None else value for value in values], np.float64)


def date_texts(minutes: Int64s) -> list[str]:
    """`2018-12-26 18:11:00` for each minute since 1970-01-01."""
    distinct, positions = np.unique(minutes, return_inverse=True)
    texts = np.datetime_as_string(distinct.astype("datetime64[m]"), unit="s")
    spaced = [text.replace("T", " ") for text in texts.tolist()]
    return [spaced[position] for position in positions.tolist()]
