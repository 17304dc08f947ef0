"""Whether a result has the rows that it must have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path

from benchmarks.truth import Record

RowCheck = Callable[[Path, Iterable[Record]], None]

_RELATIVE_TOLERANCE = 1e-9


class DisagreementError(Exception):
    """A result that does not hold the rows that it must."""


def check_bytes(path: Path, rows: Iterable[Record]) -> None:
    """Raises DisagreementError unless a file holds the rows as the pipeline must write them."""
    _check(path, rows, lambda line, row: line == row_line(row))


def check_numbers(path: Path, rows: Iterable[Record]) -> None:
    """The same for any NDJSON with sums of doubles, which depend on the order of adding."""

    def same(line: bytes, row: Record) -> bool:
        found = json.loads(line)
        return found.keys() == row.keys() and all(
            math.isclose(found[key], value, rel_tol=_RELATIVE_TOLERANCE)
            if isinstance(value, float)
            else found[key] == value
            for key, value in row.items()
        )

    _check(path, rows, same)


def _check(path: Path, rows: Iterable[Record], same: Callable[[bytes, Record], bool]) -> None:
    with path.open("rb") as file:
        for number, (line, row) in enumerate(zip_longest(file, rows), start=1):
            if line is None or row is None or not same(line, row):
                raise DisagreementError(f"row {number} is {line!r} and should be {row}")


def row_line(row: Record) -> bytes:
    """A row as the pipeline must write it in batch, with its line end."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
