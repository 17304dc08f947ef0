"""The rows that a log must give, from its numbers alone, in integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.data import MICROS_PER_MINUTE, Events, Int64s, Log

_COLUMNS = {"client_name": "clients", "source_language": "sources", "target_language": "targets"}
_BLOCK_ROWS = 2**16


class ExpectedRow(NamedTuple):
    """A row: `average` is the double nearest to the exact mean, 0 where there is no event."""

    date: str
    series: tuple[str, ...]
    average: float


def expected_rows(log: Log, window_minutes: int, fields: Sequence[str]) -> Iterator[ExpectedRow]:
    """The rows of a log, sorted by date and series."""
    table = _table(log, fields)
    series, minutes, sums, counts = _sums_by_minute(log, fields)
    starts = np.flatnonzero(np.diff(series, prepend=-1))
    rolled = [
        _roll(series[part.start], minutes[part], sums[part], counts[part], window_minutes)
        for part in map(slice, starts.tolist(), [*starts[1:].tolist(), len(series)])
    ]
    columns = np.concatenate(rolled, axis=1)
    columns = columns[:, np.lexsort((columns[1], columns[0]))]
    first, last = columns[0, 0], columns[0, -1]
    all_dates = np.arange(first, last + 1).astype("datetime64[m]")
    texts = [text.replace("T", " ") for text in np.datetime_as_string(all_dates, unit="s").tolist()]
    columns[0] -= first
    for start in range(0, columns.shape[1], _BLOCK_ROWS):
        block = columns[:, start : start + _BLOCK_ROWS]
        for date, index, total, count in zip(*block.tolist(), strict=True):
            # Python's quotient of integers is correctly rounded, whatever their size.
            average = total / (count * 1_000_000) if count else 0
            yield ExpectedRow(texts[date], table[index], average)


def _table(log: Log, fields: Sequence[str]) -> list[tuple[str, ...]]:
    """The series, so that their order is that of their indexes."""
    table: list[tuple[str, ...]] = [()]
    for field in fields:
        table = [(*left, value) for left in table for value in sorted(log.values(field))]
    return table


def _series_of(log: Log, events: Events, fields: Sequence[str]) -> Int64s:
    indexes = np.zeros_like(events.micros)
    for field in fields:
        values = log.values(field)
        ranks = np.argsort(np.argsort(np.array(values)))
        indexes = indexes * len(values) + ranks[getattr(events, _COLUMNS[field])]
    return indexes


def _sums_by_minute(log: Log, fields: Sequence[str]) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """Columns: series, minute, sum in millionths, count; sorted by the first two."""
    parts = []
    for events in log.blocks():
        minutes = events.micros // MICROS_PER_MINUTE
        ones = np.ones_like(minutes)
        parts.append(_add_up(_series_of(log, events, fields), minutes, events.millionths, ones))
    series, minutes, sums, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _add_up(series, minutes, sums, counts)


def _add_up(
    series: Int64s, minutes: Int64s, sums: Int64s, counts: Int64s
) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    keys, positions = np.unique(series << 32 | minutes, return_inverse=True)
    added = np.zeros((2, len(keys)), np.int64)
    np.add.at(added[0], positions, sums)
    np.add.at(added[1], positions, counts)
    return keys >> 32, keys & (2**32 - 1), added[0], added[1]


def _roll(
    series: int, minutes: Int64s, sums: Int64s, counts: Int64s, window_minutes: int
) -> Int64s:
    dates = np.arange(minutes[0], minutes[-1] + 2)
    before = np.searchsorted(minutes, dates - window_minutes)
    until = np.searchsorted(minutes, dates)
    totals, row_counts = (
        running[until] - running[before]
        for running in (np.concatenate(([0], np.cumsum(column))) for column in (sums, counts))
    )
    return np.stack([dates, np.full_like(dates, series), totals, row_counts])
