"""The rows that a log must give, from its numbers alone, in integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Context

import numpy as np

from benchmarks.data import MICROS_PER_MINUTE, Events, Int64s, Log

Record = dict[str, str | int | float]
"""A row, as JSON must have it."""

_COLUMNS = {"client_name": "clients", "source_language": "sources", "target_language": "targets"}
_KEYS = {
    "mean": "average_delivery_time",
    "count": "deliveries",
    "words": "words",
    "per_word": "delivery_time_per_word",
}
_BLOCK_ROWS = 2**16
_MILLION = 1_000_000
_THREE_DIGITS = Context(prec=3, rounding=ROUND_HALF_EVEN)


def expected_rows(
    log: Log, windows: Sequence[int], fields: Sequence[str], measures: Sequence[str]
) -> Iterator[Record]:
    """The rows of a log, sorted by date, series and size of the window."""
    table = _table(log, fields)
    cells = _cells(log, fields)
    starts = np.flatnonzero(np.diff(cells[0], prepend=-1))
    rolled = [
        _roll(cells[:, part], window, measures)
        for part in map(slice, starts.tolist(), [*starts[1:].tolist(), cells.shape[1]])
        for window in windows
    ]
    columns = np.concatenate(rolled, axis=1)
    columns = columns[:, np.lexsort(columns[2::-1])]
    first, last = columns[0, 0], columns[0, -1]
    all_dates = np.arange(first, last + 1).astype("datetime64[m]")
    texts = [text.replace("T", " ") for text in np.datetime_as_string(all_dates, unit="s").tolist()]
    columns[0] -= first
    keys = [
        _KEYS.get(each, each if "within" in each else f"{each}_delivery_time") for each in measures
    ]
    for start in range(0, columns.shape[1], _BLOCK_ROWS):
        block = columns[:, start : start + _BLOCK_ROWS]
        for date, series, window, *numbers in zip(*block.tolist(), strict=True):
            size = {"window_size": window} if len(windows) > 1 else {}
            values = map(_quotient, numbers[::2], numbers[1::2])
            yield {
                "date": texts[date],
                **size,
                **dict(zip(fields, table[series], strict=True)),
                **dict(zip(keys, values, strict=True)),
            }


def _key(measure: str) -> str:
    return _KEYS.get(measure) or (measure if "within" in measure else f"{measure}_delivery_time")


def _quotient(numerator: int, denominator: int) -> int | float:
    """A number of a row: 0 where there is nothing."""
    # Python's quotient of integers is correctly rounded, whatever their size.
    quotient = numerator / denominator if denominator else 0
    return int(quotient) if quotient == int(quotient) else quotient


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


def _cells(log: Log, fields: Sequence[str]) -> Int64s:
    """Rows: series, minute, duration in millionths, number of events, words; sorted by them."""
    parts = []
    for events in log.blocks():
        minutes = events.micros // MICROS_PER_MINUTE
        keys = _series_of(log, events, fields), minutes, events.millionths
        parts.append(_add_up(np.stack([*keys, np.ones_like(minutes), events.words])))
    return _add_up(np.concatenate(parts, axis=1))


def _add_up(cells: Int64s) -> Int64s:
    cells = cells[:, np.lexsort(cells[2::-1])]
    is_first = np.any(np.diff(cells[:3], axis=1, prepend=-1), axis=0)
    starts = np.flatnonzero(is_first)
    return np.concatenate((cells[:3, starts], np.add.reduceat(cells[3:], starts, axis=1)))


def _roll(cells: Int64s, window: int, measures: Sequence[str]) -> Int64s:
    """Rows: dates, series, size of the window, numerator and denominator of each measure."""
    series, minutes, durations, events, words = cells
    dates = np.arange(minutes[0], minutes[-1] + 2)
    before, until = np.searchsorted(minutes, dates - window), np.searchsorted(minutes, dates)

    def within_windows(numbers: Int64s) -> Int64s:
        running = np.concatenate(([0], np.cumsum(numbers)))
        found: Int64s = running[until] - running[before]
        return found

    counts, totals = within_windows(events), within_windows(events * durations)
    is_any = (counts > 0) * _MILLION
    found = {
        "mean": lambda: (totals, counts * _MILLION),
        "count": lambda: (counts, np.ones_like(counts)),
        "words": lambda: (within_windows(words), np.ones_like(counts)),
        "per_word": lambda: (totals, within_windows(words) * _MILLION),
    }
    # All durations that there are, and how many events of at most each a window has.
    known = np.unique(durations) if {*measures} - {*found} else durations[:0]
    at_most = np.cumsum([within_windows(events * (durations == each)) for each in known], axis=0)

    def at_rank(ranks: Int64s) -> Int64s:
        return known[np.minimum((at_most < ranks).sum(axis=0), len(known) - 1)]

    columns = [dates, np.full_like(dates, series[0]), np.full_like(dates, window)]
    for measure in measures:
        if measure in found:
            columns += found[measure]()
        elif measure in ("min", "max"):
            columns += at_rank(counts if measure == "max" else np.ones_like(counts)), is_any
        elif measure.startswith("within_"):
            limit = float(measure.removeprefix("within_")) * _MILLION
            columns += within_windows(events * (durations <= limit)), counts
        else:
            thousandths = round(float(measure[1:]) * 1000)
            exact = at_rank(-(-counts * thousandths // 100_000))
            rounded = {each: int(_THREE_DIGITS.create_decimal(each)) for each in known.tolist()}
            columns += np.array([rounded[each] for each in exact.tolist()]), is_any
    return np.stack(columns)
