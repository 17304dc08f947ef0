"""The progress bar: on a terminal and not at once, of the bytes read, and nowhere else."""

import bz2
import gzip
import io
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import zstandard

from pipeline.sources import progress
from pipeline.sources.sections import Input, find_inputs, plan_tasks, read_chunks


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quiet time is over when a run begins."""
    monkeypatch.setattr(progress, "_QUIET_SECONDS", 0)


def test_a_terminal_shows_the_share_of_the_bytes_read() -> None:
    with redirect_stderr(_Terminal()) as terminal, progress.shown(2_000_000):
        progress.advance(500_000)
        assert progress._bar is not None
        progress._bar.refresh()
        assert "25%" in terminal.getvalue()
        assert "500k/2.00M" in terminal.getvalue()


def test_the_bar_is_gone_when_the_run_has_ended() -> None:
    with redirect_stderr(_Terminal()) as terminal:
        with progress.shown(100):
            progress.advance(100)
        shown = terminal.getvalue()
    assert "\n" not in shown
    # Overwritten with blanks, and the cursor back at the beginning of the line.
    assert shown.split("\r")[-2:] == [" " * len(shown.split("\r")[-2]), ""]
    assert "%" in shown


def test_a_run_that_fails_leaves_no_bar() -> None:
    with redirect_stderr(_Terminal()) as terminal:
        with pytest.raises(KeyboardInterrupt), progress.shown(100):
            raise KeyboardInterrupt
        shown = terminal.getvalue()
        progress.advance(50)
        assert terminal.getvalue() == shown


def test_a_short_run_shows_nothing_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_QUIET_SECONDS", 3_600)
    with redirect_stderr(_Terminal()) as terminal:
        with progress.shown(100):
            for _ in range(100):
                progress.advance(1)
        assert terminal.getvalue().strip() == ""


def test_a_pipe_or_a_log_shows_nothing() -> None:
    with redirect_stderr(io.StringIO()) as log:
        with progress.shown(100):
            progress.advance(100)
        assert log.getvalue() == ""


def test_where_no_bar_is_shown_reports_are_ignored() -> None:
    with redirect_stderr(_Terminal()) as terminal:
        progress.advance(10)
        assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("log.json", bytes),
        ("log.json.gz", gzip.compress),
        ("log.json.bz2", bz2.compress),
        ("log.json.zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_reading_files_takes_the_bar_to_its_end(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    # What is compressed counts as it is stored: nobody knows how long it will be.
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(compress(b"a line\n" * 10_000))
    found = find_inputs([Input(str(tmp_path / "*" / name))])
    total_bytes = sum(info.size for info, _ in found)
    with redirect_stderr(_Terminal()), progress.shown(total_bytes):
        assert progress._bar is not None
        for task in plan_tasks(found):
            for _ in read_chunks(task):
                pass
        assert progress._bar.n == progress._bar.total == total_bytes > 0
