"""The options: what each sets, and how a wrong one is refused in one line that names it."""

import json
import os
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)
from hypothesis import given
from hypothesis import strategies as st

from pipeline import __version__
from pipeline.cli.options import (
    OPTIONS,
    USED_BY,
    OwnOptions,
    parse_options,
    run_kind_of,
    settings_of,
)
from pipeline.cli.settings import Settings
from pipeline.core.errors import ExitCode, OptionError
from pipeline.core.options import RunKind
from pipeline.core.rejection import MaxRejected
from pipeline.core.row_rules import LEAP_YEAR_MINUTES, RowRules
from pipeline.sinks.appended_lines import AppendedLines
from pipeline.sinks.pubsub import PubSubTopic
from pipeline.sinks.sorted_files import SortedFiles
from pipeline.sources import SOURCES
from pipeline.sources.growing_files import GrowingFiles
from pipeline.sources.pubsub import PubSubMessages
from pipeline.sources.whole_files import WholeFiles

_REQUIRED = ["--input_file=events.json", "--window_size=10"]

# A value that each option takes; None where it takes none.
_VALUES = {
    "--input_file": "events.json",
    "--window_size": "10",
    "--output_file": "rows.json",
    "--chunk_size": "50000",
    "--measures": "mean,p95",
    "--where": "client_name=airliberty",
    "--group_by": "client_name",
    "--rows_from": "2018-12-26",
    "--rows_before": "2018-12-27 18:11",
    "--output_format": "csv",
    "--event_name": "opened",
    "--plan": "windows",
    "--until": "drain",
    "--empty_value": "null",
    "--decimals": "2",
    "--max_gap_minutes": "1440",
    "--rejected_file": "rejected.json",
    "--max_rejected": "100",
    "--summary_file": "summary.json",
    "--max_rows": "5",
    "--num_shards": "3",
    "--follow": None,
    "--stop_after_idle_seconds": "3",
    "--out_of_order_seconds": "5",
    "--state_dir": "state",
    "--emit": "final",
    "--allowed_lateness_seconds": "7",
    "--max_future_seconds": "9",
    "--retry_seconds": "11",
    "--late_file": "late.json",
    "--input_subscription": "projects/my-project/subscriptions/events",
    "--input_topic": "projects/my-project/topics/events",
    "--timestamp_attribute": "sent_at",
    "--id_label": "id",
    "--output_topic": "projects/my-project/topics/rows",
    "--rejected_topic": "projects/my-project/topics/rejected",
    "--late_topic": "projects/my-project/topics/late",
    "--detach": None,
    "--verbose": None,
    "--debug": None,
}


def _settings(*arguments: str) -> Settings:
    """What the required options and others give."""
    return settings_of(parse_options([*_REQUIRED, *arguments]))


def _refusal(*arguments: str) -> str:
    """Why a command line is refused: one line."""
    with pytest.raises(OptionError) as refusal:
        settings_of(parse_options(arguments))
    message = str(refusal.value)
    assert message.splitlines() == [message]
    assert refusal.value.exit_code == ExitCode.USAGE
    return message


def _argument(name: str, value: str | None) -> str:
    return name if value is None else f"{name}={value}"


# ---------------------------------------------------------------------------------------------
# What options set


