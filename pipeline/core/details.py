"""What measures need of deliveries beside their number and total duration: one class for each.

A detail is a commutative monoid, like the sums beside which it stands: as a value of one window
(for `CombineFn`s), and as a column with a value for each minute. A new one is one more class here
and its name in `detail_named`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from pipeline.core.exact import Exact, Int64s, between, exact, grouped, joined, running
from pipeline.core.histograms import HistogramRanges, Histograms, codes_of

Column = Any
"""One value for each of some minutes; what it is, is the affair of its `Detail`."""


class Deliveries(NamedTuple):
    """Single deliveries, ordered by place.

    Attributes:
        millionths: the duration of each.
        words: the number of words of each.
        starts: where the deliveries of each place begin.
    """

    millionths: Int64s
    words: Exact
    starts: Int64s


class Ranges(NamedTuple):
    """Windows over the minutes of a column: in the i-th one are those from `first[i]` to `stop[i]`.

    The second is excluded.
    """

    first: Int64s
    stop: Int64s


Rolling = Callable[[Ranges], Column]
"""Gives the value of each window; of histograms a `HistogramRanges`."""


class Detail(Protocol):
    """One thing that is known of some deliveries.

    Attributes:
        name: what it is called between the steps of a pipeline.
        nothing: its value for no deliveries.
    """

    @property
    def name(self) -> str: ...

    @property
    def nothing(self) -> Any: ...

    def of_delivery(self, millionths: int, words: int) -> Any:
        """The value of one delivery."""

    def add(self, one: Any, other: Any) -> Any:
        """The value of the deliveries behind two values."""

    def of_deliveries(self, deliveries: Deliveries) -> Column:
        """A value for each place."""

    def column(self, values: Sequence[Any]) -> Column:
        """A column of values."""

    def values(self, column: Column) -> list[Any]:
        """The values of a column."""

    def merge(self, columns: Sequence[Column], order: Int64s, starts: Int64s) -> Column:
        """Joins columns, at least one, puts their values in order and adds up those of a place."""

    def take(self, column: Column, places: Int64s) -> Column:
        """The values at some places."""

    def rolling(self, column: Column) -> Rolling:
        """Prepares a column, which has a value for each of some ascending minutes, for windows."""

    def arrays(self, column: Column) -> tuple[Exact, ...]:
        """A column as arrays, for coders."""

    def of_arrays(self, *arrays: Exact) -> Column:
        """The inverse of `arrays`."""


class _Number:
    """A whole number, of which a column is an array."""

    def values(self, column: Exact) -> list[int]:
        numbers: list[int] = column.tolist()
        return numbers

    def take(self, column: Exact, places: Int64s) -> Exact:
        return column[places]

    def arrays(self, column: Exact) -> tuple[Exact, ...]:
        return (column,)

    def of_arrays(self, *arrays: Exact) -> Exact:
        (column,) = arrays
        return column


class _Sum(_Number):
    """The exact sum of a whole number of each delivery."""

    nothing = 0

    def add(self, one: int, other: int) -> int:
        return one + other

    def column(self, values: Sequence[int]) -> Exact:
        return exact(values)

    def merge(self, columns: Sequence[Exact], order: Int64s, starts: Int64s) -> Exact:
        return grouped(joined(columns)[order], starts)

    def rolling(self, column: Exact) -> Rolling:
        sums = running(column)
        return lambda ranges: between(sums, ranges.first, ranges.stop)


@dataclass(frozen=True)
class Words(_Sum):
    """The number of words."""

    name = "words"

    def of_delivery(self, millionths: int, words: int) -> int:
        return words

    def of_deliveries(self, deliveries: Deliveries) -> Exact:
        return grouped(deliveries.words, deliveries.starts)


@dataclass(frozen=True)
class Within(_Sum):
    """The number of deliveries of at most `limit` millionths."""

    limit: int

    @property
    def name(self) -> str:
        return f"within_{self.limit}"

    def of_delivery(self, millionths: int, words: int) -> int:
        return int(millionths <= self.limit)

    def of_deliveries(self, deliveries: Deliveries) -> Exact:
        return grouped((deliveries.millionths <= self.limit).astype(np.int64), deliveries.starts)


@dataclass(frozen=True)
class Shortest(_Number):
    """The shortest duration, in millionths."""

    name = "shortest"
    nothing = 1 << 62  # longer than any
    _choose: ClassVar[np.ufunc] = np.minimum

    def of_delivery(self, millionths: int, words: int) -> int:
        return millionths

    def add(self, one: int, other: int) -> int:
        return int(self._choose(one, other))

    def of_deliveries(self, deliveries: Deliveries) -> Int64s:
        return self._choose.reduceat(deliveries.millionths, deliveries.starts)

    def column(self, values: Sequence[int]) -> Int64s:
        return np.array(values, np.int64)

    def merge(self, columns: Sequence[Int64s], order: Int64s, starts: Int64s) -> Int64s:
        return self._choose.reduceat(joined(columns)[order], starts)

    def rolling(self, column: Int64s) -> Rolling:
        return partial(self._over, column)

    def _over(self, column: Int64s, ranges: Ranges) -> Int64s:
        """Doubles the width of what is known until two such, which may overlap, make a window."""
        begin = int(ranges.first.min(initial=len(column)))
        chosen = column[begin : int(ranges.stop.max(initial=begin))]
        lengths = ranges.stop - ranges.first
        longest = int(lengths.max(initial=0))
        windows = np.full(len(lengths), self.nothing, np.int64)
        width = 1
        while width <= longest:
            (at,) = np.nonzero((lengths >= width) & (lengths < 2 * width))
            firsts, lasts = ranges.first[at] - begin, ranges.stop[at] - begin - width
            windows[at] = self._choose(chosen[firsts], chosen[lasts])
            chosen = self._choose(chosen[:-width], chosen[width:])
            width *= 2
        return windows


@dataclass(frozen=True)
class Longest(Shortest):
    """The longest duration, in millionths."""

    name = "longest"
    nothing = -1
    _choose = np.maximum


@dataclass(frozen=True)
class Histogram:
    """How often each duration occurs, by its code: see `pipeline.core.histograms`."""

    name = "histogram"

    @property
    def nothing(self) -> dict[int, int]:
        return {}

    def of_delivery(self, millionths: int, words: int) -> dict[int, int]:
        (code,) = codes_of(np.array([millionths])).tolist()
        return {code: 1}

    def add(self, one: dict[int, int], other: dict[int, int]) -> dict[int, int]:
        total = dict(one)
        for code, count in other.items():
            total[code] = total.get(code, 0) + count
        return total

    def of_deliveries(self, deliveries: Deliveries) -> Histograms:
        size = len(deliveries.millionths)
        sizes = np.diff(np.concatenate((deliveries.starts, [size])))
        places = np.repeat(np.arange(len(sizes)), sizes)
        codes = codes_of(deliveries.millionths)
        return Histograms.of_groups(places, len(sizes), codes, np.ones(size, np.int64))

    def column(self, values: Sequence[dict[int, int]]) -> Histograms:
        return Histograms.of(values)

    def values(self, column: Histograms) -> list[dict[int, int]]:
        return column.tolist()

    def merge(self, columns: Sequence[Histograms], order: Int64s, starts: Int64s) -> Histograms:
        # The place of a group, for each histogram before it is put in order.
        groups = np.zeros(len(order), np.int64)
        groups[starts[1:]] = 1
        places = np.empty(len(order), np.int64)
        places[order] = np.cumsum(groups)
        before = np.cumsum([0, *(len(column) for column in columns)]).tolist()
        entries = [column.places() + start for column, start in zip(columns, before, strict=False)]
        codes = np.concatenate([column.codes for column in columns])
        counts = np.concatenate([column.counts for column in columns])
        return Histograms.of_groups(places[np.concatenate(entries)], len(starts), codes, counts)

    def take(self, column: Histograms, places: Int64s) -> Histograms:
        return column.take(places)

    def rolling(self, column: Histograms) -> Rolling:
        return lambda ranges: HistogramRanges(column, ranges.first, ranges.stop)

    def arrays(self, column: Histograms) -> tuple[Exact, ...]:
        return column.bounds, column.codes, column.counts

    def of_arrays(self, *arrays: Exact) -> Histograms:
        return Histograms(*arrays)


def detail_named(name: str) -> Detail:
    """The detail of a name.

    Raises:
        ValueError: there is none of this name.
    """
    details: tuple[Detail, ...] = (Words(), Shortest(), Longest(), Histogram())
    for detail in details:
        if detail.name == name:
            return detail
    kind, _, limit = name.partition("_")
    if kind == "within" and limit.isdecimal():
        return Within(int(limit))
    raise ValueError(f"there is no detail {name!r}")
