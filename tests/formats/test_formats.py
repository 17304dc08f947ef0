"""What all formats have in common: the same rows, with the same values, in each."""

import csv
import io
import json
import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import OutputError
from pipeline.core.exact import exact
from pipeline.core.measures import measures_named
from pipeline.core.rows import Row, SortedRows
from pipeline.core.shards import RevisedRows
from pipeline.formats import FORMATS, RowShape, format_of
from pipeline.formats.ndjson import Ndjson

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NAMES = ("mean", "count", "words", "per_word", "p99.9")
_CLIENTS = ["", "a", 'a "b", c', "x,y", "é\n", "😀"]
_DOUBLES = st.floats(0, 1e12) | st.integers(0, 1000).map(float) | st.just(math.nan)


@st.composite
def _blocks(draw: st.DrawFn) -> list[SortedRows]:
    """Blocks of rows with the values of some measures; NaN is an empty window."""
    table = [((client,), size) for client in _CLIENTS for size in (10, 60)]
    blocks = []
    for size in draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)):
        lists = {
            name: draw(st.lists(st.integers(0, 2**62), min_size=size, max_size=size))
            if name in ("count", "words")
            else draw(st.lists(_DOUBLES, min_size=size, max_size=size))
            for name in _NAMES
        }
        keys = st.lists(st.integers(0, len(table) - 1), min_size=size, max_size=size)
        dates = st.lists(st.integers(0, 4_222_000_000), min_size=size, max_size=size)
        values = {name: np.array(each) for name, each in lists.items()}
        if draw(st.booleans()):
            values["per_word"][0] = math.inf  # deliveries without words
        blocks.append(SortedRows(np.array(draw(dates)), np.array(draw(keys)), values, table))
    return blocks


def _written(name: str, shape: RowShape, blocks: list[SortedRows]) -> bytes:
    written: list[bytes] = []
    with FORMATS[name](shape).writing(written.append) as write:
        for block in blocks:
            write(block)
    return b"".join(written)


def _records(blocks: list[SortedRows], shape: RowShape) -> Iterator[dict[str, Any]]:
    """The rows as they are to be read, by their keys."""
    for block in blocks:
        for index, (date, key) in enumerate(zip(block.dates.tolist(), block.keys, strict=True)):
            (client,), size = block.table[key]
            values = (block.values[name][index].item() for name in shape.measures)
            yield dict(
                zip(
                    shape.keys(),
                    [
                        _EPOCH + timedelta(minutes=date),
                        *([size] if shape.has_window_size else []),
                        client,
                        *(_shown(value, shape.empty_value) for value in values),
                    ],
                    strict=True,
                )
            )


def _shown(value: int | float, empty_value: str) -> int | float | None:
    if isinstance(value, float) and math.isnan(value):
        return 0 if empty_value == "0" else None
    return None if value == math.inf else value


def _shape(**options: Any) -> RowShape:
    return RowShape(("client_name",), measures_named(_NAMES), **options)


_shapes = st.builds(
    _shape, has_window_size=st.booleans(), empty_value=st.sampled_from(["0", "null"])
)


