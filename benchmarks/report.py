"""What was measured, as a table to read and as JSON to keep."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version

from benchmarks.measure import Measurements
from benchmarks.suites import Settings, SuiteResult
from benchmarks.tools import DUCKDB, Case

_LIBRARIES = ("apache-beam", "pydantic", "numpy", "pyarrow", "duckdb", "polars")
_COLUMNS = (
    *("suite", "case", "tool", "events", "X", "rows"),
    *("seconds", "min to max", "CPU s", "MB", "times DuckDB", "ns/event"),
)
_TEXT_COLUMNS = 3
_VERDICTS = {True: "yes", False: "no", None: "lost in noise"}


def machine() -> dict[str, object]:
    """Where and with what the measurements were made."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        models = []
    return models[0] if models else platform.processor()


def head(where: dict[str, object]) -> dict[str, object]:
    """What every record begins with: when it was made, and where."""
    return {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": where}


def to_json(
    results: Mapping[str, SuiteResult], where: dict[str, object], settings: Settings, runs: int
) -> dict[str, object]:
    """Everything, each run of each case included."""
    return {
        **head(where),
        "settings": {**asdict(settings), "runs": runs},
        "suites": {name: _suite_to_json(result) for name, result in results.items()},
    }


def _suite_to_json(result: SuiteResult) -> dict[str, object]:
    return {
        "cases": [
            {
                "case": case.label,
                "tool": case.tool.name,
                "events": case.input.log.events,
                "input_bytes": case.input.byte_count,
                "windows": case.windows,
                "measures": case.measures,
                "group_by": case.fields,
                "options": case.options,
                "rows": measurement.rows,
                "seconds": measurement.seconds,
                "cpu_seconds": measurement.cpu_seconds,
                "peak_megabytes": measurement.peak_megabytes,
                "times_duckdb": times_duckdb(result.measurements, case),
                "event_nanoseconds": result.event_nanoseconds.get(case),
                "runs": [asdict(run) for run in measurement.runs],
            }
            for case, measurement in result.measurements.items()
        ],
        "goals": [{**asdict(goal), "is_met": goal.is_met} for goal in result.goals],
    }


def times_duckdb(measurements: Measurements, case: Case) -> float | None:
    """The time of a case as a multiple of DuckDB's on the same input, if that was measured."""
    for other, measurement in measurements.items():
        writes_rows = measurements[case].rows is not None
        if other.tool is DUCKDB and writes_rows and other.job() == case.job():
            return measurements[case].seconds / measurement.seconds
    return None


def tables(results: Mapping[str, SuiteResult]) -> str:
    """All cases, and all goals, as two Markdown tables."""
    cases = [
        _cells(name, result, case)
        for name, result in results.items()
        for case in result.measurements
    ]
    goals = [
        (name, goal.text, f"{goal.limit:g}", _figures(goal.measured), _VERDICTS[goal.is_met])
        for name, result in results.items()
        for goal in result.goals
    ]
    return "\n\n".join(
        [
            table(_COLUMNS, cases, _TEXT_COLUMNS),
            table(("suite", "goal", "at most", "measured", "met"), goals, 2),
        ]
    )


def _cells(suite: str, result: SuiteResult, case: Case) -> tuple[str, ...]:
    measurement = result.measurements[case]
    seconds = [run.seconds for run in measurement.runs]
    ratio = times_duckdb(result.measurements, case)
    cost = result.event_nanoseconds.get(case)
    return (
        suite,
        case.label,
        case.tool.name,
        str(case.input.log.events),
        ",".join(map(str, case.windows)),
        "" if measurement.rows is None else str(measurement.rows),
        f"{measurement.seconds:.2f}",
        f"{min(seconds):.2f} to {max(seconds):.2f}",
        f"{measurement.cpu_seconds:.2f}",
        f"{measurement.peak_megabytes:.0f}",
        "" if ratio is None else f"{ratio:.2f}",
        "" if cost is None else f"{cost:.0f}",
    )


def _figures(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"


def table(titles: Sequence[str], body: Iterable[Sequence[str]], text_columns: int) -> str:
    """A Markdown table; the columns after the first few are numbers."""
    rows = [titles, *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = [
        "-" * width if index < text_columns else "-" * (width - 1) + ":"
        for index, width in enumerate(widths)
    ]
    aligned = [
        [
            cell.ljust(width) if index < text_columns else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in (titles, rule, *rows[1:])
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in aligned)
