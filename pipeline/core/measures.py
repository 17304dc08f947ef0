"""What a row says of the deliveries in its window: one number for each measure.

A measure reads exact sums, so the order of adding cannot change it. What it says of windows without
deliveries is no number: NaN in a column, None by itself. A new measure is one more class here, and
a line in `measure_named`; what it needs of deliveries may be a new `pipeline.core.details.Detail`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Protocol, TypeAlias

import numpy as np

from pipeline.core.details import (
    Column,
    Detail,
    Histogram,
    Longest,
    Shortest,
    Within,
    Words,
)
from pipeline.core.durations import MILLIONTHS_PER_UNIT, DurationSum
from pipeline.core.exact import Exact, Float64s, Int64s, quotient, quotients, times
from pipeline.core.histograms import HistogramRanges, durations_of

Value: TypeAlias = int | float | None
"""A number of a row; None where a window has no deliveries."""

Values: TypeAlias = Exact | Float64s
"""The same as a column: whole numbers, or doubles that may be NaN.

Infinity is the quotient of a duration and no words, which a row writes as `null`.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """What fell into windows, as columns.

    Attributes:
        counts, totals: as in `MinuteSums`.
        details: what `Detail.over` gives.
    """

    counts: Int64s
    totals: Exact
    details: Mapping[Detail, Column]


class Measure(Protocol):
    """One number of a row.

    Attributes:
        key: its key in a row.
        details: what it needs of deliveries, beside their number and total duration.
        is_whole: whether it is a whole number, also of a window without deliveries.
    """

    @property
    def key(self) -> str: ...

    @property
    def details(self) -> tuple[Detail, ...]: ...

    @property
    def is_whole(self) -> bool: ...

    def value(self, total: DurationSum, decimals: int | None) -> Value:
        """The measure of one window."""

    def column(self, windows: Windows, decimals: int | None) -> Values:
        """The measure of every window."""


@dataclass(frozen=True)
class Mean:
    """The correctly rounded quotient of the exact sum of durations and their number."""

    key: ClassVar[str] = "average_delivery_time"
    details: ClassVar[tuple[Detail, ...]] = ()
    is_whole: ClassVar[bool] = False

    def value(self, total: DurationSum, decimals: int | None) -> float | None:
        return total.mean(decimals)

    def column(self, windows: Windows, decimals: int | None) -> Float64s:
        return quotients(windows.totals, times(windows.counts, MILLIONTHS_PER_UNIT), decimals)


@dataclass(frozen=True)
class Count:
    """The number of deliveries."""

    key: ClassVar[str] = "deliveries"
    details: ClassVar[tuple[Detail, ...]] = ()
    is_whole: ClassVar[bool] = True

    def value(self, total: DurationSum, decimals: int | None) -> int:
        return total.count

    def column(self, windows: Windows, decimals: int | None) -> Int64s:
        return windows.counts


@dataclass(frozen=True)
class WordCount:
    """The exact sum of words."""

    key: ClassVar[str] = "words"
    details: ClassVar[tuple[Detail, ...]] = (Words(),)
    is_whole: ClassVar[bool] = True

    def value(self, total: DurationSum, decimals: int | None) -> int:
        words: int = total.known(Words())
        return words

    def column(self, windows: Windows, decimals: int | None) -> Exact:
        words: Exact = windows.details[Words()]
        return words


@dataclass(frozen=True)
class PerWord:
    """The correctly rounded quotient of the exact sums of durations and of words."""

    key: ClassVar[str] = "delivery_time_per_word"
    details: ClassVar[tuple[Detail, ...]] = (Words(),)
    is_whole: ClassVar[bool] = False

    def value(self, total: DurationSum, decimals: int | None) -> float | None:
        words = total.known(Words()) * MILLIONTHS_PER_UNIT
        return quotient(total.total_millionths, words, decimals)

    def column(self, windows: Windows, decimals: int | None) -> Float64s:
        words = times(windows.details[Words()], MILLIONTHS_PER_UNIT)
        found = quotients(windows.totals, words, decimals)
        found[(windows.counts > 0) & np.isnan(found)] = np.inf
        return found


@dataclass(frozen=True)
class Extreme:
    """The shortest or the longest duration, as the nearest double."""

    name: str
    detail: Shortest

    @property
    def key(self) -> str:
        return f"{self.name}_delivery_time"

    @property
    def details(self) -> tuple[Detail, ...]:
        return (self.detail,)

    is_whole: ClassVar[bool] = False

    def value(self, total: DurationSum, decimals: int | None) -> float | None:
        if not total.count:
            return None
        millionths: int = total.known(self.detail)
        return millionths / MILLIONTHS_PER_UNIT

    def column(self, windows: Windows, decimals: int | None) -> Float64s:
        durations: Float64s = windows.details[self.detail] / MILLIONTHS_PER_UNIT
        return np.where(windows.counts > 0, durations, np.nan)


