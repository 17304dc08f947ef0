"""Requests to end the process: Ctrl-C, SIGTERM, and the SIGHUP of a terminal that is closed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.core.errors import ExitCode

_EXIT_CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HUNG_UP,
}


def leave_at_once_when_asked() -> None:
    """Makes these signals end the process at once: there is nothing to clean up yet."""

    def leave(number: int, _frame: FrameType | None) -> None:
        os._exit(_EXIT_CODES[signal.Signals(number)])

    for number in _heeded():
        signal.signal(number, leave)


def _heeded() -> list[signal.Signals]:
    # nohup ignores SIGHUP for what it starts.
    is_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [each for each in _EXIT_CODES if each != signal.SIGHUP or not is_ignored]


class AskedToEnd(BaseException):
    """The process was interrupted, terminated or hung up."""


class Signals:
    """Turns these signals into exceptions, so that a run cleans up, and keeps their exit code."""

    def __init__(self) -> None:
        self.exit_code: ExitCode | None = None

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Raises AskedToEnd in the body."""
        previous = {number: signal.signal(number, self._raise) for number in _heeded()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _raise(self, number: int, _frame: FrameType | None) -> None:
        self.exit_code = _EXIT_CODES[signal.Signals(number)]
        raise AskedToEnd