def test_the_two_required_options_leave_the_defaults_of_the_contract() -> None:
    assert _settings() == Settings(
        source=WholeFiles(("events.json",), chunk_size=None),
        window_minutes=(10,),
        rows=SortedFiles("-", num_shards=1),
        rejected=None,
        summary_file=None,
        event_name="translation_delivered",
        group_by=(),
        empty_value="0",
        max_rejected=MaxRejected(),
        max_rows=100_000_000,
    )
    blocks = _settings().moving_average().blocks()
    assert blocks.rows == [RowRules(10, "last", LEAP_YEAR_MINUTES, None)]
    assert blocks.plan == "rolling"


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["--output_file=rows.json"], {"rows": SortedFiles("rows.json")}),
        (["--chunk_size=50000"], {"source": WholeFiles(("events.json",), 50_000)}),
        (["--group_by=client_name"], {"group_by": ("client_name",)}),
        (
            ["--group_by=target_language,source_language,client_name,translation_id"],
            {
                "group_by": (
                    "target_language",
                    "source_language",
                    "client_name",
                    "translation_id",
                )
            },
        ),
        (["--event_name=opened"], {"event_name": "opened"}),
        (["--plan=rolling"], {"plan": "rolling"}),
        (["--plan=windows"], {"plan": "windows"}),
        (["--until=last"], {"until": "last"}),
        (["--until=drain"], {"until": "drain"}),
        (["--max_gap_minutes=10"], {"max_gap_minutes": 10}),
        (["--decimals=0"], {"decimals": 0}),
        (["--decimals=15"], {"decimals": 15}),
        (["--empty_value=0"], {"empty_value": "0"}),
        (["--empty_value=null"], {"empty_value": "null"}),
        (["--empty_value=skip"], {"empty_value": "skip"}),
        (["--rejected_file=bad.json"], {"rejected": SortedFiles("bad.json")}),
        (["--summary_file=-"], {"summary_file": "-"}),
        (["--max_rows=1"], {"max_rows": 1}),
        (["--num_shards=3", "--output_file=o"], {"rows": SortedFiles("o", 3)}),
        (["--max_rejected=0"], {"max_rejected": MaxRejected(count=0)}),
        (["--max_rejected=100"], {"max_rejected": MaxRejected(count=100)}),
        (["--max_rejected=0%"], {"max_rejected": MaxRejected(share=Decimal(0))}),
        (["--max_rejected=0.5%"], {"max_rejected": MaxRejected(share=Decimal("0.005"))}),
        (["--max_rejected=100%"], {"max_rejected": MaxRejected(share=Decimal(1))}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_an_option_sets_its_setting_and_no_other(
    arguments: list[str], changed: dict[str, Any]
) -> None:
    assert vars(_settings(*arguments)) == {**vars(_settings()), **changed}


def test_the_options_are_those_of_the_contract() -> None:
    assert {f"--{name}" for name in OPTIONS} == {*_VALUES}


@pytest.mark.parametrize("name", ["detach", "verbose", "debug"])
def test_a_switch_is_off_until_it_is_given(name: str) -> None:
    off, on = parse_options([]), parse_options([f"--{name}"])
    assert [getattr(each.view_as(OwnOptions), name) for each in (off, on)] == [False, True]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, value in _VALUES.items() if value is not None]
)
def test_a_value_may_follow_an_equals_sign_or_stand_by_itself(name: str, value: str) -> None:
    apart, together = parse_options([name, value]), parse_options([f"{name}={value}"])
    assert apart.get_all_options() == together.get_all_options()
    found = apart.get_all_options()[name[2:]]
    assert [str(each) for each in (found if isinstance(found, list) else [found])] == [value]


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("a.json", ("a.json",)),
        ("a.json,b/*.json,-", ("a.json", "b/*.json", "-")),
        ("gone.json,a,b.json", ("gone.json", "a", "b.json")),
        ("-", ("-",)),
        ("a,b.json", ("a,b.json",)),
    ],
)
def test_inputs_are_separated_by_commas_unless_such_a_path_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, patterns: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.json").touch()
    options = parse_options([f"--input_file={text}", "--window_size=10"])
    assert settings_of(options).source.patterns == patterns


def test_options_are_of_plain_types_so_that_every_runner_takes_them() -> None:
    arguments = [_argument(*each) for each in _VALUES.items()]
    given = parse_options(arguments).get_all_options(drop_default=True)
    assert json.loads(json.dumps(given)) == given
    assert {f"--{name}" for name in given} >= {*_VALUES}


@pytest.mark.parametrize(
    ("argument", "view", "name", "value"),
    [
        ("--runner=FnApiRunner", StandardOptions, "runner", "FnApiRunner"),
        ("--temp_location=gs://b/t", GoogleCloudOptions, "temp_location", "gs://b/t"),
        ("--job_name=averages", GoogleCloudOptions, "job_name", "averages"),
        ("--streaming", StandardOptions, "streaming", True),
    ],
)
def test_an_option_of_beam_passes_through(
    argument: str, view: type[PipelineOptions], name: str, value: object
) -> None:
    options = parse_options([*_REQUIRED, argument])
    assert getattr(options.view_as(view), name) == value


# ---------------------------------------------------------------------------------------------
# Numbers


@given(st.integers(1, 527_040))
def test_a_window_is_a_whole_number_of_minutes_up_to_a_leap_year(minutes: int) -> None:
    options = parse_options(["--input_file=events.json", f"--window_size={minutes}"])
    assert settings_of(options).window_minutes == (minutes,)


