"""Rows: the mean duration of one series over the window that ends at a date."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from pipeline.durations import Float64s, Int64s, MeanDuration, MinuteSums
from pipeline.events import EPOCH

Series = tuple[str, ...]
"""The values of the group fields, in the order asked for; `()` is the whole input."""


@dataclass(frozen=True, slots=True)
class StateKey:
    """What state is kept by: a series, and the hour (since 1970-01-01) of its rows, or None."""

    series: Series
    hour: int | None = None


EmptyValue = Literal["0", "null", "skip"]


@dataclass(frozen=True, slots=True)
class Row:
    """The deliveries of `series` in the window that ends, exclusively, at `date` (UTC).

    `average` is the double nearest to their exact mean duration, None where there are none;
    `total_millionths` is the exact sum of their durations and `count` their number. `revision`
    counts how often the row has been emitted before with fewer deliveries; None where all are there
    from the start.
    """

    series: Series
    date: datetime
    average: float | None
    count: int
    total_millionths: int
    revision: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Rows of one series, as columns: `windows.minutes` are the dates, `averages` may hold NaN."""

    series: Series
    windows: MinuteSums
    averages: Float64s

    @classmethod
    def of(cls, series: Series, windows: Sequence[tuple[int, MeanDuration]]) -> RowBlock:
        """Makes a block of non-empty windows, ascending by their dates."""
        sums = MinuteSums.of_sums((date, average.sum) for date, average in windows)
        return cls(series, sums, np.array([average.mean for _, average in windows], np.float64))

    def __len__(self) -> int:
        return len(self.averages)

    def __iter__(self) -> Iterator[Row]:
        for (minute, window), average in zip(self.windows, self.averages.tolist(), strict=True):
            yield Row(
                self.series,
                EPOCH + timedelta(minutes=minute),
                average if window.count else None,
                window.count,
                window.total_millionths,
            )


_KEPT_MIDDLES = 2**16


class RowFormat:
    """Writes rows as NDJSON, to the byte as the contract has it.

    Args:
        group_by: the fields that the values of a series belong to.
        empty_value: what stands for the average of nothing; `"skip"` leaves such rows out.
    """

    def __init__(self, group_by: Sequence[str] = (), empty_value: EmptyValue = "0") -> None:
        self._keys = [f'"{field}": ' for field in group_by]
        self._empty_value = empty_value
        self._middles: dict[Series, str] = {}

    def shown(self, block: RowBlock) -> tuple[Int64s, Float64s]:
        """The dates and averages of the rows that are to be written."""
        dates, averages = block.windows.minutes, block.averages
        if self._empty_value == "skip":
            full = block.windows.counts > 0
            return dates[full], averages[full]
        return dates, averages

    def lines(
        self, dates: Int64s, series: Int64s, averages: Float64s, table: Sequence[Series]
    ) -> bytes:
        """The lines of rows given as columns; `series` are indexes into a table of series."""
        middles = [self._middles.get(each) or self._middle(each) for each in table]
        columns = zip(
            date_texts(dates), series.tolist(), self._average_texts(averages), strict=True
        )
        return "".join(
            [f'{{"date": "{date}{middles[index]}{average}}}\n' for date, index, average in columns]
        ).encode()

    def revised_lines(self, row: Row) -> Iterator[bytes]:
        """A row with its revision, as a line without its end; none if it is not to be written."""
        if row.average is None and self._empty_value == "skip":
            return
        middle = self._middles.get(row.series) or self._middle(row.series)
        (average,) = self._average_texts(
            np.array([math.nan if row.average is None else row.average])
        )
        date = f"{row.date:%Y-%m-%d %H:%M:%S}"
        yield f'{{"date": "{date}{middle}{average}, "revision": {row.revision}}}'.encode()

    def _middle(self, series: Series) -> str:
        fields = (
            f"{key}{json.dumps(value, ensure_ascii=False)}, "
            for key, value in zip(self._keys, series, strict=True)
        )
        middle = '", ' + "".join(fields) + '"average_delivery_time": '
        if len(self._middles) >= _KEPT_MIDDLES:
            # There may be ever new series, for days.
            self._middles.clear()
        return self._middles.setdefault(series, middle)

    def _average_texts(self, averages: Float64s) -> list[str]:
        # One call of the C encoder for the column. A whole number ends in ".0", and no other does.
        column = json.dumps(averages.tolist(), separators=(",", ":"))[1:-1] + ","
        column = column.replace(".0,", ",").replace("NaN", self._empty_value)
        return column.split(",")[:-1]


def date_texts(minutes: Int64s) -> list[str]:
    """`2018-12-26 18:11:00` for each minute since 1970-01-01."""
    distinct, positions = np.unique(minutes, return_inverse=True)
    texts = np.datetime_as_string(distinct.astype("datetime64[m]"), unit="s")
    spaced = [text.replace("T", " ") for text in texts.tolist()]
    return [spaced[position] for position in positions.tolist()]
