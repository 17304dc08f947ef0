"""The command: measures, prints a table, and writes it as JSON with charts."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import charts, report
from benchmarks.data import Cache
from benchmarks.measure import BenchmarkError, Runner
from benchmarks.suites import SUITES, Settings, Suite


def main() -> None:
    """Runs the suites that the command line names."""
    parser = _parser()
    arguments = parser.parse_args()
    for name in arguments.suites:
        if name not in (*SUITES, "all"):
            parser.error(f"there is no suite {name}, only {', '.join(SUITES)} and all")
    settings = Settings(
        events=_sizes(parser, "events", arguments.events),
        naive_events=_sizes(parser, "naive_events", arguments.naive_events),
        windows=_sizes(parser, "windows", arguments.windows),
        clients=_sizes(parser, "clients", arguments.clients),
        files=arguments.files,
        seed=arguments.seed,
    )
    cache_folder = arguments.cache.resolve()
    results_folder = arguments.results.resolve()
    results_folder.mkdir(parents=True, exist_ok=True)
    cache = Cache(cache_folder)
    runner = Runner(cache_folder, arguments.runs, warm_up=cache.one_file(settings.log(1)))
    names = list(SUITES) if "all" in arguments.suites else list(dict.fromkeys(arguments.suites))
    where = report.machine()
    results, failure = {}, None
    for name in names:
        print(f"{name}:", file=sys.stderr)
        try:
            results[name] = SUITES[name](settings, cache, runner)
        except BenchmarkError as error:
            # What others have measured for half an hour is not to be lost.
            failure = f"benchmarks: {name}: {error}"
            break
    print(report.tables(results))
    record = report.to_json(results, where, settings, arguments.runs)
    (results_folder / "benchmarks.json").write_text(json.dumps(record, indent=1) + "\n")
    if "events" in results:
        charts.time_over_events(results_folder / "events.svg", results["events"].measurements)
    if "windows" in results:
        charts.time_over_windows(results_folder / "windows.svg", results["windows"].measurements)
    print(f"written to {results_folder}", file=sys.stderr)
    if failure is not None:
        sys.exit(failure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the pipeline beside other ways to the same rows, in turn, as whole "
        "processes on the same files.",
        epilog=" ".join(f"{name}: {_first_line(suite)}" for name, suite in SUITES.items()),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "suites",
        nargs="*",
        default=["all"],
        metavar="SUITE",
        help=f"what to measure: {', '.join(SUITES)}, or all",
    )
    folder = Path(tempfile.gettempdir(), "unbabel-cli-benchmarks")
    _add_counts(parser, "--events", [1_000_000, 8_000_000], "sizes of the log")
    _add_counts(parser, "--naive_events", [10_000, 100_000], "the same, for the naive pipeline")
    _add_counts(parser, "--windows", [10, 60, 1440], "sizes of the window in minutes")
    _add_counts(parser, "--clients", [1000, 10_000], "numbers of clients, each its own series")
    parser.add_argument("--files", type=_count, default=10_000, help="number of small files")
    parser.add_argument("--runs", type=_count, default=3, help="how often each case is run")
    parser.add_argument("--seed", type=_count, default=1, help="which events are made up")
    parser.add_argument(
        "--cache", type=Path, default=folder, metavar="FOLDER", help="where the logs are kept"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=folder / "results",
        metavar="FOLDER",
        help="where JSON and charts go",
    )
    return parser


def _first_line(suite: Suite) -> str:
    return (suite.__doc__ or "").partition("\n")[0]


def _add_counts(parser: argparse.ArgumentParser, name: str, default: list[int], text: str) -> None:
    parser.add_argument(
        name, nargs="+", type=_count, default=default, metavar="COUNT", help=f"{text}, at least two"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number above 0, not {text!r}")
    return int(text)


def _sizes(parser: argparse.ArgumentParser, name: str, counts: list[int]) -> tuple[int, ...]:
    sizes = tuple(sorted(set(counts)))
    if len(sizes) < 2:
        parser.error(f"--{name} takes at least two different numbers")
    return sizes


if __name__ == "__main__":
    main()
