"""Columns of whole numbers that stay exact: int64, and Python's integers where that is too small.

Numbers are never negative. A column of Python's integers has the dtype `object`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Exact = npt.NDArray[Any]
"""Whole numbers: int64, or Python's integers."""

_INT64_END = 1 << 63
_DOUBLE_END = 1 << 53


def exact(numbers: Iterable[int]) -> Exact:
    """A column of whole numbers of any size."""
    column = np.array([*numbers], object)
    return _narrowed(column)


def _narrowed(column: Exact) -> Exact:
    is_small = len(column) == 0 or column.max() < _INT64_END
    return column.astype(np.int64) if is_small else column


_Number = TypeVar("_Number")


def to_json(number: _Number) -> _Number | str:
    """A number as JSON; of an integer beyond 64 bits a hexadecimal text, which has no limit."""
    return hex(number) if isinstance(number, int) and number >= _INT64_END else number


def of_json(value: _Number | str) -> _Number | int:
    """The inverse of `to_json`."""
    return int(value, 16) if isinstance(value, str) else value


def joined(columns: Sequence[Exact]) -> Exact:
    """One column behind the other; at least one."""
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def times(column: Exact, factor: int) -> Exact:
    """Each number times a factor."""
    is_small = column.dtype == np.int64 and int(column.max(initial=0)) * factor < _INT64_END
    return column * factor if is_small else column.astype(object) * factor


def running(column: Exact) -> Exact:
    """The sums of the first 0, 1, 2, ... numbers."""
    wide = _wide_for_sums(column)
    return np.concatenate((np.zeros(1, wide.dtype), np.cumsum(wide)))


def between(sums: Exact, first: Int64s, stop: Int64s) -> Exact:
    """The sums of the numbers from `first` up to `stop`, for each pair, from `running` sums."""
    sums = sums[stop] - sums[first]
    return sums if sums.dtype == np.int64 else _narrowed(sums)


def grouped(column: Exact, starts: Int64s) -> Exact:
    """The sums of the numbers from each start up to the next one."""
    sums = np.add.reduceat(_wide_for_sums(column), starts)
    return sums if sums.dtype == np.int64 else _narrowed(sums)


def _wide_for_sums(column: Exact) -> Exact:
    if column.dtype == np.int64 and int(column.max(initial=0)) * len(column) < _INT64_END:
        return column
    return column.astype(object)


def quotient(numerator: int, divisor: int, decimals: int | None) -> float | None:
    """The double nearest to an exact quotient; None where the divisor is 0.

    With `decimals`, the exact quotient is first rounded half to even to this number of places.
    """
    if divisor == 0:
        return None
    if decimals is None:
        return numerator / divisor  # Python rounds a quotient of integers correctly
    scale: int = 10**decimals
    rounded, remainder = divmod(numerator * scale, divisor)
    # Half to even: a tie goes up if the quotient is odd, which makes the left side one larger.
    if 2 * remainder + (rounded & 1) > divisor:
        rounded += 1
    return rounded / scale


def quotients(numerators: Exact, divisors: Exact, decimals: int | None) -> Float64s:
    """`quotient` of each pair, NaN where the divisor is 0."""
    found = np.full(len(numerators), np.nan)
    is_given = divisors > 0
    largest = int(numerators.max(initial=0)), int(divisors.max(initial=0))
    if decimals is None and max(largest) < _DOUBLE_END:
        # Both are exact in a double, so that IEEE division rounds correctly.
        np.divide(numerators, divisors, out=found, where=is_given, casting="unsafe")
        return found
    pairs = zip(numerators[is_given].tolist(), divisors[is_given].tolist(), strict=True)
    found[is_given] = [quotient(*pair, decimals) for pair in pairs]
    return found