_NO_WHOLE_NUMBERS = [
    "",
    "ten",
    "1.0",
    "1e3",
    " 10",
    "10 ",
    "+10",
    "1_000",
    "0x10",
    "\u0661",
    "9" * 19,
]
_RANGES = {
    "--window_size": ["0", "-1", "527041"],
    "--chunk_size": ["0", "-1", "1000000001"],
    "--decimals": ["-1", "16"],
    "--max_gap_minutes": ["0", "4231077121"],
    "--allowed_lateness_seconds": ["-1", "1000000001"],
    "--max_future_seconds": ["-1", "1000000001"],
    "--out_of_order_seconds": ["-1", "1000000001"],
    "--retry_seconds": ["-1", "1000000001"],
    "--stop_after_idle_seconds": ["-1", "1000000001"],
    "--max_rows": ["0", "-1"],
    "--num_shards": ["0", "100000"],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in _RANGES.items() for value in values + _NO_WHOLE_NUMBERS],
)
def test_what_is_no_whole_number_in_range_is_refused(name: str, value: str) -> None:
    arguments = ["--input_file=events.json", f"{name}={value}"]
    message = _refusal(*arguments)
    assert name in message
    assert repr(value) in message
    assert "whole number" in message


@pytest.mark.parametrize("value", ["", "-1", "0.5", "101%", "100.1%", "-1%", "%", "1e1%", "half"])
def test_what_is_neither_a_count_nor_a_share_is_refused(value: str) -> None:
    message = _refusal(*_REQUIRED, f"--max_rejected={value}")
    assert "--max_rejected" in message
    assert "(0.5%)" in message
    assert repr(value) in message


# ---------------------------------------------------------------------------------------------
# Refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--input_file", "required"]),
        (["--window_size=10"], ["--input_file", "required"]),
        (["--input_file=", "--window_size=10"], ["--input_file"]),
        (["--input_file=events.json"], ["--window_size", "required", "minutes"]),
        (["--input_file=events.json", "--window_size"], ["--window_size"]),
        ([*_REQUIRED, "--group_by=client"], ["--group_by", "client_name", "'client'"]),
        ([*_REQUIRED, "--group_by="], ["--group_by", "client_name"]),
        ([*_REQUIRED, "--group_by=duration"], ["--group_by", "client_name", "'duration'"]),
        ([*_REQUIRED, "--group_by=client_name,client_name"], ["--group_by", "twice"]),
        ([*_REQUIRED, "--until=end"], ["--until", "'end'", "last", "drain"]),
        ([*_REQUIRED, "--empty_value=none"], ["--empty_value", "'none'", "null", "skip"]),
        ([*_REQUIRED, "--plan=fast"], ["--plan", "'fast'", "rolling", "windows"]),
        ([*_REQUIRED, "--max_gap_minutes=9"], ["--max_gap_minutes=9", "--window_size=10"]),
        ([*_REQUIRED, "--num_shards=2"], ["--num_shards", "--output_file"]),
        ([*_REQUIRED, "--output_file="], ["--output_file"]),
        ([*_REQUIRED, "--rejected_file="], ["--rejected_file"]),
        ([*_REQUIRED, "--summary_file="], ["--summary_file"]),
        (["--input_file=a,,b", "--window_size=10"], ["--input_file", "a,,b"]),
        (["--input_file=a,", "--window_size=10"], ["--input_file", "a,"]),
        ([*_REQUIRED, "--verbose=yes"], ["--verbose"]),
        ([*_REQUIRED, "--direct_num_workers=many"], ["--direct_num_workers", "'many'"]),
    ],
    ids=lambda each: " ".join(each),
)
def test_a_wrong_command_line_is_refused_in_one_line_that_names_the_option(
    arguments: list[str], words: list[str]
) -> None:
    message = _refusal(*arguments)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("--windowsize=10", "--window_size"),
        ("--window-size=10", "--window_size"),
        ("--inputfile=x", "--input_file"),
        ("--ouput_file=x", "--output_file"),
        ("--group-by=client_name", "--group_by"),
        ("--max_gap=10", "--max_gap_minutes"),
        ("--runer=DirectRunner", "--runner"),
        ("--temp_loc=gs://bucket/temp", "--temp_location"),
    ],
)
def test_a_mistyped_option_is_answered_with_the_one_meant(argument: str, meant: str) -> None:
    message = _refusal(*_REQUIRED, argument)
    assert f"unknown option {argument.partition('=')[0]};" in message
    assert f"did you mean {meant}?" in message


