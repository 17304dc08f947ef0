"""Whole lines, appended to files and pipes as they come."""

import errno
import os
import threading
from pathlib import Path

import pytest

from pipeline.appending import append
from pipeline.errors import OutputError


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
