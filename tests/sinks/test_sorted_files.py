"""WriteRows, WriteDeadLetters and Publish: files that are sorted, and complete or not there."""

import errno
import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import oracle
import pytest
from apache_beam.metrics.metric import MetricsFilter
from examples import CHALLENGE_EVENTS, CHALLENGE_ROWS, line
from local_runners import run_flow, transform_pipeline

from pipeline import DeadLetter
from pipeline.core.errors import OutputError, TooManyRowsError
from pipeline.core.events import FieldError
from pipeline.core.rejection import MaxRejected
from pipeline.core.rows import RowBlock
from pipeline.formats import RowShape
from pipeline.formats.ndjson import Ndjson
from pipeline.sinks import sorted_files, sorting
from pipeline.sinks.sink import RowCounters
from pipeline.sinks.sorted_files import Output, TakePlaces, WriteDeadLetters, WriteRows
from pipeline.sinks.sorting import RowSorter

pytestmark = pytest.mark.slow

_MINUTE = 25_764_131  # 2018-12-26 18:11
_OLD = b"the result of an earlier run\n"

# The date, the key and the mean.
_ROW_BYTES = 24


def _block(client: str, dates: Sequence[int]) -> RowBlock:
    minutes = np.array(dates, np.int64) + _MINUTE
    values = {"mean": np.array(dates, np.float64)}
    return RowBlock((client,), 10, minutes, np.ones(len(dates), np.int64), values)


def _blocks() -> list[RowBlock]:
    """Rows of some series at the same dates, in blocks of any size and order."""
    numbers = random.Random(1)
    blocks = []
    for client in ("\u00e9", "taxi-eats", "Z", "airliberty"):
        cuts = [0, *sorted(numbers.sample(range(1, 300), 5)), 300]
        blocks += [_block(client, range(*cut)) for cut in itertools.pairwise(cuts)]
    numbers.shuffle(blocks)
    return blocks


def _expected_lines(blocks: Sequence[RowBlock]) -> list[bytes]:
    rows = sorted((row.date, *row.series, row.values["mean"]) for block in blocks for row in block)
    return [
        b'{"date": "%s", "client_name": "%s", "average_delivery_time": %d}\n'
        % (f"{date:%Y-%m-%d %H:%M:%S}".encode(), client.encode(), average)
        for date, client, average in rows
    ]


def _write_rows(
    folder: Path,
    blocks: Sequence[RowBlock],
    *,
    num_shards: int = 1,
    max_rows: int = 10**8,
    is_allowed: bool = True,
    inputs: Sequence[str] = (),
) -> beam.Pipeline:
    """Writes to `rows.json` in a folder, and gives the pipeline that has run."""
    output = Output(str(folder / "rows.json"), str(folder / "scratch"), "run", num_shards)
    with transform_pipeline() as p:
        gate = p | "Allow" >> beam.Create([is_allowed])
        write = WriteRows(output, Ndjson(RowShape(("client_name",))), gate, max_rows)
        _ = p | TakePlaces([(output, p | beam.Create(blocks) | write)], inputs)
    return p


def _files(folder: Path) -> list[str]:
    """All that stands in a folder, but for the scratch folder."""
    return sorted(path.name for path in folder.iterdir() if path.name != "scratch")


# ---------------------------------------------------------------------------------------------
# Rows


@pytest.mark.clause("3.2")
def test_rows_are_sorted_by_date_and_then_by_series(tmp_path: Path) -> None:
    blocks = _blocks()
    _write_rows(tmp_path, blocks)
    assert (tmp_path / "rows.json").read_bytes() == b"".join(_expected_lines(blocks))


@pytest.mark.clause("6.7")
@pytest.mark.parametrize("rows_per_file", [1, 100])
@pytest.mark.parametrize("rows_per_block", [1, 3, 1_000])
def test_rows_that_outgrow_memory_are_written_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_file: int, rows_per_block: int
) -> None:
    monkeypatch.setattr(sorted_files, "ROW_BYTES_PER_FILE", rows_per_file * _ROW_BYTES)
    monkeypatch.setattr(sorting, "_ROWS_PER_BLOCK", rows_per_block)
    blocks = _blocks()
    _write_rows(tmp_path, blocks)
    assert len([*(tmp_path / "scratch").iterdir()]) > 3
    assert (tmp_path / "rows.json").read_bytes() == b"".join(_expected_lines(blocks))


def test_written_rows_and_their_dates_are_counted(tmp_path: Path) -> None:
    p = _write_rows(tmp_path, _blocks(), num_shards=3)
    found = p.result.metrics().query(MetricsFilter().with_namespace(RowCounters))
    (rows,), (dates,) = found["counters"], found["distributions"]
    assert rows.result == 1_200
    assert (dates.result.min, dates.result.max) == (_MINUTE, _MINUTE + 299)


def test_without_rows_the_file_is_empty(tmp_path: Path) -> None:
    _write_rows(tmp_path, [])
    assert (tmp_path / "rows.json").read_bytes() == b""


