"""Files that take the place of earlier ones: complete, together, or not at all."""

import errno
import logging
import os
import signal
import stat
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import OutputError, RunError
from pipeline.storage import files, replacing

# ---------------------------------------------------------------------------------------------
# One file


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_appears_complete_and_leaves_nothing_beside_it(
    tmp_path: Path, old: bytes | None
) -> None:
    path = tmp_path / "rows.json"
    if old is not None:
        path.write_bytes(old)
    with replacing.replacing(str(path), "run") as write:
        write(b"new")
        assert (path.read_bytes() if path.exists() else None) == old
        assert (tmp_path / ".rows.json.run.tmp").exists()
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["rows.json"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError(), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), OutputError),
        (RunError("no"), RunError),
    ],
)
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failure_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, old: bytes | None, error: BaseException, raised: type[BaseException]
) -> None:
    path = tmp_path / "rows.json"
    if old is not None:
        path.write_bytes(old)

    def write_half() -> None:
        with replacing.replacing(str(path), "run") as write:
            write(b"half")
            raise error

    with pytest.raises(raised):
        write_half()
    assert (path.read_bytes() if path.exists() else None) == old
    assert len([*tmp_path.iterdir()]) == (old is not None)


def test_a_failure_at_the_last_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"old")

    def fail(source: str, destination: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "replace", fail)
    with (
        pytest.raises(OutputError, match=r"rows\.json: cannot be written: operation not permitted"),
        replacing.replacing(str(path), "run") as write,
    ):
        write(b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["rows.json"]


def test_what_was_prepared_takes_its_place_once_however_often_it_is_asked_to(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"old")
    with replacing.preparing(str(path), "run") as write:
        write(b"new")
    assert path.read_bytes() == b"old"
    for _ in range(2):
        replacing.replace(str(path), "run")
        assert [each.name for each in tmp_path.iterdir()] == ["rows.json"]
        assert path.read_bytes() == b"new"


def test_what_was_never_prepared_is_missed(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"rows\.json: cannot be written: no such file"):
        replacing.replace(str(tmp_path / "rows.json"), "run")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_an_error_that_names_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "temporary_name", lambda path, run_id: "/dev/full")
    monkeypatch.setattr(files, "remove", lambda path: None)
    path = tmp_path / "rows.json"
    with (
        pytest.raises(OutputError, match=r"rows\.json: cannot be written: no space left"),
        replacing.replacing(str(path), "run") as write,
    ):
        write(b"new")
    assert not path.exists()


@pytest.mark.clause("3.5")
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_one_and_what_it_names_is_replaced(
    tmp_path: Path, exists: bool
) -> None:
    target, link = tmp_path / "data" / "rows.json", tmp_path / "latest.json"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    with replacing.replacing(str(link), "run") as write:
        write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()


def test_the_temporary_file_of_a_link_stands_beside_what_it_names(tmp_path: Path) -> None:
    # A rename reaches no further than one filesystem, and a link may lead to another.
    target, link = tmp_path / "data" / "rows.json", tmp_path / "latest.json"
    target.parent.mkdir()
    link.symlink_to(target)
    with replacing.replacing(str(link), "run") as write:
        write(b"new")
        assert [*tmp_path.glob("*.tmp"), *tmp_path.glob(".*.tmp")] == []
        assert len([*target.parent.iterdir()]) == 1


def test_a_path_without_a_folder_is_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with replacing.replacing("rows.json", "run") as write:
        write(b"new")
    assert (tmp_path / "rows.json").read_bytes() == b"new"


@pytest.mark.clause("3.5")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_has_the_mode_and_owner_of_the_one_it_replaces(tmp_path: Path, mode: int) -> None:
    path, link = tmp_path / "rows.json", tmp_path / "link.json"
    path.write_bytes(b"old")
    link.symlink_to(path)
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 65_534, 65_533)
    before = path.stat()
    with replacing.replacing(str(link), "run") as write:
        prepared = os.stat(replacing.temporary_name(str(link), "run"))
        assert stat.S_IMODE(prepared.st_mode) == mode
        write(b"new")
    after = path.stat()
    assert path.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_an_owner_that_may_not_be_given_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    path = tmp_path / "rows.json"
    path.write_bytes(b"old")
    with replacing.replacing(str(path), "run") as write:
        write(b"new")
    assert path.read_bytes() == b"new"


