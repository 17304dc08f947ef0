"""The command: what it prints where, how it ends, and what it leaves when all does not go well.

Most calls are made in this process, to be quick. What only a process of its own can show (the
exit code, all that is imported, signals, terminals) is shown by one.
"""

import bz2
import errno
import fcntl
import gzip
import importlib.util
import json
import logging
import lzma
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import oracle
import pyarrow.parquet
import pytest
import zstandard
from copies import CHECKOUT
from examples import CHALLENGE_DRAIN, CHALLENGE_EVENTS, CHALLENGE_ROWS, line

from pipeline.cli.run import run
from pipeline.runners import job_service
from pipeline.sinks.destinations import Destination
from pipeline.storage import files

pytestmark = pytest.mark.slow

_OLD = b"the result of an earlier run\n"
_WINDOW = "--window_size=10"
_CALL = ["--input_file=events.json", _WINDOW]

# Two events three days apart: rows that no pipe and no small disk takes whole.
_THREE_DAYS = b"".join(line(timestamp=f'"2018-12-{day} 00:00"') + b"\n" for day in (26, 29))
_THREE_DAYS_ROWS = oracle.output(_THREE_DAYS, 10)

_DIRTY = b"no event\n\n" + CHALLENGE_EVENTS + line(event_name='"opened"') + b"\n{}\n"
_JSON_ARRAY = json.dumps([json.loads(each) for each in CHALLENGE_EVENTS.splitlines()])
_PRETTY_ARRAY = json.dumps(json.loads(_JSON_ARRAY), indent=2)
_PRETTY_EVENTS = "".join(
    json.dumps(json.loads(each), indent=2) + "\n" for each in CHALLENGE_EVENTS.splitlines()
)

_NOBODY = 65_534
_TIMEOUT_SECONDS = 120


class _Ended(NamedTuple):
    """How a call in this process has ended."""

    code: int
    out: bytes
    err: str
    errors: list[str]
    warnings: list[str]

    @property
    def error(self) -> str:
        """The only error."""
        (error,) = self.errors
        return error


_Call = Callable[..., _Ended]


@contextmanager
def _standard_input(data: bytes | Path) -> Iterator[None]:
    """Bytes, or a file, as standard input of this process."""
    with tempfile.TemporaryFile(dir="/tmp") if isinstance(data, bytes) else data.open() as stream:
        if isinstance(data, bytes):
            stream.write(data)
            stream.seek(0)
        saved = os.dup(0)
        os.dup2(stream.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(saved, 0)
            os.close(saved)


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files are made in."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def call(
    tmp_path: Path,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[_Call]:
    """Calls the command in a folder that holds events.json.

    However a call ends, an error is one line without a traceback, and no file of the run is left.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    loggers = [logging.getLogger(name) for name in ("", "pipeline", "apache_beam")]
    levels = [logger.level for logger in loggers]

    def call(*arguments: str, stdin: bytes | Path = b"") -> _Ended:
        caplog.clear()
        capfdbinary.readouterr()
        with _standard_input(stdin):
            code = run(arguments)
        printed = capfdbinary.readouterr()
        ours = [each for each in caplog.records if each.name.partition(".")[0] == "pipeline"]
        for record in ours:
            assert len(record.getMessage().splitlines()) == 1
            assert not record.exc_info
        assert [*Path(tempfile.gettempdir()).glob("unbabel_cli-*"), *Path().rglob(".*")] == []
        return _Ended(
            int(code),
            printed.out,
            printed.err.decode(),
            [each.getMessage() for each in ours if each.levelno >= logging.ERROR],
            [each.getMessage() for each in ours if each.levelno == logging.WARNING],
        )

    yield call
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def _content(folder: Path) -> dict[str, bytes]:
    """All files of a folder and below, links followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---------------------------------------------------------------------------------------------
# As a process

_GUARD = """
import os, socket

connect = socket.socket.connect

def guarded_connect(self, address):
    if isinstance(address, tuple) and address[0] not in ("localhost", "127.0.0.1", "::1"):
        with open(os.environ["CONNECTIONS"], "a") as log:
            log.write(f"{address}\\n")
        raise ConnectionRefusedError(address)
    return connect(self, address)

def no_addresses(host, *arguments, **options):
    with open(os.environ["CONNECTIONS"], "a") as log:
        log.write(f"{host}\\n")
    raise socket.gaierror("offline")

socket.socket.connect, socket.getaddrinfo = guarded_connect, no_addresses
"""


class _Shell:
    """Starts the command as a process in a folder, where no connection leaves this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.home = folder / "home"
        self.scratch = folder / "temporary"
        self.connections = folder / "connections"
        guard = folder / "guard"
        for each in (self.folder, self.home, self.scratch, guard):
            each.mkdir()
        (guard / "sitecustomize.py").write_text(_GUARD)
        (self.folder / "events.json").write_bytes(CHALLENGE_EVENTS)
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(guard), str(CHECKOUT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CONNECTIONS": str(self.connections),
            "HOME": str(self.home),
            "TMPDIR": str(self.scratch),
        }

    def start(
        self,
        *arguments: str,
        program: Sequence[str] = ("-m", "pipeline"),
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )

    def run(
        self, *arguments: str, program: Sequence[str] = ("-m", "pipeline")
    ) -> "subprocess.CompletedProcess[bytes]":
        with self.start(*arguments, program=program) as process:
            out, err = process.communicate(timeout=_TIMEOUT_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def shell(tmp_path: Path) -> _Shell:
    return _Shell(tmp_path)


_MODULE, _SCRIPT = ["-m", "pipeline"], [str(CHECKOUT / "unbabel_cli.py")]
_CHALLENGE_CALL = ["--input_file", "events.json", "--window_size", "10"]
_PROCESSES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "challenge": (_MODULE, _CHALLENGE_CALL),
    "seed": (_SCRIPT, [*_CHALLENGE_CALL, "--chunk_size", "50000"]),
    "wrong value": (_MODULE, ["--input_file=events.json", "--window_size=ten"]),
    "credentials": (_MODULE, ["--input_file=ftp://name:p@ss@host/events.json", _WINDOW]),
    "cut off": (_MODULE, ["--input_file=cut.json.gz", _WINDOW]),
    "cut off, debug": (_MODULE, ["--input_file=cut.json.gz", _WINDOW, "--debug"]),
    "all rejected": (_MODULE, ["--input_file=pretty.json", _WINDOW]),
}


@pytest.fixture(scope="module")
def shared_shell(tmp_path_factory: pytest.TempPathFactory) -> _Shell:
    shell = _Shell(tmp_path_factory.mktemp("processes"))
    (shell.folder / "pretty.json").write_text(_PRETTY_EVENTS)
    (shell.folder / "cut.json.gz").write_bytes(gzip.compress(CHALLENGE_EVENTS)[:-10])
    return shell


@pytest.fixture(scope="module")
def processes(
    shared_shell: _Shell,
) -> "Iterator[dict[str, Future[subprocess.CompletedProcess[bytes]]]]":
    """How each of the processes has ended: they run side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield {
            name: threads.submit(shared_shell.run, *arguments, program=program)
            for name, (program, arguments) in _PROCESSES.items()
        }


_Processes = dict[str, "Future[subprocess.CompletedProcess[bytes]]"]


@pytest.mark.clause("6.1")
@pytest.mark.parametrize("name", ["challenge", "seed"])
def test_the_calls_of_the_challenge_and_of_the_seed_work_as_they_stand(
    processes: _Processes, name: str
) -> None:
    ended = processes[name].result()
    assert (ended.returncode, ended.stdout) == (0, CHALLENGE_ROWS)


@pytest.mark.clause("6.3")
def test_standard_error_has_the_summary_and_neither_noise_nor_a_bar(processes: _Processes) -> None:
    err = processes["challenge"].result().stderr.decode()
    assert err.startswith("3 lines: 3 accepted, 0 rejected, 0 other events, 0 blank\n")
    assert "14 rows, 2018-12-26 18:11:00 to 2018-12-26 18:24:00\n" in err
    assert len(err.splitlines()) == 3
    assert "\r" not in err


@pytest.mark.clause("6.5")
def test_a_run_connects_to_nothing_and_downloads_nothing(
    processes: _Processes, shared_shell: _Shell
) -> None:
    for process in processes.values():
        process.result()
    assert not shared_shell.connections.exists()
    assert _content(shared_shell.home) == {}
    assert [*shared_shell.scratch.iterdir()] == []


def test_the_guard_against_connections_sees_them(shell: _Shell) -> None:
    program = "import socket; socket.create_connection(('example.com', 80), timeout=1)"
    assert shell.run(program=["-c", program]).returncode == 1
    assert "example.com" in shell.connections.read_text()


@pytest.mark.clause("6.3", "6.4")
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("wrong value", 2, ["--window_size", "whole number", "'ten'"]),
        ("cut off", 2, ["cut.json.gz", "cut off"]),
        ("credentials", 2, ["error: ftp://***@host/events.json: no filesystem"]),
    ],
)
def test_an_error_is_one_line_on_standard_error_and_an_exit_code(
    processes: _Processes, name: str, code: int, words: list[str]
) -> None:
    ended = processes[name].result()
    assert (ended.returncode, ended.stdout) == (code, b"")
    (message,) = ended.stderr.decode().splitlines()
    assert message.startswith("unbabel_cli: error: ")
    assert [word for word in words if word not in message] == []


