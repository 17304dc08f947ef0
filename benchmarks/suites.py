"""The suites: each measures its cases, and holds the results to its goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmarks import lines
from benchmarks.data import Cache, Log
from benchmarks.measure import Measurements, Runner
from benchmarks.tools import (
    DUCKDB,
    EMPTY,
    LOOP,
    NAIVE,
    PIPELINE,
    POLARS,
    UNZIP,
    Case,
)

LINES_PER_FILE = 100
SMALL_CHUNK = ("--chunk_size", "10000")
# Beyond that an event is in so many windows that the naive pipeline takes hours.
MAX_NAIVE_WINDOW = 60

_WITHOUT_VALIDATION = (DUCKDB, POLARS, LOOP)
_ALL_MEASURES = (
    *("mean", "count", "words", "per_word", "min", "max"),
    *("p50", "p95", "p99.9", "within_30"),
)
_TWO_FIELDS = ("source_language", "target_language")


@dataclass(frozen=True)
class Settings:
    """How much is measured; sizes ascend."""

    events: tuple[int, ...]
    naive_events: tuple[int, ...]
    windows: tuple[int, ...]
    clients: tuple[int, ...]
    files: int
    seed: int

    def log(self, events: int, *, fractions: bool = False) -> Log:
        """The usual log, of so many events."""
        return Log(events, fractions=fractions, seed=self.seed)


@dataclass(frozen=True)
class Goal:
    """Something that is to be at most `limit`; `measured` is None where that cannot be told."""

    text: str
    limit: float
    measured: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether it holds, None where that cannot be told."""
        return None if self.measured is None else self.measured <= self.limit


@dataclass(frozen=True)
class SuiteResult:
    """What a suite has found; `event_nanoseconds` are marginal costs, of some of the cases."""

    measurements: Measurements
    event_nanoseconds: dict[Case, float | None]
    goals: list[Goal]


Suite = Callable[[Settings, Cache, Runner], SuiteResult]


