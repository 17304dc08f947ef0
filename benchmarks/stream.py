"""The command for runs that follow a log: events a second, and memory over time.

The log grows while it is followed, by a minute of event time at once, and never gets further ahead
of the rows than a few minutes; or it grows at a steady pace. Every row is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from benchmarks import charts, report
from benchmarks.agreement import row_line
from benchmarks.data import MICROS_PER_MINUTE, Cache, Log
from benchmarks.measure import BenchmarkError
from benchmarks.truth import expected_rows

_CHECKOUT = Path(__file__).resolve().parent.parent
_OUT_OF_ORDER_SECONDS = 10
_POLL_SECONDS = 0.05
_SAMPLE_SECONDS = 1


@dataclass(frozen=True)
class Case:
    """What is followed, and how.

    Attributes:
        events_per_second: the pace at which the log grows; None for as fast as rows come.
        ahead_minutes: how far the log may get ahead of the rows, in event time.
    """

    label: str
    log: Log
    window_minutes: int
    fields: tuple[str, ...] = ()
    events_per_second: int | None = None
    ahead_minutes: int = 50


@dataclass(frozen=True)
class Sample:
    """The resident memory of the processes of a run, in units of 10**6 bytes."""

    seconds: float
    pipeline_megabytes: float
    runner_megabytes: float


@dataclass(frozen=True)
class Result:
    """What a run took.

    Attributes:
        start_seconds: until all rows of the first minute have come.
        seconds: from then on until those of the last but two have.
        events: of the minutes whose rows came in that time.
    """

    start_seconds: float
    seconds: float
    events: int
    rows: int
    samples: list[Sample]


class _Rows:
    """The rows of a run as they come: each expected one must come once, as it is expected.

    Others may come too: a series drains after its last event, and no other tool writes that.
    """

    def __init__(self, case: Case) -> None:
        self._missing: dict[bytes, set[bytes]] = {}
        self._expected: set[bytes] = set()
        for row in expected_rows(case.log, [case.window_minutes], case.fields, ["mean"]):
            text = row_line(row).removesuffix(b"}\n")
            self._missing.setdefault(str(row["date"]).encode(), set()).add(text)
            self._expected.add(_date_and_series(text))
        self._dates = [*self._missing]
        self._whole = 0
        self.count = 0

    def see(self, line: bytes) -> None:
        text, _, revision = line.rpartition(b', "revision": ')
        if _date_and_series(text) not in self._expected:
            return
        missing = self._missing[line[10:29]]
        if text not in missing or revision != b"0}\n":
            raise BenchmarkError(f"{line!r} is not expected, or comes again")
        missing.remove(text)
        self.count += 1

    @property
    def whole_minutes(self) -> int:
        """How many of the first dates have all of their rows."""
        while self._whole < len(self._dates) and not self._missing[self._dates[self._whole]]:
            self._whole += 1
        return self._whole

    @property
    def are_there(self) -> bool:
        """Whether all have come but the last two dates': those wait for the clock on the wall."""
        return self.whole_minutes >= len(self._dates) - 2


def _date_and_series(text: bytes) -> bytes:
    return text.partition(b', "average_delivery_time": ')[0]


def run(case: Case, cache: Cache) -> Result:
    """Runs a case.

    Raises:
        BenchmarkError: the run ends by itself, or gives a row that is wrong.
    """
    rows = _Rows(case)
    slices = _minutes(Path(cache.one_file(case.log).files), case.log)
    with tempfile.TemporaryDirectory() as scratch:
        log, output = Path(scratch, "events.json"), Path(scratch, "rows.json")
        log.touch()
        output.touch()
        with _following(case, log, output) as process, output.open("rb") as reader:
            samples = _Samples(process.pid)
            started = time.monotonic()
            first_seconds: float | None = None
            first_minutes = 0
            written, rest, blank_at = 0, b"", 0.0
            with log.open("ab", buffering=0) as writer:
                following = next(slices, None)
                while not rows.are_there:
                    if process.poll() is not None:
                        raise BenchmarkError(f"{case.label}: the run has ended")
                    seconds = time.monotonic() - started
                    samples.take(seconds)
                    while following is not None and _is_due(case, written, rows, seconds):
                        writer.write(following)
                        written += 1
                        following = next(slices, None)
                    if seconds >= blank_at:
                        # A log that rests would have the clock on the wall move event time on.
                        writer.write(b"\n")
                        blank_at = seconds + 1
                    *lines, rest = (rest + reader.read()).splitlines(keepends=True) or [b""]
                    if rest.endswith(b"\n"):
                        lines, rest = [*lines, rest], b""
                    for line in lines:
                        rows.see(line)
                    if first_seconds is None and rows.whole_minutes:
                        first_seconds, first_minutes = seconds, written
                    if not lines:
                        time.sleep(_POLL_SECONDS)
            first_seconds = first_seconds or 0.0
            return Result(
                first_seconds,
                time.monotonic() - started - first_seconds,
                (rows.whole_minutes - first_minutes) * _events_per_minute(case.log),
                rows.count,
                samples.taken,
            )


