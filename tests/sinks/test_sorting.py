"""Sorted runs: whatever is written to however many of them, they merge into the sorted whole."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError, OutputError
from pipeline.core.events import DeadLetter, FieldError
from pipeline.core.exact import exact
from pipeline.core.rows import RowBlock, Series
from pipeline.sinks import sorting
from pipeline.sinks.sorting import (
    DeadLetterSorter,
    RowSorter,
    SortedFile,
    merge_dead_letters,
    merge_rows,
)
from pipeline.storage import files

_Row = tuple[int, Series, float]

# Each example writes files of its own.
_in_one_folder = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# The date, the key and the mean.
_ROW_BYTES = 24


def _write_rows(folder: Path, rows: Sequence[_Row]) -> SortedFile:
    """Writes rows, at least one, as a run."""
    (run,) = _sorter(rows).write(str(folder))
    return run


def _sorter(rows: Sequence[_Row]) -> RowSorter:
    """Gathers rows, by series and in pieces of two dates."""
    sorter = RowSorter()
    by_series: dict[Series, list[tuple[int, float]]] = {}
    for date, series, average in rows:
        by_series.setdefault(series, []).append((date, average))
    for series, its_rows in by_series.items():
        for start in range(0, len(its_rows), 2):
            dates, averages = zip(*its_rows[start : start + 2], strict=True)
            values = {"mean": np.array(averages, np.float64)}
            ones = np.ones(len(dates), np.int64)
            sorter.add(RowBlock(series, 10, np.array(dates, np.int64), ones, values))
    assert sorter.rows == len(rows)
    return sorter


def _merged(written: Sequence[SortedFile]) -> list[_Row]:
    return [
        (date, block.table[key][0], average)
        for block in merge_rows(written)
        for date, key, average in zip(
            block.dates.tolist(), block.keys.tolist(), block.values["mean"].tolist(), strict=True
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
@given(_places, st.data(), st.integers(1, 6), st.integers(2, 10))
def test_rows_split_into_any_runs_merge_into_the_sorted_whole(
    tmp_path: Path,
    places: list[tuple[int, Series]],
    data: st.DataObject,
    rows_per_block: int,
    max_open: int,
) -> None:
    rows = [(date, series, index / 7) for index, (date, series) in enumerate(places)]
    parts: dict[int, list[_Row]] = {}
    for row in rows:
        parts.setdefault(data.draw(st.integers(0, 30)), []).append(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_ROWS_PER_BLOCK", rows_per_block)
        patch.setattr(sorting, "_MAX_OPEN_FILES", max_open)
        written = [_write_rows(tmp_path, part) for part in parts.values()]
        assert _merged(written) == sorted(rows)


@pytest.mark.parametrize("rows_per_block", [1, 2, 3, 4, 5])
def test_runs_merge_where_blocks_end_between_and_inside_of_dates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_block: int
) -> None:
    monkeypatch.setattr(sorting, "_ROWS_PER_BLOCK", rows_per_block)
    series = [(name,) for name in "abcdef"]
    first = [(date, name, 1.0) for date in (1, 2) for name in series[::2]]
    second = [(date, name, 2.0) for date in (1, 2, 3) for name in series[1::2]]
    written = [_write_rows(tmp_path, part) for part in (first, second, [(2, ("g",), 3.0)])]
    assert _merged(written) == sorted([*first, *second, (2, ("g",), 3.0)])


def test_merging_holds_a_block_of_each_run_at_a_time_and_gives_no_larger_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorting, "_ROWS_PER_BLOCK", 10)
    parts = [[(date, (name,), 0.0) for date in range(1_000)] for name in "abc"]
    written = [_write_rows(tmp_path, part) for part in parts]
    loaded = _count_rows_loaded(monkeypatch)
    blocks = list(merge_rows(written))
    assert sum(len(block.dates) for block in blocks) == 3_000
    assert max(len(block.dates) for block in blocks) <= 10
    assert max(loaded) <= 2 * 10


def test_the_more_runs_are_merged_the_less_is_loaded_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorting, "_MAX_BYTES_LOADED", 100 * _ROW_BYTES)
    parts = [[(date, (str(number),), 0.0) for date in range(200)] for number in range(20)]
    written = [_write_rows(tmp_path, part) for part in parts]
    loaded = _count_rows_loaded(monkeypatch)
    assert len(_merged(written)) == 4_000
    assert max(loaded) <= 2 * 100 // 20


def _count_rows_loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows of a run are in memory, after each time that some were loaded."""
    counts: list[int] = []
    load = sorting._RowReader.load

    def load_and_count(self: sorting._RowReader) -> None:
        load(self)
        counts.append(len(self.rows))

    monkeypatch.setattr(sorting._RowReader, "load", load_and_count)
    return counts