@pytest.mark.clause("6.2")
@pytest.mark.parametrize("argument", ["--zzzzzz", "-z", "--zzzzzz=1"])
def test_an_option_like_no_other_is_refused_without_a_guess(argument: str) -> None:
    assert _refusal(*_REQUIRED, argument) == f"unknown option {argument.partition('=')[0]}"


def test_an_argument_without_an_option_is_refused() -> None:
    assert _refusal(*_REQUIRED, "more.json") == "unknown argument more.json"


@pytest.mark.parametrize("name", [*_VALUES, "--runner", "--job_name"])
def test_an_abbreviation_is_unknown(name: str) -> None:
    abbreviation = name[:-1]
    value = _VALUES.get(name, "x")
    message = _refusal(*_REQUIRED, _argument(abbreviation, value))
    assert message.startswith(f"unknown option {abbreviation}")


@pytest.mark.clause("6.2")
@pytest.mark.parametrize("name", [name for name in _VALUES if not OPTIONS[name[2:]].is_repeatable])
@pytest.mark.parametrize("apart", [False, True])
def test_an_own_option_given_twice_is_refused(name: str, apart: bool) -> None:
    value = _VALUES[name]
    again = [name, value] if apart and value is not None else [_argument(name, value)]
    message = _refusal(_argument(name, value), *again)
    assert message == f"{name} is given more than once"


@pytest.mark.parametrize("option", ["--input_file", "--output_file", "--rejected_file"])
@pytest.mark.parametrize("scheme", ["http", "ftp", "hdfs", "nosuch"])
def test_a_path_that_no_filesystem_opens_is_refused_in_one_line(option: str, scheme: str) -> None:
    url = f"{scheme}://host/events.json"
    others = [each for each in _REQUIRED if not each.startswith(option)]
    message = _refusal(*others, f"{option}={url}")
    assert url in message
    assert "no filesystem" in message


# ---------------------------------------------------------------------------------------------
# Help


def _printed(capsys: pytest.CaptureFixture[str], argument: str) -> str:
    with pytest.raises(SystemExit) as leaving:
        parse_options([argument])
    assert leaving.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


