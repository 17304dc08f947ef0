"""Numbers of rows as text: the same in all formats of text."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np

from pipeline.core.exact import Float64s
from pipeline.core.measures import Value, Values


def column_texts(column: Values, empty: str, null: str) -> list[str]:
    """A text for each value: `empty` for NaN, `null` for infinity.

    A whole number has no fraction; other numbers are the shortest text that reads back as the same
    double.
    """
    if column.dtype == object:
        return [_whole_text(number) for number in column.tolist()]
    # Where windows have few deliveries, many have the same ones; and to write a number is slow.
    distinct, places = np.unique(column, return_inverse=True)
    # One call of the C encoder for the column. A whole number ends in ".0", and no other does.
    joined = json.dumps(distinct.tolist(), separators=(",", ":"))[1:-1] + ","
    if column.dtype == np.float64:
        joined = joined.replace(".0,", ",").replace("NaN", empty).replace("Infinity", null)
    texts = joined.split(",")
    return [texts[place] for place in places.tolist()]


def value_text(value: Value, nothing: str) -> str:
    """The text of one value; `nothing` for None."""
    if value is None:
        return nothing
    if isinstance(value, int):
        return _whole_text(value)
    column: Float64s = np.array([value])
    return column_texts(column, nothing, nothing)[0]


def _whole_text(number: int) -> str:
    # Python refuses to write long integers; their decimals it writes.
    return str(Decimal(number))
