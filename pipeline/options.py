"""The command line: its options by concern, and the settings that they give."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from typing import Any, NamedTuple, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipeline import __version__, files
from pipeline.errors import OptionError
from pipeline.events import DEFAULT_EVENT_NAME, GROUP_FIELDS
from pipeline.moving_average import Plan
from pipeline.parsing import check_group_by
from pipeline.rolling import LEAP_YEAR_MINUTES, MAX_WINDOW_MINUTES, SeriesRows
from pipeline.rows import EmptyValue
from pipeline.tally import MaxRejected
from pipeline.timeliness import MAX_SECONDS

DEFAULT_MAX_ROWS = 100_000_000
STANDARD_STREAM = "-"

MAX_CHUNK_LINES = 10**9
# From the first timestamp that is valid to the last.
MAX_GAP_MINUTES = 8028 * LEAP_YEAR_MINUTES


class RunKind(Enum):
    """A kind of run, and what messages call it."""

    BATCH_HERE = "a batch run on this machine"
    BATCH_JOB = "a batch job"
    FOLLOW = "--follow"
    PUBSUB_HERE = "Pub/Sub on this machine"
    PUBSUB_JOB = "a streaming job"


class _Use(NamedTuple):
    """The kinds of run that use an option, and what messages call them together."""

    name: str
    kinds: frozenset[RunKind]


_BATCH = _Use("batch", frozenset({RunKind.BATCH_HERE, RunKind.BATCH_JOB}))
_FOLLOW = _Use("--follow", frozenset({RunKind.FOLLOW}))
_PUBSUB = _Use(
    "--input_subscription and --input_topic",
    frozenset({RunKind.PUBSUB_HERE, RunKind.PUBSUB_JOB}),
)
_LIVE = _Use("input without end", _FOLLOW.kinds | _PUBSUB.kinds)
_JOBS = _Use("jobs of a remote runner", frozenset({RunKind.BATCH_JOB, RunKind.PUBSUB_JOB}))
_FILES = _Use("--input_file", _BATCH.kinds | _FOLLOW.kinds)
_ALL = _Use("every run", frozenset(RunKind))

# Every other kind of run refuses the option. The last one is Beam's.
USED_BY: dict[str, _Use] = {
    **dict.fromkeys(("event_name", "window_size", "group_by", "decimals", "max_gap_minutes"), _ALL),
    **dict.fromkeys(("plan", "empty_value", "output_file", "verbose", "debug"), _ALL),
    **dict.fromkeys(("input_file", "summary_file"), _FILES),
    **dict.fromkeys(("chunk_size", "until", "num_shards", "max_rows", "max_rejected"), _BATCH),
    **dict.fromkeys(("follow", "stop_after_idle_seconds", "out_of_order_seconds"), _FOLLOW),
    **dict.fromkeys(("allowed_lateness_seconds", "max_future_seconds"), _LIVE),
    **dict.fromkeys(("input_subscription", "input_topic"), _PUBSUB),
    **dict.fromkeys(("output_topic", "rejected_topic", "late_topic"), _PUBSUB),
    **dict.fromkeys(
        ("timestamp_attribute", "id_label"), _Use("streaming jobs", frozenset({RunKind.PUBSUB_JOB}))
    ),
    "rejected_file": _Use(
        "runs with files (a streaming job has --rejected_topic)",
        _FILES.kinds | {RunKind.PUBSUB_HERE},
    ),
    "retry_seconds": _Use(
        "input without end on this machine", _FOLLOW.kinds | {RunKind.PUBSUB_HERE}
    ),
    "late_file": _Use(
        "input without end on this machine (a job has --late_topic)",
        _FOLLOW.kinds | {RunKind.PUBSUB_HERE},
    ),
    "detach": _Use("batch jobs of a remote runner", frozenset({RunKind.BATCH_JOB})),
    "dry_run": _JOBS,
}


@dataclass(frozen=True)
class Settings:
    """What the options say, checked and typed.

    Attributes:
        patterns: the paths and globs of `--input_file`, not yet looked up.
        rows: which rows a series has.
        output_file, rejected_file, summary_file: paths; `-` is standard output.
    """

    patterns: tuple[str, ...]
    rows: SeriesRows
    plan: Plan = "rolling"
    event_name: str = DEFAULT_EVENT_NAME
    group_by: tuple[str, ...] = ()
    chunk_size: int | None = None
    output_file: str = STANDARD_STREAM
    num_shards: int = 1
    empty_value: EmptyValue = "0"
    max_rows: int = DEFAULT_MAX_ROWS
    rejected_file: str | None = None
    max_rejected: MaxRejected = field(default_factory=MaxRejected)
    summary_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """The same, of a run whose input has no end.

    Attributes:
        output_file: None where the rows go to a topic.
        rejected_file, late_file: where dead letters and late events go; None where they are only
            counted, or go to topics.
        retry_seconds: for so long a file that cannot be written is tried again.
    """

    window_minutes: int
    max_gap_minutes: int | None = None
    decimals: int | None = None
    event_name: str = DEFAULT_EVENT_NAME
    group_by: tuple[str, ...] = ()
    empty_value: EmptyValue = "0"
    output_file: str | None = None
    rejected_file: str | None = None
    late_file: str | None = None
    allowed_lateness_seconds: int = 600
    max_future_seconds: int = 300
    retry_seconds: int = 60


@dataclass(frozen=True, kw_only=True)
class FollowSettings(LiveSettings):
    """Of a run that follows files.

    Attributes:
        stop_after_idle_seconds: the input ends when nothing new came for so long; None for never.
    """

    patterns: tuple[str, ...]
    output_file: str = STANDARD_STREAM
    out_of_order_seconds: int = 60
    stop_after_idle_seconds: int | None = None
    summary_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class PubSubSettings(LiveSettings):
    """Of a run that takes messages of Pub/Sub, either of a subscription or of a topic.

    Attributes:
        timestamp_attribute: which attribute of a message drives the watermark; None for the time
            of its publication.
        id_label: which attribute tells a message that was published twice.
        output_topic, rejected_topic, late_topic: None where rows or lines go to files.
    """

    subscription: str | None = None
    topic: str | None = None
    timestamp_attribute: str | None = None
    id_label: str | None = None
    output_topic: str | None = None
    rejected_topic: str | None = None
    late_topic: str | None = None


class ReadOptions(PipelineOptions):
    """What is read."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse._ActionsContainer) -> None:
        parser.add_argument(
            "--input_file",
            metavar="FILES",
            help="the log: a path, a glob, or several separated by commas; local, gs:// or s3://; "
            ".gz, .bz2 and .zst are uncompressed; - is standard input",
        )
        parser.add_argument(
            "--chunk_size",
            type=_whole_number(1, MAX_CHUNK_LINES),
            metavar="LINES",
            help="take at most so many lines at a time: less memory for less speed",
        )
        parser.add_argument(
            "--event_name",
            default=DEFAULT_EVENT_NAME,
            metavar="NAME",
            help="which events are measured (default: %(default)s)",
        )


