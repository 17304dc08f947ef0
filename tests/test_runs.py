"""Sorted runs: whatever is written to however many of them, they merge into the sorted whole."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import runs
from pipeline.errors import InputError, OutputError
from pipeline.events import DeadLetter, FieldError
from pipeline.rows import Series
from pipeline.runs import DeadLetterSorter, RowRun, RowSorter, merge_dead_letters, merge_rows

_Row = tuple[int, Series, float]

# Each example writes files of its own.
_in_one_folder = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _write_rows(folder: Path, rows: Sequence[_Row], shard: int = 0) -> RowRun:
    """Writes a run of rows, added by series in pieces of two dates."""
    sorter = RowSorter()
    by_series: dict[Series, list[tuple[int, float]]] = {}
    for date, series, average in rows:
        by_series.setdefault(series, []).append((date, average))
    for series, its_rows in by_series.items():
        for start in range(0, len(its_rows), 2):
            dates, averages = zip(*its_rows[start : start + 2], strict=True)
            sorter.add(series, np.array(dates, np.int64), np.array(averages, np.float64))
    assert sorter.rows == len(rows)
    return sorter.write(str(folder), shard)


def _merged(written: Sequence[RowRun]) -> list[_Row]:
    return [
        (date, block.table[series], average)
        for block in merge_rows(written)
        for date, series, average in zip(
            block.dates.tolist(), block.series.tolist(), block.averages.tolist(), strict=True
        )
    ]


def _letter(source: str, offset: int, line: str = "x") -> DeadLetter:
    return DeadLetter(source, offset, line, False, False, (FieldError("", "json_invalid", "é"),))


# ---------------------------------------------------------------------------------------------
# Rows

_series = st.sampled_from([(), ("",), ("a",), ("a", "b"), ("é",), ("\uffff",), ("😀",), ("\n",)])
_places = st.lists(
    st.tuples(st.integers(0, 8) | st.integers(0, 4 * 10**9), _series), unique=True, max_size=40
)


@_in_one_folder
@given(_places, st.data(), st.integers(1, 6))
def test_rows_split_into_any_runs_merge_into_the_sorted_whole(
    tmp_path: Path, places: list[tuple[int, Series]], data: st.DataObject, rows_per_block: int
) -> None:
    rows = [(date, series, index / 7) for index, (date, series) in enumerate(places)]
    parts: dict[int, list[_Row]] = {}
    for row in rows:
        parts.setdefault(data.draw(st.integers(0, 3)), []).append(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_ROWS_PER_BLOCK", rows_per_block)
        written = [_write_rows(tmp_path, part) for part in parts.values()]
        assert _merged(written) == sorted(rows)


@pytest.mark.parametrize("rows_per_block", [1, 2, 3, 4, 5])
def test_runs_merge_where_blocks_end_between_and_inside_of_dates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_block: int
) -> None:
    monkeypatch.setattr(runs, "_ROWS_PER_BLOCK", rows_per_block)
    series = [(name,) for name in "abcdef"]
    first = [(date, name, 1.0) for date in (1, 2) for name in series[::2]]
    second = [(date, name, 2.0) for date in (1, 2, 3) for name in series[1::2]]
    written = [_write_rows(tmp_path, part) for part in (first, second, [(2, ("g",), 3.0)])]
    assert _merged(written) == sorted([*first, *second, (2, ("g",), 3.0)])


def test_merging_holds_a_block_of_each_run_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_ROWS_PER_BLOCK", 10)
    parts = [[(date, (name,), 0.0) for date in range(1_000)] for name in "abc"]
    blocks = list(merge_rows([_write_rows(tmp_path, part) for part in parts]))
    assert sum(len(block.dates) for block in blocks) == 3_000
    assert max(len(block.dates) for block in blocks) <= 2 * 10 * len(parts)


def test_series_are_sorted_by_code_point_among_equal_dates(tmp_path: Path) -> None:
    names = ["b", "B", "é", "", "ab", "\uffff", "😀"]
    written = [_write_rows(tmp_path, [(5, (name,), 1.0)]) for name in names]
    assert [series for _, (series,), _ in _merged(written)] == sorted(names)


def test_empty_averages_are_kept(tmp_path: Path) -> None:
    ((_, _, average),) = _merged([_write_rows(tmp_path, [(1, (), float("nan"))])])
    assert np.isnan(average)


def test_a_run_says_its_shard_rows_and_dates(tmp_path: Path) -> None:
    run = _write_rows(tmp_path, [(7, ("a",), 1.0), (3, ("b",), 1.0), (5, ("a",), 1.0)], shard=2)
    assert run == RowRun(run.path, shard=2, rows=3, first_date=3, last_date=7)
    assert Path(run.path).parent == tmp_path


def test_of_no_runs_there_are_no_rows() -> None:
    assert _merged([]) == []


# ---------------------------------------------------------------------------------------------
# Dead letters


def _write_letters(folder: Path, letters: Sequence[DeadLetter]) -> str:
    sorter = DeadLetterSorter()
    for letter in letters:
        sorter.add(letter)
    assert sorter.characters == sum(len(letter.to_json()) for letter in letters)
    return sorter.write(str(folder))


@_in_one_folder
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a", "a.json", "b\t\n", "é"]), st.integers(0, 12)),
        unique=True,
        max_size=20,
    ),
    st.data(),
)
def test_dead_letters_split_into_any_runs_merge_into_the_sorted_whole(
    tmp_path: Path, places: list[tuple[str, int]], data: st.DataObject
) -> None:
    lines = st.text(st.sampled_from("x\t\n\r\u2028\x85é"), max_size=4)
    letters = [_letter(*place, data.draw(lines)) for place in places]
    parts: dict[int, list[DeadLetter]] = {}
    for letter in letters:
        parts.setdefault(data.draw(st.integers(0, 3)), []).append(letter)
    merged = list(merge_dead_letters([_write_letters(tmp_path, part) for part in parts.values()]))
    assert merged == [
        letter.to_json().encode() + b"\n"
        for letter in sorted(letters, key=lambda each: (each.source, each.offset))
    ]


def test_offsets_are_sorted_as_numbers(tmp_path: Path) -> None:
    paths = [_write_letters(tmp_path, [_letter("a", n)]) for n in (100, 9, 10)]
    assert [json.loads(line)["offset"] for line in merge_dead_letters(paths)] == [9, 10, 100]


def test_a_source_whose_name_is_not_utf_8_is_written(tmp_path: Path) -> None:
    # What Python makes of the file name b"\xff.json".
    path = _write_letters(tmp_path, [_letter("\udcff.json", 1)])
    (line,) = merge_dead_letters([path])
    assert json.loads(line)["offset"] == 1


# ---------------------------------------------------------------------------------------------
# What can go wrong


def test_a_run_that_cannot_be_written_or_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file/rows-"):
        _write_rows(tmp_path / "file", [(1, (), 1.0)])
    with pytest.raises(OutputError, match="file/rejected-"):
        _write_letters(tmp_path / "file", [_letter("a", 1)])
    with pytest.raises(InputError, match="missing"):
        _merged([RowRun(str(tmp_path / "missing"), 0, 1, 1, 1)])
    with pytest.raises(InputError, match="missing"):
        list(merge_dead_letters([str(tmp_path / "missing")]))
