"""Rows as the bytes of the output, and as objects."""

import json
import math
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest
from examples import CHALLENGE_ROWS
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.rows import Series, SortedRows, date_texts
from pipeline.formats import RowShape
from pipeline.formats.ndjson import Ndjson

_START = 25_764_131  # 2018-12-26 18:11


def _lines(row_format: Ndjson, *rows: tuple[int, Series, float]) -> bytes:
    table = sorted({(series, 10) for _, series, _ in rows})
    written: list[bytes] = []
    with row_format.writing(written.append) as write:
        write(
            SortedRows(
                np.array([date for date, _, _ in rows], np.int64),
                np.array([table.index((series, 10)) for _, series, _ in rows], np.int64),
                {"mean": np.array([average for _, _, average in rows], np.float64)},
                table,
            )
        )
    return b"".join(written)


def _number(average: float, **options: Any) -> str:
    line = _lines(Ndjson(RowShape(**options)), (_START, (), average)).decode()
    return line.removeprefix(
        '{"date": "2018-12-26 18:11:00", "average_delivery_time": '
    ).removesuffix("}\n")


# ---------------------------------------------------------------------------------------------
# Bytes


def test_the_challenge_rows_come_out_byte_for_byte() -> None:
    averages = [math.nan, *[20] * 4, *[25.5] * 6, 31, 31, 42.5]
    rows = [(_START + index, (), average) for index, average in enumerate(averages)]
    assert _lines(Ndjson(RowShape()), *rows) == CHALLENGE_ROWS


@pytest.mark.clause("3.1")
def test_group_fields_stand_between_in_the_order_asked_for() -> None:
    assert _lines(
        Ndjson(RowShape(("target_language", "client_name"))), (0, ("fr", "taxi-eats"), 54)
    ) == (
        b'{"date": "1970-01-01 00:00:00", "target_language": "fr", "client_name": "taxi-eats", '
        b'"average_delivery_time": 54}\n'
    )


@pytest.mark.clause("2.8")
@pytest.mark.parametrize(
    ("average", "written"),
    [
        (0.0, "0"),
        (20.0, "20"),
        (100.0, "100"),
        (1e9, "1000000000"),
        (20.05, "20.05"),
        (0.1, "0.1"),
        (10.0000001, "10.0000001"),
        (2 / 3, "0.6666666666666666"),
        (1e-06, "1e-06"),
        (1.05e-05, "1.05e-05"),
        (999_999_999.9999999, "999999999.9999999"),
    ],
)
def test_whole_numbers_have_no_fraction_and_others_are_doubles_as_json(
    average: float, written: str
) -> None:
    assert _number(average) == written


@pytest.mark.clause("2.8")
@given(st.lists(st.floats(0, 1e9) | st.integers(0, 10**9).map(float), min_size=1))
def test_numbers_are_read_back_as_they_were(averages: list[float]) -> None:
    rows = _lines(Ndjson(RowShape()), *[(_START, (), average) for average in averages]).splitlines()
    read = [json.loads(row)["average_delivery_time"] for row in rows]
    assert read == averages
    assert all(isinstance(number, int) == float(number).is_integer() for number in read)


@pytest.mark.clause("2.5")
@pytest.mark.parametrize(("empty_value", "written"), [("0", "0"), ("null", "null")])
def test_an_empty_row_has_the_empty_value(empty_value: str, written: str) -> None:
    assert _number(math.nan, empty_value=empty_value) == written
    assert _number(0.0, empty_value=empty_value) == "0"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("é中😀", '"é中😀"'),
        ('a "b", {c}', '"a \\"b\\", {c}"'),
        ("\\", '"\\\\"'),
        ("\n\t\0", '"\\n\\t\\u0000"'),
        ("\u2028", '"\u2028"'),
        ("", '""'),
    ],
)
def test_names_are_json_with_non_ascii_as_itself(name: str, written: str) -> None:
    assert _lines(Ndjson(RowShape(("client_name",))), (0, (name,), 1)).decode() == (
        f'{{"date": "1970-01-01 00:00:00", "client_name": {written}, "average_delivery_time": 1}}\n'
    )


@pytest.mark.clause("3.1")
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4_222_000_000),
            st.tuples(st.text(max_size=4), st.text(max_size=4)),
            st.floats(0, 1e9) | st.just(math.nan),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_lines_are_those_of_pythons_json(rows: list[tuple[int, Series, float]]) -> None:
    expected = []
    for minute, (client, language), average in rows:
        date = datetime.fromtimestamp(minute * 60, timezone.utc)
        whole = not math.isnan(average) and average.is_integer()
        record = {
            "date": f"{date:%Y-%m-%d %H:%M:%S}",
            "client_name": client,
            "source_language": language,
            "average_delivery_time": None
            if math.isnan(average)
            else int(average)
            if whole
            else average,
        }
        expected.append(json.dumps(record, ensure_ascii=False) + "\n")
    row_format = Ndjson(RowShape(("client_name", "source_language"), empty_value="null"))
    # Twice, as series are remembered.
    for _ in range(2):
        assert _lines(row_format, *rows) == "".join(expected).encode()


@pytest.mark.parametrize(
    ("date", "text"),
    [
        (datetime(1970, 1, 1), "1970-01-01 00:00:00"),
        (datetime(2016, 2, 29, 23, 59), "2016-02-29 23:59:00"),
        (datetime(9997, 12, 31, 23, 59), "9997-12-31 23:59:00"),
        (datetime(9999, 1, 1, 23, 59), "9999-01-01 23:59:00"),
    ],
)
def test_dates_are_written_to_the_second(date: datetime, text: str) -> None:
    minute = (date - datetime(1970, 1, 1)).days * 24 * 60 + date.hour * 60 + date.minute
    assert date_texts(np.array([minute, 0, minute])) == [text, "1970-01-01 00:00:00", text]