def test_the_wrong_file_ends_in_an_error_after_its_summary(processes: _Processes) -> None:
    ended = processes["all rejected"].result()
    assert (ended.returncode, ended.stdout) == (3, b"")
    *_, summary, last = ended.stderr.decode().splitlines()
    assert summary.endswith("lines/s")
    assert last.startswith("unbabel_cli: error: every line was rejected")
    assert last.endswith("jq -c .")


def test_only_debug_shows_a_traceback(processes: _Processes) -> None:
    for name, process in processes.items():
        ended = process.result()
        assert (b"Traceback" in ended.stderr) == (name == "cut off, debug"), name
    debugged = processes["cut off, debug"].result()
    assert debugged.returncode == 2
    assert processes["cut off"].result().stderr.strip() in debugged.stderr


@pytest.mark.clause("6.4")
def test_a_closed_pipe_ends_the_command_quietly(shell: _Shell) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with shell.start(*_CALL, stdout=writer) as process:
        os.close(writer)
        _, err = process.communicate(timeout=_TIMEOUT_SECONDS)
    assert (process.returncode, err) == (141, b"")
    assert [*shell.scratch.iterdir()] == []


def test_head_and_process_substitution_work_as_in_every_shell(shell: _Shell) -> None:
    (shell.folder / "long.json").write_bytes(_THREE_DAYS)
    script = (
        f"{sys.executable} -m pipeline --input_file <(cat long.json) --window_size 10 | head -1;"
        " exit ${PIPESTATUS[0]}"
    )
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        timeout=_TIMEOUT_SECONDS,
    )
    assert ended.stdout == _THREE_DAYS_ROWS.splitlines(keepends=True)[0]
    assert (ended.returncode, ended.stderr) == (141, b"")


# ---------------------------------------------------------------------------------------------
# On a terminal

# A change to the command, made once its log is set up: Beam logs while it is imported.
_CHANGED = """
import logging, sys
from pipeline.__main__ import main

set_up, *given = logging.basicConfig, *sys.argv[1:3]
del sys.argv[1:3]

def set_up_and_change(**options):
    logging.basicConfig = set_up
    set_up(**options)
    change(*given)

def change(place, pipe):
    {change}

logging.basicConfig = set_up_and_change
main()
"""

# Nobody waits for the bar.
_BAR_AT_ONCE = """
    from pipeline.sources import progress
    progress._QUIET_SECONDS = 0
"""


def _changed(change: str) -> list[str]:
    """The command with a change; it takes two arguments more, a place and a pipe."""
    return ["-c", _CHANGED.format(change=change.strip())]


def _screen(shell: _Shell) -> tuple[bytes, bytes]:
    """What a run prints to standard output, and what it shows on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with shell.start("", "", *_CALL, program=_changed(_BAR_AT_ONCE), stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        # A terminal whose other side is closed is an error to read from.
        try:
            while block := os.read(ours, 65_536):
                shown += block
        except OSError:
            pass
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0
    return out, shown


def test_a_long_run_shows_a_bar_on_a_terminal_and_removes_it(shell: _Shell) -> None:
    out, shown = _screen(shell)
    assert out == CHALLENGE_ROWS
    bar, _, after = shown.rpartition(b"\r3 lines:")
    assert b"%|" in bar
    assert f"/{len(CHALLENGE_EVENTS)}".encode() in bar
    assert b"%|" not in after
    assert bar.split(b"\r")[-1].strip() == b""


# ---------------------------------------------------------------------------------------------
# Interrupted, terminated, killed

# The command tells through a pipe that it has come to a certain place, and stays there.
_STOP = """
    import threading
    from pipeline.storage import files
    from pipeline.formats.ndjson import Ndjson
    from pipeline.sinks import results
    from pipeline.sinks import sorting

    def stay():
        with open(pipe, "wb") as told:
            told.write(b".")
        threading.Event().wait()

    if place == "reading":
        files.open_to_read = lambda path: stay()
    if place == "writing":
        sorting._ROWS_PER_BLOCK = 5
        lines, calls = Ndjson._lines, []

        def lines_of_one_block(self, *columns):
            calls.append(1)
            return lines(self, *columns) if len(calls) == 1 else stay()

        Ndjson._lines = lines_of_one_block
    if place == "publishing":
        results.replace_together = lambda *_: stay()
