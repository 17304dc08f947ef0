"""Charts of two suites, as SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

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
        lambda case: case.window_minutes,
        lambda case: f", {_thousands(case.input.log.events)} events",
    )


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
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        axes.loglog(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set_xticks(sorted({at for points in lines.values() for at, _ in points}), minor=False)
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _thousands(round(value))))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(x_label)
    axes.set_ylabel("seconds")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")
