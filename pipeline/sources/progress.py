"""The progress bar of a run in this process: the share of the bytes that is read.

DoFns report to the bar of their process; on a worker of a service there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_QUIET_SECONDS = 2

_bar: tqdm | None = None


def advance(size: int) -> None:
    """Reports that more bytes were read."""
    if _bar is not None:
        _bar.update(size)


@contextmanager
def shown(total_bytes: int) -> Iterator[None]:
    """Shows a bar on standard error while the body runs, on a terminal and after two seconds."""
    global _bar
    with tqdm(
        total=total_bytes,
        unit="B",
        unit_scale=True,
        delay=_QUIET_SECONDS,
        disable=not sys.stderr.isatty(),
        leave=False,
    ) as bar:
        _bar = bar
        try:
            yield
        finally:
            _bar = None