"""
_ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def _release(process: "subprocess.Popen[bytes]", pipe: Path) -> None:
    """Lets nobody wait at a pipe for a process that has ended."""
    process.wait()
    os.close(os.open(pipe, os.O_RDWR))


def _end_at(shell: _Shell, place: str, number: signal.Signals) -> "subprocess.Popen[bytes]":
    """Sends a signal to a run that has come to a place."""
    pipe = shell.folder.parent / "pipe"
    os.mkfifo(pipe)
    arguments = [*_CALL, "--output_file=rows.json", "--rejected_file=rejected.json"]
    if place == "input":
        arguments[0] = f"--input_file={pipe}"
        process = shell.start(*arguments)
    else:
        process = shell.start(place, str(pipe), *arguments, program=_changed(_STOP))
    threading.Thread(target=_release, args=[process, pipe], daemon=True).start()
    # Waits for the other end: the process is there.
    stream = pipe.open("wb" if place == "input" else "rb")
    assert place == "input" or stream.read(1) == b"."
    with process, stream:
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=_TIMEOUT_SECONDS)
        finally:
            process.kill()
    assert (out, err if place != "publishing" else b"") == (b"", b"")
    return process


@pytest.mark.clause("6.4")
@pytest.mark.parametrize(
    ("place", "number", "code"),
    [
        pytest.param(
            place,
            *ending,
            marks=() if (place, ending[0].name) in quick else pytest.mark.slow,
        )
        for quick in [{("input", "SIGINT"), ("reading", "SIGTERM"), ("writing", "SIGINT")}]
        for place in ("input", "reading", "writing", "publishing")
        for ending in _ENDINGS
    ],
)
def test_an_interrupted_run_ends_quietly_and_leaves_everything_as_it_was(
    shell: _Shell, place: str, number: signal.Signals, code: int
) -> None:
    (shell.folder / "rows.json").write_bytes(_OLD)
    (shell.folder / "rejected.json").write_bytes(_OLD)
    before = _content(shell.folder)
    process = _end_at(shell, place, number)
    assert process.returncode == code
    assert _content(shell.folder) == before
    assert [*shell.scratch.iterdir()] == []


# What is imported first, in the middle, and last.
@pytest.mark.parametrize("module", ["logging", "numpy", "pipeline.cli.here"])
@pytest.mark.parametrize(("number", "code"), _ENDINGS)
def test_a_command_that_is_still_starting_ends_quietly(
    shell: _Shell, module: str, number: signal.Signals, code: int
) -> None:
    program = ("-X", "importtime", "-m", "pipeline")
    with shell.start(f"--input_file={shell.folder}/pipe", _WINDOW, program=program) as process:
        os.mkfifo(shell.folder / "pipe")
        assert process.stderr is not None
        assert any(line.split()[-1] == module.encode() for line in process.stderr)
        process.send_signal(number)
        try:
            _, rest = process.communicate(timeout=_TIMEOUT_SECONDS)
        finally:
            process.kill()
    assert process.returncode == code
    assert [line for line in rest.splitlines() if not line.startswith(b"import time:")] == []


def test_a_run_that_ignores_the_end_of_its_terminal_goes_on(shell: _Shell) -> None:
    os.mkfifo(shell.folder / "pipe")
    with subprocess.Popen(
        ["nohup", sys.executable, "-m", "pipeline", "--input_file=pipe", _WINDOW],
        cwd=shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        # Waits for the other end: the process is there.
        with (shell.folder / "pipe").open("wb") as pipe:
            process.send_signal(signal.SIGHUP)
            pipe.write(CHALLENGE_EVENTS)
        out, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
    assert (process.returncode, out) == (0, CHALLENGE_ROWS)


@pytest.mark.clause("3.3")
@pytest.mark.parametrize(
    "place", ["writing", *(pytest.param(each, marks=pytest.mark.slow) for each in ("reading",))]
)
def test_a_killed_run_leaves_the_old_output(shell: _Shell, place: str) -> None:
    (shell.folder / "rows.json").write_bytes(_OLD)
    process = _end_at(shell, place, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (shell.folder / "rows.json").read_bytes() == _OLD


# ---------------------------------------------------------------------------------------------
# Options at work


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--runner=DirectRunner"],
        ["--runner=directrunner"],
        ["--runner=FnApiRunner"],
        ["--runner=BundleBasedDirectRunner"],
        ["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
        ["--plan=windows"],
        ["--plan=rolling"],
        ["--chunk_size=1"],
        ["--output_file=-"],
        ["--job_name=averages", "--temp_location=/nowhere", "--save_main_session"],
    ],
    ids=" ".join,
)
def test_options_that_change_how_it_runs_do_not_change_the_rows(
    call: _Call, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    def refuse(_socket: socket.socket, address: object) -> NoReturn:
        raise ConnectionRefusedError(address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    ended = call(*_CALL, *arguments)
    assert (ended.code, ended.out) == (0, CHALLENGE_ROWS)
    assert ended.errors + ended.warnings == []


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--until=drain"], {"until": "drain"}),
        (["--empty_value=null"], {"empty_value": "null"}),
        (["--empty_value=skip"], {"empty_value": "skip"}),
        (["--decimals=0"], {"decimals": 0}),
        (
            ["--group_by=client_name,target_language"],
            {"group_by": ("client_name", "target_language")},
        ),
        (["--event_name=opened"], {"event_name": "opened"}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_options_that_change_the_rows_do_as_the_oracle_says(
    call: _Call, tmp_path: Path, arguments: list[str], options: dict[str, object]
) -> None:
    data = CHALLENGE_EVENTS + line(event_name='"opened"', duration="7.5")
    (tmp_path / "events.json").write_bytes(data)
    expected = oracle.output(data, 10, **options)
    assert expected not in (b"", oracle.output(data, 10))
    assert call(*_CALL, *arguments).out == expected
    if options == {"until": "drain"}:
        assert expected == CHALLENGE_ROWS + CHALLENGE_DRAIN


@pytest.mark.clause("2.6")
def test_a_silence_that_is_too_long_is_told_of(call: _Call, tmp_path: Path) -> None:
    (tmp_path / "events.json").write_bytes(_THREE_DAYS)
    ended = call(*_CALL, "--max_gap_minutes=60")
    assert ended.out == oracle.output(_THREE_DAYS, 10, max_gap=60)
    (warning,) = ended.warnings
    assert "--max_gap_minutes=60" in warning


def test_shards_are_files_with_a_number_each(call: _Call, tmp_path: Path) -> None:
    assert call(*_CALL, "--num_shards=2", "--output_file=rows.json").out == b""
    written = _content(tmp_path)
    assert set(written) == {
        "events.json",
        "rows.json-00000-of-00002",
        "rows.json-00001-of-00002",
    }
    del written["events.json"]
    rows = [row for shard in written.values() for row in shard.splitlines(keepends=True)]
    assert b"".join(sorted(rows)) == CHALLENGE_ROWS


def test_verbose_tells_what_is_done_and_the_rows_stay_apart(
    call: _Call, caplog: pytest.LogCaptureFixture
) -> None:
    ended = call(*_CALL, "--verbose")
    assert ended.out == CHALLENGE_ROWS
    steps = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert any(str(len(CHALLENGE_EVENTS)) in step for step in steps)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*_CALL, "--runner=NoRunner"], ["--runner=NoRunner", "DirectRunner", "FnApiRunner"]),
        ([*_CALL, "--runner=os.nothing"], ["--runner=os.nothing"]),
        ([*_CALL, "--direct_running_mode=multi_processing"], ["multi_processing"]),
        ([*_CALL, "--streaming"], ["--streaming"]),
        ([*_CALL, "--window_size=5"], ["--window_size is given more than once"]),
        ([*_CALL, "--output=x"], ["--output", "did you mean --output_file?"]),
        ([_WINDOW], ["--input_file is required"]),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_code_2(
    call: _Call, arguments: list[str], words: list[str]
) -> None:
    ended = call(*arguments)
    assert (ended.code, ended.out, ended.err) == (2, b"", "")
    assert [word for word in words if word not in ended.error] == []


# ---------------------------------------------------------------------------------------------
# Inputs


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("log.gz", gzip.compress),
        ("log.json.GZ", gzip.compress),
        ("log.bz2", bz2.compress),
        ("log.zst", zstandard.ZstdCompressor().compress),
        ("a log, [1].json", bytes),
    ],
)
def test_an_input_is_read_whatever_its_name_and_compression(
    call: _Call, tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    (tmp_path / name).write_bytes(compress(CHALLENGE_EVENTS))
    assert call(f"--input_file={name}", _WINDOW).out == CHALLENGE_ROWS


def test_a_file_that_several_patterns_match_is_read_once(call: _Call) -> None:
    ended = call("--input_file=events.json,*.json,./events.json,e*", _WINDOW)
    assert ended.out == CHALLENGE_ROWS
    assert ended.err.startswith("3 lines:")


@pytest.mark.parametrize("as_path", [False, True])
def test_standard_input_is_an_input(call: _Call, as_path: bool) -> None:
    path = "/dev/stdin" if as_path else "-"
    ended = call("--input_file", path, _WINDOW, stdin=b"no event\n" + CHALLENGE_EVENTS)
    assert ended.out == CHALLENGE_ROWS
    assert len(ended.warnings) == 1
    assert f"rejected: {path}, line at byte 0:" in ended.warnings[0]


def test_a_pipe_is_an_input(call: _Call, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = CHALLENGE_EVENTS + b"\n" * 200_000
    threading.Thread(target=pipe.write_bytes, args=[data], daemon=True).start()
    ended = call("--input_file=pipe", _WINDOW)
    assert ended.out == CHALLENGE_ROWS
    assert ended.err.startswith("200,003 lines:")


@pytest.mark.parametrize("data", [b"", b"\n \r\n\n"])
def test_an_input_without_events_gives_an_empty_file(
    call: _Call, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "events.json").write_bytes(data)
    (tmp_path / "rows.json").write_bytes(_OLD)
    ended = call(*_CALL, "--output_file=rows.json")
    assert (ended.code, ended.errors) == (0, [])
    assert (tmp_path / "rows.json").read_bytes() == b""


def _bad_inputs() -> dict[str, bytes]:
    return {
        "cut.gz": gzip.compress(CHALLENGE_EVENTS)[:-10],
        "cut.bz2": bz2.compress(CHALLENGE_EVENTS)[:-10],
        "cut.zst": zstandard.ZstdCompressor().compress(CHALLENGE_EVENTS)[:-10],
        "plain.gz": CHALLENGE_EVENTS,
        "corrupt.gz": gzip.compress(CHALLENGE_EVENTS)[:40] + bytes(100),
        "folder/x": b"",
    }


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("nosuch.json", ["nosuch.json: no such file"]),
        ("nofolder/events.json", ["nofolder/events.json: no such file"]),
        ("*.nosuch", ["*.nosuch: no file matches"]),
        ("events.json,*.nosuch", ["*.nosuch: no file matches"]),
        ("folder", ["folder: is a folder", "folder/*"]),
        ("folder/", ["folder/: is a folder", "folder/*"]),
        ("cut.gz", ["cut.gz: ", "cut off"]),
        ("cut.bz2", ["cut.bz2: ", "cut off"]),
        ("cut.zst", ["cut.zst: ", "cut off"]),
        ("events.json,cut.gz", ["cut.gz: ", "cut off"]),
        ("plain.gz", ["plain.gz: "]),
        ("corrupt.gz", ["corrupt.gz: "]),
        ("events.json/x", ["events.json/x"]),
        ("x" * 300, ["x" * 300]),
        ("no\nsuch", ["no"]),
    ],
)
def test_an_input_that_cannot_be_read_is_named_and_the_old_outputs_stay(
    call: _Call, tmp_path: Path, pattern: str, words: list[str]
) -> None:
    (tmp_path / "folder").mkdir()
    for name, data in _bad_inputs().items():
        (tmp_path / name).write_bytes(data)
    outputs = ["rows.json", "rejected.json", "summary.json"]
    for name in outputs:
        (tmp_path / name).write_bytes(_OLD)
    before = _content(tmp_path)
    options = [f"--{name.partition('.')[0]}_file={name}" for name in outputs[1:]]
    ended = call(f"--input_file={pattern}", _WINDOW, "--output_file=rows.json", *options)
    assert (ended.code, ended.out, ended.err) == (2, b"", "")
    assert [word for word in words if word not in ended.error] == []
    assert _content(tmp_path) == before


def test_a_binary_file_is_refused_as_the_wrong_one(call: _Call, tmp_path: Path) -> None:
    (tmp_path / "events.json").write_bytes(bytes(range(256)) * 100)
    ended = call(*_CALL)
    assert (ended.code, ended.out) == (3, b"")
    assert "wrong file" in ended.error
    assert 1 <= len(ended.warnings) <= 10


def test_a_name_that_is_not_utf8_is_a_name_like_any_other(call: _Call, tmp_path: Path) -> None:
    source, rows = os.fsdecode(b"\xff.json"), os.fsdecode(b"\xfe.json")
    (tmp_path / source).write_bytes(_DIRTY)
    ended = call(f"--input_file={source}", _WINDOW, f"--output_file={rows}", "--rejected_file=bad")
    assert (ended.code, ended.errors) == (0, [])
    assert (tmp_path / rows).read_bytes() == CHALLENGE_ROWS
    assert len((tmp_path / "bad").read_bytes().splitlines()) == 2


# ---------------------------------------------------------------------------------------------
# Permissions


@pytest.fixture
def guarded(call: _Call, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that this process works in, and where it may do what permissions allow."""
    assert call(*_CALL).code == 0  # imported as long as everything can be
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    (folder / "temporary").mkdir()
    (folder / "temporary").chmod(0o777)
    (folder / "events.json").write_bytes(CHALLENGE_EVENTS)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Nobody instead of root, to whom no permission matters."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(_NOBODY, _NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize("data", [CHALLENGE_EVENTS, b""])