def _minutes(path: Path, log: Log) -> Iterator[bytes]:
    """The lines of a log, by minutes."""
    with path.open("rb") as file:
        while lines := b"".join(islice(file, _events_per_minute(log))):
            yield lines


def _events_per_minute(log: Log) -> int:
    return MICROS_PER_MINUTE // log.step_micros


def _is_due(case: Case, written: int, rows: _Rows, seconds: float) -> bool:
    if case.events_per_second is None:
        # Until the first rows no more than they need: what is ahead then is not measured.
        ahead = case.ahead_minutes if rows.whole_minutes else 2
        return written < rows.whole_minutes + ahead
    return written * _events_per_minute(case.log) <= seconds * case.events_per_second


@contextmanager
def _following(case: Case, log: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    group_by = ["--group_by", ",".join(case.fields)] if case.fields else []
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline", "--follow"),
            *("--input_file", str(log), "--output_file", str(output)),
            *("--window_size", str(case.window_minutes)),
            *("--out_of_order_seconds", str(_OUT_OF_ORDER_SECONDS)),
            *group_by,
        ],
        env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
        cwd=log.parent,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


class _Samples:
    """The memory of a process and of those that it has started, as Linux tells it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.taken: list[Sample] = []

    def take(self, seconds: float) -> None:
        if self.taken and seconds < self.taken[-1].seconds + _SAMPLE_SECONDS:
            return
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        runner = sum(_resident_megabytes(int(child)) for child in children)
        self.taken.append(Sample(seconds, _resident_megabytes(self._pid), runner))


def _resident_megabytes(pid: int) -> float:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Measures, prints a table, and writes it as JSON with a chart."""
    arguments = _parser().parse_args()
    results_folder = arguments.results.resolve()
    results_folder.mkdir(parents=True, exist_ok=True)
    cache = Cache(arguments.cache.resolve())
    where = report.machine()
    try:
        results = [(case, _measure(case, cache)) for case in _cases(arguments)]
    except BenchmarkError as error:
        sys.exit(f"benchmarks.stream: {error}")
    print(_table(results))
    record = {
        **report.head(where),
        "cases": [{"case": asdict(case), **asdict(result)} for case, result in results],
    }
    (results_folder / "stream.json").write_text(json.dumps(record, indent=1) + "\n")
    soak, samples = results[-1][0], results[-1][1].samples
    charts.memory_over_time(
        results_folder / "memory.svg",
        [each.seconds / 60 for each in samples],
        {
            "the pipeline": [each.pipeline_megabytes for each in samples],
            "Prism": [each.runner_megabytes for each in samples],
        },
    )
    print(f"{soak.label}: {results_folder / 'memory.svg'}", file=sys.stderr)


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    for clients in arguments.clients:
        log = Log(arguments.events, MICROS_PER_MINUTE // arguments.events_per_minute, clients)
        fields = ("client_name",) if clients > 1 else ()
        for window in arguments.windows:
            yield Case("as fast as rows come", log, window, fields)
    log = Log(arguments.soak_events)
    yield Case("a steady pace", log, 10, events_per_second=arguments.soak_pace)


def _measure(case: Case, cache: Cache) -> Result:
    result = run(case, cache)
    series = case.log.clients if case.fields else 1
    print(f"  X = {case.window_minutes}, {series} series: {result.seconds:.1f} s", file=sys.stderr)
    return result


def _table(results: Sequence[tuple[Case, Result]]) -> str:
    head = ("case", "events", "series", "X", "rows", "start s", "s", "events/s", "MB", "Prism MB")
    body = [
        (
            case.label,
            str(case.log.events),
            str(case.log.clients if case.fields else 1),
            str(case.window_minutes),
            str(result.rows),
            f"{result.start_seconds:.1f}",
            f"{result.seconds:.1f}",
            f"{result.events / result.seconds:.0f}",
            f"{max(each.pipeline_megabytes for each in result.samples):.0f}",
            f"{max(each.runner_megabytes for each in result.samples):.0f}",
        )
        for case, result in results
    ]
    return report.table(head, body, text_columns=1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stream",
        description="Measures runs that follow a log on Prism; Linux only.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    folder = Path(tempfile.gettempdir(), "unbabel-cli-benchmarks")
    parser.add_argument("--events", type=int, default=1_000_000, help="size of the log")
    parser.add_argument("--events_per_minute", type=int, default=10_000, help="of event time")
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[1, 1000], help="number of series"
    )
    parser.add_argument("--windows", type=int, nargs="+", default=[10, 60, 1440], help="X")
    parser.add_argument("--soak_events", type=int, default=1_000_000, help="size of the last log")
    parser.add_argument("--soak_pace", type=int, default=2000, help="events a second of it")
    parser.add_argument("--cache", type=Path, default=folder, help="where the logs are kept")
    parser.add_argument(
        "--results", type=Path, default=folder / "results", help="where JSON and the chart go"
    )
    return parser


if __name__ == "__main__":
    main()