def _date(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.clause("3.1")
@given(_blocks(), _shapes)
def test_ndjson_is_read_back(blocks: list[SortedRows], shape: RowShape) -> None:
    found = [json.loads(each) for each in _written("ndjson", shape, blocks).splitlines()]
    assert all([*each] == shape.keys() for each in found)
    dated = [{**each, "date": _date(each["date"])} for each in found]
    assert dated == [*_records(blocks, shape)]


@pytest.mark.clause("3.10")
@given(_blocks(), _shapes)
def test_csv_is_read_back_and_writes_null_as_an_empty_field(
    blocks: list[SortedRows], shape: RowShape
) -> None:
    written = _written("csv", shape, blocks)
    assert b"\r" not in written
    header, *lines = csv.reader(io.StringIO(written.decode(), newline=""))
    assert header == shape.keys()
    in_json = [json.loads(each) for each in _written("ndjson", shape, blocks).splitlines()]
    assert lines == [
        ["" if value is None else _csv_text(value) for value in each.values()] for each in in_json
    ]


def _csv_text(value: str | int | float) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.clause("3.10")
@settings(max_examples=30)
@given(_blocks(), _shapes)
def test_parquet_is_read_back_with_its_types(blocks: list[SortedRows], shape: RowShape) -> None:
    written = pyarrow.BufferReader(_written("parquet", shape, blocks))
    table = pyarrow.parquet.read_table(written)
    assert table.to_pylist() == [*_records(blocks, shape)]
    whole = {"window_size", "deliveries", "words"}
    expected = {
        key: "timestamp[ms, tz=UTC]"
        if key == "date"
        else "string"
        if key == "client_name"
        else "int64"
        if key in whole
        else "double"
        for key in [*shape.keys()]
    }
    assert {field.name: str(field.type) for field in table.schema} == expected


def test_parquet_writes_a_row_group_for_each_block() -> None:
    values = {name: np.zeros(2, np.int64) for name in ("count", "words")}
    values |= {name: np.zeros(2) for name in ("mean", "per_word", "p99.9")}
    block = SortedRows(np.arange(2), np.zeros(2, np.int64), values, [(("a",), 10)])
    written = pyarrow.BufferReader(_written("parquet", _shape(), [block] * 3))
    metadata = pyarrow.parquet.ParquetFile(written).metadata
    assert [metadata.row_group(index).num_rows for index in range(3)] == [2, 2, 2]


@pytest.mark.parametrize("name", [*FORMATS])
def test_without_rows_there_is_what_stands_before_and_after_them(name: str) -> None:
    written = _written(name, _shape(), [])
    if name == "ndjson":
        assert written == b""
    elif name == "csv":
        assert written == b"date,client_name,average_delivery_time,deliveries,words," + (
            b"delivery_time_per_word,p99.9_delivery_time\n"
        )
    else:
        assert pyarrow.parquet.read_table(pyarrow.BufferReader(written)).num_rows == 0


_LARGE = 10**5000 + 7


@pytest.mark.clause("3.10")
def test_words_beyond_64_bits_are_exact_in_text_and_an_error_in_parquet() -> None:
    shape = RowShape(measures=measures_named(["words"]))
    block = SortedRows(
        np.arange(2), np.zeros(2, np.int64), {"words": exact([1, _LARGE])}, [((), 1)]
    )
    digits = b"1" + b"0" * 4999 + b"7"
    assert _written("ndjson", shape, [block]).endswith(b'"words": %s}\n' % digits)
    assert _written("csv", shape, [block]).endswith(b",%s\n" % digits)
    with pytest.raises(OutputError, match="words is more than 64 bits hold"):
        _written("parquet", shape, [block])
    row = Row((), _EPOCH, 1, 1, {"words": _LARGE}, 0)
    assert Ndjson(shape).revised_line(row).endswith(b'"words": %s, "revision": 0}' % digits)


@given(_blocks(), _shapes, st.integers(0, 9))
def test_a_row_by_itself_is_written_as_among_others(
    blocks: list[SortedRows], shape: RowShape, revision: int
) -> None:
    lines = _written("ndjson", shape, blocks).splitlines()
    rows = []
    for block in blocks:
        for index, (date, key) in enumerate(zip(block.dates.tolist(), block.keys, strict=True)):
            series, size = block.table[key]
            values = {name: block.values[name][index].item() for name in shape.measures}
            numbers = {
                name: value if math.isfinite(value) else None for name, value in values.items()
            }
            is_empty = math.isnan(values["mean"])
            rows.append(
                (
                    values,
                    Row(
                        series,
                        _EPOCH + timedelta(minutes=date),
                        size,
                        0 if is_empty else 1,
                        numbers,
                        revision,
                    ),
                )
            )
    for line, (values, row) in zip(lines, rows, strict=True):
        if len({math.isnan(value) for value in values.values() if isinstance(value, float)}) > 1:
            continue  # a window is empty, or it is not
        ending = b', "revision": %d}' % revision
        assert Ndjson(shape).revised_line(row) == line[:-1] + ending


def test_a_block_of_revised_rows_is_written_like_each_of_them() -> None:
    names = ["mean", "count", "words", "p95"]
    empty, null = math.nan, math.inf
    rows = RevisedRows(
        [("b",), None, ('"a"',)],
        60,
        np.array([2, 0, 2]),
        np.array([25_764_131, 25_764_130, 25_764_132]),
        np.array([3, 0, 1]),
        {
            "mean": np.array([1.5, empty, null]),
            "count": np.array([3, 0, 1]),
            "words": exact([10**30, 0, 7]),
            "p95": np.array([2.0, empty, 1e22]),
        },
        np.array([0, 1, 12]),
    )
    for has_revision in (True, False):
        shape = RowShape(("client_name",), measures_named(names), True, has_revision, "null")
        lines = Ndjson(shape).revised_lines(rows).split(b"\n")
        assert lines == [Ndjson(shape).revised_line(row) for row in rows]
        assert [b"revision" in each for each in lines] == [has_revision] * 3


# ---------------------------------------------------------------------------------------------
# Names


@pytest.mark.clause("3.10")
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("rows.json", "ndjson"),
        ("rows", "ndjson"),
        ("rows.csv", "csv"),
        ("a.b/ROWS.CSV.gz", "csv"),
        ("rows.csv.zst", "csv"),
        ("gs://bucket/rows.parquet", "parquet"),
        ("csv", "ndjson"),
        ("rows.csv.json", "ndjson"),
        ("-", "ndjson"),
    ],
)
def test_the_ending_of_a_name_says_the_format(path: str, name: str) -> None:
    assert format_of(path) == name
