"""The command with --follow, as a process on Prism: what it writes, and how it ends."""

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import oracle
import pytest
from copies import CHECKOUT
from examples import CHALLENGE_DRAIN, CHALLENGE_EVENTS, CHALLENGE_ROWS, line
from processes import running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.prism]

_WINDOW = "--window_size=10"


def _revised(rows: bytes, revision: int = 0) -> list[bytes]:
    """Rows as batch writes them, each with a revision."""
    return [row[:-1] + b', "revision": %d}' % revision for row in rows.splitlines()]


@pytest.fixture
def environment(prism_binary: str, tmp_path: Path) -> dict[str, str]:
    """Where Prism is: a program that tells its process before it becomes it."""
    teller = tmp_path / "prism"
    teller.write_text(f'#!/bin/sh\necho $$ > "{tmp_path}/prism.pid"\nexec "{prism_binary}" "$@"\n')
    teller.chmod(0o755)
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "PRISM_BIN": str(teller)}


def _is_running(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def _following(
    folder: Path, environment: dict[str, str], *arguments: str, stderr: int = subprocess.PIPE
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "pipeline", "--follow", _WINDOW, *arguments]
    return running(command, folder, environment, stderr)


def _read(process: subprocess.Popen[bytes], awaited: Sequence[bytes]) -> set[bytes]:
    """The lines on standard output, until all that are awaited have come, in any order."""
    assert process.stdout is not None
    lines: set[bytes] = set()
    while not lines >= {*awaited}:
        each = process.stdout.readline()
        assert each.endswith(b"\n"), f"it ended before {awaited}: {lines}"
        assert each[:-1] not in lines, "a row came twice"
        lines.add(each[:-1])
    return lines


def test_a_finished_file_gives_the_rows_of_batch(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS.rstrip(b"\n"))
    options = ("--input_file=events.json", "--stop_after_idle_seconds=1")
    with _following(tmp_path, environment, *options, "--summary_file=summary.json") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert sorted(out.splitlines()) == _revised(CHALLENGE_ROWS + CHALLENGE_DRAIN)
    summary = json.loads((tmp_path / "summary.json").read_text())
    expected = {"lines": 3, "accepted": 3, "rejected": 0, "late": 0, "rows": 23, "series": 1}
    assert {name: summary[name] for name in expected} == expected
    assert b"3 lines: 3 accepted" in err
    assert not _is_running(tmp_path / "prism.pid")


def test_rows_come_as_the_file_grows_and_again_when_late_events_change_them(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    log = tmp_path / "events.json"
    first, second, third = CHALLENGE_EVENTS.splitlines(keepends=True)

    def append(data: bytes) -> None:
        with log.open("ab") as stream:
            stream.write(data)

    options = ("--input_file=*.json", "--rejected_file=letters")
    with _following(tmp_path, environment, *options) as process:
        append(first)
        append(line(timestamp='"2018-12-26 18:14:30"', duration="20") + b"\n")
        given = _revised(CHALLENGE_ROWS)[:3]
        assert _read(process, given) == {*given}
        append(second[:50])
        append(second[50:])
        given = _revised(CHALLENGE_ROWS)[3:4]
        assert _read(process, given) == {*given}
        # A minute late; an hour late; and no event at all.
        append(line(timestamp='"2018-12-26 18:13:00"', duration="50") + b"\n")
        append(line(timestamp='"2018-12-26 17:00:00"') + b"\nno event\n")
        append(third)
        revised = b'{"date": "2018-12-26 18:14:00", "average_delivery_time": 35, "revision": 1}'
        last = b'{"date": "2018-12-26 18:21:00", "average_delivery_time": 30.25, "revision": 0}'
        rows = _read(process, [revised, last])
        assert {row for row in rows if not row.endswith(b'"revision": 0}')} == {revised}
        process.terminate()
        process.wait()
    letters = [json.loads(each) for each in (tmp_path / "letters").read_text().splitlines()]
    assert sorted(letter["errors"][0]["type"] for letter in letters) == ["json_invalid", "late"]


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_it_ends_when_asked_to_with_whole_lines_and_no_process_left(
    sent: int, code: int, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    options = ("--input_file=events.json", "--output_file=rows.json")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with _following(tmp_path, {**environment, "TMPDIR": str(scratch)}, *options) as process:
        wait_for(lambda: b"18:22" in _content(tmp_path / "rows.json"), process)
        process.send_signal(sent)
        _, err = process.communicate()
    assert process.returncode == code
    assert err == b""
    assert _content(tmp_path / "rows.json").endswith(b"}\n")
    assert not _is_running(tmp_path / "prism.pid")
    assert [*scratch.iterdir()] == []


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_a_terminal_shows_how_it_is_getting_on(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "events.json").write_bytes(b"no event\n" + CHALLENGE_EVENTS)
    terminal, standard_error = pty.openpty()
    environment = {**environment, "COLUMNS": "200"}
    options = ("--input_file=events.json", "--rejected_file=letters")
    with _following(tmp_path, environment, *options, stderr=standard_error):
        os.close(standard_error)
        shown = b""
        while b"4 lines, 12 rows, watermark 2018-12-26 18:22:19 (" not in shown:
            shown += os.read(terminal, 4096)
    os.close(terminal)
    assert b" days behind the clock), 1 rejected, 0 late" in shown
    assert b"\n" not in shown


def test_beam_s_timeout_of_a_request_does_not_end_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    events = tmp_path / "events.json"
    events.write_bytes(CHALLENGE_EVENTS)
    arguments = ("--input_file=events.json", "--job_server_timeout=1")
    with _following(tmp_path, environment, *arguments, "--stop_after_idle_seconds=3") as process:
        assert process.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a killed run leaves its Prism")
def test_no_process_is_left_when_it_is_killed(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    with _following(tmp_path, environment, "--input_file=events.json") as process:
        _read(process, _revised(CHALLENGE_ROWS)[:12])
        process.kill()
        process.wait()
    pause = threading.Event()
    while _is_running(tmp_path / "prism.pid"):
        pause.wait(0.05)


def test_it_says_so_when_prism_is_killed(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    with _following(tmp_path, environment, "--input_file=events.json") as process:
        _read(process, _revised(CHALLENGE_ROWS)[:12])
        os.kill(int((tmp_path / "prism.pid").read_text()), signal.SIGKILL)
        _, err = process.communicate()
    assert process.returncode == 1
    (message,) = err.decode().splitlines()
    assert message.startswith("unbabel_cli: error: Prism has ended before the run")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("option", [(), ("--debug",)], ids=str)
def test_a_full_disk_ends_it_with_one_line_and_debug_shows_where(
    option: tuple[str, ...], tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    arguments = ("--input_file=events.json", "--output_file=/dev/full", *option)
    with _following(tmp_path, environment, *arguments) as process:
        _, err = process.communicate()
    assert process.returncode == 2
    message = b"unbabel_cli: error: /dev/full: cannot be written: no space left on device\n"
    if option:
        assert message in err
        assert b"Traceback" in err
    else:
        assert err == message


@pytest.mark.parametrize("option", [(), ("--rejected_file=letters",)], ids=str)
def test_what_is_not_written_is_shown(
    option: tuple[str, ...], tmp_path: Path, environment: dict[str, str]
) -> None:
    late = line(timestamp='"2018-12-26 17:00:00"')
    (tmp_path / "a.json").write_bytes(CHALLENGE_EVENTS + b"no event\n")
    with _following(tmp_path, environment, "--input_file=*.json", *option) as process:
        _read(process, _revised(CHALLENGE_ROWS)[:12])
        (tmp_path / "b.json").write_bytes(late + b"\n")
        if option:
            wait_for(lambda: _content(tmp_path / "letters").count(b"\n") == 2, process)
            process.terminate()
            _, err = process.communicate()
            assert err == b""
        else:
            assert process.stderr is not None
            late_shown, rejected_shown = sorted(process.stderr.readline() for _ in range(2))
            place = f"rejected: a.json, line at byte {len(CHALLENGE_EVENTS)}: Invalid JSON"
            assert place.encode() in rejected_shown
            assert b"late: b.json, line at byte 0: timestamp: the watermark had" in late_shown


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--output_file=a.json"], "--output_file=a.json is one of the inputs"),
        (["--rejected_file=b.json"], "--rejected_file=b.json is one of the inputs"),
        (["--output_file=x", "--rejected_file=x"], "are both x"),
        (["--stop_after_idle_seconds=1", "--summary_file=a.json"], "--summary_file=a.json is one"),
        (["--output_file=none/rows"], "there is no folder"),
        (["--output_file=.", "--rejected_file=letters"], "is a folder"),
    ],
    ids=str,
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_made(
    options: list[str], named: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "a.json").write_bytes(CHALLENGE_EVENTS)
    with _following(tmp_path, environment, "--input_file=*.json", *options) as process:
        _, err = process.communicate()
    assert process.returncode == 2
    (message,) = err.decode().splitlines()
    assert named in message
    assert [path.name for path in tmp_path.iterdir() if path.name != "prism"] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == CHALLENGE_EVENTS


def test_it_ends_when_its_reader_has_gone(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    with _following(tmp_path, environment, "--input_file=events.json") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 141


@pytest.mark.clause("5.13")
@pytest.mark.parametrize("is_standard_input", [True, False], ids=["standard input", "pipe"])
def test_what_another_program_prints_is_followed_up_to_its_end(
    is_standard_input: bool, tmp_path: Path, environment: dict[str, str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    name = "-" if is_standard_input else "pipe"
    options = (f"--input_file={name}", "--output_file=rows.json", "--summary_file=summary.json")
    first, *others = CHALLENGE_EVENTS.splitlines(keepends=True)
    command = [sys.executable, "-m", "pipeline", "--follow", _WINDOW, *options]
    if is_standard_input:
        command = ["sh", "-c", f"exec {' '.join(command)} < pipe"]
    with running(command, tmp_path, environment) as process, pipe.open("wb", buffering=0) as writer:
        writer.write(first + others[0])
        wait_for(lambda: b"18:14" in _content(tmp_path / "rows.json"), process)
        writer.write(others[1].rstrip(b"\n"))
        writer.close()
        _, err = process.communicate()
    assert process.returncode == 0, err
    rows = sorted(_content(tmp_path / "rows.json").splitlines())
    assert rows == _revised(CHALLENGE_ROWS + CHALLENGE_DRAIN)
    assert json.loads((tmp_path / "summary.json").read_text())["lines"] == 3


@pytest.mark.clause("5.11")
def test_final_rows_are_those_of_batch_when_no_event_can_change_them(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    options = ("--input_file=events.json", "--emit=final", "--allowed_lateness_seconds=300")
    with _following(tmp_path, environment, *options) as process:
        # The watermark is 18:22:19, and five minutes less are 18:17:19.
        given = CHALLENGE_ROWS.splitlines()[:7]
        assert _read(process, given) == {*given}
        with (tmp_path / "events.json").open("ab") as stream:
            stream.write(line(timestamp='"2018-12-26 18:17:00"', duration="100") + b"\n")
            stream.write(line(timestamp='"2018-12-26 18:24:20"') + b"\n")
        late_but_in_time = (
            b'{"date": "2018-12-26 18:18:00", "average_delivery_time": 50.333333333333336}'
        )
        assert late_but_in_time in _read(process, [late_but_in_time])


def test_ten_series_of_a_day_are_those_of_batch(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    start = datetime(2018, 12, 26, tzinfo=timezone.utc)
    lines = [
        line(
            timestamp=f'"{start + timedelta(seconds=11 * index):%Y-%m-%d %H:%M:%S}"',
            client_name=f'"client {index % 10}"',
            duration=str(index % 97),
        )
        for index in range(500)
    ]
    for part in range(2):
        (tmp_path / f"{part}.json").write_bytes(b"\n".join(lines[part::2]) + b"\n")
    options = ("--input_file=*.json", "--stop_after_idle_seconds=1", "--group_by=client_name")
    with _following(tmp_path, environment, *options) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    expected = oracle.output(
        b"\n".join(lines), 10, group_by=("client_name",), until="drain", max_gap=1440
    )
    assert {*_revised(expected)} <= {*out.splitlines()}


def test_what_cannot_be_followed_under_a_pattern_does_not_end_the_run(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    os.mkfifo(logs / "pipe.json")
    (logs / "link.json").symlink_to("nowhere")
    with gzip.open(logs / "events.json.1.gz", "wb") as stream:
        stream.write(CHALLENGE_EVENTS)
    (logs / "events.json").write_bytes(CHALLENGE_EVENTS)
    options = ["--input_file=logs/*", "--output_file=rows.json", "--stop_after_idle_seconds=0"]
    with _following(tmp_path, environment, *options) as process:
        _, err = process.communicate()
    assert process.returncode == 0, err
    warnings = [each for each in err.decode().splitlines() if "is left out for now" in each]
    assert [each.split(": ")[2] for each in warnings] == [
        *("logs/events.json.1.gz", "logs/link.json", "logs/pipe.json"),
    ]
    assert b"3 lines: 3 accepted" in err


@pytest.mark.parametrize(
    ("arguments", "prism", "message"),
    [
        (["--input_file=a.json"], "/nowhere/prism", "PRISM_BIN=/nowhere/prism: there is no such"),
        (["--input_file=a.json"], sys.executable, "is no Prism"),
        (["--input_file=b.gz"], None, "a compressed file cannot be followed"),
        (["--input_file=*.json", "--output_file=rows.json"], None, "is one of the inputs"),
        (["--input_file=a.json", "--output_file=no/rows"], None, "no/rows: there is no folder"),
        (["--input_file=a.json", "--runner=FlinkRunner"], None, "--follow runs on Prism"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_the_exit_code_2(
    arguments: list[str],
    prism: str | None,
    message: str,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    (tmp_path / "a.json").touch()
    (tmp_path / "b.gz").touch()
    changed = environment if prism is None else {**environment, "PRISM_BIN": prism}
    with _following(tmp_path, changed, *arguments) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(b"unbabel_cli: error: ")
    assert err.count(b"\n") == 1
    assert message.encode() in err