class AverageOptions(PipelineOptions):
    """What is averaged."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse._ActionsContainer) -> None:
        parser.add_argument(
            "--window_size",
            type=_whole_number(1, MAX_WINDOW_MINUTES),
            metavar="MINUTES",
            help="each row averages the deliveries of so many minutes before it",
        )
        parser.add_argument(
            "--group_by",
            type=_checked(_group_by),
            metavar="FIELDS",
            help="one series of rows for each distinct value of these fields, separated by commas: "
            + ", ".join(GROUP_FIELDS),
        )
        parser.add_argument(
            "--until",
            choices=("last", "drain"),
            help="end a series after its last event, or with the last row that still holds it "
            "(default: last)",
        )
        parser.add_argument(
            "--max_gap_minutes",
            type=_whole_number(1, MAX_GAP_MINUTES),
            metavar="MINUTES",
            help=f"a longer silence is not filled with rows (default: {LEAP_YEAR_MINUTES}, a leap "
            "year; of input without end 1440, or the window where that is longer)",
        )
        parser.add_argument(
            "--decimals",
            type=_whole_number(0, 15),
            metavar="PLACES",
            help="round averages half-even to so many places",
        )
        parser.add_argument(
            "--plan",
            choices=("rolling", "windows"),
            help="one pass over a series' minutes, or Beam's SlidingWindows over them: the same "
            "rows (default: rolling; of input without end always windows)",
        )


class WriteOptions(PipelineOptions):
    """What is written."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse._ActionsContainer) -> None:
        parser.add_argument(
            "--output_file",
            metavar="FILE",
            help="where the rows go, as NDJSON (default: standard output)",
        )
        parser.add_argument(
            "--empty_value",
            choices=("0", "null", "skip"),
            default="0",
            help="the average of a window without deliveries; skip leaves its row out "
            "(default: %(default)s)",
        )
        parser.add_argument(
            "--num_shards",
            type=_whole_number(1, 99_999),
            metavar="FILES",
            help="write so many files, NAME-SSSSS-of-NNNNN; each is sorted (default: 1)",
        )
        parser.add_argument(
            "--max_rows",
            type=_whole_number(1),
            metavar="ROWS",
            help=f"refuse a result of more rows (default: {DEFAULT_MAX_ROWS})",
        )
        parser.add_argument(
            "--rejected_file",
            metavar="FILE",
            help="where the lines that are no valid events go, with the reasons",
        )
        parser.add_argument(
            "--max_rejected",
            type=_checked(_max_rejected),
            metavar="LIMIT",
            help="give no result where more lines are rejected: a count (100) or a share of the "
            "lines that are not blank (0.5%%); default: fewer than all",
        )
        parser.add_argument(
            "--summary_file",
            metavar="FILE",
            help="where the summary goes, as JSON",
        )


