"""Rows as bytes: one module for each format.

Here belongs how a row is spelled: keys, separators, numbers, a header, a schema. Where the bytes go
is the affair of `pipeline.sinks`; which rows there are, of `pipeline.core`. A new format is one
module with a class that fits `RowFormat`, and a line in `FORMATS`.
"""

from __future__ import annotations

import os

from pipeline.formats.csv import Csv
from pipeline.formats.ndjson import Ndjson
from pipeline.formats.parquet import Parquet
from pipeline.formats.row_format import LineFormat as LineFormat
from pipeline.formats.row_format import RowFormat as RowFormat
from pipeline.formats.row_format import RowShape as RowShape
from pipeline.storage.compression import without_ending

FORMATS: dict[str, type[RowFormat]] = {"ndjson": Ndjson, "csv": Csv, "parquet": Parquet}
"""The formats by name. A file whose name ends in that of a format has this format."""

DEFAULT_FORMAT = "ndjson"

LINE_FORMATS: dict[str, type[LineFormat]] = {"ndjson": Ndjson}
"""Those that can be written one line at a time."""


def format_of(path: str) -> str:
    """The name of the format of a file, by the ending of its name."""
    ending = os.path.splitext(without_ending(path))[1].lower()[1:]
    return ending if ending in FORMATS else DEFAULT_FORMAT
