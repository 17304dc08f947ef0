"""Files as they grow: every whole line once, at its place, whatever happens to the files."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from copies import CHECKOUT
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.events import LINE_TOO_LONG
from pipeline.parsing.chunks import Chunk
from pipeline.sources import sections
from pipeline.sources import tail as follow
from pipeline.sources.tail import Tail


def _lines(chunks: list[Chunk]) -> list[tuple[str, int, bytes]]:
    """The lines of chunks, each with the name and the byte that it stands at."""
    lines = []
    for chunk in chunks:
        for position, line in chunk.lines():
            _, source, offset, _ = chunk.origin(position)
            lines.append((os.path.basename(source), offset, line))
    return lines


class _Logs:
    """A folder of logs, and who follows them, at a time of its own."""

    def __init__(self, folder: Path, *patterns: str) -> None:
        self.folder = folder
        self.now = 0.0
        self._follower = Tail(
            [str(folder / each) for each in patterns or ("*.json",)], clock=lambda: self.now
        )

    def append(self, name: str, data: bytes) -> None:
        with open(self.folder / name, "ab") as stream:
            stream.write(data)

    def new(self) -> list[tuple[str, int, bytes]]:
        return _lines(list(self._follower.poll()))

    def open_files(self) -> int:
        return sum(file.is_open for file in self._follower._files.values())

    def rest(self) -> list[tuple[str, int, bytes]]:
        return _lines(list(self._follower.finish()))


@pytest.fixture
def logs(tmp_path: Path) -> _Logs:
    return _Logs(tmp_path)


def test_lines_come_once_and_the_last_waits_for_its_end(logs: _Logs) -> None:
    assert logs.new() == []
    logs.append("a.json", b"one\ntw")
    assert logs.new() == [("a.json", 0, b"one")]
    assert logs.new() == []
    logs.append("a.json", b"o\r\n\nthree")
    assert logs.new() == [("a.json", 4, b"two"), ("a.json", 9, b"")]
    assert logs.rest() == [("a.json", 10, b"three")]


@given(
    st.lists(st.sampled_from([b"", b"a", b"bc\r", b"\xef\xbb\xbf"]), min_size=1),
    st.lists(st.integers(0, 30)),
)
def test_it_does_not_matter_in_which_pieces_lines_are_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cuts: list[int]
) -> None:
    data = b"\n".join(lines)
    logs, at_once = (_Logs(tmp_path_factory.mktemp("logs")) for _ in range(2))
    at_once.append("a.json", data)
    expected = at_once.new() + at_once.rest()

    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = []
    for start, end in pairwise(bounds):
        logs.append("a.json", data[start:end])
        found += logs.new()
    assert found + logs.rest() == expected


def test_a_byte_order_mark_is_no_part_of_the_first_line(logs: _Logs) -> None:
    logs.append("a.json", b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")
    assert logs.new() == [("a.json", 3, b"one"), ("a.json", 7, b"\xef\xbb\xbftwo")]


def test_files_that_appear_are_read_from_their_beginning(logs: _Logs) -> None:
    logs.append("b.json", b"one\n")
    assert logs.new() == [("b.json", 0, b"one")]
    logs.append("a.json", b"two\n")
    logs.append("other.txt", b"three\n")
    assert logs.new() == [("a.json", 0, b"two")]


def test_a_file_that_two_patterns_or_names_lead_to_is_read_once(tmp_path: Path) -> None:
    logs = _Logs(tmp_path, "a.json", "*.json")
    logs.append("a.json", b"one\n")
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    assert logs.new() == [("a.json", 0, b"one")]


def test_a_renamed_file_is_read_to_its_end_and_the_new_one_from_its_beginning(
    logs: _Logs,
) -> None:
    logs.append("a.json", b"one\n")
    assert logs.new() == [("a.json", 0, b"one")]
    (logs.folder / "a.json").rename(logs.folder / "a.1")
    logs.append("a.1", b"two\n")
    logs.append("a.json", b"three\n")
    logs.append("a.1", b"four, without an end")
    assert logs.new() == [("a.json", 4, b"two"), ("a.json", 0, b"three")]
    logs.now += 9
    assert logs.new() == []
    logs.now += 1
    assert logs.new() == [("a.json", 8, b"four, without an end")]
    logs.append("a.1", b"; too late\n")
    assert logs.new() == []


def test_a_truncated_file_is_read_anew(logs: _Logs) -> None:
    logs.append("a.json", b"one\ntwo\nthr")
    assert len(logs.new()) == 2
    os.truncate(logs.folder / "a.json", 0)
    logs.append("a.json", b"four\n")
    # What was written of a line that will never be whole is not dropped unseen.
    assert logs.new() == [("a.json", 8, b"thr"), ("a.json", 0, b"four")]


def test_a_file_that_never_stops_growing_is_left_for_the_others(logs: _Logs) -> None:
    logs.append("a.json", b"one\n")
    logs.append("b.json", b"two\n")
    lines = []
    for chunk in logs._follower.poll():
        lines.append(bytes(chunk.data))
        logs.append("a.json", b"more\n")
    assert lines == [b"one\n", b"two\n"]


def test_a_deleted_file_is_no_error(logs: _Logs) -> None:
    logs.append("a.json", b"one\n")
    assert len(logs.new()) == 1
    (logs.folder / "a.json").unlink()
    assert logs.new() == []
    logs.append("a.json", b"two\n")
    assert logs.new() == [("a.json", 0, b"two")]


def test_a_line_that_is_too_long_is_given_cut_once(
    logs: _Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.whole_lines.MAX_LINE_BYTES", 10)
    monkeypatch.setattr("pipeline.sources.whole_lines.CUT_LINE_BYTES", 4)
    logs.append("a.json", b"0123456789ab")
    (cut,) = logs._follower.poll()
    assert (cut.fault, cut.data, cut.origin(0).offset) == (LINE_TOO_LONG, b"0123", 0)
    logs.append("a.json", b"cdef" * 10)
    assert logs.new() == []
    logs.append("a.json", b"g\nnext\n")
    assert logs.new() == [("a.json", 54, b"next")]
    assert sections.MAX_LINE_BYTES > 10


# ---------------------------------------------------------------------------------------------
# Truncated and grown again


@pytest.mark.parametrize(
    "new",
    [b"ONE\nTWO\n", b"ONE\nTWO\nTHREE\n", b"one\nTWO\nTHREE\n"],
    ids=["to the same size", "beyond it", "with the same beginning"],
)
def test_a_file_that_was_truncated_and_has_grown_again_is_read_anew(
    logs: _Logs, new: bytes
) -> None:
    logs.append("a.json", b"one\ntwo\n")
    assert len(logs.new()) == 2
    with open(logs.folder / "a.json", "r+b") as stream:
        stream.truncate(0)
        stream.write(new)
    _touch(logs.folder / "a.json")
    assert [line for _, _, line in logs.new()] == new.split()
    logs.append("a.json", b"more\n")
    assert logs.new() == [("a.json", len(new), b"more")]


def _touch(path: Path) -> None:
    """Gives a file another time of change, however coarse the clock of the filesystem is."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