def events(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """Time over the number of events, for everybody."""
    counts = dict.fromkeys((PIPELINE, *_WITHOUT_VALIDATION), settings.events)
    counts[NAIVE] = settings.naive_events
    inputs = {count: cache.one_file(settings.log(count)) for count in _union(counts.values())}
    cases = {
        (tool, count): Case(tool, "usual log", inputs[count])
        for tool, tool_counts in counts.items()
        for count in tool_counts
    }
    found = runner.measure(list(cases.values()))
    costs = {
        tool: _event_nanoseconds(found, cases[tool, tool_counts[-1]], cases[tool, tool_counts[0]])
        for tool, tool_counts in counts.items()
    }
    return SuiteResult(
        found,
        {cases[tool, tool_counts[-1]]: costs[tool] for tool, tool_counts in counts.items()},
        [
            Goal("an event more, times DuckDB", 0.8, _ratio(costs[PIPELINE], costs[DUCKDB])),
            Goal("an event more, times naive Beam", 0.01, _ratio(costs[PIPELINE], costs[NAIVE])),
        ],
    )


def windows(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """Time over the window's size."""
    usual = cache.one_file(settings.log(settings.events[-1]))
    small = cache.one_file(settings.log(settings.naive_events[0]))
    cases = {
        (tool, window): Case(tool, "usual log", small if tool is NAIVE else usual, (window,))
        for tool in (PIPELINE, *_WITHOUT_VALIDATION, NAIVE)
        for window in settings.windows
        if tool is not NAIVE or window <= MAX_NAIVE_WINDOW
    }
    found = runner.measure(list(cases.values()))
    least, most = settings.windows[0], settings.windows[-1]
    ratio = found[cases[PIPELINE, most]].seconds / found[cases[PIPELINE, least]].seconds
    return SuiteResult(found, {}, [Goal(f"X = {most}, times X = {least}", 1.15, ratio)])


def measures(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """What more measures and several windows cost an event, beside SQL for the same."""
    least, *_, most = settings.windows
    asked = {
        "the mean": ((least,), ("mean",)),
        "all measures": ((least,), _ALL_MEASURES),
        "p95": ((least,), ("p95",)),
        "p95 of the largest window": ((most,), ("p95",)),
        "the mean of the largest window": ((most,), ("mean",)),
        "the mean of all windows": (settings.windows, ("mean",)),
    }
    sizes = (settings.events[0], settings.events[-1])
    cases = {
        (tool, label, count): Case(
            tool, label, cache.one_file(settings.log(count)), each_windows, measures=each_measures
        )
        for label, (each_windows, each_measures) in asked.items()
        for tool in (PIPELINE, DUCKDB)
        for count in sizes
        # DuckDB takes minutes for a million of them.
        if tool is PIPELINE or label != "p95 of the largest window"
    }
    found = runner.measure(list(cases.values()))
    costs = {
        (tool, label): _event_nanoseconds(
            found, cases[tool, label, sizes[-1]], cases[tool, label, sizes[0]]
        )
        for tool, label, count in cases
        if count == sizes[0]
    }
    compared = [
        ("all measures", "the mean", 2.5),
        ("p95 of the largest window", "p95", 2),
        ("the mean of all windows", "the mean of the largest window", 1.3),
    ]
    return SuiteResult(
        found,
        {cases[tool, label, sizes[-1]]: cost for (tool, label), cost in costs.items()},
        [
            Goal(
                f"an event more, {label}, times {other}",
                limit,
                _ratio(costs[PIPELINE, label], costs[PIPELINE, other]),
            )
            for label, other, limit in compared
        ],
    )


def memory(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """Peak memory over the number of events."""
    smallest, largest = (
        cache.one_file(settings.log(count)) for count in (settings.events[0], settings.events[-1])
    )
    few, many = (Case(PIPELINE, "usual log", each) for each in (smallest, largest))
    few_small, many_small = (
        replace(case, label="chunks of 10 000 lines", options=SMALL_CHUNK) for case in (few, many)
    )
    others = [Case(tool, "usual log", largest) for tool in _WITHOUT_VALIDATION]
    empty = Case(EMPTY, "no input", cache.one_file(settings.log(1)))
    found = runner.measure([empty, few, many, few_small, many_small, *others])
    peak = {case: found[case].peak_megabytes for case in found}
    return SuiteResult(
        found,
        {},
        [
            Goal(f"MB at {_number(many)} events", 600, peak[many]),
            Goal(f"MB, times {_number(few)} events", 1.15, peak[many] / peak[few]),
            Goal("MB in small chunks, times empty pipeline", 1.8, peak[many_small] / peak[empty]),
        ],
    )


def start(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """One event: what a run costs before it does anything."""
    one = cache.one_file(settings.log(1))
    own, empty = Case(PIPELINE, "one event", one), Case(EMPTY, "no input", one)
    others = [Case(tool, "one event", one) for tool in (*_WITHOUT_VALIDATION, NAIVE)]
    found = runner.measure([own, empty, *others])
    ratio = found[own].seconds / found[empty].seconds
    return SuiteResult(found, {}, [Goal("one event, times empty pipeline", 1.35, ratio)])


def groups(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """Series by two fields of the usual log, and a series for each of thousands of clients."""
    sizes = (settings.events[0], settings.events[-1])
    usual = {count: cache.one_file(settings.log(count)) for count in sizes}
    by_fields = {
        (tool, fields, count): Case(tool, label, usual[count], fields=fields)
        for tool in (PIPELINE, DUCKDB)
        for fields, label in (((), "one series"), (_TWO_FIELDS, "by two fields"))
        for count in sizes
    }
    logs = {
        count: cache.one_file(replace(Log.of_clients(count), seed=settings.seed))
        for count in settings.clients
    }
    by_client = {
        (tool, count): Case(tool, f"a day of {count} clients", logs[count], fields=("client_name",))
        for tool in (PIPELINE, DUCKDB)
        for count in settings.clients
    }
    one = Case(PIPELINE, "one event", cache.one_file(settings.log(1)))
    found = runner.measure([one, *by_fields.values(), *by_client.values()])

    costs = {
        by_fields[tool, fields, sizes[-1]]: _event_nanoseconds(
            found, by_fields[tool, fields, sizes[-1]], by_fields[tool, fields, sizes[0]]
        )
        for tool in (PIPELINE, DUCKDB)
        for fields in ((), _TWO_FIELDS)
    }
    grouped, ungrouped = (
        costs[by_fields[PIPELINE, fields, sizes[-1]]] for fields in (_TWO_FIELDS, ())
    )
    few, many = settings.clients[0], settings.clients[-1]
    row_cost = {
        count: _nanoseconds(found, case, one, found[case].rows or 1)
        for count, case in ((count, by_client[PIPELINE, count]) for count in (few, many))
    }
    duckdb = found[by_client[PIPELINE, many]].seconds / found[by_client[DUCKDB, many]].seconds
    return SuiteResult(
        found,
        costs,
        [
            Goal("an event more by two fields, times one series", 2, _ratio(grouped, ungrouped)),
            Goal(f"{many} clients, times DuckDB", 3, duckdb),
            Goal(
                f"a row of {many} clients, times {few}", 1.2, _ratio(row_cost[many], row_cost[few])
            ),
        ],
    )


def variants(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """The same events, written in other ways; a line is to cost little more than the usual one."""
    # What is cheap is measured on more of it: the noise of a start is as long as a million lines.
    many = settings.events[-1] // 2
    one = Case(PIPELINE, "one event", cache.one_file(settings.log(1)))
    cases = {
        name: Case(
            PIPELINE, name, cache.one_file(settings.log(many, fractions=name == "fractions"), name)
        )
        for name in lines.VARIANTS
    }
    cases["array"] = Case(PIPELINE, "array", cache.array(settings.log(many)))
    found = runner.measure([one, *cases.values()])
    costs = {case: _event_nanoseconds(found, case, one) for case in cases.values()}
    goals = []
    for name, case in cases.items():
        if name not in ("usual", "mixed"):
            # Each of these events has another one beside it.
            events_a_line = 2 if name == "half_others" else 1
            ratio = _ratio(costs[case], costs[cases["usual"]])
            measured = None if ratio is None else ratio / events_a_line
            goals.append(Goal(f"{name}, times usual", _VARIANT_GOALS.get(name, 2), measured))
    return SuiteResult(found, costs, goals)


_VARIANT_GOALS = {"half_others": 1.3, "escaped": 1.5, "not_ascii": 1.5, "dirty": 1.5, "array": 6}


def files(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """Thousands of small files, and the same lines in one."""
    log = settings.log(settings.files * LINES_PER_FILE)
    one, many = cache.one_file(log), cache.many_files(log, LINES_PER_FILE)
    labels = {one: "one file", many: f"{settings.files} files"}
    cases = {
        (tool, each): Case(tool, labels[each], each)
        for tool in (PIPELINE, *_WITHOUT_VALIDATION)
        for each in (one, many)
    }
    found = runner.measure(list(cases.values()))
    ratio = found[cases[PIPELINE, many]].seconds / found[cases[PIPELINE, one]].seconds
    return SuiteResult(found, {}, [Goal(f"{labels[many]}, times one file", 3, ratio)])


def gzip(settings: Settings, cache: Cache, runner: Runner) -> SuiteResult:
    """A compressed log, the same as it was, and the decompression alone."""
    log = settings.log(settings.events[0])
    packed = cache.compressed(log)
    own = Case(PIPELINE, "gzip", packed)
    plain = Case(PIPELINE, "plain", cache.one_file(log))
    one = Case(PIPELINE, "one event", cache.one_file(settings.log(1)))
    floor = Case(UNZIP, "gzip", packed)
    others = [Case(tool, "gzip", packed) for tool in _WITHOUT_VALIDATION]
    found = runner.measure([own, plain, one, floor, *others])
    floor_seconds = found[floor].seconds + found[one].seconds
    return SuiteResult(
        found, {}, [Goal("gzip, times (zlib + start)", 1.2, found[own].seconds / floor_seconds)]
    )


SUITES: dict[str, Suite] = {
    each.__name__: each
    for each in (events, windows, measures, memory, start, groups, variants, files, gzip)
}


def _event_nanoseconds(found: Measurements, large: Case, small: Case) -> float | None:
    """What each event costs that one case has more than another."""
    return _nanoseconds(found, large, small, large.input.log.events - small.input.log.events)


def _nanoseconds(found: Measurements, large: Case, small: Case, pieces: int) -> float | None:
    """What one takes longer than the other by the piece; None if that is lost in the noise."""
    quickest = min(run.seconds for run in found[large].runs)
    slowest = max(run.seconds for run in found[small].runs)
    if quickest <= slowest:
        return None
    return (found[large].seconds - found[small].seconds) * 1e9 / pieces


def _ratio(cost: float | None, other: float | None) -> float | None:
    return None if cost is None or other is None else cost / other


def _union(counts: Iterable[tuple[int, ...]]) -> list[int]:
    return sorted({count for each in counts for count in each})


def _number(case: Case) -> str:
    return f"{case.input.log.events:,}".replace(",", " ")