@pytest.mark.parametrize("argument", ["--help", "-h"])
def test_help_tells_of_every_option_and_its_default(
    capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    text = " ".join(_printed(capsys, argument).split())
    for name in _VALUES:
        # Once in the usage line, and once with what it means.
        assert len(re.findall(rf"{name}\b", text)) >= 2, name
    for default in ("translation_delivered", "527040", "100000000", "standard output", "--runner"):
        assert default in text


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert _printed(capsys, "--version").split()[-1] == __version__


# ---------------------------------------------------------------------------------------------
# Followed input


def test_followed_input_has_a_source_and_sinks_of_its_own() -> None:
    options = ("--follow", "--rejected_file=rejected.json", "--group_by=client_name")
    assert settings_of(parse_options([*_REQUIRED, *options])) == Settings(
        source=GrowingFiles(("events.json",)),
        window_minutes=(10,),
        rows=AppendedLines("-"),
        group_by=("client_name",),
        rejected=AppendedLines("rejected.json"),
        late=AppendedLines("rejected.json"),
    )
    options = (
        *("--follow", "--stop_after_idle_seconds=0", "--out_of_order_seconds=0"),
        *("--allowed_lateness_seconds=0", "--max_future_seconds=0", "--late_file=late.json"),
        *("--max_gap_minutes=20", "--decimals=2", "--empty_value=null", "--event_name=opened"),
        *("--output_file=rows.json", "--summary_file=summary.json", "--retry_seconds=0"),
    )
    assert settings_of(parse_options([*_REQUIRED, *options])) == Settings(
        source=GrowingFiles(
            ("events.json",),
            out_of_order_seconds=0,
            stop_after_idle_seconds=0,
        ),
        window_minutes=(10,),
        max_gap_minutes=20,
        decimals=2,
        event_name="opened",
        empty_value="null",
        rows=AppendedLines("rows.json", retry_seconds=0),
        late=AppendedLines("late.json", retry_seconds=0),
        summary_file="summary.json",
        allowed_lateness_seconds=0,
        max_future_seconds=0,
    )


def test_only_files_of_this_machine_are_followed() -> None:
    assert "takes files of this machine" in _refusal(
        "--input_file=gs://bucket/events.json", "--window_size=1", "--follow"
    )


@pytest.mark.clause("5.13")
def test_streams_are_followed_alone_and_without_a_memory(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    streams = f"-,{pipe}"
    source = settings_of(
        parse_options([f"--input_file={streams}", "--window_size=1", "--follow"])
    ).source
    assert source == GrowingFiles(("-", str(pipe)))
    run = ("--window_size=1", "--follow")
    assert "own" in _refusal(f"--input_file={pipe},events.json", *run)
    assert "cannot be read again" in _refusal("--input_file=-", *run, "--state_dir=state")


def test_the_summary_of_followed_input_is_of_a_run_that_ends_or_goes_on() -> None:
    run = ("--window_size=1", "--follow", "--summary_file=summary.json")
    assert "ends or goes on" in _refusal("--input_file=events.json", *run)
    for option in ("--stop_after_idle_seconds=1", "--state_dir=state", "--input_file=-"):
        inputs = [] if "input" in option else ["--input_file=events.json"]
        settings_of(parse_options([*inputs, *run, option]))


@pytest.mark.parametrize("option", ["--emit=final", "--state_dir=state"])
def test_what_only_the_plan_rolling_can_do_is_refused_for_the_other(option: str) -> None:
    name = option.partition("=")[0]
    assert re.search(
        f"{name}.* is for --plan=rolling",
        _refusal(*_REQUIRED, "--follow", option, "--plan=windows"),
    )


# ---------------------------------------------------------------------------------------------
# Pub/Sub

_SUBSCRIPTION = "projects/my-project/subscriptions/events"
_SUBSCRIBED = (f"--input_subscription={_SUBSCRIPTION}", "--window_size=10")
_TOPIC = "projects/my-project/topics/"


def test_a_subscription_has_a_source_and_sinks_of_its_own() -> None:
    assert settings_of(parse_options(_SUBSCRIBED)) == Settings(
        source=PubSubMessages(_SUBSCRIPTION), window_minutes=(10,), rows=AppendedLines("-")
    )
    options = (
        *("--timestamp_attribute=sent_at", "--id_label=id", "--allowed_lateness_seconds=0"),
        *(f"--output_topic={_TOPIC}rows", f"--rejected_topic={_TOPIC}rejected"),
    )
    job = [*_SUBSCRIBED, "--runner=DataflowRunner"]
    assert settings_of(parse_options([*job, *options])) == Settings(
        source=PubSubMessages(_SUBSCRIPTION, timestamp_attribute="sent_at", id_label="id"),
        window_minutes=(10,),
        allowed_lateness_seconds=0,
        rows=PubSubTopic(f"{_TOPIC}rows"),
        rejected=PubSubTopic(f"{_TOPIC}rejected"),
        late=PubSubTopic(f"{_TOPIC}rejected"),
    )


@pytest.mark.parametrize(
    ("options", "places"),
    [
        (
            [f"--rejected_topic={_TOPIC}x"],
            {"rejected": PubSubTopic(f"{_TOPIC}x"), "late": PubSubTopic(f"{_TOPIC}x")},
        ),
        (["--rejected_file=x"], {"rejected": AppendedLines("x"), "late": AppendedLines("x")}),
        (
            [f"--rejected_topic={_TOPIC}x", "--late_file=y"],
            {"rejected": PubSubTopic(f"{_TOPIC}x"), "late": AppendedLines("y")},
        ),
        (
            ["--rejected_file=x", f"--late_topic={_TOPIC}y"],
            {"rejected": AppendedLines("x"), "late": PubSubTopic(f"{_TOPIC}y")},
        ),
    ],
    ids=" ".join,
)
def test_late_events_go_with_the_dead_letters_unless_they_have_a_place(
    options: list[str], places: dict[str, Any]
) -> None:
    settings = settings_of(parse_options([*_SUBSCRIBED, *options]))
    assert {"rejected": settings.rejected, "late": settings.late} == places


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input_file=a"], "--input_file and --input_subscription are both inputs: name one"),
        (
            [f"--input_topic={_TOPIC}x"],
            "--input_subscription and --input_topic are both inputs: name one",
        ),
        (
            ["--late_file=x", f"--late_topic={_TOPIC}x"],
            "--late_file and --late_topic are both given: name one",
        ),
        (
            ["--output_file=-", f"--output_topic={_TOPIC}x"],
            "--output_file and --output_topic are both given: name one",
        ),
    ],
    ids=str,
)
def test_what_contradicts_a_subscription_is_refused(arguments: list[str], message: str) -> None:
    assert _refusal(*_SUBSCRIBED, *arguments) == message


