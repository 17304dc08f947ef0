"""The progress bar of a run in this process: bytes read, of all there are.

Steps of the pipeline report to whatever bar is shown in their process; on a worker there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_QUIET_SECONDS = 2

_bar: tqdm | None = None


def advance(size: int) -> None:
    """Tells that so many more bytes were read."""
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