class FollowOptions(PipelineOptions):
    """How files are followed."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse._ActionsContainer) -> None:
        parser.add_argument(
            "--follow",
            action="store_true",
            help="go on reading as files grow and new ones appear, and give each row when its "
            "minute is over and again when late events change it",
        )
        parser.add_argument(
            "--stop_after_idle_seconds",
            type=_whole_number(0, MAX_SECONDS),
            metavar="SECONDS",
            help="end when nothing new came for so long (default: never)",
        )
        parser.add_argument(
            "--out_of_order_seconds",
            type=_whole_number(0, MAX_SECONDS),
            metavar="SECONDS",
            help="the watermark follows the latest event less so long (default: 60)",
        )


class PubSubOptions(PipelineOptions):
    """How Pub/Sub is read and written."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse._ActionsContainer) -> None:
        parser.add_argument(
            "--input_subscription",
            type=_checked(_subscription),
            metavar="SUBSCRIPTION",
            help="take the messages of projects/PROJECT/subscriptions/NAME: each a line",
        )
        parser.add_argument(
            "--input_topic",
            type=_checked(_topic),
            metavar="TOPIC",
            help="the same, of projects/PROJECT/topics/NAME from now on",
        )
        parser.add_argument(
            "--timestamp_attribute",
            metavar="NAME",
            help="the attribute of messages whose time moves the watermark (default: the time of "
            "their publication); an event's own time is always its timestamp",
        )
        parser.add_argument(
            "--id_label",
            metavar="NAME",
            help="on Dataflow: the attribute that tells a message which was published twice",
        )
        for name, what in (("output", "the rows"), ("rejected", "dead letters")):
            parser.add_argument(
                f"--{name}_topic",
                type=_checked(_topic),
                metavar="TOPIC",
                help=f"where {what} go, one a message, in place of a file",
            )
        parser.add_argument(
            "--late_topic",
            type=_checked(_topic),
            metavar="TOPIC",
            help="where events go that come too late (default: with the dead letters)",
        )


