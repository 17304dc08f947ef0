"""What is measured: this pipeline, its competitors, and the floors under it, as command lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.agreement import RowCheck, check_bytes, check_numbers
from benchmarks.data import Input


@dataclass(frozen=True)
class Case:
    """One thing to be measured.

    Attributes:
        tool: what runs.
        label: what is special about the case, in the words of the table.
        input: what it reads.
        windows: X, once or several times.
        fields: what the series are made of.
        measures: what rows say.
        options: more options of the pipeline.
    """

    tool: Tool
    label: str
    input: Input
    windows: tuple[int, ...] = (10,)
    fields: tuple[str, ...] = ()
    measures: tuple[str, ...] = ("mean",)
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        events = f"{self.input.log.events} events"
        return f"{self.tool.name}, {self.label}, {events}, X = {_list(self.windows)}"

    def job(self) -> tuple[str, tuple[int, ...], tuple[str, ...], tuple[str, ...]]:
        """What is to be done, whatever does it."""
        return self.input.files, self.windows, self.fields, self.measures

    def command(self, output: Path) -> list[str]:
        """The command line that writes its rows to a file."""
        return [sys.executable, "-m", self.tool.module, *self.tool.arguments(self, str(output))]


@dataclass(frozen=True)
class Tool:
    """A module that is run; without a `check` it writes no rows."""

    name: str
    module: str
    arguments: Callable[[Case, str], list[str]] = field(repr=False)
    check: RowCheck | None = None


def _list(values: Iterable[object]) -> str:
    return ",".join(map(str, values))


def _of_pipeline(case: Case, output: str) -> list[str]:
    group_by = ["--group_by", _list(case.fields)] if case.fields else []
    return [
        *("--input_file", case.input.files),
        *("--window_size", _list(case.windows)),
        *("--measures", _list(case.measures)),
        *("--output_file", output),
        *group_by,
        *case.options,
    ]


def _of_competitor(case: Case, output: str) -> list[str]:
    return [case.input.files, _list(case.windows), output, *case.fields]


def _of_duckdb(case: Case, output: str) -> list[str]:
    return [case.input.files, _list(case.windows), output, _list(case.measures), *case.fields]


def _of_floor(case: Case, output: str) -> list[str]:
    return [case.input.files]


PIPELINE = Tool("this pipeline", "pipeline", _of_pipeline, check_bytes)
DUCKDB = Tool("DuckDB", "benchmarks.competitors.duckdb_sql", _of_duckdb, check_numbers)
POLARS = Tool("polars", "benchmarks.competitors.polars_frames", _of_competitor, check_numbers)
LOOP = Tool("Python loop", "benchmarks.competitors.python_loop", _of_competitor, check_numbers)
NAIVE = Tool("naive Beam", "benchmarks.competitors.naive_beam", _of_competitor, check_numbers)
EMPTY = Tool("empty Beam pipeline", "benchmarks.competitors.empty_beam", _of_floor)
UNZIP = Tool("zlib alone", "benchmarks.competitors.decompress", _of_floor)
