"""CSV: RFC 4180 with a header; lines end in LF."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.core.rows import SortedRows, date_texts
from pipeline.formats.row_format import RowFormat, RowShape, Write
from pipeline.formats.texts import column_texts

_NULL = ""


class Csv(RowFormat):
    """Writes each row as a line of values, `null` as an empty field."""

    def __init__(self, shape: RowShape) -> None:
        self._shape = shape
        self._empty_value = _NULL if shape.empty_value == "null" else shape.empty_value

    @contextmanager
    def writing(self, write: Write) -> Iterator[Callable[[SortedRows], object]]:
        write(f"{','.join(map(_field, self._shape.keys()))}\n".encode())
        yield lambda rows: write(self._lines(rows))

    def _lines(self, rows: SortedRows) -> bytes:
        keys = []
        for series, window_minutes in rows.table:
            size = [str(window_minutes)] if self._shape.has_window_size else []
            keys.append("".join(f"{each}," for each in [*size, *map(_field, series)]))
        columns = [
            column_texts(rows.values[name], self._empty_value, _NULL)
            for name in self._shape.measures
        ]
        values = columns[0] if len(columns) == 1 else map(",".join, zip(*columns, strict=True))
        parts = zip(date_texts(rows.dates), rows.keys.tolist(), values, strict=True)
        return "".join([f"{date},{keys[key]}{value}\n" for date, key, value in parts]).encode()


def _field(text: str) -> str:
    """A field, quoted where it must be."""
    if any(each in text for each in ',"\r\n'):
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text