@pytest.mark.parametrize("pattern", ["secret.json", "s*.json", "events.json,secret.json"])
def test_an_input_that_may_not_be_read_is_an_error(
    call: _Call, guarded: Path, pattern: str, data: bytes
) -> None:
    (guarded / "secret.json").write_bytes(data)
    (guarded / "secret.json").chmod(0)
    with _without_privileges():
        ended = call(f"--input_file={pattern}", _WINDOW)
    assert (ended.code, ended.out) == (2, b"")
    assert "secret.json: cannot be read: permission denied" in ended.error


def test_an_input_in_a_folder_that_may_not_be_entered_is_not_said_to_be_missing(
    call: _Call, guarded: Path
) -> None:
    (guarded / "closed").mkdir()
    (guarded / "closed" / "events.json").write_bytes(CHALLENGE_EVENTS)
    (guarded / "closed").chmod(0)
    with _without_privileges():
        ended = call("--input_file=closed/events.json", _WINDOW)
    assert ended.code == 2
    assert "closed/events.json: " in ended.error
    assert "permission denied" in ended.error


@pytest.mark.parametrize("option", ["output_file", "rejected_file", "summary_file"])
def test_an_output_that_may_not_be_written_is_an_error_before_anything_runs(
    call: _Call, guarded: Path, option: str
) -> None:
    (guarded / "closed").mkdir()
    (guarded / "closed").chmod(0o555)
    with _without_privileges():
        ended = call(*_CALL, f"--{option}=closed/out.json")
    assert (ended.code, ended.out, ended.err) == (2, b"", "")
    assert "closed/out.json: cannot be written: permission denied" in ended.error


# ---------------------------------------------------------------------------------------------
# Outputs

_OUTPUT_OPTIONS = ["output_file", "rejected_file", "summary_file"]


# ---------------------------------------------------------------------------------------------
# Measures and formats

_SLA = ["--measures=count,mean,p95,within_30", "--window_size=10,60"]


@pytest.mark.clause("2.11", "2.12", "2.13")
def test_measures_windows_and_a_range_of_dates_are_asked_for_by_options(call: _Call) -> None:
    dates = ("--rows_from=2018-12-26T18:16", "--rows_before=2018-12-26 18:24")
    ended = call("--input_file=events.json", *_SLA, *dates, "--group_by=client_name")
    assert ended.code == 0
    assert ended.out == oracle.output(
        CHALLENGE_EVENTS,
        [10, 60],
        group_by=["client_name"],
        measures=["count", "mean", "p95", "within_30"],
        rows_from=datetime(2018, 12, 26, 18, 16, tzinfo=timezone.utc),
        rows_before=datetime(2018, 12, 26, 18, 24, tzinfo=timezone.utc),
    )


@pytest.mark.clause("2.15", "4.3")
def test_events_that_were_not_asked_for_are_counted_and_in_no_row(call: _Call) -> None:
    where = ("--where=client_name=airliberty", "--where=client_name=nobody")
    ended = call(*_CALL, *where, "--where=target_language=fr", "--summary_file=summary.json")
    assert ended.code == 0
    assert ended.out == oracle.output(b"".join(CHALLENGE_EVENTS.splitlines(True)[:2]), 10)
    assert "3 lines: 2 accepted, 0 rejected, 0 other events, 0 blank, 1 filtered" in ended.err
    summary = json.loads(Path("summary.json").read_text())
    assert (summary["filtered"], summary["accepted"], summary["lines"]) == (1, 2, 3)


@pytest.mark.parametrize("value", ["client_name", "=x", "nr_words=3", "duration=1", ""])
def test_only_the_fields_of_series_can_be_asked_for(call: _Call, value: str) -> None:
    ended = call(*_CALL, f"--where={value}")
    assert ended.code == 2
    assert "--where: takes FIELD=VALUE" in ended.error


@pytest.mark.clause("3.10", "3.11")
@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("name", ["json", "csv"])
def test_rows_are_written_and_compressed_as_their_name_says(
    call: _Call, name: str, ending: str
) -> None:
    plain = call("--input_file=events.json", *_SLA, f"--output_format={_format(name)}").out
    path = Path(f"rows.{name}{ending}")
    for _ in range(2):
        assert call("--input_file=events.json", *_SLA, f"--output_file={path}").code == 0
        written = path.read_bytes()
        assert _DECOMPRESS[ending](written) == plain
    assert call("--input_file=events.json", *_SLA, f"--output_file=again-{path}").code == 0
    assert Path(f"again-{path}").read_bytes() == written


def _format(name: str) -> str:
    return "ndjson" if name == "json" else name


_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".zst": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@pytest.mark.clause("3.10")
def test_a_parquet_file_holds_the_rows_of_ndjson(call: _Call) -> None:
    rows = call("--input_file=events.json", *_SLA, "--empty_value=null").out
    assert (
        call(
            "--input_file=events.json", *_SLA, "--empty_value=null", "--output_file=rows.parquet"
        ).code
        == 0
    )
    table = pyarrow.parquet.read_table("rows.parquet")
    found = [{**each, "date": f"{each['date']:%Y-%m-%d %H:%M:%S}"} for each in table.to_pylist()]
    assert found == [json.loads(each) for each in rows.splitlines()]


@pytest.mark.clause("3.10")
def test_each_shard_has_the_format_of_the_name(call: _Call) -> None:
    options = ["--output_file=rows.csv.gz", "--num_shards=2"]
    assert call("--input_file=events.json", *_SLA, *options).code == 0
    shards = [gzip.decompress(path.read_bytes()) for path in sorted(Path().glob("rows.csv.gz-*"))]
    header = b"date,window_size,deliveries,average_delivery_time,p95_delivery_time,within_30"
    assert [shard.splitlines()[0] for shard in shards] == [header] * 2


@pytest.mark.clause("3.11")
def test_dead_letters_and_the_summary_are_compressed_as_their_names_say(call: _Call) -> None:
    Path("events.json").write_bytes(_DIRTY)
    outputs = ["--rejected_file=letters.gz", "--summary_file=summary.json.zst"]
    assert call(*_CALL, *outputs).code == 0
    letters = gzip.decompress(Path("letters.gz").read_bytes()).splitlines()
    assert len(letters) == 2
    assert json.loads(letters[0])["source"] == "events.json"
    summary = json.loads(_DECOMPRESS[".zst"](Path("summary.json.zst").read_bytes()))
    assert summary["rejected"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output_file=rows.parquet.gz"], "Parquet is compressed inside"),
        (["--output_format=csv", "--follow"], "--output_format is for batch"),
        (["--output_file=rows.csv", "--follow"], "appended as NDJSON"),
        (["--output_file=rows.json.gz", "--follow"], "appended as NDJSON, and not compressed"),
        (["--rows_from=2018-12-26", "--rows_before=2018-12-26"], "is not before"),
        (["--rows_from=yesterday"], "takes a date (2018-12-26)"),
        (["--rows_from=2018-02-30"], "takes a date (2018-12-26)"),
        (["--rows_before=2018-12-26 18:11:30"], "takes a date (2018-12-26)"),
        (["--measures=mean,mean"], "mean is named twice"),
        (["--measures=p100"], "above 0 and below 100"),
        (["--measures="], "is no measure: there are mean, count"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    call: _Call, arguments: list[str], message: str
) -> None:
    ended = call(*_CALL, *arguments)
    assert ended.code == 2
    assert message in ended.error


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("10,60,10", "named twice"),
        ("1,2,3,4,5,6,7,8,9", "1 to 8 sizes"),
        ("10,", "takes whole numbers of minutes"),
    ],
)
def test_sizes_of_windows_are_few_and_different(call: _Call, sizes: str, message: str) -> None:
    ended = call("--input_file=events.json", f"--window_size={sizes}")
    assert (ended.code, ended.out) == (2, b"")
    assert message in ended.error


