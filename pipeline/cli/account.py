"""Counts of a run in this process while it goes on."""

from __future__ import annotations

import threading
from datetime import datetime

from pipeline.core.rows import Row
from pipeline.core.tally import Tally
from pipeline.transforms.in_process import InProcess


class Account(InProcess):
    """Counts lines and rows; DoFns report to it, from any thread.

    Metrics cannot be used for this: Prism's can be queried only once, and the DirectRunner's miss
    counts after a step's first bundle.

    Attributes:
        tally: of the lines.
        rows: the number of rows.
        last_date: the latest date of a row; None before there is one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.tally = Tally()
        self.rows = 0
        self.last_date: datetime | None = None

    def add_lines(self, tally: Tally) -> None:
        """Adds the lines of a tally."""
        with self._lock:
            self.tally += tally

    def add_row(self, row: Row) -> None:
        """Counts a row."""
        with self._lock:
            self.rows += 1
            self.last_date = max(row.date, self.last_date or row.date)
