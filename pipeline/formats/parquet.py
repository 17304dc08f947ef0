"""Parquet: a table of typed columns, in row groups."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.core.errors import OutputError
from pipeline.core.measures import Values
from pipeline.core.rows import SortedRows
from pipeline.formats.row_format import RowFormat, RowShape, Write

_SECONDS_PER_MINUTE = 60


class Parquet(RowFormat):
    """Writes rows as a table; a row group is a block of rows, so memory does not grow with them.

    Dates are timestamps in UTC, counts and words int64, other values doubles.
    """

    def __init__(self, shape: RowShape) -> None:
        self._shape = shape

    @contextmanager
    def writing(self, write: Write) -> Iterator[Callable[[SortedRows], object]]:
        # Imported by those who need it: it takes a tenth of a second.
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        schema = self._schema(pa)
        with ParquetWriter(_Stream(write), schema) as writer:
            yield lambda rows: writer.write_table(pa.table(self._columns(pa, rows), schema=schema))

    def _schema(self, pa: Any) -> Any:
        shape = self._shape
        fields = [("date", pa.timestamp("ms", tz="UTC"))]
        if shape.has_window_size:
            fields.append(("window_size", pa.int64()))
        fields += [(name, pa.string()) for name in shape.group_by]
        fields += [
            (measure.key, pa.int64() if measure.is_whole else pa.float64())
            for measure in shape.measures.values()
        ]
        return pa.schema(fields)

    def _columns(self, pa: Any, rows: SortedRows) -> list[Any]:
        shape = self._shape
        dates = pa.array((rows.dates * _SECONDS_PER_MINUTE).astype("datetime64[s]"))
        columns = [dates.cast(pa.timestamp("ms", tz="UTC"))]
        if shape.has_window_size:
            sizes = np.array([window_minutes for _, window_minutes in rows.table], np.int64)
            columns.append(pa.array(sizes[rows.keys]))
        for index in range(len(shape.group_by)):
            names = pa.array([series[index] for series, _ in rows.table], pa.string())
            columns.append(names.take(pa.array(rows.keys)))
        columns += [self._values(pa, name, rows.values[name]) for name in shape.measures]
        return columns

    def _values(self, pa: Any, name: str, column: Values) -> Any:
        if column.dtype == object:
            raise OutputError(
                f"{name} is more than 64 bits hold, and so more than Parquet does: write the rows "
                "as NDJSON or CSV"
            )
        if column.dtype == np.int64:
            return pa.array(column)
        if self._shape.empty_value == "0":
            column = np.where(np.isnan(column), 0.0, column)
        return pa.array(column, mask=~np.isfinite(column))


class _Stream(io.RawIOBase):
    """A function that takes bytes, as a file."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._write(bytes(data))
        return len(data)
