"""The status of an unbounded run: one line on a terminal, one line a minute in a log."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from pipeline.live.account import Account

_ON_TERMINAL_SECONDS = 1
_IN_LOG_SECONDS = 60
_CLEAR_LINE = "\r\x1b[K"


@contextmanager
def shown(describe: Callable[[], str]) -> Iterator[None]:
    """Shows the result of `describe` on standard error, repeatedly, while the body runs."""
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


def text(account: Account, watermark: datetime | None) -> str:
    """The status line; `watermark` is None before it is known."""
    reached = "none yet"
    if watermark is not None:
        lag = (datetime.now(timezone.utc) - watermark).total_seconds()
        reached = f"{watermark:%Y-%m-%d %H:%M:%S} ({_duration(lag)} behind the clock)"
    counts = account.tally.counts()
    return (
        f"{counts['lines']:,} lines, {account.rows:,} rows, watermark {reached}, "
        f"{counts['rejected']:,} rejected, {account.tally.late:,} late"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} seconds"