class TimelinessOptions(PipelineOptions):
    """What becomes of late and early events of input without end."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse._ActionsContainer) -> None:
        parser.add_argument(
            "--allowed_lateness_seconds",
            type=_whole_number(0, MAX_SECONDS),
            metavar="SECONDS",
            help="an event may come so long after the watermark has passed its minute "
            "(default: 600)",
        )
        parser.add_argument(
            "--max_future_seconds",
            type=_whole_number(0, MAX_SECONDS),
            metavar="SECONDS",
            help="an event further ahead of the clock is rejected (default: 300)",
        )
        parser.add_argument(
            "--retry_seconds",
            type=_whole_number(0, MAX_SECONDS),
            metavar="SECONDS",
            help="try for so long to write to a file again that cannot be written (default: 60)",
        )
        parser.add_argument(
            "--late_file",
            metavar="FILE",
            help="where events go that come too late (default: with the dead letters)",
        )


class RunOptions(PipelineOptions):
    """How it runs."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse._ActionsContainer) -> None:
        parser.add_argument(
            "--detach",
            action="store_true",
            help="on a remote runner: return after submission",
        )
        parser.add_argument("--verbose", action="store_true", help="log the steps")
        parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")


_OWN_OPTIONS = (
    *(ReadOptions, AverageOptions, WriteOptions),
    *(FollowOptions, PubSubOptions, TimelinessOptions, RunOptions),
)


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
    for options in _OWN_OPTIONS:
        group = parser.add_argument_group((options.__doc__ or "").rstrip("."))
        options._add_argparse_args(group)
    return parser


def own_options() -> list[argparse.Action]:
    """The options of this program, in order, without those that only print something."""
    printing = ("help", "version")
    return [action for action in _own_parser()._actions if action.dest not in printing]


def own_option_names() -> set[str]:
    """The options of this program, with their dashes."""
    return _names(_own_parser())


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
    for name in own_names:
        if given.count(name) > 1:
            raise OptionError(f"{name} is given more than once")
    _check_known(others, own_names)
    return PipelineOptions(list(argv))


def _check_known(arguments: Sequence[str], own_names: set[str]) -> None:
    """Raises OptionError for what neither this program nor Beam knows; Beam only warns."""
    beam_parsers: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=beam_parsers.append)
    (parser,) = beam_parsers
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


def settings_of(options: PipelineOptions) -> Settings | FollowSettings | PubSubSettings:
    """Checks what options say together, and types it; of an input without end they are live.

    Raises:
        OptionError: a required one is missing, or two contradict each other.
    """
    read, average = options.view_as(ReadOptions), options.view_as(AverageOptions)
    pubsub = options.view_as(PubSubOptions)
    inputs = [
        name
        for name, value in (
            ("--input_file", read.input_file),
            ("--input_subscription", pubsub.input_subscription),
            ("--input_topic", pubsub.input_topic),
        )
        if value
    ]
    if not inputs:
        raise OptionError("--input_file is required: the path of a log, or - for standard input")
    if len(inputs) > 1:
        raise OptionError(f"{inputs[0]} and {inputs[1]} are both inputs: name one")
    if average.window_size is None:
        raise OptionError(
            f"--window_size is required: a whole number of minutes, 1 to {MAX_WINDOW_MINUTES}"
        )
    if average.max_gap_minutes is not None and average.max_gap_minutes < average.window_size:
        raise OptionError(
            f"--max_gap_minutes={average.max_gap_minutes} may not be smaller than "
            f"--window_size={average.window_size}"
        )
    kind = _kind_of(options)
    _refuse_unused(options, kind)
    patterns = _patterns(read.input_file) if read.input_file else ()
    _check_files(options, patterns)
    if kind in _PUBSUB.kinds:
        return _pubsub_settings(options, kind)
    if kind == RunKind.FOLLOW:
        return _follow_settings(options, patterns)
    return _batch_settings(options, patterns)


def runner_name(options: PipelineOptions) -> str:
    """The name of the runner as Beam takes it: in any case, qualified or not, without "Runner"."""
    name = options.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER
    return str(name.rpartition(".")[2].lower().removesuffix("runner"))


def _kind_of(options: PipelineOptions) -> RunKind:
    here = {name.lower().removesuffix("runner") for name in StandardOptions.LOCAL_RUNNERS}
    is_here = runner_name(options) in here
    if not options.view_as(ReadOptions).input_file:
        return RunKind.PUBSUB_HERE if is_here else RunKind.PUBSUB_JOB
    if options.view_as(FollowOptions).follow:
        return RunKind.FOLLOW
    return RunKind.BATCH_HERE if is_here else RunKind.BATCH_JOB