def test_series_are_sorted_by_code_point_among_equal_dates(tmp_path: Path) -> None:
    names = ["b", "B", "é", "", "ab", "\uffff", "😀"]
    written = [_write_rows(tmp_path, [(5, (name,), 1.0)]) for name in names]
    assert [series for _, (series,), _ in _merged(written)] == sorted(names)


def test_empty_averages_are_kept(tmp_path: Path) -> None:
    ((_, _, average),) = _merged([_write_rows(tmp_path, [(1, (), float("nan"))])])
    assert np.isnan(average)


def test_a_run_says_its_shard_rows_and_dates(tmp_path: Path) -> None:
    rows = [(7, ("a",), 1.0), (3, ("b",), 1.0), (5, ("a",), 1.0)]
    run = _write_rows(tmp_path, rows)
    assert run == SortedFile(run.path, shard=0, rows=3, first_date=3, last_date=7)
    assert Path(run.path).parent == tmp_path


@_in_one_folder
@given(_places, st.integers(1, 12))
def test_rows_are_written_as_a_run_for_each_shard_that_has_some(
    tmp_path: Path, places: list[tuple[int, Series]], num_shards: int
) -> None:
    rows = [(date, series, index / 7) for index, (date, series) in enumerate(places)]
    written = list(_sorter(rows).write(str(tmp_path), num_shards))
    shards = sorted({date % num_shards for date, _ in places})
    assert [run.shard for run in written] == shards
    for run in written:
        mine = sorted(row for row in rows if row[0] % num_shards == run.shard)
        assert _merged([run]) == mine
        assert run[2:] == (len(mine), mine[0][0], mine[-1][0])
        # No run has the names of all series, where it has rows of a few.
        (block,) = merge_rows([run])
        assert set(block.table) == {(series, 10) for _, series, _ in mine}


def test_of_no_runs_there_are_no_rows() -> None:
    assert _merged([]) == []


