"""Counts of a run in this process while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pipeline.core.events import EPOCH
from pipeline.core.tally import Tally
from pipeline.transforms.in_process import InProcess
from pipeline.transforms.parse_events import TallyCoder

_MINUTE = timedelta(minutes=1)


class Account(InProcess):
    """Counts lines, rows and series; DoFns report to it, from any thread.

    Metrics cannot be used for this: Prism's can be queried only once, and the DirectRunner's miss
    counts after a step's first bundle.

    Attributes:
        tally: of the lines.
        rows: the number of rows.
        series: how many series have begun.
        first_date, last_date: the earliest and the latest date of a row, in minutes since
            1970-01-01 UTC; None before there is one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.tally = Tally()
        self.rows = 0
        self.series = 0
        self.first_date: int | None = None
        self.last_date: int | None = None

    def add_lines(self, tally: Tally) -> None:
        """Adds the lines of a tally."""
        with self._lock:
            self.tally += tally

    def add_series(self, series: int) -> None:
        """Adds series that have begun."""
        with self._lock:
            self.series += series

    def add_rows(self, rows: int, first_date: int, last_date: int) -> None:
        """Adds at least one row; dates in minutes since 1970-01-01 UTC."""
        with self._lock:
            self.rows += rows
            self.first_date = min(first_date, self.first_date or first_date)
            self.last_date = max(last_date, self.last_date or last_date)

    @property
    def last_row(self) -> datetime | None:
        """The latest date of a row; None before there is one."""
        return None if self.last_date is None else EPOCH + self.last_date * _MINUTE

    def state(self) -> dict[str, Any]:
        """The counts: plain data for `restore`."""
        counts = {name: each for name, each in vars(self).items() if name[0] != "_"}
        return {**counts, "tally": TallyCoder().to_json(self.tally)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on with the counts of another process."""
        vars(self).update(state, tally=TallyCoder().from_json({**state["tally"]}))
