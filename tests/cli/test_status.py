"""The status line of an unbounded run."""

import io
import sys
import threading

import pytest

from pipeline.cli import status


class _Stderr(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_ON_TERMINAL_SECONDS", 0.001)
    monkeypatch.setattr(status, "_IN_LOG_SECONDS", 0.002)
    monkeypatch.setenv("COLUMNS", "10")


def _shown(stderr: _Stderr, monkeypatch: pytest.MonkeyPatch) -> str:
    """What was shown of three descriptions, at least."""
    monkeypatch.setattr(sys, "stderr", stderr)
    asked = threading.Semaphore(0)

    def describe() -> str:
        asked.release()
        return "a line of more than ten characters"

    with status.shown(describe):
        for _ in range(4):
            assert asked.acquire(timeout=60)
    return stderr.getvalue()


def test_a_terminal_has_one_line_that_is_cut_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _shown(_Stderr(is_terminal=True), monkeypatch)
    assert "\n" not in shown
    assert shown.startswith("\r\x1b[Ka line of\r\x1b[Ka line of\r\x1b[Ka line of\r\x1b[K")
    assert shown.endswith("\r\x1b[K")


def test_a_log_has_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _shown(_Stderr(is_terminal=False), monkeypatch)
    lines = shown.splitlines(keepends=True)
    assert {*lines[:3]} == {"a line of more than ten characters\n"}


def test_a_run_that_ends_sooner_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_IN_LOG_SECONDS", 3600)
    stderr = _Stderr(is_terminal=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    with status.shown(lambda: "never"):
        pass
    assert stderr.getvalue() == ""
