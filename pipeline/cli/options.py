"""The command line: its parser, made from the tables of options, and the settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipeline import __version__, beam_internals
from pipeline.cli.settings import (
    AVERAGED,
    LATENESS,
    RUN,
    Settings,
    parse_date,
    parse_group_by,
    parse_measures,
    parse_window_size,
)
from pipeline.core.errors import OptionError
from pipeline.core.options import JOBS, Given, Option, OptionGroup, RunKind, Use, chosen
from pipeline.core.rejection import MaxRejected
from pipeline.core.row_rules import MAX_WINDOW_MINUTES
from pipeline.core.where import Where
from pipeline.runners import direct
from pipeline.sinks import SINKS, sink_of
from pipeline.sources import SOURCES, Source
from pipeline.storage import files
from pipeline.storage.files import STANDARD_STREAM


def _groups() -> Iterator[OptionGroup]:
    """All groups of options; each option is in the first group that has it."""
    members = [OptionGroup(source.TITLE, source.OPTIONS) for source in SOURCES]
    members += [OptionGroup(sink.TITLE, sink.OPTIONS) for sink in SINKS]
    files_first, *others = members
    seen: set[str] = set()
    for group in (files_first, AVERAGED, *others, LATENESS, RUN):
        new = tuple(option for option in group.options if option.name not in seen)
        seen.update(option.name for option in new)
        if new:
            yield OptionGroup(group.title, new)


GROUPS: tuple[OptionGroup, ...] = tuple(_groups())
"""The options of this program, in groups, in the order of the help."""

OPTIONS: dict[str, Option] = {each.name: each for group in GROUPS for each in group.options}
"""The same by name."""

USED_BY: dict[str, Use] = {
    **{name: each.used_by for name, each in OPTIONS.items()},
    "dry_run": JOBS,
}
"""The kinds of run that use an option, of this program or of Beam; all others refuse it."""


class OwnOptions(PipelineOptions):
    """The options of this program, for Beam."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse._ActionsContainer) -> None:
        for group in GROUPS:
            for option in group.options:
                option.add_to(parser)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def _own_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="unbabel_cli",
        description="For every minute, the mean duration of the translations delivered in the "
        "minutes before it.",
        epilog="Options of Apache Beam and of its runners (--runner, ...) are passed on.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    for group in GROUPS:
        in_help = parser.add_argument_group(group.title)
        for option in group.options:
            option.add_to(in_help)
    return parser


def _names(parser: argparse.ArgumentParser) -> set[str]:
    return {
        name for action in parser._actions for name in action.option_strings if name[:2] == "--"
    }


def parse_options(argv: Sequence[str]) -> PipelineOptions:
    """Parses a command line; prints and leaves on `--help` and `--version`.

    Raises:
        OptionError: an option is unknown, has a wrong value, or is one of ours and given twice.
    """
    parser = _own_parser()
    _, others = parser.parse_known_args(argv)
    own_names = _names(parser)
    given = [argument.partition("=")[0] for argument in argv]
    repeatable = {f"--{name}" for name, each in OPTIONS.items() if each.is_repeatable}
    for name in own_names - repeatable:
        if given.count(name) > 1:
            raise OptionError(f"{name} is given more than once")
    _check_known(others, own_names)
    return PipelineOptions(list(argv))


def _check_known(arguments: Sequence[str], own_names: set[str]) -> None:
    """Raises OptionError for an option that neither this program nor Beam knows."""
    parser = beam_internals.parser_of_all_options()
    parser.exit_on_error = False
    try:
        _, unknown = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise OptionError(str(error)) from error
    if unknown:
        name = unknown[0].partition("=")[0]
        known = sorted(own_names | _names(parser))
        close = get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        kind = "option" if name.startswith("-") else "argument"
        raise OptionError(f"unknown {kind} {name}{hint}")


def run_kind_of(source: Source | type[Source], options: PipelineOptions) -> RunKind:
    """The kind of run of a source on the runner of the options."""
    return source.HERE if direct.is_here(options) else source.AS_JOB