# ---------------------------------------------------------------------------------------------
# Shards


@pytest.mark.parametrize("rows_per_file", [50, 10**6])
def test_shards_are_each_sorted_and_together_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_file: int
) -> None:
    monkeypatch.setattr(sorted_files, "ROW_BYTES_PER_FILE", rows_per_file * _ROW_BYTES)
    blocks = _blocks()
    _write_rows(tmp_path, blocks, num_shards=3)
    assert _files(tmp_path) == [f"rows.json-0000{shard}-of-00003" for shard in range(3)]
    expected = _expected_lines(blocks)
    place = {each: index for index, each in enumerate(expected)}
    written = []
    for name in _files(tmp_path):
        lines = (tmp_path / name).read_bytes().splitlines(keepends=True)
        assert lines == sorted(lines, key=place.__getitem__)
        assert lines
        written += lines
    assert sorted(written) == sorted(expected)


@pytest.mark.parametrize("num_shards", [1, 100])
def test_sorting_takes_a_block_once_and_holds_no_more_rows_whatever_the_number_of_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_shards: int
) -> None:
    held: list[int] = []
    add = RowSorter.add

    def add_and_count(self: RowSorter, *rows: Any) -> None:
        add(self, *rows)
        held.append(self.rows)

    monkeypatch.setattr(RowSorter, "add", add_and_count)
    monkeypatch.setattr(sorted_files, "ROW_BYTES_PER_FILE", 400 * _ROW_BYTES)
    output = Output(str(tmp_path / "rows.json"), str(tmp_path), "run", num_shards)
    step = sorted_files._SortRowsFn(output, 10**8)
    step.start_bundle()
    blocks = [_block(client, range(start, start + 100)) for client in "abc" for start in (0, 100)]
    written = [run for block in blocks for run in step.process(block)]
    written += [each.value for each in step.finish_bundle()]
    assert held == [100, 200, 300, 400, 100, 200]
    assert sum(run.rows for run in written) == 600
    assert len(written) == 2 * num_shards


def test_a_shard_without_rows_is_an_empty_file(tmp_path: Path) -> None:
    _write_rows(tmp_path, [_block("a", [0])], num_shards=2)
    sizes = [(tmp_path / name).stat().st_size for name in _files(tmp_path)]
    assert sorted(map(bool, sizes)) == [False, True]


@pytest.mark.clause("3.7")
def test_shards_of_an_earlier_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    others = ["other.json-00000-of-00005", "rows.json-0-of-5", "rows.json-00000-of-00005.bak"]
    for name in ["rows.json-00000-of-00005", "rows.json-00004-of-00005", *others]:
        (tmp_path / name).write_bytes(_OLD)
    _write_rows(tmp_path, _blocks(), num_shards=2)
    new = ["rows.json-00000-of-00002", "rows.json-00001-of-00002"]
    assert _files(tmp_path) == sorted([*new, *others])


@pytest.mark.clause("3.7")
def test_no_input_is_removed_as_a_shard_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "rows.json-00000-of-00005").write_bytes(_OLD)
    (tmp_path / "rows.json-00000-of-00006").write_bytes(_OLD)
    _write_rows(tmp_path, _blocks(), num_shards=2, inputs=[f"{tmp_path}/rows.json-*-of-00005"])
    new = ["rows.json-00000-of-00002", "rows.json-00001-of-00002"]
    assert _files(tmp_path) == [new[0], "rows.json-00000-of-00005", new[1]]


def test_shards_of_an_earlier_run_stay_where_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "rows.json-00000-of-00005").write_bytes(_OLD)
    _write_rows(tmp_path, _blocks(), num_shards=2, is_allowed=False)
    assert _files(tmp_path) == ["rows.json-00000-of-00005"]


# ---------------------------------------------------------------------------------------------
# Complete or not there


@pytest.mark.parametrize("max_rows", [10, 1_199])
def test_more_rows_than_allowed_are_refused_before_anything_is_written(
    tmp_path: Path, max_rows: int
) -> None:
    (tmp_path / "rows.json").write_bytes(_OLD)
    with pytest.raises(TooManyRowsError, match=rf"--max_rows={max_rows}\b"):
        _write_rows(tmp_path, _blocks(), max_rows=max_rows)
    assert (tmp_path / "rows.json").read_bytes() == _OLD
    assert _files(tmp_path) == ["rows.json"]


def test_rows_of_all_bundles_together_are_held_to_the_number_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.json").write_bytes(_OLD)
    process = sorted_files._SortRowsFn.process

    def process_as_a_bundle(self: Any, block: RowBlock) -> Any:
        self._rows = 0
        return process(self, block)

    monkeypatch.setattr(sorted_files._SortRowsFn, "process", process_as_a_bundle)
    with pytest.raises(TooManyRowsError):
        _write_rows(tmp_path, _blocks(), max_rows=1_199)
    assert (tmp_path / "rows.json").read_bytes() == _OLD


