"""Runs cases in turn, as whole processes, and checks that each gives the rows that it must.

Rows are checked after every run, unless they are byte for byte those of the run before.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import launcher
from benchmarks.agreement import DisagreementError
from benchmarks.data import Input
from benchmarks.tools import Case, Tool
from benchmarks.truth import expected_rows

_CHECKOUT = Path(__file__).resolve().parent.parent


class BenchmarkError(Exception):
    """A process that failed, or that gave other rows."""


@dataclass(frozen=True)
class Usage:
    """What one process took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Measurement:
    """All runs of a case, and the number of its rows if it writes any."""

    case: Case
    runs: tuple[Usage, ...]
    rows: int | None

    @property
    def seconds(self) -> float:
        """The median time on the clock."""
        return median(run.seconds for run in self.runs)

    @property
    def cpu_seconds(self) -> float:
        """The median time of all cores, in the program and in the kernel."""
        return median(run.cpu_seconds for run in self.runs)

    @property
    def peak_megabytes(self) -> float:
        """The median peak of the resident memory, in units of 10**6 bytes."""
        return median(run.peak_bytes for run in self.runs) / 1e6


Measurements = dict[Case, Measurement]


class Runner:
    """Measures cases, each `runs` times.

    Args:
        folder: where results are written to, and removed again.
        warm_up: what every tool reads once beforehand, so that Python has compiled its libraries,
            and the system has read them.
    """

    def __init__(self, folder: Path, runs: int, warm_up: Input) -> None:
        self._folder = folder
        self._runs = runs
        self._warm_up = warm_up
        self._warm: set[Tool] = set()

    def measure(self, cases: Sequence[Case]) -> Measurements:
        """Runs the cases in turn, A B C A B C, those that do the same job one after the other.

        Raises:
            BenchmarkError: a process fails, or two do not agree on the rows.
        """
        usages: dict[Case, list[Usage]] = {case: [] for case in cases}
        checked: dict[Case, tuple[str, int]] = {}
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            output = Path(scratch, "rows.json")
            for case in cases:
                if case.tool.check is not None and case.tool not in self._warm:
                    self._warm.add(case.tool)
                    _run(Case(case.tool, "warm-up", self._warm_up), output)
            for number in range(1, self._runs + 1):
                for case in sorted(cases, key=Case.job):
                    usage = _run(case, output)
                    usages[case].append(usage)
                    _show(f"  {number}/{self._runs} {case}", usage)
                    if case.tool.check is not None:
                        checked[case] = _check(case, output, checked.get(case))
        return {
            case: Measurement(case, tuple(runs), checked[case][1] if case in checked else None)
            for case, runs in usages.items()
        }


def _run(case: Case, output: Path) -> Usage:
    command = case.command(output)
    environment = {**os.environ, "PYTHONPATH": str(_CHECKOUT)}
    done = subprocess.run(
        # -I -S: the launcher must be small.
        [sys.executable, "-I", "-S", str(launcher.__file__), *command],
        cwd=output.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    record = json.loads(done.stdout)
    if record.pop("exit_code"):
        raise BenchmarkError(f"{case} failed:\n{done.stderr[-2000:]}")
    return Usage(**record)


def _check(case: Case, output: Path, known: tuple[str, int] | None) -> tuple[str, int]:
    """Checks the rows unless they were seen before; gives their digest and number."""
    with output.open("rb") as file:
        digest = hashlib.sha256()
        rows = 0
        while block := file.read(2**20):
            digest.update(block)
            rows += block.count(b"\n")
    result = digest.hexdigest(), rows
    if result != known and case.tool.check is not None:
        expected = expected_rows(case.input.log, case.windows, case.fields, case.measures)
        try:
            case.tool.check(output, expected)
        except DisagreementError as error:
            raise BenchmarkError(f"{case}: {error}") from error
    return result


def _show(what: str, usage: Usage) -> None:
    print(f"{what}: {usage.seconds:.2f} s, {usage.peak_bytes / 1e6:.0f} MB", file=sys.stderr)