@pytest.mark.clause("3.8")
@pytest.mark.parametrize("option", _OUTPUT_OPTIONS)
@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("events.json", "events.json"),
        ("events.json", "./events.json"),
        ("./events.json", "folder/../events.json"),
        ("events.json", "symbolic"),
        ("events.json", "hard"),
        ("symbolic", "events.json"),
        ("*.json", "events.json"),
        ("*.json", "new.json"),
        ("*.json", "to_new"),
        ("/dev/null,*.json", "new.json"),
        ("-", "events.json"),  # as standard input
    ],
)
def test_an_output_that_is_an_input_or_would_be_matched_is_refused(
    call: _Call, tmp_path: Path, option: str, pattern: str, output: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "symbolic").symlink_to("events.json")
    (tmp_path / "to_new").symlink_to("new.json")
    (tmp_path / "hard").hardlink_to(tmp_path / "events.json")
    before = _content(tmp_path)
    events = tmp_path / "events.json"
    ended = call("--input_file", pattern, _WINDOW, f"--{option}={output}", stdin=events)
    assert (ended.code, ended.out, ended.err) == (2, b"", "")
    assert f"--{option}={output}" in ended.error
    assert "input" in ended.error
    assert _content(tmp_path) == before


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("log-00000-of-00002", "log"),
        # Those of another number of shards would be removed.
        ("log-00000-of-00009", "log"),
        ("symbolic", "log"),
        ("log-*", "./log"),
        ("new-*,events.json", "new"),
    ],
)
def test_shards_that_are_inputs_or_would_be_matched_are_refused(
    call: _Call, tmp_path: Path, pattern: str, output: str
) -> None:
    for name in ("log-00000-of-00002", "log-00000-of-00009"):
        (tmp_path / name).write_bytes((tmp_path / "events.json").read_bytes())
    (tmp_path / "symbolic").symlink_to("log-00000-of-00009")
    (tmp_path / "new-").write_bytes(b"")
    before = _content(tmp_path)
    shards = (f"--output_file={output}", "--num_shards=2")
    ended = call("--input_file", pattern, _WINDOW, *shards)
    assert (ended.code, ended.out) == (2, b"")
    assert f"--output_file={output}-0000" in ended.error
    assert "is one of the inputs" in ended.error
    assert _content(tmp_path) == before


@pytest.mark.parametrize("device", ["/dev/stdout", "/dev/null"])
def test_shards_are_files(call: _Call, device: str) -> None:
    ended = call(*_CALL, f"--output_file={device}", "--num_shards=2")
    assert (ended.code, ended.out) == (2, b"")
    assert "--num_shards above 1 needs files" in ended.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--output_file=o", "--num_shards=2", "--rejected_file=o-00001-of-00002"],
            ["--output_file", "--rejected_file", "both"],
        ),
        (["--output_file=o", "--rejected_file=o"], ["--output_file", "--rejected_file", "both"]),
        (["--output_file=o", "--summary_file=./o"], ["--output_file", "--summary_file", "both"]),
        (["--rejected_file=o", "--summary_file=o"], ["--rejected_file", "--summary_file", "both"]),
        (["--rejected_file=-"], ["--output_file", "--rejected_file", "both"]),
        (["--summary_file=link", "--output_file=o"], ["--output_file", "--summary_file", "both"]),
    ],
    ids=lambda each: " ".join(each),
)
def test_two_outputs_in_one_file_are_refused(
    call: _Call, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "link").symlink_to("o")
    ended = call(*_CALL, *arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert [word for word in words if word not in ended.error] == []
    assert set(_content(tmp_path)) == {"events.json"}


@pytest.mark.parametrize("option", _OUTPUT_OPTIONS)
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nofolder/out.json", "no folder"),
        ("events.json/out.json", "no folder"),
        ("folder", "is a folder"),
        ("folder/", "is a folder"),
        ("nofolder/", "folder"),
        ("x" * 300, "name too long"),
    ],
    ids=["nofolder/out", "file/out", "folder", "folder/", "nofolder/", "x * 300"],
)
def test_an_output_where_there_can_be_none_is_refused(
    call: _Call, tmp_path: Path, option: str, path: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    # With a line for it, so that every output would be written.
    (tmp_path / "events.json").write_bytes(_DIRTY)
    ended = call(*_CALL, f"--{option}={path}")
    assert (ended.code, ended.out) == (2, b"")
    assert f"{path}: " in ended.error
    assert reason in ended.error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", _OUTPUT_OPTIONS)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_device_that_is_full_is_an_error(call: _Call, tmp_path: Path, option: str) -> None:
    (tmp_path / "events.json").write_bytes(_DIRTY)
    ended = call(*_CALL, f"--{option}=/dev/full")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.error == "/dev/full: cannot be written: no space left on device"


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted only by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("option", "other"), [("output_file", "rejected_file"), ("rejected_file", "output_file")]
)
def test_a_full_disk_is_an_error_that_names_the_output_and_leaves_all_old_ones(
    call: _Call, small_disk: Path, tmp_path: Path, option: str, other: str
) -> None:
    (tmp_path / "events.json").write_bytes(_THREE_DAYS + b"no event\n" * 10_000)
    output = small_disk / "out.json"
    output.write_bytes(_OLD)
    (tmp_path / "other.json").write_bytes(_OLD)
    ended = call(*_CALL, f"--{option}={output}", f"--{other}=other.json")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.error == f"{output}: cannot be written: no space left on device"
    assert [*small_disk.iterdir()] == [output]
    assert output.read_bytes() == _OLD
    assert (tmp_path / "other.json").read_bytes() == _OLD


@pytest.mark.parametrize("from_stream", [False, True])
def test_a_full_temporary_folder_is_an_error_that_says_where(
    call: _Call,
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    from_stream: bool,
) -> None:
    # Rows are sorted there, and streams are kept there to be read.
    (tmp_path / "events.json").write_bytes(_THREE_DAYS)
    (tmp_path / "rows.json").write_bytes(_OLD)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    before = sorted(small_disk.iterdir())
    source = "-" if from_stream else "events.json"
    ended = call("--input_file", source, _WINDOW, "--output_file=rows.json", stdin=b"\n" * 10**5)
    assert (ended.code, ended.out) == (2, b"")
    assert str(small_disk) in ended.error
    assert ended.error.endswith("no space left on device")
    assert (tmp_path / "rows.json").read_bytes() == _OLD
    assert sorted(small_disk.iterdir()) == before


# Without a buffer a write may write less than it is given.
@pytest.mark.parametrize(
    "unbuffered", [pytest.param("", marks=pytest.mark.slow, id="buffered"), "unbuffered"]
)
def test_rows_cut_off_by_a_full_disk_behind_standard_output_are_an_error(
    shell: _Shell, small_disk: Path, unbuffered: str
) -> None:
    (shell.folder / "events.json").write_bytes(_THREE_DAYS)
    shell.environment["PYTHONUNBUFFERED"] = unbuffered
    with (
        (small_disk / "rows.json").open("wb") as stream,
        shell.start(*_CALL, stdout=stream.fileno()) as process,
    ):
        _, err = process.communicate(timeout=_TIMEOUT_SECONDS)
    (small_disk / "rows.json").unlink()
    assert process.returncode == 2
    assert err.decode().endswith("cannot be written: no space left on device\n")


def test_an_output_is_written_through_a_symbolic_link(call: _Call, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "rows.json").write_bytes(_OLD)
    (tmp_path / "link").symlink_to("folder/rows.json")
    assert call(*_CALL, "--output_file=link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "rows.json").read_bytes() == CHALLENGE_ROWS


def _closed(
    shell: _Shell, descriptor: int, *arguments: str
) -> "subprocess.CompletedProcess[bytes]":
    command = f'exec "$@" {descriptor}>&-'
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "pipeline", *arguments],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        timeout=_TIMEOUT_SECONDS,
    )


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_standard_stream_that_is_closed_and_not_needed_is_no_failure(
    shell: _Shell, descriptor: int
) -> None:
    ended = _closed(shell, descriptor, *_CALL, "--output_file=rows.json")
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert (shell.folder / "rows.json").read_bytes() == CHALLENGE_ROWS


@pytest.mark.clause("3.9")
def test_rows_go_to_standard_output_without_a_log(shell: _Shell) -> None:
    ended = _closed(shell, 2, *_CALL)
    assert (ended.returncode, ended.stdout) == (0, CHALLENGE_ROWS)


@pytest.mark.parametrize(
    ("descriptor", "arguments", "message"),
    [
        (
            0,
            ["--input_file=-", _WINDOW],
            "standard input: is closed: name a file with --input_file",
        ),
        (1, _CALL, "standard output: is closed: name a file with --output_file"),
    ],
)
def test_a_standard_stream_that_is_closed_and_needed_is_named(
    shell: _Shell, descriptor: int, arguments: list[str], message: str
) -> None:
    ended = _closed(shell, descriptor, *arguments)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.decode() == f"unbabel_cli: error: {message}\n"