def test_as_many_rows_as_allowed_are_written(tmp_path: Path) -> None:
    _write_rows(tmp_path, _blocks(), max_rows=1_200)
    assert (tmp_path / "rows.json").read_bytes().count(b"\n") == 1_200


def _fail_after(calls: int, error: Exception) -> Callable[..., bytes]:
    """In place of `Ndjson._lines`: works so many times, then raises."""
    lines, left = Ndjson._lines, iter(range(calls))

    def lines_or_error(self: Ndjson, *columns: Any) -> bytes:
        if next(left, None) is None:
            raise error
        return lines(self, *columns)

    return lines_or_error


@pytest.mark.clause("3.3")
@pytest.mark.parametrize("num_shards", [1, 2])
@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "no space left on device"),
        (RuntimeError("surprise"), RuntimeError, "surprise"),
    ],
)
def test_a_failing_write_leaves_the_old_file_and_no_half_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
    message: str,
    num_shards: int,
) -> None:
    old = {1: "rows.json", 2: "rows.json-00000-of-00002"}[num_shards]
    (tmp_path / old).write_bytes(_OLD)
    monkeypatch.setattr(sorting, "_ROWS_PER_BLOCK", 10)
    monkeypatch.setattr(sorted_files, "ROW_BYTES_PER_FILE", 100 * _ROW_BYTES)
    monkeypatch.setattr(Ndjson, "_lines", _fail_after(2, error))
    with pytest.raises(raised, match=message):
        _write_rows(tmp_path, _blocks(), num_shards=num_shards)
    assert (tmp_path / old).read_bytes() == _OLD
    assert _files(tmp_path) == [old]


def test_a_symbolic_link_stays_one_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    target.write_bytes(_OLD)
    (tmp_path / "rows.json").symlink_to(target)
    _write_rows(tmp_path, [_block("a", [0])])
    assert (tmp_path / "rows.json").is_symlink()
    assert target.read_bytes().count(b"\n") == 1


# ---------------------------------------------------------------------------------------------
# More rejected lines than allowed


@pytest.mark.parametrize(
    ("max_rejected", "written"),
    [
        (MaxRejected(), True),
        (MaxRejected(count=2), True),
        (MaxRejected(count=1), False),
        (MaxRejected(count=0), False),
    ],
)
def test_more_rejected_lines_than_allowed_leave_the_old_rows_and_give_the_dead_letters(
    tmp_path: Path, max_rejected: MaxRejected, written: bool
) -> None:
    (tmp_path / "rows.json").write_bytes(_OLD)
    (tmp_path / "rejected.json").write_bytes(_OLD)
    data = b"no event\n" + CHALLENGE_EVENTS + b"no event\n"
    result = run_flow(tmp_path, data, 10, max_rejected=max_rejected)
    assert result.rows == (CHALLENGE_ROWS if written else _OLD)
    assert result.rejected is not None
    assert [json.loads(letter)["offset"] for letter in result.rejected.splitlines()] == [
        0,
        9 + len(CHALLENGE_EVENTS),
    ]
    assert result.summary.rejected == 2


# ---------------------------------------------------------------------------------------------
# Dead letters


def _letters() -> list[DeadLetter]:
    error = (FieldError("duration", "missing", "Field required \u00e9\t\n"),)
    return [
        DeadLetter.of(source, offset, text.encode(), error)
        for source in ("b.json", "a.json", "\u00e9/a,b\t.json")
        for offset, text in enumerate(["{}", '{"a": "\u00e9"}', "tab\tand\r"] * 8)
    ]


def _in_place(letters: Sequence[DeadLetter]) -> bytes:
    ordered = sorted(letters, key=lambda letter: (letter.source, letter.offset))
    return "".join(letter.to_json() + "\n" for letter in ordered).encode()


@pytest.mark.clause("4.4")
@pytest.mark.parametrize("bytes_per_file", [1, 1_000, sorted_files.DEAD_LETTER_BYTES_PER_FILE])
@pytest.mark.parametrize("seed", [1, 2])
def test_dead_letters_are_sorted_by_source_and_offset_whatever_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, bytes_per_file: int
) -> None:
    monkeypatch.setattr(sorted_files, "DEAD_LETTER_BYTES_PER_FILE", bytes_per_file)
    letters = _letters()
    random.Random(seed).shuffle(letters)
    output = Output(str(tmp_path / "rejected.json"), str(tmp_path / "scratch"), "run")
    with transform_pipeline() as p:
        _ = p | TakePlaces(
            [(output, p | beam.Create(letters) | WriteDeadLetters(output))], inputs=()
        )
    assert (tmp_path / "rejected.json").read_bytes() == _in_place(letters)


def test_offsets_are_sorted_as_numbers(tmp_path: Path) -> None:
    data = b"\n".join([b"x" * 3] * 300)
    rejected = run_flow(tmp_path, [data, line()], 10, chunk_size=7).rejected
    assert rejected is not None
    assert [json.loads(letter)["offset"] for letter in rejected.splitlines()] == [
        offset for offset, _ in oracle.rejected_of(data)
    ]
