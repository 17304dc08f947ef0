"""Where each module of the package belongs, and which it may import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from copies import CHECKOUT

_PACKAGE = CHECKOUT / "pipeline"

# In the order in which data passes: a folder imports only from those above it, and a module only
# from those above it in its folder.
_HOUSE = {
    "core": (
        *("errors", "options", "events", "exact", "histograms", "details", "durations"),
        *("measures", "rows", "where", "tally", "rejection", "row_rules", "shards", "silences"),
    ),
    "": ("beam_internals",),
    "storage": ("files", "replacing", "compression", "pubsub"),
    "parsing": ("timeliness", "kernel", "library", "blocks", "trust", "arrays", "chunks"),
    "transforms": (
        *("in_process", "coders", "arrival", "parse_events", "accounting"),
        *("combine_fns", "revisions", "rolling_rows", "moving_average"),
    ),
    "formats": ("row_format", "texts", "ndjson", "csv", "parquet"),
    "sources": (
        *("progress", "sections", "whole_lines", "tail", "streams", "event_clock", "timed_tail"),
        *("source", "spooling", "whole_files", "growing_files", "pubsub"),
    ),
    "sinks": (
        *("destinations", "sink", "sorting", "sorted_files", "results"),
        *("appended_lines", "hourly_files", "pubsub"),
    ),
    "live": ("account", "following", "checkpoints", "memory", "following_step"),
    "runners": (
        *("staging", "service", "dataflow", "job_service"),
        *("child_process", "prism", "direct"),
    ),
    "cli": (
        *("signals", "log", "settings", "options", "status", "summary"),
        *("batch", "streaming", "unbounded", "here", "job", "run"),
    ),
}
_ORDER = [
    f"{folder}.{module}".removeprefix(".")
    for folder, modules in _HOUSE.items()
    for module in modules
]
_WITHOUT_BEAM = [name for name in _ORDER if name.partition(".")[0] in ("core", "parsing")]


def _path(module: str) -> Path:
    return _PACKAGE / f"{module.replace('.', '/')}.py"


def _imports(module: str) -> Iterator[str]:
    """The full names of what a module imports, at its top or inside."""
    for node in ast.walk(ast.parse(_path(module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_modules(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    parts = [name.split(".") for name in _imports(module)]
    ours = [names[1:] for names in parts if names[0] == "pipeline"]
    return {".".join(names[:length]) for names in ours for length in (1, 2)} & {*_ORDER}


def test_every_module_has_its_place_in_the_house() -> None:
    paths = (path.relative_to(_PACKAGE).with_suffix("") for path in _PACKAGE.rglob("*.py"))
    found = {".".join(path.parts) for path in paths if path.name != "__init__"}
    assert found == {*_ORDER, "__main__"}


@pytest.mark.parametrize("module", _ORDER)
def test_a_module_imports_only_from_those_above_it(module: str) -> None:
    assert _imported_modules(module) <= {*_ORDER[: _ORDER.index(module)]}


@pytest.mark.parametrize("module", _WITHOUT_BEAM)
def test_logic_is_free_of_beam(module: str) -> None:
    assert not [name for name in _imports(module) if name.startswith("apache_beam")]


@pytest.mark.parametrize("folder", [each for each in _HOUSE if each])
def test_a_folder_says_what_belongs_there(folder: str) -> None:
    tree = ast.parse((_PACKAGE / folder / "__init__.py").read_text("utf-8"))
    assert len((ast.get_docstring(tree) or "").splitlines()) > 2


def test_every_module_has_a_name_that_says_something() -> None:
    words = {word for name in _ORDER for word in name.split(".")}
    assert not {"utils", "util", "helpers", "common", "misc", "base"} & words
