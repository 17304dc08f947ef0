"""What a run in this process has come to, while it goes on."""

from __future__ import annotations

import threading
from datetime import datetime

from pipeline.in_process import InProcess
from pipeline.rows import Row
from pipeline.tally import Tally


class Account(InProcess):
    """Counts lines and rows as they are told to it, by any thread.

    The metrics of a runner would do, but for two that Beam has: Prism's are asked for once, and the
    DirectRunner's leave out what a step counts after its first bundle.

    Attributes:
        tally: of the lines.
        rows: how many were given.
        last_date: the latest date that a row was given for; None before there is any.
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
