"""How often each duration occurs, rounded to three significant digits: what percentiles need.

Rounding is monotone. So the percentile of the rounded durations is the rounded percentile, and at
most 900 numbers of a power of ten need be told apart, however many deliveries there are.

A code is a rounded duration as a small number, in the same order: `900 * e + m` is that of
`m * 10**e` millionths, where `m` has three digits or `e` is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.core.exact import Float64s, Int64s

_MANTISSAS = 900  # from 100 to 999
_FIRST_MANTISSA = 100
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_CODE_BITS = 16
_MILLIONTHS_PER_UNIT = 1_000_000


def codes_of(millionths: Int64s) -> Int64s:
    """The codes of durations, rounded half to even."""
    exponents = np.searchsorted(_POWERS[3:], millionths, side="right")
    scales = _POWERS[exponents]
    mantissas, rests = np.divmod(millionths, scales)
    mantissas += 2 * rests + (mantissas & 1) > scales
    return _MANTISSAS * exponents + mantissas


def durations_of(codes: Int64s) -> Float64s:
    """The rounded durations of codes, in units of duration, each the nearest double."""
    exponents = np.maximum(codes - _FIRST_MANTISSA, 0) // _MANTISSAS
    millionths = (codes - _MANTISSAS * exponents) * _POWERS[exponents]
    durations: Float64s = millionths / _MILLIONTHS_PER_UNIT
    return durations


@dataclass(frozen=True, slots=True, eq=False)
class Histograms:
    """A column of histograms.

    The i-th one says that `codes[j]` occurs `counts[j]` times, for `bounds[i] <= j < bounds[i+1]`;
    its codes ascend.
    """

    bounds: Int64s
    codes: Int64s
    counts: Int64s

    @classmethod
    def of_groups(cls, places: Int64s, size: int, codes: Int64s, counts: Int64s) -> Histograms:
        """Makes `size` histograms of codes with counts, each of which belongs to one place."""
        keys = places << _CODE_BITS | codes
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        is_first = np.concatenate(([True], keys[1:] != keys[:-1])) if len(keys) else keys > 0
        starts = np.flatnonzero(is_first)
        keys = keys[starts]
        counts = np.add.reduceat(counts[order], starts) if len(starts) else counts[order]
        bounds = np.searchsorted(keys >> _CODE_BITS, np.arange(size + 1))
        return cls(bounds, keys & ((1 << _CODE_BITS) - 1), counts)

    @classmethod
    def of(cls, histograms: Iterable[Mapping[int, int]]) -> Histograms:
        """The inverse of `tolist`."""
        each = [sorted(histogram.items()) for histogram in histograms]
        bounds = np.concatenate(([0], np.cumsum([len(pairs) for pairs in each], dtype=np.int64)))
        entries = np.array([pair for pairs in each for pair in pairs], np.int64).reshape(-1, 2)
        return cls(bounds.astype(np.int64), entries[:, 0].copy(), entries[:, 1].copy())

    def tolist(self) -> list[dict[int, int]]:
        """The count of each code, one dict a histogram."""
        bounds, codes, counts = self.bounds.tolist(), self.codes.tolist(), self.counts.tolist()
        return [
            dict(zip(codes[first:stop], counts[first:stop], strict=True))
            for first, stop in pairwise(bounds)
        ]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, part: slice) -> Histograms:
        first, stop, _ = part.indices(len(self))
        bounds = self.bounds[first : stop + 1]
        entries = slice(int(bounds[0]), int(bounds[-1]))
        return Histograms(bounds - bounds[0], self.codes[entries], self.counts[entries])

    def take(self, places: Int64s) -> Histograms:
        """The histograms at some places."""
        sizes = np.diff(self.bounds)[places]
        bounds = np.concatenate(([0], np.cumsum(sizes)))
        entries = np.repeat(self.bounds[:-1][places] - bounds[:-1], sizes) + np.arange(bounds[-1])
        return Histograms(bounds, self.codes[entries], self.counts[entries])

    def places(self) -> Int64s:
        """Which histogram each of `codes` belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))


@dataclass(frozen=True, slots=True, eq=False)
class HistogramRanges:
    """The sums of ranges of histograms, from `first[i]` up to `stop[i]`, none of which is made."""

    histograms: Histograms
    first: Int64s
    stop: Int64s

    def at_ranks(self, ranks: Int64s) -> Int64s:
        """The code at a rank (from 1 on) of each range; any code where the range is empty.

        All ranges descend a wavelet matrix together, one bit of the codes after the other. So the
        cost does not depend on how long the ranges are.
        """
        begin = int(self.first.min(initial=len(self.histograms)))
        histograms = self.histograms[begin : int(self.stop.max(initial=begin))]
        first, stop = (histograms.bounds[each - begin] for each in (self.first, self.stop))
        distinct, codes = np.unique(histograms.codes, return_inverse=True)
        counts = histograms.counts
        found = np.zeros(len(first), np.int64)
        if len(distinct) < 2:
            return distinct[found] if len(distinct) else found
        for bit in reversed(range(int(len(distinct) - 1).bit_length())):
            is_low = codes >> bit & 1 == 0
            lows_before = np.concatenate(([0], np.cumsum(is_low)))
            counts_before = np.concatenate(([0], np.cumsum(np.where(is_low, counts, 0))))
            low_first, low_stop = lows_before[first], lows_before[stop]
            low_counts = counts_before[stop] - counts_before[first]
            is_high = ranks > low_counts
            found |= is_high.astype(np.int64) << bit
            ranks = ranks - np.where(is_high, low_counts, 0)
            first = np.where(is_high, lows_before[-1] + first - low_first, low_first)
            stop = np.where(is_high, lows_before[-1] + stop - low_stop, low_stop)
            codes = np.concatenate((codes[is_low], codes[~is_low]))
            counts = np.concatenate((counts[is_low], counts[~is_low]))
        return distinct[np.minimum(found, len(distinct) - 1)]
