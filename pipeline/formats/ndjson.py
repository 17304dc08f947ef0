"""NDJSON: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.core.rows import Row, RowKey, SortedRows, date_texts
from pipeline.formats.row_format import LineFormat, RowShape, Write
from pipeline.formats.texts import column_texts, value_text

_KEPT_MIDDLES = 2**16
_NULL = "null"


class Ndjson(LineFormat):
    """Writes each row as a JSON object on a line of its own: see the contract, section 3."""

    def __init__(self, shape: RowShape) -> None:
        self._fields = [f'"{field}": ' for field in shape.group_by]
        first, *others = (f'"{measure.key}": ' for measure in shape.measures.values())
        self._first = first
        self._template = "%s" + "".join(f", {key}%s" for key in others)
        self._names = [*shape.measures]
        self._has_window_size = shape.has_window_size
        self._empty_value = shape.empty_value
        self._middles: dict[RowKey, str] = {}

    @contextmanager
    def writing(self, write: Write) -> Iterator[Callable[[SortedRows], object]]:
        yield lambda rows: write(self._lines(rows))

    def _lines(self, rows: SortedRows) -> bytes:
        middles = [self._middles.get(key) or self._middle(key) for key in rows.table]
        columns = [
            column_texts(rows.values[name], self._empty_value, _NULL) for name in self._names
        ]
        values = columns[0]
        if len(columns) > 1:
            values = [self._template % each for each in zip(*columns, strict=True)]
        parts = zip(date_texts(rows.dates), rows.keys.tolist(), values, strict=True)
        return "".join(
            [f'{{"date": "{date}{middles[key]}{value}}}\n' for date, key, value in parts]
        ).encode()

    def revised_line(self, row: Row) -> bytes:
        key = row.series, row.window_minutes
        middle = self._middles.get(key) or self._middle(key)
        nothing = _NULL if row.count else self._empty_value
        values = self._template % tuple(
            value_text(row.values[name], nothing) for name in self._names
        )
        date = f"{row.date:%Y-%m-%d %H:%M:%S}"
        return f'{{"date": "{date}{middle}{values}, "revision": {row.revision}}}'.encode()

    def _middle(self, key: RowKey) -> str:
        """What stands between the date and the first value."""
        series, window_minutes = key
        fields = [
            f"{field}{json.dumps(value, ensure_ascii=False)}"
            for field, value in zip(self._fields, series, strict=True)
        ]
        if self._has_window_size:
            fields.insert(0, f'"window_size": {window_minutes}')
        middle = '", ' + "".join(f"{field}, " for field in fields) + self._first
        if len(self._middles) >= _KEPT_MIDDLES:
            # There may be ever new series, for days.
            self._middles.clear()
        return self._middles.setdefault(key, middle)
