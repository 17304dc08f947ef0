"""How a run without end is getting on: one line on a terminal, one a minute in a log."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ON_TERMINAL_SECONDS = 1
_IN_LOG_SECONDS = 60
_CLEAR_LINE = "\r\x1b[K"


@contextmanager
def shown(describe: Callable[[], str]) -> Iterator[None]:
    """Shows what `describe` says on standard error, again and again while the body runs."""
    is_terminal = sys.stderr.isatty()
    seconds = _ON_TERMINAL_SECONDS if is_terminal else _IN_LOG_SECONDS
    done = threading.Event()

    def show() -> None:
        while not done.wait(seconds):
            line = describe()
            if is_terminal:
                columns = shutil.get_terminal_size().columns
                print(f"{_CLEAR_LINE}{line[: columns - 1]}", end="", file=sys.stderr, flush=True)
            else:
                print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if is_terminal:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)
