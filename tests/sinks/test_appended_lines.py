"""Whole lines, appended to files and pipes as they come."""

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import OutputError
from pipeline.sinks import appended_lines as appending
from pipeline.sinks.appended_lines import append


def test_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"one\n")
    append(str(path), b"two\n")
    append(str(path), b"")
    append(str(path), b"three\nfour\n")
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_what_cannot_be_written_whole_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.json"
    append(str(path), b"one\n")
    write, calls = os.write, []

    def write_some(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:3])

    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(OutputError, match="no space left"):
        append(str(path), b"two\n")
    assert path.read_bytes() == b"one\n"


def test_the_reader_of_a_pipe_sees_its_end_only_when_the_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines: list[bytes] = []
    has_both = threading.Event()

    def read() -> None:
        with path.open("rb") as pipe:
            for line in pipe:
                lines.append(line)
                if len(lines) == 2:
                    has_both.set()
        lines.append(b"the end")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    append(str(path), b"")
    append(str(path), b"one\n")
    append(str(path), b"two\n")
    assert has_both.wait(timeout=60)
    assert lines == [b"one\n", b"two\n"]


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long it was waited between two tries; time passes only by this."""
    waited: list[float] = []
    monkeypatch.setattr(appending, "_wait", waited.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(waited))
    return waited


def _fail(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
    """Makes a function fail so many times, or half way where it writes."""
    function, left = getattr(os, name), [times]

    def call(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            if name == "write":
                function(arguments[0], arguments[1][:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*arguments)

    monkeypatch.setattr(os, name, call)


@pytest.mark.clause("5.9")
@pytest.mark.parametrize("name", ["write", "open"])
def test_a_file_that_cannot_be_written_for_a_while_is_waited_for_with_one_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    waited: list[float],
    name: str,
) -> None:
    path = tmp_path / "rows.json"
    append(str(path), b"one\n")
    _fail(monkeypatch, name, times=5)
    append(str(path), b"two\n", retry_seconds=60)
    assert path.read_bytes() == b"one\ntwo\n"
    assert len(waited) == 5
    assert waited == sorted(waited)
    message = f"{path}: cannot be written: no space left on device: trying for 60 s"
    assert caplog.messages == [message]


def test_after_so_many_seconds_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: list[float]
) -> None:
    path = tmp_path / "rows.json"
    append(str(path), b"one\n")
    _fail(monkeypatch, "write", times=10**6)
    with pytest.raises(
        OutputError, match=r"rows\.json: cannot be written: no space left on device"
    ):
        append(str(path), b"two\n", retry_seconds=60)
    assert 60 <= sum(waited) <= 70
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("flags", [os.O_APPEND, 0], ids=["appended to", "written"])
def test_a_descriptor_is_written_where_it_stands_and_no_hole_is_left_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: list[float], flags: int
) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"earlier\n")
    descriptor = os.open(path, os.O_WRONLY | flags)
    if not flags:
        os.ftruncate(descriptor, 0)
    append(f"/dev/fd/{descriptor}", b"one\n")
    _fail(monkeypatch, "write", times=2)
    append(f"/dev/fd/{descriptor}", b"two\n", retry_seconds=60)
    os.close(descriptor)
    assert path.read_bytes() == (b"earlier\n" if flags else b"") + b"one\ntwo\n"


def test_what_a_pipe_does_not_take_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: list[float]
) -> None:
    reader, writer = os.pipe()
    _fail(monkeypatch, "write", times=1)
    with pytest.raises(OutputError, match="no space left"):
        append(f"/dev/fd/{writer}", b"one\n", retry_seconds=60)
    assert waited == []
    os.close(reader)
    os.close(writer)