@pytest.mark.parametrize(
    "name",
    [
        "events",
        "projects/my-project/topics/x",
        "projects/p/subscriptions/x",
        "projects/my-project/subscriptions/",
    ],
)
def test_a_subscription_has_a_full_name(name: str) -> None:
    assert _refusal(f"--input_subscription={name}", "--window_size=10") == (
        f"argument --input_subscription: takes projects/PROJECT/subscriptions/NAME, not {name!r}"
    )


# ---------------------------------------------------------------------------------------------
# Used or refused

_JOB = "--runner=DataflowRunner"
_RUN_KINDS = [*dict.fromkeys(kind for each in SOURCES for kind in (each.HERE, each.AS_JOB))]
_RUNS = {
    WholeFiles.HERE: [*_REQUIRED],
    WholeFiles.AS_JOB: [*_REQUIRED, _JOB],
    GrowingFiles.HERE: [*_REQUIRED, "--follow"],
    PubSubMessages.HERE: [*_SUBSCRIBED],
    PubSubMessages.AS_JOB: [*_SUBSCRIBED, _JOB],
}
_A_TOPIC = f"--output_topic={_TOPIC}rows"
_A_FOLDER = "--output_file=gs://bucket/rows/"
# What goes along with an option, and what makes way for it.
_WITH: dict[str, dict[RunKind, list[str]]] = {
    "--num_shards": {kind: ["--output_file=o"] for kind in _RUN_KINDS if kind.is_bounded},
    "--summary_file": {GrowingFiles.HERE: ["--stop_after_idle_seconds=1"]},
}
_WITHOUT = {"--input_topic": _SUBSCRIBED[0]}


def test_every_kind_of_run_is_tried() -> None:
    assert {*_RUNS} == {*_RUN_KINDS}
    for kind, run in _RUNS.items():
        rows = [_A_TOPIC] if kind == PubSubMessages.AS_JOB else []
        options = parse_options([*run, *rows])
        assert run_kind_of(settings_of(options).source, options) == kind


def _said(arguments: Sequence[str]) -> tuple[object, ...]:
    """All that a run learns from its options."""
    options = parse_options(arguments)
    run, test = options.view_as(OwnOptions), options.view_as(pipeline_options.TestOptions)
    return settings_of(options), run.detach, run.verbose, run.debug, test.dry_run


@pytest.mark.clause("6.2")
@pytest.mark.parametrize("kind", _RUN_KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", [*_VALUES, "--dry_run"])
def test_an_option_is_used_or_refused_by_each_kind_of_run(kind: RunKind, name: str) -> None:
    run = [each for each in _RUNS[kind] if each != _WITHOUT.get(name)]
    if name in ("--follow", *(each.partition("=")[0] for each in run)):
        return  # this is what makes it a run of its kind
    run += _WITH.get(name, {}).get(kind, [])
    value = "True" if name == "--dry_run" else _VALUES[name]
    if kind == PubSubMessages.AS_JOB:
        value = "gs://bucket/other/" if name == "--output_file" else value
        run += [_A_FOLDER] if name not in ("--output_file", "--output_topic") else []
    option = _argument(name, value)
    is_used = USED_BY[name[2:]].includes(kind)
    if not is_used:
        message = _refusal(*run, option)
        assert re.search(rf"{name} (is for|and --input_\w+ are both|are both inputs)", message)
    elif name in ("--output_file", "--output_topic") and kind == PubSubMessages.AS_JOB:
        with_other = [*run, _A_TOPIC if name == "--output_file" else _A_FOLDER]
        assert _said([*run, option]) != _said(with_other)
    elif name != "--plan":
        with_topic = [*run, "--input_topic=projects/my-project/topics/other"]
        assert _said([*run, option]) != _said(with_topic if name in _WITHOUT else run)


def test_what_is_set_to_nothing_counts_as_given() -> None:
    assert "--stop_after_idle_seconds is for" in _refusal(*_REQUIRED, "--stop_after_idle_seconds=0")