def _refuse_unused(options: PipelineOptions, kind: RunKind) -> None:
    """Raises OptionError for an option that is given and that this kind of run does not use."""
    given = options.get_all_options()
    for name, use in USED_BY.items():
        is_given = given[name] is not None and given[name] is not False
        if is_given and kind not in use.kinds:
            raise OptionError(f"--{name} is for {use.name}, not for {kind.value}")


def _check_files(options: PipelineOptions, patterns: tuple[str, ...]) -> None:
    write, timeliness = options.view_as(WriteOptions), options.view_as(TimelinessOptions)
    outputs = {
        "output_file": write.output_file,
        "rejected_file": write.rejected_file,
        "summary_file": write.summary_file,
        "late_file": timeliness.late_file,
    }
    for name, path in outputs.items():
        if path == "":
            raise OptionError(f"--{name} names no file")
    for path in (*patterns, *filter(None, outputs.values())):
        if remedy := files.missing_filesystem(path):
            raise OptionError(remedy)
        if path != STANDARD_STREAM and files.lacks_working_folder(path):
            raise OptionError(f"{path}: the working folder has been removed: name a whole path")


def check_not_inputs(outputs: Iterable[tuple[str, str]], patterns: Sequence[str]) -> None:
    """Refuses outputs that an input names or would match, by their paths alone.

    Args:
        outputs: files, each after the option that names it.
        patterns: the paths and globs of the inputs.

    Raises:
        OptionError: one is.
    """
    for name, path in outputs:
        if any(files.names(pattern, path) for pattern in patterns if pattern != STANDARD_STREAM):
            raise OptionError(f"--{name}={path} is one of the inputs")


def check_distinct(outputs: Iterable[tuple[str, str]]) -> None:
    """Refuses outputs that are the same file, by their paths alone.

    Raises:
        OptionError: two are.
    """
    taken: dict[str, str] = {}
    for name, path in outputs:
        identity = path if path == STANDARD_STREAM else files.identity(path)
        same = taken.setdefault(identity, name)
        if same != name:
            raise OptionError(f"--{name} and --{same} are both {path}")


def _batch_settings(options: PipelineOptions, patterns: tuple[str, ...]) -> Settings:
    read = options.view_as(ReadOptions)
    average = options.view_as(AverageOptions)
    write = options.view_as(WriteOptions)
    output_file = write.output_file or STANDARD_STREAM
    num_shards = write.num_shards or 1
    if num_shards > 1 and output_file == STANDARD_STREAM:
        raise OptionError("--num_shards above 1 needs an --output_file to name the shards after")
    max_gap = LEAP_YEAR_MINUTES if average.max_gap_minutes is None else average.max_gap_minutes
    return Settings(
        patterns=patterns,
        rows=SeriesRows(average.window_size, average.until or "last", max_gap, average.decimals),
        plan=average.plan or "rolling",
        event_name=read.event_name,
        group_by=_group_by(average.group_by) if average.group_by is not None else (),
        chunk_size=read.chunk_size,
        output_file=output_file,
        num_shards=num_shards,
        empty_value=write.empty_value,
        max_rows=write.max_rows or DEFAULT_MAX_ROWS,
        rejected_file=write.rejected_file,
        max_rejected=_max_rejected(write.max_rejected) if write.max_rejected else MaxRejected(),
        summary_file=write.summary_file,
    )


def _follow_settings(options: PipelineOptions, patterns: tuple[str, ...]) -> FollowSettings:
    common = _live_settings(options, RunKind.FOLLOW)
    if STANDARD_STREAM in patterns or not all(map(files.is_local, patterns)):
        raise OptionError("--follow takes files of this machine as --input_file")
    write, follow = options.view_as(WriteOptions), options.view_as(FollowOptions)
    if write.summary_file is not None and follow.stop_after_idle_seconds is None:
        raise OptionError("--summary_file is for a run that ends: say --stop_after_idle_seconds")
    return FollowSettings(
        patterns=patterns,
        output_file=write.output_file or STANDARD_STREAM,
        late_file=options.view_as(TimelinessOptions).late_file or write.rejected_file,
        summary_file=write.summary_file,
        **_given(options, ("stop_after_idle_seconds", "out_of_order_seconds")),
        **common,
    )