def settings_of(options: PipelineOptions) -> Settings:
    """Checks the options together, and makes typed settings of them.

    Raises:
        OptionError: a required one is missing, or two contradict each other.
    """
    given: Given = options.get_all_options()
    kind = _source_of(given)
    if given["window_size"] is None:
        raise OptionError(
            f"--window_size is required: a whole number of minutes, 1 to {MAX_WINDOW_MINUTES}"
        )
    _check_gap(given)
    _check_dates(given)
    _check_plan(given)
    run = run_kind_of(kind, options)
    _refuse_unused(given, run)
    if kind.RUNNERS is not None and direct.name_of(options) not in kind.RUNNERS.names:
        runner = options.view_as(StandardOptions).runner
        raise OptionError(f"{kind.RUNNERS.message}, not on --runner={runner}")
    source = kind.of(given)
    _check_paths(given, source)
    if run.is_bounded and options.view_as(StandardOptions).streaming:
        raise OptionError(
            "--streaming reads unbounded input: say --follow, --input_subscription or --input_topic"
        )
    rows = sink_of("output", given, run) or sink_of(
        "output", {**given, "output_file": STANDARD_STREAM}, run
    )
    assert rows is not None, "every kind of run has a sink for --output_file"
    rejected = sink_of("rejected", given, run)
    late = None if run.is_bounded else sink_of("late", given, run) or rejected
    settings = chosen(given, Settings)
    for name, parse in _PARSED.items():
        if name in settings:
            settings[name] = parse(settings[name])
    return Settings(
        source=source,
        window_minutes=parse_window_size(given["window_size"]),
        rows=rows,
        rejected=rejected,
        late=late,
        **settings,
    )


_PARSED: dict[str, Callable[[Any], object]] = {
    "where": Where.parse,
    "group_by": parse_group_by,
    "measures": parse_measures,
    "rows_from": parse_date,
    "rows_before": parse_date,
    "max_rejected": MaxRejected.parse,
}


def _source_of(given: Given) -> type[Source]:
    """The class of the source that the options name."""
    names = dict.fromkeys(name for kind in SOURCES for name in kind.INPUTS)
    inputs = [name for name in names if given[name]]
    if not inputs:
        raise OptionError("--input_file is required: the path of a log, or - for standard input")
    if len(inputs) > 1:
        raise OptionError(f"--{inputs[0]} and --{inputs[1]} are both inputs: name one")
    kinds = [kind for kind in SOURCES if inputs[0] in kind.INPUTS]
    switched = [kind for kind in kinds if kind.SWITCH is not None and given[kind.SWITCH]]
    return (switched or kinds)[0]


def _check_gap(given: Given) -> None:
    gap, window = given["max_gap_minutes"], given["window_size"]
    if gap is not None and gap < max(parse_window_size(window)):
        raise OptionError(f"--max_gap_minutes={gap} may not be smaller than --window_size={window}")


def _check_dates(given: Given) -> None:
    first, end = given["rows_from"], given["rows_before"]
    if first is not None and end is not None and parse_date(first) >= parse_date(end):
        raise OptionError(f"--rows_from={first} is not before --rows_before={end}")


def _check_plan(given: Given) -> None:
    """Raises OptionError for what only the plan `rolling` can do."""
    if given["plan"] == "windows":
        if given["emit"] == "final":
            raise OptionError("--emit=final is for --plan=rolling")
        if given["state_dir"] is not None:
            raise OptionError("--state_dir is for --plan=rolling")


def _refuse_unused(given: Given, run: RunKind) -> None:
    """Raises OptionError for an option that is given and that this kind of run does not use."""
    for name, use in USED_BY.items():
        is_given = given[name] is not None and given[name] is not False
        if is_given and not use.includes(run):
            raise OptionError(f"--{name} is for {use.name}, not for {run.name}")


def _check_paths(given: Given, source: Source) -> None:
    """Raises OptionError for a path that can be no file."""
    outputs = {name: given[name] for name, each in OPTIONS.items() if each.metavar == "FILE"}
    for name, path in outputs.items():
        if path == "":
            raise OptionError(f"--{name} names no file")
    for path in (*source.patterns, *filter(None, outputs.values())):
        if remedy := files.missing_filesystem(path):
            raise OptionError(remedy)
        if path != STANDARD_STREAM and files.lacks_working_folder(path):
            raise OptionError(f"{path}: the working folder has been removed: name a whole path")