def test_a_changed_time_alone_changes_nothing(logs: _Logs) -> None:
    logs.append("a.json", b"x" * 3_000 + b"\nhalf")
    assert len(logs.new()) == 1
    _touch(logs.folder / "a.json")
    assert logs.new() == []
    logs.append("a.json", b" a line\n")
    assert logs.new() == [("a.json", 3_001, b"half a line")]


def test_a_new_file_with_the_number_of_a_deleted_one_is_read_from_its_beginning(
    logs: _Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_MAX_OPEN_FILES", 0)
    logs.append("a.json", b"one\n")
    assert len(logs.new()) == 1
    number = (logs.folder / "a.json").stat().st_ino
    (logs.folder / "a.json").unlink()
    logs.append("b.json", b"two\nthree\n")
    new = logs.new()
    if (logs.folder / "b.json").stat().st_ino == number:  # as most filesystems have it
        assert new == [("b.json", 0, b"two"), ("b.json", 4, b"three")]
    assert [line for _, _, line in new] == [b"two", b"three"]


# ---------------------------------------------------------------------------------------------
# Many files


def test_files_that_are_quiet_are_closed_and_opened_again(
    logs: _Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_MAX_OPEN_FILES", 2)
    names = [f"{number}.json" for number in range(5)]
    for round_ in (b"one\n", b"two\n"):
        for name in names:
            logs.append(name, round_)
        assert [line for _, _, line in logs.new()] == [round_.strip()] * 5
        assert logs.open_files() == 2
    # Renamed while it is closed, and written to by one that still has it open.
    with open(logs.folder / "0.json", "ab") as stream:
        (logs.folder / "0.json").rename(logs.folder / "0.1")
        stream.write(b"three\n")
    assert logs.new() == [("0.json", 8, b"three")]


def test_more_files_are_followed_than_may_be_open(tmp_path: Path) -> None:
    for number in range(150):
        (tmp_path / f"{number}.json").write_bytes(b"%d\n" % number)
    program = """
import resource, sys
from pipeline.sources.tail import Tail
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
follower = Tail([sys.argv[1]])
lines = [bytes(chunk.data) for _ in range(2) for chunk in follower.poll()]
assert sorted(lines, key=int) == [b"%d\\n" % number for number in range(150)]
"""
    command = [sys.executable, "-c", program, str(tmp_path / "*.json")]
    subprocess.run(command, cwd=CHECKOUT, check=True)


# ---------------------------------------------------------------------------------------------
# What cannot be followed


def _make_pipe(path: Path) -> None:
    os.mkfifo(path)


def _make_link(path: Path) -> None:
    path.symlink_to("nowhere")


def _make_circle(path: Path) -> None:
    path.symlink_to(path.name)


_NOT_FOLLOWED: list[tuple[str, Callable[[Path], None], str]] = [
    ("b.json.gz", Path.touch, "a compressed file cannot be followed: uncompress it"),
    ("b.json", _make_pipe, "is no regular file, and only such are followed"),
    ("b.json", _make_link, "this is a link to nowhere, which is not there"),
    ("b.json", _make_circle, "links lead in a circle"),
]
_each_kind = pytest.mark.parametrize(
    ("name", "make", "reason"), _NOT_FOLLOWED, ids=["compressed", "pipe", "link", "circle"]
)


@pytest.mark.clause("5.8")
@_each_kind
@pytest.mark.parametrize("is_there_before", [True, False], ids=["at the start", "later"])
def test_what_cannot_be_followed_under_a_pattern_is_left_out_with_one_warning(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    make: Callable[[Path], None],
    reason: str,
    is_there_before: bool,
) -> None:
    logs = _Logs(tmp_path, "*")
    if is_there_before:
        make(tmp_path / name)
    logs.append("a.json", b"one\n")
    assert logs._follower.look() == [str(tmp_path / "a.json")]
    assert logs.new() == [("a.json", 0, b"one")]
    if not is_there_before:
        make(tmp_path / name)
    for _ in range(3):
        logs.append("a.json", b"two\n")
        assert [line for _, _, line in logs.new()] == [b"two"]
    assert caplog.messages == [f"{tmp_path / name}: is left out for now: {reason}"]


@pytest.mark.clause("5.8")
@_each_kind
def test_what_cannot_be_followed_is_refused_where_a_path_names_it(
    tmp_path: Path, name: str, make: Callable[[Path], None], reason: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError) as refused:
        _Logs(tmp_path, name)._follower.look()
    assert str(refused.value) == f"{tmp_path / name}: {reason}"


def test_a_folder_is_refused_where_a_path_names_it_and_no_file_of_a_pattern(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"is a folder: name its files, .*\*"):
        _Logs(tmp_path, "folder")._follower.look()
    assert _Logs(tmp_path, "*").new() == []
    assert caplog.messages == []


def test_a_path_that_becomes_a_folder_is_waited_for(tmp_path: Path) -> None:
    logs = _Logs(tmp_path, "a.json")
    logs.append("a.json", b"one\n")
    assert len(logs.new()) == 1
    (tmp_path / "a.json").rename(tmp_path / "a.1")
    (tmp_path / "a.json").mkdir()
    assert logs.new() == []
    (tmp_path / "a.json").rmdir()
    logs.append("a.json", b"two\n")
    assert logs.new() == [("a.json", 0, b"two")]


@pytest.mark.clause("5.9")
def test_a_file_that_cannot_be_read_for_a_while_is_read_when_it_can(
    logs: _Logs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened, refused = os.open, [5]

    def open_or_refuse(path: str, *arguments: int) -> int:
        if path.endswith("a.json") and refused[0]:
            refused[0] -= 1
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", open_or_refuse)
    logs.append("a.json", b"one\n")
    logs.append("b.json", b"two\n")
    assert logs.new() == [("b.json", 0, b"two")]
    while refused[0]:
        assert logs.new() == []
    assert logs.new() == [("a.json", 0, b"one")]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("a.json: is left out for now: permission denied")


def test_a_read_that_fails_costs_no_other_file_and_no_line(
    logs: _Logs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(follow, "_READ_BYTES", 4)
    read, calls = os.pread, []

    def read_or_fail(*arguments: int) -> bytes:
        calls.append(arguments)
        if len(calls) == 4:
            raise OSError(5, "Input/output error")
        return read(*arguments)

    monkeypatch.setattr(os, "pread", read_or_fail)
    logs.append("a.json", b"one\ntwo\nsix\n")
    logs.append("b.json", b"ten\n")
    found = logs.new()
    assert ("b.json", 0, b"ten") in found
    assert "input/output error" in caplog.text
    lines = [(name, offset) for name, offset, _ in found + logs.new()]
    assert sorted(lines) == [("a.json", 0), ("a.json", 4), ("a.json", 8), ("b.json", 0)]


def test_a_path_without_a_file_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = _Logs(tmp_path, "a.json")
    logs._follower.look()
    assert "a.json: no such file yet: waiting for it" in caplog.text
    logs.append("a.json", b"one\n")
    assert logs.new() == [("a.json", 0, b"one")]


_WRITER = """
import os, sys
path, count = sys.argv[1], int(sys.argv[2])
for index in range(count):
    with open(path, "ab", buffering=0) as stream:
        for piece in (b"line ", b"%d" % index, b"\\n"):
            stream.write(piece)
    if index % 100 == 99:
        # Nobody sees a file that is rotated twice between two looks.
        print("look", flush=True)
        sys.stdin.readline()
        os.rename(path, f"{path}.{index}")
with open(path, "ab", buffering=0) as stream:
    stream.write(b"half a li")
    print("killed in mid-line", flush=True)
    sys.stdin.readline()
"""


def test_another_process_may_write_rotate_and_be_killed_in_mid_line(tmp_path: Path) -> None:
    logs, count = _Logs(tmp_path, "log"), 1000
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "log"), str(count)]
    found, told, answered = [], b"", 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        os.set_blocking(writer.stdout.fileno(), False)
        while b"killed in mid-line\n" not in told:
            with contextlib.suppress(BlockingIOError):
                told += os.read(writer.stdout.fileno(), 1024)
            found += logs.new()
            while answered < told.count(b"look\n"):
                writer.stdin.write(b"\n")
                writer.stdin.flush()
                answered += 1
        found += logs.new()
        writer.send_signal(signal.SIGKILL)
    assert [line for _, _, line in found] == [b"line %d" % index for index in range(count)]
    assert logs.new() == []
    assert [line for _, _, line in logs.rest()] == [b"half a li"]