def _pubsub_settings(options: PipelineOptions, kind: RunKind) -> PubSubSettings:
    common = _live_settings(options, kind)
    write, pubsub = options.view_as(WriteOptions), options.view_as(PubSubOptions)
    late_file = options.view_as(TimelinessOptions).late_file
    for name, file, topic in (
        ("output", write.output_file, pubsub.output_topic),
        ("rejected", write.rejected_file, pubsub.rejected_topic),
        ("late", late_file, pubsub.late_topic),
    ):
        if file and topic:
            raise OptionError(f"--{name}_file and --{name}_topic are both given: name one")
    has_late = late_file or pubsub.late_topic
    return PubSubSettings(
        subscription=pubsub.input_subscription,
        topic=pubsub.input_topic,
        timestamp_attribute=pubsub.timestamp_attribute,
        id_label=pubsub.id_label,
        output_topic=pubsub.output_topic,
        rejected_topic=pubsub.rejected_topic,
        late_topic=pubsub.late_topic if has_late else pubsub.rejected_topic,
        output_file=None if pubsub.output_topic else write.output_file or STANDARD_STREAM,
        late_file=late_file if has_late else write.rejected_file,
        **common,
    )


def _live_settings(options: PipelineOptions, kind: RunKind) -> dict[str, Any]:
    """What the settings of all inputs without end have in common."""
    read = options.view_as(ReadOptions)
    average = options.view_as(AverageOptions)
    write = options.view_as(WriteOptions)
    if average.plan == "rolling":
        raise OptionError(f"--plan=rolling is for {_BATCH.name}, not for {kind.value}")
    return {
        "window_minutes": average.window_size,
        "max_gap_minutes": average.max_gap_minutes,
        "decimals": average.decimals,
        "event_name": read.event_name,
        "group_by": _group_by(average.group_by) if average.group_by is not None else (),
        "empty_value": write.empty_value,
        "rejected_file": write.rejected_file,
        **_given(options, ("allowed_lateness_seconds", "max_future_seconds", "retry_seconds")),
    }


def _given(options: PipelineOptions, names: Iterable[str]) -> dict[str, Any]:
    """The values of those that are given; the settings know the defaults of the others."""
    values = options.get_all_options()
    return {name: values[name] for name in names if values[name] is not None}


def _patterns(text: str) -> tuple[str, ...]:
    # A path that exists is a path, whatever is in its name.
    patterns = (text,) if os.path.exists(text) else tuple(text.split(","))
    if not all(patterns):
        raise OptionError(f"--input_file={text} names a file that has no name")
    return patterns


def _whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    wanted = f"{least} to {most}" if most is not None else f"{least} or more"

    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,18}", text):
            number = int(text)
            if least <= number and (most is None or number <= most):
                return number
        raise argparse.ArgumentTypeError(f"takes a whole number, {wanted}, not {text!r}")

    return parse


def _checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """An argument's type that leaves it as text: runners take options of plain types only."""

    def check(text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return text

    return check


def _group_by(text: str) -> tuple[str, ...]:
    fields = tuple(text.split(","))
    check_group_by(fields)
    return fields


def _subscription(text: str) -> str:
    return _pubsub_name(text, "subscriptions")


def _topic(text: str) -> str:
    return _pubsub_name(text, "topics")


def _pubsub_name(text: str, kind: str) -> str:
    # The rule of Beam's own, which would raise when the pipeline is built.
    if not re.fullmatch(rf"projects/[a-z][-a-z0-9:.]{{4,61}}[a-z0-9]/{kind}/[^/\s]+", text):
        raise ValueError(f"takes projects/PROJECT/{kind}/NAME, not {text!r}")
    return text


def _max_rejected(text: str) -> MaxRejected:
    if re.fullmatch(r"[0-9]{1,18}", text):
        return MaxRejected(count=int(text))
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,15})?%", text):
        share = Decimal(text[:-1]) / 100
        if share <= 1:
            return MaxRejected(share=share)
    raise ValueError(f"takes a count (100) or a share (0.5%), not {text!r}")