@pytest.fixture
def removed(tmp_path: Path, call: _Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that has been removed, beside the one of the call."""
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    return folder


@pytest.mark.parametrize("pattern", ["events.json", "e*.json"])
@pytest.mark.usefixtures("removed")
def test_whole_paths_need_no_working_folder(call: _Call, tmp_path: Path, pattern: str) -> None:
    outputs = [f"--output_file={tmp_path}/e.rows", f"--rejected_file={tmp_path}/rejected"]
    assert call(f"--input_file={tmp_path}/{pattern}", _WINDOW, *outputs).code == 0
    assert (tmp_path / "e.rows").read_bytes() == CHALLENGE_ROWS


@pytest.mark.usefixtures("removed")
def test_standard_streams_need_no_working_folder(call: _Call) -> None:
    assert call("--input_file=-", _WINDOW, stdin=CHALLENGE_EVENTS).out == CHALLENGE_ROWS


@pytest.mark.parametrize("option", ["input_file", *_OUTPUT_OPTIONS])
@pytest.mark.usefixtures("removed")
def test_a_working_folder_that_is_needed_and_removed_is_named(
    call: _Call, tmp_path: Path, option: str
) -> None:
    given = {"input_file": f"{tmp_path}/events.json", option: "name.json"}
    ended = call(*(f"--{name}={path}" for name, path in given.items()), _WINDOW)
    assert ended.code == 2
    assert ended.error == "name.json: the working folder has been removed: name a whole path"


def test_a_missing_folder_for_temporary_files_is_named(
    call: _Call, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
        code = run(_CALL)
    assert code == 2
    assert caplog.messages[-1].startswith("no folder for temporary files: No usable temporary ")
    assert caplog.messages[-1].endswith(": name one with TMPDIR")


@pytest.mark.clause("3.6")
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_has_more_than_one_name(call: _Call, path: str) -> None:
    ended = call(*_CALL, f"--output_file={path}")
    assert (ended.code, ended.errors, ended.out) == (0, [], CHALLENGE_ROWS)


@pytest.mark.clause("3.6")
@pytest.mark.parametrize("path", ["/dev/fd/{}", "/proc/self/fd/{}", "link", "folder/{}"])
@pytest.mark.parametrize("option", _OUTPUT_OPTIONS)
def test_a_descriptor_by_its_name_is_added_to_even_where_a_file_stands_behind_it(
    call: _Call, tmp_path: Path, option: str, path: str
) -> None:
    (tmp_path / "events.json").write_bytes(_DIRTY)
    earlier = tmp_path / "earlier.json"
    with earlier.open("wb", buffering=0) as stream:
        stream.write(_OLD)
        (tmp_path / "link").symlink_to(f"/dev/fd/{stream.fileno()}")
        (tmp_path / "folder").symlink_to("/proc/self/fd")
        ended = call(*_CALL, f"--{option}={path.format(stream.fileno())}")
    assert (ended.code, ended.errors) == (0, [])
    old, added = earlier.read_bytes()[: len(_OLD)], earlier.read_bytes()[len(_OLD) :]
    assert old == _OLD
    assert len(added.splitlines()) == {"output_file": 14, "rejected_file": 2}.get(option, 1)


def test_standard_error_takes_dead_letters_beside_the_log(shell: _Shell) -> None:
    (shell.folder / "events.json").write_bytes(_DIRTY)
    log = shell.folder / "log"
    log.write_bytes(_OLD)
    call = [*_CALL, "--output_file=rows.json", "--rejected_file=/dev/stderr"]
    with log.open("ab") as stream, shell.start(*call, stderr=stream.fileno()) as process:
        process.communicate(timeout=_TIMEOUT_SECONDS)
    old, *lines = log.read_bytes().splitlines(keepends=True)
    assert (process.returncode, old) == (0, _OLD)
    assert [json.loads(each)["offset"] for each in lines[:2]] == [0, len(_DIRTY) - 3]
    assert lines[2].startswith(b"7 lines: 3 accepted, 2 rejected")


def test_a_file_behind_a_stream_is_not_replaced(call: _Call, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(_OLD)
    with (tmp_path / "rows.json").open("ab") as stream:
        path = f"/dev/fd/{stream.fileno()}"
        ended = call(*_CALL, "--output_file=rows.json", f"--rejected_file={path}")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.error.startswith(f"--output_file=rows.json is the file behind {path}, ")
    assert (tmp_path / "rows.json").read_bytes() == _OLD


def test_the_log_is_not_replaced(shell: _Shell) -> None:
    log = shell.folder / "log"
    with (
        log.open("wb") as stream,
        shell.start(*_CALL, "--output_file=log", stderr=stream.fileno()) as process,
    ):
        process.communicate(timeout=_TIMEOUT_SECONDS)
    assert process.returncode == 2
    assert b"--output_file=log is the file behind standard error, " in log.read_bytes()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/fd/{closed}", "/dev/fd/{closed}: is closed: name a file with --output_file"),
        ("/dev/fd/{read_only}", "/dev/fd/{read_only}: is open for reading only"),
    ],
)
def test_a_descriptor_that_nothing_can_be_written_to_is_refused(
    call: _Call, path: str, message: str
) -> None:
    with open(os.devnull) as stream:
        numbers = {"closed": 1000, "read_only": stream.fileno()}
        ended = call(*_CALL, f"--output_file={path.format(**numbers)}")
    assert (ended.code, ended.out, ended.error) == (2, b"", message.format(**numbers))


def test_rows_may_be_thrown_away(call: _Call) -> None:
    ended = call(*_CALL, "--output_file=/dev/null")
    assert (ended.code, ended.out) == (0, b"")
    assert "14 rows" in ended.err


@pytest.mark.parametrize("option", _OUTPUT_OPTIONS)
def test_a_pipe_is_an_output_and_stays_one(call: _Call, tmp_path: Path, option: str) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    (tmp_path / "events.json").write_bytes(_DIRTY)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    ended = call(*_CALL, f"--{option}=pipe")
    reader.join(_TIMEOUT_SECONDS)
    assert ended.code == 0
    assert pipe.is_fifo()
    ((written,), rows) = read, ended.out
    assert [written, rows].count(CHALLENGE_ROWS) == 1
    assert len(written.splitlines()) == {"output_file": 14, "rejected_file": 2}.get(option, 1)


def test_a_pipe_whose_reader_goes_ends_the_command_quietly(call: _Call, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "events.json").write_bytes(_THREE_DAYS)

    def read_one_line() -> None:
        with pipe.open("rb", buffering=0) as stream:
            stream.read(1)

    threading.Thread(target=read_one_line, daemon=True).start()
    ended = call(*_CALL, "--output_file=pipe")
    assert (ended.code, ended.out, ended.err, ended.errors) == (141, b"", "", [])


# ---------------------------------------------------------------------------------------------
# Runners that lack something


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runner=PortableRunner"], "--runner=PortableRunner needs its job service: name --job_"),
        (["--runner=flink"], "--runner=FlinkRunner needs its job service: name --job_endpoint or"),
        (["--runner=SparkRunner"], "--runner=SparkRunner needs its job service: name --job_endp"),
        (
            ["--runner=FlinkRunner", "--job_endpoint=localhost:1", "--sdk_container_image=image"],
            "--job_endpoint=localhost:1: no job service answers",
        ),
    ],
)
def test_a_runner_without_its_job_service_is_refused(
    call: _Call, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.setattr(job_service, "_ANSWER_SECONDS", 0.2)
    ended = call(*_CALL, "--output_file=rows.json", *options)
    assert (ended.code, ended.out) == (2, b"")
    assert ended.error.startswith(message)


@pytest.mark.parametrize("options", [[], ["--setup_file=./setup.py"]])
def test_what_packing_needs_and_this_python_lacks_is_named(
    call: _Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    (tmp_path / "setup.py").touch()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "build" else find_spec(name)
    )
    runner = ["--runner=PortableRunner", "--job_endpoint=embed", "--output_file=rows.json"]
    ended = call(*_CALL, *runner, *options)
    assert ended.code == 2
    assert "setup.py: this Python lacks build to pack it for the workers" in ended.error
    assert "pip install 'unbabel-cli[gcp]'" in ended.error


# ---------------------------------------------------------------------------------------------
# A job of a portable runner, in a folder that its workers share


@pytest.mark.clause("6.6")
@pytest.mark.prism
@pytest.mark.parametrize(
    ("limit", "code", "rows"), [(2, 0, CHALLENGE_ROWS), (1, 1, _OLD)], ids=["done", "refused"]
)
def test_a_job_gives_and_refuses_the_same_as_a_run_here_and_leaves_nothing_else(
    shell: _Shell, prism_options: list[str], limit: int, code: int, rows: bytes
) -> None:
    (shell.folder / "events.json").write_bytes(_DIRTY)
    (shell.folder / "rows.json").write_bytes(_OLD)
    names = {"input": "events", "output": "rows", "rejected": "rejected", "summary": "summary"}
    files = [f"--{name}_file={shell.folder}/{file}.json" for name, file in names.items()]
    runner = ["--runner=PortableRunner", *prism_options, "--sdk_container_image=image"]
    ended = shell.run(*files, _WINDOW, f"--max_rejected={limit}", *runner)
    assert ended.returncode == code, ended.stderr
    assert b"7 lines: 3 accepted, 2 rejected" in ended.stderr
    after = _content(shell.folder)
    assert sorted(after) == ["events.json", "rejected.json", "rows.json", "summary.json"]
    assert after["rows.json"] == rows
    assert len(after["rejected.json"].splitlines()) == 2
    assert json.loads(after["summary.json"])["rejected"] == 2


@pytest.mark.prism
def test_a_job_that_fails_leaves_nothing(shell: _Shell, prism_options: list[str]) -> None:
    files = [f"--input_file={shell.folder}/events.json", f"--output_file={shell.folder}/rows.json"]
    runner = ["--runner=PortableRunner", *prism_options, "--sdk_container_image=image"]
    before = _content(shell.folder)
    ended = shell.run(*files, _WINDOW, "--max_rows=3", *runner)
    assert ended.returncode == 1
    # While the interpreter ends, a thread of Beam's may still begin to print.
    errors = [
        each for each in ended.stderr.splitlines() if each.startswith(b"unbabel_cli: error: ")
    ]
    (error,) = errors
    assert b"the result has more than --max_rows=3 rows" in error
    assert _content(shell.folder) == before


# ---------------------------------------------------------------------------------------------
# All or nothing


class _Faults:
    """Counts what a run writes, flushes, syncs, links and renames, and makes one of these fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = 0
        self.count = 0
        create, opened, stderr = files.create, Destination._opened, sys.stderr
        monkeypatch.setattr(files, "create", lambda path: _FaultyStream(create(path), self))
        monkeypatch.setattr(
            Destination, "_opened", lambda destination: _FaultyStream(opened(destination), self)
        )
        monkeypatch.setattr(sys, "stderr", _FaultyStream(stderr, self))
        for name in ("fsync", "link", "replace", "fchmod"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.count += 1
            if self.count == self.failing:
                raise OSError(errno.EIO, "Input/output error")
            return function(*arguments)

        return call


class _FaultyStream:
    def __init__(self, stream: Any, faults: _Faults) -> None:
        self._stream = stream
        self.write = faults.counted(stream.write)
        self.flush = faults.counted(stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> "_FaultyStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


@pytest.mark.clause("3.4")
@pytest.mark.parametrize(
    "options",
    [
        ["--output_file=rows", "--rejected_file=rejected", "--summary_file=summary"],
        pytest.param(
            [
                *("--output_file=rows", "--num_shards=2"),
                *("--rejected_file=/dev/null", "--summary_file=summary"),
            ],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--output_file=-", "--rejected_file=rejected", "--summary_file=summary"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["files", "shards", "streams"],
)
def test_whatever_fails_all_files_are_as_they_were(
    call: _Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    names = ["rows", "rejected", "summary", *(f"rows-0000{n}-of-0000{n + 1}" for n in range(3))]
    for name in names:
        (tmp_path / name).write_bytes(_OLD)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "events.json").write_bytes(_DIRTY)
    before = _content(tmp_path)
    with monkeypatch.context() as patch:
        faults = _Faults(patch)
        while True:
            faults.failing, faults.count = faults.failing + 1, 0
            ended = call(*_CALL, *options)
            if faults.count < faults.failing:
                break
            assert (ended.code, _content(tmp_path)) == (2, before), faults.failing
    assert ended.code == 0
    assert _content(tmp_path) != before
    assert faults.failing > 10


def test_long_names_that_differ_somewhere_are_different_files(call: _Call, tmp_path: Path) -> None:
    (tmp_path / "events.json").write_bytes(_DIRTY)
    rows, rejected = ("x" * 100 + f"{name}" + "y" * 100 for name in ("a", "b"))
    for _ in range(2):
        assert call(*_CALL, f"--output_file={rows}", f"--rejected_file={rejected}").code == 0
        assert (tmp_path / rows).read_bytes() == CHALLENGE_ROWS
        assert len((tmp_path / rejected).read_bytes().splitlines()) == 2


@pytest.mark.parametrize("option", ["rejected_file", "summary_file"])
def test_a_reader_of_anything_that_goes_leaves_the_old_files(
    call: _Call, tmp_path: Path, option: str
) -> None:
    (tmp_path / "events.json").write_bytes(_DIRTY)
    (tmp_path / "rows.json").write_bytes(_OLD)
    reader, writer = os.pipe()
    os.close(reader)
    ended = call(*_CALL, "--output_file=rows.json", f"--{option}=/dev/fd/{writer}")
    os.close(writer)
    assert ended.code == 141
    assert (tmp_path / "rows.json").read_bytes() == _OLD


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("option", ["rejected_file", "summary_file"])
def test_a_full_disk_behind_a_stream_leaves_the_old_files(
    call: _Call, tmp_path: Path, option: str
) -> None:
    (tmp_path / "events.json").write_bytes(_DIRTY)
    (tmp_path / "rows.json").write_bytes(_OLD)
    ended = call(*_CALL, "--output_file=rows.json", f"--{option}=/dev/full")
    assert (ended.code, ended.error) == (2, "/dev/full: cannot be written: no space left on device")
    assert (tmp_path / "rows.json").read_bytes() == _OLD


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_log_that_cannot_be_written_leaves_the_old_rows(shell: _Shell) -> None:
    (shell.folder / "rows.json").write_bytes(_OLD)
    with (
        open("/dev/full", "wb") as full,
        shell.start(*_CALL, "--output_file=rows.json", stderr=full.fileno()) as process,
    ):
        process.communicate(timeout=_TIMEOUT_SECONDS)
    assert process.returncode == 2
    assert (shell.folder / "rows.json").read_bytes() == _OLD


# ---------------------------------------------------------------------------------------------
# Rejected lines


def _all_outputs(folder: Path) -> list[str]:
    """Options for all outputs, in place of results of an earlier run."""
    for name in ("rows", "rejected", "summary"):
        (folder / f"{name}.json").write_bytes(_OLD)
    names = {"output": "rows", "rejected": "rejected", "summary": "summary"}
    return [f"--{option}_file={name}.json" for option, name in names.items()]


@pytest.mark.clause("4.5")
@pytest.mark.parametrize(
    ("limit", "code"),
    [
        (None, 0),
        ("2", 0),
        ("1", 3),
        ("0", 3),
        ("100%", 0),
        ("33.3%", 3),
        ("33.4%", 0),
        ("0%", 3),
    ],
)
def test_more_rejected_lines_than_allowed_give_no_rows_but_dead_letters_and_summary(
    call: _Call, tmp_path: Path, limit: str | None, code: int
) -> None:
    (tmp_path / "events.json").write_bytes(_DIRTY)  # 2 of 6 lines are rejected
    options = [f"--max_rejected={limit}"] if limit is not None else []
    ended = call(*_CALL, *_all_outputs(tmp_path), *options)
    assert (ended.code, ended.out) == (code, b"")

    written = _content(tmp_path)
    assert written["rows.json"] == (_OLD if code else CHALLENGE_ROWS)
    letters = [json.loads(each) for each in written["rejected.json"].splitlines()]
    assert [(each["source"], each["offset"]) for each in letters] == [
        ("events.json", offset) for offset, _ in oracle.rejected_of(_DIRTY)
    ]
    summary = json.loads(written["summary.json"])
    assert list(summary) == [
        *("lines", "blank", "other_events", "filtered", "accepted", "rejected"),
        *("rows", "series", "first_row", "last_row", "seconds"),
    ]
    counts = {name: summary[name] for name in vars(oracle.Counts())}
    assert oracle.Counts(**counts) == oracle.counts_of(_DIRTY) == oracle.Counts(7, 1, 1, 3, 2)
    assert summary["rows"] == (0 if code else 14)
    assert "7 lines: 3 accepted, 2 rejected, 1 other events, 1 blank" in ended.err
    assert "opened (1)" in ended.err
    if code:
        assert "2 of 6 lines were rejected" in ended.error
        assert "--max_rejected" in ended.error


@pytest.mark.clause("4.4")
def test_the_first_rejected_lines_are_shown_unless_they_go_to_a_file(
    call: _Call, tmp_path: Path
) -> None:
    (tmp_path / "events.json").write_bytes(_DIRTY)
    shown = call(*_CALL).warnings
    assert len(shown) == 2
    offsets = [offset for offset, _ in oracle.rejected_of(_DIRTY)]
    for message, offset in zip(shown, offsets, strict=True):
        assert message.startswith(f"rejected: events.json, line at byte {offset}: ")
    assert call(*_CALL, "--rejected_file=bad.json").warnings == []


@pytest.mark.clause("4.6")
@pytest.mark.parametrize(
    "data",
    [b"no event\n", b"timestamp,duration\n2018-12-26,20\n", b"[2018-12-26 18:11:08] delivered\n"],
    ids=["text", "csv", "text in brackets"],
)
@pytest.mark.parametrize(
    "limit", [None, *(pytest.param(each, marks=pytest.mark.slow) for each in ("1000", "99.9%"))]
)
def test_an_input_without_any_valid_line_is_refused_with_a_remedy(
    call: _Call, tmp_path: Path, data: bytes, limit: str | None
) -> None:
    (tmp_path / "events.json").write_bytes(data)
    options = [f"--max_rejected={limit}"] if limit is not None else []
    ended = call(*_CALL, *_all_outputs(tmp_path), *options)
    assert (ended.code, ended.out) == (3, b"")
    assert "every line was rejected" in ended.error
    assert "--max_rejected=100%" in ended.error
    assert (tmp_path / "rows.json").read_bytes() == _OLD
    assert json.loads((tmp_path / "summary.json").read_bytes())["accepted"] == 0
    assert (tmp_path / "rejected.json").read_bytes().startswith(b'{"source": "events.json"')


@pytest.mark.clause("1.12")
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("path", ["events.json", "events.json.gz", "-"])
def test_a_json_array_of_events_is_read_like_lines(
    call: _Call, tmp_path: Path, indent: int | None, path: str
) -> None:
    events = [json.loads(each) for each in CHALLENGE_EVENTS.splitlines()]
    array = json.dumps(events, indent=indent).encode()
    if path != "-":
        (tmp_path / path).write_bytes(gzip.compress(array) if path.endswith(".gz") else array)
    ended = call(f"--input_file={path}", "--window_size=10", stdin=array)
    assert (ended.code, ended.out) == (0, CHALLENGE_ROWS)


@pytest.mark.clause("1.12")
def test_what_is_broken_in_an_array_is_a_dead_letter_and_all_before_it_counts(
    call: _Call, tmp_path: Path
) -> None:
    first, second, third = CHALLENGE_EVENTS.splitlines()
    array = b"[" + first + b', {"duration": 1},\n' + second + b" " + third + b"]"
    (tmp_path / "events.json").write_bytes(array)
    ended = call(*_CALL, "--rejected_file=rejected.json")
    assert (ended.code, ended.out) == (0, oracle.output(first + b"\n" + second, 10))
    letters = map(json.loads, (tmp_path / "rejected.json").read_bytes().splitlines())
    assert [(each["offset"], each["line"].rstrip()) for each in letters] == [
        (array.index(b'{"duration": 1}'), '{"duration": 1}'),
        (array.index(third), (third + b"]").decode()),
    ]
    assert "4 lines: 2 accepted, 2 rejected" in ended.err


@pytest.mark.clause("1.11")
@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (gzip.compress(CHALLENGE_EVENTS), "gzip data: let the name of the file end in .gz"),
        (bz2.compress(CHALLENGE_EVENTS), "bzip2 data: let the name of the file end in .bz2"),
        (zstandard.compress(CHALLENGE_EVENTS), "Zstandard data: let the name of the file end in"),
        (lzma.compress(CHALLENGE_EVENTS), "xz data: decompress it with xz -d"),
        (b"PK\x03\x04rest", "a zip archive: unpack it"),
        (CHALLENGE_EVENTS.decode().encode("utf-16"), "UTF-16 or UTF-32 text: convert it to UTF-8"),
        (
            CHALLENGE_EVENTS.decode().encode("utf-16-be"),
            "UTF-16 or UTF-32 text: convert it",
        ),
        (
            CHALLENGE_EVENTS.decode().encode("utf-16-le"),
            "UTF-16 or UTF-32 text: convert it",
        ),
        (CHALLENGE_EVENTS.decode().encode("utf-32"), "UTF-16 or UTF-32 text: convert it to UTF-8"),
        (
            _PRETTY_EVENTS.encode(),
            "a JSON object over several lines: convert the file with jq -c .",
        ),
    ],
    ids=["gz", "bz2", "zst", "xz", "zip", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "pretty"],
)
def test_what_a_wrong_file_looks_like_is_told_with_the_remedy(
    call: _Call, tmp_path: Path, data: bytes, hint: str
) -> None:
    (tmp_path / "events.json").write_bytes(data)
    ended = call(*_CALL)
    assert ended.code == 3
    assert f"; it looks like {hint}" in ended.error


def test_nothing_is_told_of_what_a_file_looks_like_that_has_an_event(
    call: _Call, tmp_path: Path
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS + b"{\n")
    assert "looks like" not in call(*_CALL, "--max_rejected=0").error


@pytest.mark.clause("1.11")
@pytest.mark.parametrize(
    ("ending", "name"), [(".gz", "gzip"), (".bz2", "bzip2"), (".zst", "Zstandard")]
)
def test_plain_text_under_a_compressed_name_is_told_with_the_remedy(
    call: _Call, tmp_path: Path, ending: str, name: str
) -> None:
    (tmp_path / f"log{ending}").write_bytes(CHALLENGE_EVENTS)
    ended = call(f"--input_file=log{ending}", _WINDOW)
    assert ended.code == 2
    assert ended.error == (
        f"log{ending}: cannot be read: this is no {name} data, as its name says: if it is not "
        "compressed, let its name end otherwise"
    )


def test_a_wrong_file_gives_an_empty_result_where_that_is_allowed(
    call: _Call, tmp_path: Path
) -> None:
    (tmp_path / "events.json").write_text(_PRETTY_EVENTS)
    ended = call(*_CALL, *_all_outputs(tmp_path), "--max_rejected=100%")
    assert ended.code == 0
    assert (tmp_path / "rows.json").read_bytes() == b""


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
@pytest.mark.parametrize("array", [_JSON_ARRAY, _PRETTY_ARRAY], ids=["one line", "pretty"])
def test_the_remedy_for_an_array_works(call: _Call, array: str) -> None:
    converted = subprocess.check_output(["jq", "-c", ".[]"], input=array.encode())
    assert call("--input_file", "-", _WINDOW, stdin=converted).out == CHALLENGE_ROWS


@pytest.mark.parametrize("data", [CHALLENGE_EVENTS, CHALLENGE_EVENTS + b"no event\n"])
def test_a_run_without_an_event_of_the_name_ends_with_a_warning(
    call: _Call, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "events.json").write_bytes(data)
    ended = call(*_CALL, "--event_name=translation_deliverd", "--rejected_file=bad.json")
    assert (ended.code, ended.out) == (0, b"")
    (warning,) = ended.warnings
    assert "translation_deliverd" in warning
    assert "--event_name" in warning
    assert "translation_delivered (3)" in ended.err


def test_other_events_may_have_any_number_of_names(call: _Call, tmp_path: Path) -> None:
    names = ["", *(f"kind {number}" for number in range(1_100))]
    lines = [json.dumps({"event_name": name}).encode() for name in names]
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS + b"\n".join(lines))
    ended = call(*_CALL)
    assert (ended.code, ended.out) == (0, CHALLENGE_ROWS)
    assert "1,101 other events" in ended.err


# ---------------------------------------------------------------------------------------------
# The old output


@pytest.mark.parametrize(
    ("data", "options", "code"),
    [
        (CHALLENGE_EVENTS, ["--max_rows=13"], 1),
        (CHALLENGE_EVENTS, ["--plan=windows", "--max_rows=13"], 1),
        (CHALLENGE_EVENTS, ["--rejected_file=nofolder/bad.json"], 2),
        (CHALLENGE_EVENTS, ["--input_file=nosuch.json"], 2),
        (CHALLENGE_EVENTS, ["--decimals=x"], 2),
        (_DIRTY, ["--max_rejected=0"], 3),
        (_PRETTY_EVENTS.encode(), [], 3),
    ],
)
def test_whatever_goes_wrong_the_old_output_stays(
    call: _Call, tmp_path: Path, data: bytes, options: list[str], code: int
) -> None:
    (tmp_path / "events.json").write_bytes(data)
    (tmp_path / "rows.json").write_bytes(_OLD)
    before = _content(tmp_path)
    arguments = [*_CALL, "--output_file=rows.json", *options]
    assert call(*arguments[len(options) and options[0].startswith("--input_file") :]).code == code
    assert _content(tmp_path) == before


def test_too_many_rows_are_refused_with_what_made_them_many(call: _Call) -> None:
    ended = call(*_CALL, "--max_rows=13")
    assert (ended.code, ended.out) == (1, b"")
    for option in ("--max_rows=13", "--group_by", "--max_gap_minutes", "--until", "--window_size"):
        assert option in ended.error
    assert call(*_CALL, "--max_rows=14").out == CHALLENGE_ROWS


@pytest.mark.parametrize(
    "arguments",
    [
        _CALL,
        [*_CALL, "--num_shards=0"],
        [*_CALL, "--output_file=nofolder/rows.json"],
        [*_CALL, "--max_rows=1"],
        ["--input_file=nosuch.json", _WINDOW],
    ],
    ids=" ".join,
)
def test_no_temporary_file_or_folder_is_left(
    call: _Call, scratch: Path, arguments: list[str]
) -> None:
    call(*arguments)
    assert [*scratch.iterdir()] == []


def test_a_surprise_is_one_line_too(call: _Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("pipeline.formats.ndjson.Ndjson._lines", fail)
    ended = call(*_CALL)
    assert (ended.code, ended.out) == (1, b"")
    assert ended.error.startswith("RuntimeError: first line")
    assert "--debug" in ended.error
