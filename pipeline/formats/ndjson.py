"""NDJSON: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from pipeline.core.measures import Values
from pipeline.core.rows import Row, RowKey, SortedRows, date_texts
from pipeline.core.shards import RevisedRows
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
        self._has_revision = shape.has_revision
        self._empty_value = shape.empty_value
        self._middles: dict[RowKey, str] = {}

    @contextmanager
    def writing(self, write: Write) -> Iterator[Callable[[SortedRows], object]]:
        yield lambda rows: write(self._lines(rows))

    def _lines(self, rows: SortedRows) -> bytes:
        middles = [self._middle(key) for key in rows.table]
        parts = zip(
            date_texts(rows.dates), rows.keys.tolist(), self._texts(rows.values), strict=True
        )
        return "".join(
            [f'{{"date": "{date}{middles[key]}{value}}}\n' for date, key, value in parts]
        ).encode()

    def revised_lines(self, rows: RevisedRows) -> bytes:
        middles = {
            code: self._middle((rows.names[code] or (), rows.window_minutes))
            for code in np.unique(rows.codes).tolist()
        }
        parts = zip(
            date_texts(rows.dates),
            rows.codes.tolist(),
            self._texts(rows.values),
            self._revisions(rows.revisions.tolist()),
            strict=True,
        )
        return "\n".join(
            [f'{{"date": "{date}{middles[code]}{value}{end}' for date, code, value, end in parts]
        ).encode()

    def revised_line(self, row: Row) -> bytes:
        nothing = _NULL if row.count else self._empty_value
        values = self._template % tuple(
            value_text(row.values[name], nothing) for name in self._names
        )
        middle = self._middle((row.series, row.window_minutes))
        (end,) = self._revisions([row.revision or 0])
        return f'{{"date": "{row.date:%Y-%m-%d %H:%M:%S}{middle}{values}{end}'.encode()

    def _texts(self, values: Mapping[str, Values]) -> list[str]:
        """For each row, its values and the keys between them."""
        columns = [column_texts(values[name], self._empty_value, _NULL) for name in self._names]
        if len(columns) == 1:
            return columns[0]
        return [self._template % each for each in zip(*columns, strict=True)]

    def _revisions(self, revisions: list[int]) -> list[str]:
        """The ends of rows."""
        if not self._has_revision:
            return ["}"] * len(revisions)
        return [f', "revision": {each}}}' for each in revisions]

    def _middle(self, key: RowKey) -> str:
        """What stands between the date and the first value."""
        if known := self._middles.get(key):
            return known
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