@dataclass(frozen=True)
class Percentile:
    """The nearest-rank percentile of the durations, rounded to three significant digits.

    Attributes:
        name: `p95`, `p99.9`: what percentage of the deliveries are no longer.
    """

    name: str
    details: ClassVar[tuple[Detail, ...]] = (Histogram(),)
    is_whole: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return f"{self.name}_delivery_time"

    @property
    def _thousandths(self) -> int:
        return _scaled(self.name[1:], 3)

    def value(self, total: DurationSum, decimals: int | None) -> float | None:
        if not total.count:
            return None
        rank = -(-total.count * self._thousandths // 100_000)
        codes, counts = zip(*sorted(total.known(Histogram()).items()), strict=True)
        code = codes[bisect_left([*accumulate(counts)], rank)]
        (duration,) = durations_of(np.array([code])).tolist()
        return float(duration)

    def column(self, windows: Windows, decimals: int | None) -> Float64s:
        ranges: HistogramRanges = windows.details[Histogram()]
        ranks = -(-windows.counts * self._thousandths // 100_000)
        return np.where(windows.counts > 0, durations_of(ranges.at_ranks(ranks)), np.nan)


@dataclass(frozen=True)
class Share:
    """The share of the deliveries that took at most a duration, correctly rounded.

    Attributes:
        name: `within_30`, `within_0.5`: the duration.
    """

    name: str
    is_whole: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return self.name

    @property
    def _within(self) -> Within:
        return Within(_scaled(self.name.removeprefix("within_"), 6))

    @property
    def details(self) -> tuple[Detail, ...]:
        return (self._within,)

    def value(self, total: DurationSum, decimals: int | None) -> float | None:
        return quotient(total.known(self._within), total.count, decimals)

    def column(self, windows: Windows, decimals: int | None) -> Float64s:
        return quotients(windows.details[self._within], windows.counts, decimals)


def _scaled(text: str, decimals: int) -> int:
    """A decimal number of at most so many places, as a whole number of its last place."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(decimals, "0"))


_NAMED: dict[str, Measure] = {
    "mean": Mean(),
    "count": Count(),
    "words": WordCount(),
    "per_word": PerWord(),
    "min": Extreme("min", Shortest()),
    "max": Extreme("max", Longest()),
}
_PERCENTILE = re.compile(r"p(0|[1-9][0-9]?)(\.[0-9]{0,2}[1-9])?", re.ASCII)
_SHARE = re.compile(r"within_(0|[1-9][0-9]{0,9})(\.[0-9]{0,5}[1-9])?", re.ASCII)
MEASURES = (*_NAMED, "pN", "within_S")
"""The names of the measures: pN and within_S stand for those with a number, `p95`, `within_30`."""


def measure_named(name: str) -> Measure:
    """The measure of a name.

    Raises:
        ValueError: there is none of this name.
    """
    if name in _NAMED:
        return _NAMED[name]
    if _PERCENTILE.fullmatch(name) and name != "p0":
        return Percentile(name)
    if _SHARE.fullmatch(name):
        return Share(name)
    if name.startswith("p") and name != "p":
        raise ValueError(
            f"{name!r} is no measure: a percentile is p and a number above 0 and below 100, of up "
            "to three decimals (p50, p99.9)"
        )
    if name.startswith("within"):
        raise ValueError(
            f"{name!r} is no measure: a share is within_ and a duration of up to six decimals "
            "(within_30, within_0.5)"
        )
    raise ValueError(f"{name!r} is no measure: there are {', '.join(MEASURES)}")


def measures_named(names: Iterable[str]) -> dict[str, Measure]:
    """The measures of some names, in their order.

    Raises:
        ValueError: one is none, one is named twice, or there is none.
    """
    measures: dict[str, Measure] = {}
    for name in names:
        if name in measures:
            raise ValueError(f"the measure {name} is named twice")
        measures[name] = measure_named(name)
    if not measures:
        raise ValueError("name at least one measure")
    return measures


def details_of(measures: Iterable[Measure]) -> tuple[Detail, ...]:
    """What some measures need together, each detail once."""
    return tuple(dict.fromkeys(detail for each in measures for detail in each.details))
