"""Exact sums of durations, whatever the order of adding, and their means.

A duration is a whole number of millionths of its unit, so that sums are exact integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.details import Column, Deliveries, Detail
from pipeline.core.exact import (
    Exact,
    Float64s,
    Int64s,
    exact,
    grouped,
    joined,
    quotient,
    quotients,
    times,
)

MILLIONTHS_PER_UNIT = 1_000_000


class MissingDetailError(ValueError):
    """Sums do not hold what a measure needs."""

    def __init__(self, detail: Detail) -> None:
        super().__init__(
            f"the sums hold no {detail.name}: ParseEvents(measures=...) has to name all measures"
        )


@dataclass(frozen=True, slots=True)
class DurationSum:
    """The exact sum of durations, in millionths, and their number: a commutative monoid.

    `DurationSum()` is the zero and `+` the operation. `details` are what other measures than the
    mean need of the same deliveries; two sums that are added have the same ones, or one is zero.
    """

    total_millionths: int = 0
    count: int = 0
    details: Mapping[Detail, Any] = field(default_factory=dict)

    @classmethod
    def of_delivery(cls, millionths: int, words: int, details: Iterable[Detail]) -> DurationSum:
        """The sum of one delivery."""
        return cls(millionths, 1, {each: each.of_delivery(millionths, words) for each in details})

    def __add__(self, other: DurationSum) -> DurationSum:
        details = self.details or other.details
        if self.details and other.details:
            details = {
                detail: detail.add(value, other.details[detail])
                for detail, value in self.details.items()
            }
        return DurationSum(
            self.total_millionths + other.total_millionths, self.count + other.count, details
        )

    def known(self, detail: Detail) -> Any:
        """The value of a detail.

        Raises:
            MissingDetailError: it was not asked for.
        """
        if not self.count:
            return detail.nothing
        if detail not in self.details:
            raise MissingDetailError(detail)
        return self.details[detail]

    def mean(self, decimals: int | None = None) -> float | None:
        """The double nearest to the exact mean, in units of duration; None for no durations.

        With `decimals`, the exact mean is first rounded half to even to this number of places.
        """
        return quotient(self.total_millionths, self.count * MILLIONTHS_PER_UNIT, decimals)


class MeanDuration(NamedTuple):
    """A mean in units of duration (None for no durations), and the exact sum behind it."""

    mean: float | None
    sum: DurationSum


@dataclass(frozen=True, slots=True, eq=False)
class MinuteSums:
    """Duration sums of one series by minute, as columns: distinct `minutes`, ascending.

    Minutes count from 1970-01-01 UTC. The sum at i is `totals[i]` millionths of `counts[i]`
    durations, with a value of each of `details`. Merging is commutative and associative.
    """

    minutes: Int64s
    counts: Int64s
    totals: Exact
    details: Mapping[Detail, Column] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        minutes: Sequence[int],
        millionths: Sequence[int],
        words: Sequence[int] = (),
        details: Sequence[Detail] = (),
    ) -> MinuteSums:
        """Sums single deliveries of at most 2**62 millionths; `details` need their words."""
        by_delivery = np.asarray(minutes, np.int64)
        order, starts = _groups(by_delivery)
        durations = np.asarray(millionths, np.int64)[order]
        deliveries = Deliveries(durations, exact(words)[order] if details else exact(()), starts)
        return cls(
            by_delivery[order][starts],
            grouped(np.ones(len(order), np.int64), starts),
            grouped(durations, starts),
            {each: each.of_deliveries(deliveries) for each in details},
        )

    @classmethod
    def merge(cls, parts: Iterable[MinuteSums]) -> MinuteSums:
        """Adds up sums of the same series; empty ones, of whatever details, change nothing."""
        parts = list(parts)
        parts = [part for part in parts if len(part)] or parts[:1]
        if not parts:
            return cls.of((), ())
        return parts[0] if len(parts) == 1 else _regrouped(parts)

    @classmethod
    def of_sums(cls, sums: Iterable[tuple[int, DurationSum]]) -> MinuteSums:
        """The inverse of iteration; minutes may come in any order and more than once."""
        pairs = list(sums)
        details = pairs[0][1].details if pairs else ()
        listed = cls(
            np.array([minute for minute, _ in pairs], np.int64),
            np.array([total.count for _, total in pairs], np.int64),
            exact(total.total_millionths for _, total in pairs),
            {each: each.column([total.details[each] for _, total in pairs]) for each in details},
        )
        return _regrouped([listed])

    def at(self, minutes: Int64s) -> MinuteSums:
        """The same sums of other minutes."""
        return MinuteSums(minutes, self.counts, self.totals, self.details)

    def take(self, places: Int64s) -> MinuteSums:
        """The sums at some places of the columns."""
        details = {each: each.take(column, places) for each, column in self.details.items()}
        return MinuteSums(self.minutes[places], self.counts[places], self.totals[places], details)

    def __len__(self) -> int:
        return len(self.minutes)

    def __iter__(self) -> Iterator[tuple[int, DurationSum]]:
        columns = [each.values(column) for each, column in self.details.items()]
        for index, (minute, count, total) in enumerate(
            zip(self.minutes.tolist(), self.counts.tolist(), self.totals.tolist(), strict=True)
        ):
            values = (column[index] for column in columns)
            yield minute, DurationSum(total, count, dict(zip(self.details, values, strict=True)))

    def means(self, decimals: int | None = None) -> Float64s:
        """`DurationSum.mean` of every minute, NaN for no durations."""
        return quotients(self.totals, times(self.counts, MILLIONTHS_PER_UNIT), decimals)


def _regrouped(parts: Sequence[MinuteSums]) -> MinuteSums:
    """Adds up what stands for the same minute, in one part or in several; at least one."""
    minutes = joined([part.minutes for part in parts])
    order, starts = _groups(minutes)
    return MinuteSums(
        minutes[order][starts],
        grouped(joined([part.counts for part in parts])[order], starts),
        grouped(joined([part.totals for part in parts])[order], starts),
        {
            each: each.merge([part.details[each] for part in parts], order, starts)
            for each in parts[0].details
        },
    )


def _groups(minutes: Int64s) -> tuple[Int64s, Int64s]:
    """The order in which minutes ascend, and where in it each distinct one begins."""
    if np.all(minutes[1:] > minutes[:-1]):
        order = np.arange(len(minutes))
        return order, order
    order = np.argsort(minutes, kind="stable")
    ordered = minutes[order]
    return order, np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