# ---------------------------------------------------------------------------------------------
# Names


def test_runs_at_the_same_time_have_temporary_files_of_their_own() -> None:
    names = {replacing.temporary_name("a/rows.json", run) for run in ("x", "y")}
    assert names == {"a/.rows.json.x.tmp", "a/.rows.json.y.tmp"}


_LONG = "n" * 100
_NAMES = st.one_of(
    st.text(string.ascii_lowercase + "\u20ac", min_size=1, max_size=80),
    st.builds("{}{}{}".format, st.sampled_from("ab"), st.just(_LONG), st.sampled_from("ab")),
)


@given(st.sets(_NAMES, min_size=2, max_size=5))
def test_no_two_files_of_a_run_have_one_temporary_name(names: set[str]) -> None:
    temporary = {replacing.temporary_name(f"folder/{name}", "f" * 12) for name in names}
    assert len(temporary) == len(names)
    assert all(len(os.path.basename(each).encode()) <= 255 for each in temporary)


# ---------------------------------------------------------------------------------------------
# Several files


def _prepared(folder: Path, old: dict[str, bytes], new: list[str]) -> list[str]:
    """Earlier files, and new ones beside their places."""
    for name, content in old.items():
        (folder / name).write_bytes(content)
    paths = [str(folder / name) for name in new]
    for path in paths:
        with replacing.preparing(path, "run") as write:
            write(b"new")
    return paths


def _visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


_OLD = {"a": b"old a", "c": b"old c", "stale": b"stale"}


def test_all_files_take_their_places_and_stale_ones_go(tmp_path: Path) -> None:
    paths = _prepared(tmp_path, _OLD, ["a", "b", "c"])
    replacing.replace_together(paths, "run", [str(tmp_path / "stale")])
    assert _visible(tmp_path) == {"a": b"new", "b": b"new", "c": b"new"}
    assert len([*tmp_path.iterdir()]) == 3


@pytest.mark.clause("3.4")
@pytest.mark.parametrize(
    ("name", "failing"),
    [*(("link", n) for n in range(4)), *(("replace", n) for n in range(3)), ("remove", 0)],
)
def test_when_one_change_fails_all_files_are_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, failing: int
) -> None:
    paths = _prepared(tmp_path, _OLD, ["a", "b", "c"])
    function, calls = getattr(os, name), []

    def fail(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        if len(calls) == failing + 1:
            raise OSError(errno.EIO, "Input/output error")
        return function(*arguments, **keywords)

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OutputError, match=r"cannot be written: input/output error"):
        replacing.replace_together(paths, "run", [str(tmp_path / "stale")])
    assert _visible(tmp_path) == _OLD
    assert [*tmp_path.glob(".*.old")] == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_where_there_are_no_hard_links_files_are_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    paths = _prepared(tmp_path, _OLD, ["a", "b", "c"])
    replacing.replace_together(paths, "run")
    assert _visible(tmp_path) == {"a": b"new", "b": b"new", "c": b"new", "stale": b"stale"}


def test_what_was_kept_and_cannot_be_removed_is_a_warning_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    paths = _prepared(tmp_path, _OLD, ["a", "b"])
    monkeypatch.setattr(os, "remove", refuse)
    with caplog.at_level(logging.WARNING):
        replacing.replace_together(paths, "run")
    assert _visible(tmp_path) == {**_OLD, "a": b"new", "b": b"new"}
    assert ".a.run.old: cannot be removed" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_does_not_part_files_that_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    paths = _prepared(tmp_path, _OLD, ["a", "b", "c"])
    before = signal.getsignal(number)
    replace = os.replace

    def interrupt(source: str, destination: str) -> None:
        replace(source, destination)
        signal.raise_signal(number)

    monkeypatch.setattr(os, "replace", interrupt)
    replacing.replace_together(paths, "run")
    assert _visible(tmp_path) == {"a": b"new", "b": b"new", "c": b"new", "stale": b"stale"}
    assert signal.getsignal(number) is before
