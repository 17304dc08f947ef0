"""Whether a result has the rows that it must have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from benchmarks.truth import ExpectedRow

RowCheck = Callable[[Path, Iterable[ExpectedRow], Sequence[str]], None]

_RELATIVE_TOLERANCE = 1e-9


class DisagreementError(Exception):
    """A result that does not hold the rows that it must."""


def check_bytes(path: Path, rows: Iterable[ExpectedRow], fields: Sequence[str]) -> None:
    """Raises DisagreementError unless a file holds the rows as the pipeline must write them."""
    _check(path, rows, lambda line, row: line == row_line(row, fields))


def check_numbers(path: Path, rows: Iterable[ExpectedRow], fields: Sequence[str]) -> None:
    """The same for any NDJSON with sums of doubles, which depend on the order of adding."""

    def same(line: bytes, row: ExpectedRow) -> bool:
        found = json.loads(line)
        return (
            found["date"] == row.date
            and tuple(found[field] for field in fields) == row.series
            and math.isclose(
                found["average_delivery_time"], row.average, rel_tol=_RELATIVE_TOLERANCE
            )
        )

    _check(path, rows, same)


def _check(
    path: Path, rows: Iterable[ExpectedRow], same: Callable[[bytes, ExpectedRow], bool]
) -> None:
    with path.open("rb") as file:
        for number, (line, row) in enumerate(zip_longest(file, rows), start=1):
            if line is None or row is None or not same(line, row):
                raise DisagreementError(f"row {number} is {line!r} and should be {row}")


def row_line(row: ExpectedRow, fields: Sequence[str]) -> bytes:
    """A row as the pipeline must write it in batch, with its line end."""
    average = int(row.average) if row.average == int(row.average) else row.average
    record = {
        "date": row.date,
        **dict(zip(fields, row.series, strict=True)),
        "average_delivery_time": average,
    }
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
