"""Charts of what was measured, as SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.measure import Measurements
from benchmarks.tools import Case

# The same numbers give the same file.
matplotlib.rcParams["svg.hashsalt"] = "benchmarks"


def time_over_events(path: Path, measurements: Measurements) -> None:
    """A line for each tool, both axes logarithmic."""
    _draw(path, measurements, "events", lambda case: case.input.log.events, lambda _: "")


def time_over_windows(path: Path, measurements: Measurements) -> None:
    """A line for each tool; what reads how many events stands in the legend."""
    _draw(
        path,
        measurements,
        "X, the size of the window in minutes",
        lambda case: case.windows[0],
        lambda case: f", {_short(case.input.log.events)} events",
    )


def memory_over_time(path: Path, minutes: list[float], megabytes: dict[str, list[float]]) -> None:
    """A line for each process, from zero."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    for name, values in megabytes.items():
        axes.plot(minutes, values, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel("resident memory in MB")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _draw(
    path: Path,
    measurements: Measurements,
    x_label: str,
    x: Callable[[Case], int],
    suffix: Callable[[Case], str],
) -> None:
    lines: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for case, measurement in measurements.items():
        lines[case.tool.name + suffix(case)].append((x(case), measurement.seconds))
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        axes.loglog(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set_xticks(sorted({at for points in lines.values() for at, _ in points}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(round(value))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(x_label)
    axes.set_ylabel("seconds")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _short(number: int) -> str:
    for unit, name in ((10**6, " M"), (10**3, " k")):
        if number >= unit and number % (unit // 10) == 0:
            return f"{number / unit:g}{name}"
    return str(number)