@_in_one_folder
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 99), st.integers(0, 2**65) | st.integers(0, 10**5000)),
            min_size=1,
            max_size=4,
            unique_by=lambda row: row[0],
        ),
        max_size=6,
    ),
    st.integers(2, 3),
)
def test_whole_numbers_of_any_size_are_kept(
    tmp_path: Path, parts: list[list[tuple[int, int]]], max_open: int
) -> None:
    written = []
    for size, rows in enumerate(parts, start=1):
        dates, words = zip(*sorted(rows), strict=True)
        values = {"words": exact(words), "mean": np.array(dates, np.float64)}
        ones = np.ones(len(dates), np.int64)
        sorter = RowSorter()
        sorter.add(RowBlock((), size, np.array(dates, np.int64), ones, values))
        written += sorter.write(str(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_MAX_OPEN_FILES", max_open)
        patch.setattr(sorting, "_ROWS_PER_BLOCK", 2)
        merged = [
            (date, block.table[key][1], words, mean)
            for block in merge_rows(written)
            for date, key, words, mean in zip(
                block.dates.tolist(),
                block.keys.tolist(),
                block.values["words"].tolist(),
                block.values["mean"].tolist(),
                strict=True,
            )
        ]
    assert merged == sorted(
        (date, size, words, date)
        for size, rows in enumerate(parts, start=1)
        for date, words in rows
    )


# ---------------------------------------------------------------------------------------------
# Dead letters


def _write_letters(folder: Path, letters: Sequence[DeadLetter]) -> str:
    sorter = DeadLetterSorter()
    for letter in letters:
        sorter.add(letter)
    path = sorter.write(str(folder))
    assert sorter.size == os.path.getsize(path)
    return path


@_in_one_folder
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a", "a.json", "b\t\n", "é"]), st.integers(0, 12)),
        unique=True,
        max_size=20,
    ),
    st.data(),
    st.integers(2, 6),
)
def test_dead_letters_split_into_any_runs_merge_into_the_sorted_whole(
    tmp_path: Path, places: list[tuple[str, int]], data: st.DataObject, max_open: int
) -> None:
    lines = st.text(st.sampled_from("x\t\n\r\u2028\x85é"), max_size=4)
    letters = [_letter(*place, data.draw(lines)) for place in places]
    parts: dict[int, list[DeadLetter]] = {}
    for letter in letters:
        parts.setdefault(data.draw(st.integers(0, 15)), []).append(letter)
    written = [_write_letters(tmp_path, part) for part in parts.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_MAX_OPEN_FILES", max_open)
        merged = list(merge_dead_letters(written))
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
# Many runs


def _rows_runs(folder: Path, count: int) -> list[SortedFile]:
    return [_write_rows(folder, [(number % 7, (str(number),), 1.0)]) for number in range(count)]


def _letters_runs(folder: Path, count: int) -> list[str]:
    return [_write_letters(folder, [_letter("a", number)]) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "opened"),
    [
        (1, 1),
        (4, 4),  # as many as may be open
        (5, 5 + 1),  # two of them are merged before
        (6, 6 + 1),
        (7, 7 + 1),
        (8, 8 + 2),
        (16, 16 + 4),
        (17, 17 + 5),  # and one of those that were merged is merged once more
    ],
)
@pytest.mark.parametrize("kind", ["rows", "dead letters"])
def test_no_more_runs_are_open_at_a_time_than_may_be_and_each_is_read_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, count: int, opened: int
) -> None:
    rows, letters = _rows_runs(tmp_path, count), _letters_runs(tmp_path, count)
    counts = {"now": 0, "most": 0, "all": 0}
    open_to_read = files.open_to_read

    @contextmanager
    def open_and_count(path: str) -> Iterator[BinaryIO]:
        counts["now"] += 1
        counts["all"] += 1
        counts["most"] = max(counts["most"], counts["now"])
        with open_to_read(path) as stream:
            yield stream
        counts["now"] -= 1

    monkeypatch.setattr(sorting, "_MAX_OPEN_FILES", 4)
    monkeypatch.setattr(files, "open_to_read", open_and_count)
    found = len(_merged(rows)) if kind == "rows" else len([*merge_dead_letters(letters)])
    assert found == count
    assert counts == {"now": 0, "most": min(count, 4), "all": opened}


_IN_FEW_FILES = """
import resource, sys
from pathlib import Path
from test_sorting import _letters_runs, _merged, _rows_runs, merge_dead_letters
folder = Path(sys.argv[1])
rows, letters = _rows_runs(folder, 300), _letters_runs(folder, 300)
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
print(len(_merged(rows)), len([*merge_dead_letters(letters)]))
"""


def test_more_runs_are_merged_than_files_may_be_open(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _IN_FEW_FILES, str(tmp_path)]
    found = subprocess.run(
        command, cwd=Path(__file__).parent, env=_environment(), capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (0, "300 300\n"), found.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


# ---------------------------------------------------------------------------------------------
# What can go wrong


def test_a_run_that_cannot_be_written_or_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file/rows-"):
        _write_rows(tmp_path / "file", [(1, (), 1.0)])
    with pytest.raises(OutputError, match="file/rejected-"):
        _write_letters(tmp_path / "file", [_letter("a", 1)])
    with pytest.raises(InputError, match="missing"):
        _merged([SortedFile(str(tmp_path / "missing"), 0, 1, 1, 1)])
    with pytest.raises(InputError, match="missing"):
        list(merge_dead_letters([str(tmp_path / "missing")]))
