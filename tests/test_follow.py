"""Files as they grow: every whole line once, at its place, whatever happens to the files."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import reading
from pipeline.chunks import Chunk
from pipeline.errors import InputError
from pipeline.follow import Follower


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
        self._follower = Follower(
            [str(folder / each) for each in patterns or ("*.json",)], clock=lambda: self.now
        )

    def append(self, name: str, data: bytes) -> None:
        with open(self.folder / name, "ab") as stream:
            stream.write(data)

    def new(self) -> list[tuple[str, int, bytes]]:
        return _lines(list(self._follower.poll()))

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
    monkeypatch.setattr("pipeline.follow.MAX_LINE_BYTES", 10)
    monkeypatch.setattr("pipeline.follow.CUT_LINE_BYTES", 4)
    logs.append("a.json", b"0123456789ab")
    (cut,) = logs._follower.poll()
    assert (cut.is_cut, cut.data, cut.origin(0).offset) == (True, b"0123", 0)
    logs.append("a.json", b"cdef" * 10)
    assert logs.new() == []
    logs.append("a.json", b"g\nnext\n")
    assert logs.new() == [("a.json", 54, b"next")]
    assert reading.MAX_LINE_BYTES > 10


def test_what_cannot_be_followed_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").touch()
    with pytest.raises(InputError, match=r"a\.json\.gz: a compressed file cannot be followed"):
        Follower([str(tmp_path / "*.gz")]).look()
    with pytest.raises(InputError, match=r"is a folder: name its files, .*\*"):
        Follower([str(tmp_path)]).look()


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
    found = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        os.set_blocking(writer.stdout.fileno(), False)
        while (said := writer.stdout.readline()) != "killed in mid-line\n":
            found += logs.new()
            if said == "look\n":
                writer.stdin.write("\n")
        found += logs.new()
        writer.send_signal(signal.SIGKILL)
    assert [line for _, _, line in found] == [b"line %d" % index for index in range(count)]
    assert logs.new() == []
    assert [line for _, _, line in logs.rest()] == [b"half a li"]
