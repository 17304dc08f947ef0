"""Sums of durations that no order of adding can change, and their means.

A duration is a whole number of millionths of its unit, so that sums are exact integers. They may
outgrow 64 bits: where they stand in arrays, a sum is `high * 2**32 + low`, two columns of int64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MILLIONTHS_PER_UNIT = 1_000_000

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_LOW_BITS = 32
_LOW_MASK = (1 << _LOW_BITS) - 1
_DOUBLE_BITS = 53


@dataclass(frozen=True, slots=True)
class DurationSum:
    """The exact sum of durations, in millionths, and their number: a commutative monoid.

    `DurationSum()` is the zero and `+` the operation.
    """

    total_millionths: int = 0
    count: int = 0

    def __add__(self, other: DurationSum) -> DurationSum:
        return DurationSum(self.total_millionths + other.total_millionths, self.count + other.count)

    def mean(self, decimals: int | None = None) -> float | None:
        """The double nearest to the exact mean, in units of duration; None where nothing counts.

        With `decimals` the exact mean is first rounded half-even to so many places.
        """
        if self.count == 0:
            return None
        divisor = self.count * MILLIONTHS_PER_UNIT
        if decimals is None:
            return self.total_millionths / divisor  # Python rounds a quotient of ints correctly
        scale: int = 10**decimals
        quotient, remainder = divmod(self.total_millionths * scale, divisor)
        # Half-even in one comparison: the divisor is even, so a tie is the only equality.
        if 2 * remainder + (quotient & 1) > divisor:
            quotient += 1
        return quotient / scale


class MeanDuration(NamedTuple):
    """A mean in units of duration (None of nothing), and the exact sum that it is the mean of."""

    mean: float | None
    sum: DurationSum


@dataclass(frozen=True, slots=True, eq=False)
class MinuteSums:
    """Duration sums of one series by minute, as columns: distinct `minutes`, ascending.

    Minutes count from 1970-01-01 UTC. The sum at i is `high[i] * 2**32 + low[i]` millionths of
    `counts[i]` durations, with `0 <= low < 2**32`. Merging is commutative and associative.
    """

    minutes: Int64s
    counts: Int64s
    high: Int64s
    low: Int64s

    @classmethod
    def of(cls, minutes: Sequence[int], millionths: Sequence[int]) -> MinuteSums:
        """Sums single durations of at most 2**62 millionths, at most 2**31 of them."""
        durations = np.asarray(millionths, np.int64)
        return _sum_by_minute(
            np.asarray(minutes, np.int64),
            np.ones(len(durations), np.int64),
            durations >> _LOW_BITS,
            durations & _LOW_MASK,
        )

    @classmethod
    def merge(cls, parts: Iterable[MinuteSums]) -> MinuteSums:
        """Adds up sums of the same series; those of no part are empty."""
        parts = list(parts)
        if not parts:
            return cls.of((), ())
        if len(parts) == 1:
            return parts[0]
        return _sum_by_minute(
            np.concatenate([part.minutes for part in parts]),
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.low for part in parts]),
        )

    @classmethod
    def of_sums(cls, sums: Iterable[tuple[int, DurationSum]]) -> MinuteSums:
        """The inverse of iteration; minutes may come in any order and more than once."""
        pairs = list(sums)
        return _sum_by_minute(
            np.array([minute for minute, _ in pairs], np.int64),
            np.array([each.count for _, each in pairs], np.int64),
            np.array([each.total_millionths >> _LOW_BITS for _, each in pairs], np.int64),
            np.array([each.total_millionths & _LOW_MASK for _, each in pairs], np.int64),
        )

    def __len__(self) -> int:
        return len(self.minutes)

    def __iter__(self) -> Iterator[tuple[int, DurationSum]]:
        columns = (self.minutes, self.counts, self.high, self.low)
        for minute, count, high, low in zip(*(column.tolist() for column in columns), strict=True):
            yield minute, DurationSum((high << _LOW_BITS) + low, count)

    def means(self, decimals: int | None = None) -> Float64s:
        """`DurationSum.mean` of every minute, NaN where nothing counts."""
        exact_in_double = (
            self.high.max(initial=0) < 1 << (_DOUBLE_BITS - _LOW_BITS)
            and self.counts.max(initial=0) <= (1 << _DOUBLE_BITS) // MILLIONTHS_PER_UNIT
        )
        if decimals is not None or not exact_in_double:
            return np.array([each.mean(decimals) for _, each in self], np.float64)
        # Both operands are exact in a double, so that IEEE division rounds correctly.
        totals = (self.high << _LOW_BITS) + self.low
        divisors = self.counts * MILLIONTHS_PER_UNIT
        means = np.full(len(self), np.nan)
        np.divide(totals, divisors, out=means, where=self.counts > 0)
        return means


def _sum_by_minute(minutes: Int64s, counts: Int64s, high: Int64s, low: Int64s) -> MinuteSums:
    if len(minutes) == 0:
        return MinuteSums(minutes, counts, high, low)
    if np.any(minutes[1:] <= minutes[:-1]):
        order = np.argsort(minutes, kind="stable")
        minutes, counts, high, low = minutes[order], counts[order], high[order], low[order]
        starts = np.flatnonzero(np.concatenate(([True], minutes[1:] != minutes[:-1])))
        minutes = minutes[starts]
        counts = np.add.reduceat(counts, starts)
        high = np.add.reduceat(high, starts)
        low = np.add.reduceat(low, starts)
    return MinuteSums(minutes, counts, *carried(high, low))


def carried(high: Int64s, low: Int64s) -> tuple[Int64s, Int64s]:
    """Carries what `low` holds beyond its 32 bits over into `high`."""
    return high + (low >> _LOW_BITS), low & _LOW_MASK
