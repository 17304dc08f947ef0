"""Checkpoints: one file that is whole or not there, and outputs that are brought up to it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.durations import MinuteSums
from pipeline.core.errors import InputError, OptionError, OutputError
from pipeline.core.shards import NEVER, ShardBook
from pipeline.live.checkpoints import Checkpoint, Output, StateFolder, repair
from pipeline.live.following import FollowingState

pytestmark = pytest.mark.clause("5.12")

_NO_PLACES = np.zeros(0, np.int64)
_BOOK = ShardBook(7, 6, NEVER, [("a",), None], np.array([5, NEVER]), [_NO_PLACES], [_NO_PLACES])


def _folder(path: Path, **meaning: object) -> StateFolder:
    return StateFolder(str(path / "state"), meaning or {"window_size": (10, 60)}, retry_seconds=0)


def _written(path: Path) -> Checkpoint:
    """A checkpoint, and writes it."""
    sums = MinuteSums.of([3, 4], [5_000_000, 10**15])
    outputs = {str(path / "rows"): Output(3, b"\xc3\xa9\n"), str(path / "late"): Output(0, b"")}
    checkpoint = Checkpoint(FollowingState({"tail": [1, None, "é"]}, _BOOK, sums), outputs, b"{}\n")
    folder = _folder(path)
    with folder.locked():
        folder.write(checkpoint)
    return checkpoint


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert _folder(tmp_path).read() is None
    written = _written(tmp_path)
    read = _folder(tmp_path).read()
    assert read is not None
    assert (read.outputs, read.summary) == (written.outputs, written.summary)
    assert read.state.plain == written.state.plain
    assert [*read.state.sums] == [*written.state.sums]
    assert repr(read.state.book) == repr(written.state.book)


@pytest.mark.parametrize("kind", ["cut", "changed"])
def test_a_damaged_checkpoint_is_refused(kind: str, tmp_path: Path) -> None:
    _written(tmp_path)
    file = tmp_path / "state" / "checkpoint"
    content = file.read_bytes()
    for at in range(len(content)):
        rest = b"" if kind == "cut" else bytes([content[at] ^ 1]) + content[at + 1 :]
        file.write_bytes(content[:at] + rest)
        with pytest.raises(InputError, match=r"is damaged|no checkpoint that this"):
            _folder(tmp_path).read()


def test_a_run_with_another_meaning_is_refused_and_the_option_named(tmp_path: Path) -> None:
    _written(tmp_path)
    with pytest.raises(OptionError, match="another --window_size"):
        _folder(tmp_path, window_size=(10,)).read()


def test_a_folder_is_used_by_one_run_at_a_time(tmp_path: Path) -> None:
    other = pytest.raises(OptionError, match="another run uses it")
    with _folder(tmp_path).locked(), other, _folder(tmp_path).locked():
        pass
    with _folder(tmp_path).locked():
        pass


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(OutputError, match="state"), _folder(tmp_path).locked():
        pass


# ---------------------------------------------------------------------------------------------
# Outputs

_LINES = b"three\nfour\n"


@given(cut=st.integers(0, len(_LINES)), torn=st.sampled_from([b"", b"x", b"\0\0\0"]))
def test_what_a_stop_left_of_the_lines_is_completed(
    cut: int, torn: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("outputs") / "rows"
    path.write_bytes(b"one\ntwo\n" + _LINES[:cut] + torn)
    ((size, lines),) = repair({str(path): Output(8, _LINES)}).values()
    assert path.read_bytes() + lines == b"one\ntwo\n" + _LINES
    assert path.stat().st_size == size


def test_an_output_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    outputs = {str(tmp_path / "rows"): Output(0, _LINES)}
    assert repair(outputs) == outputs


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (b"one\n", "is gone, or shorter"),
        (None, "is gone, or shorter"),
        (b"one\ntwo\nthree\nfive\n", "has other lines"),
    ],
)
def test_an_output_that_is_another_one_is_refused_and_no_other_changes(
    found: bytes | None, message: str, tmp_path: Path
) -> None:
    torn, other = tmp_path / "torn", tmp_path / "other"
    torn.write_bytes(b"half a li")
    if found is not None:
        other.write_bytes(found)
    with pytest.raises(InputError, match=message):
        repair({str(torn): Output(0, b"half a line\n"), str(other): Output(8, _LINES)})
    assert torn.read_bytes() == b"half a li"


def test_lines_that_somebody_added_behind_those_of_the_run_stay(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(_LINES + b"more\n")
    assert repair({str(path): Output(0, _LINES)}) == {str(path): Output(len(_LINES) + 5, b"")}
