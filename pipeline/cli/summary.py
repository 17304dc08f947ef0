"""The summary of a run, read from its metrics: for a person, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from apache_beam.metrics.metric import MetricResults, MetricsFilter

from pipeline.core.errors import one_line
from pipeline.core.rows import date_texts
from pipeline.core.tally import Tally
from pipeline.live.account import Account
from pipeline.sinks.sink import RowCounters
from pipeline.transforms.accounting import OTHER_EVENTS, REASONS
from pipeline.transforms.moving_average import MovingAverage
from pipeline.transforms.parse_events import ParseEvents
from pipeline.transforms.revisions import EmptyRows
from pipeline.transforms.rolling_rows import RollingRows

_SHOWN = 3


@dataclass(frozen=True)
class Summary:
    """The counts of a run: its lines, its rows, its time."""

    lines: int
    blank: int
    other_events: int
    filtered: int
    accepted: int
    rejected: int
    rows: int
    series: int
    first_row: str | None
    last_row: str | None
    seconds: float
    names: Counter[str]
    reasons: Counter[str]
    late: int | None = None

    @classmethod
    def of(cls, metrics: MetricResults, seconds: float, is_live: bool = False) -> Summary:
        """Reads the summary of a run that took so many seconds from its metrics.

        `late` is None for bounded input.
        """
        found = metrics.query(MetricsFilter())
        counters = _counters(found["counters"])

        def count(transform: type, name: str) -> int:
            return counters[_namespace(transform), name]

        def counts(namespace: str) -> Counter[str]:
            return Counter({name: n for (space, name), n in counters.items() if space == namespace})

        dates = [
            each.result
            for each in found["distributions"]
            if each.key.metric.namespace == _namespace(RowCounters) and each.result.count
        ]
        return cls(
            **{name: count(ParseEvents, name) for name in Tally().counts()},
            rows=count(RowCounters, "rows"),
            series=sum(count(each, "series") for each in (MovingAverage, RollingRows, EmptyRows)),
            first_row=_date_text(min((each.min for each in dates), default=None)),
            last_row=_date_text(max((each.max for each in dates), default=None)),
            seconds=round(seconds, 3),
            names=counts(OTHER_EVENTS),
            reasons=counts(REASONS),
            late=count(ParseEvents, "late") if is_live else None,
        )

    @classmethod
    def of_account(
        cls, account: Account, seconds: float, metrics: MetricResults | None = None
    ) -> Summary:
        """The summary of a run that follows; `metrics` count series that the account does not."""
        tally = account.tally
        found = [] if metrics is None else metrics.query(MetricsFilter())["counters"]
        others = _counters(found)[_namespace(EmptyRows), "series"]
        return cls(
            **tally.counts(),
            rows=account.rows,
            series=account.series + others,
            first_row=_date_text(account.first_date),
            last_row=_date_text(account.last_date),
            seconds=round(seconds, 3),
            names=tally.other_events,
            reasons=tally.rejected,
            late=tally.late,
        )

    @property
    def non_blank(self) -> int:
        """The lines that are not blank."""
        return self.lines - self.blank

    def to_json(self) -> bytes:
        """The summary as one JSON object on a line."""
        left_out = {"names", "reasons"} | ({"late"} if self.late is None else set())
        shown = {key: each for key, each in vars(self).items() if key not in left_out}
        return f"{json.dumps(shown)}\n".encode()

    def text(self) -> str:
        """The summary as a few lines for a person."""
        speed = f"{self.lines / self.seconds:,.0f} lines/s" if self.seconds else ""
        span = f", {self.first_row} to {self.last_row}" if self.rows else ""
        series = f" of {self.series:,} series" if self.series > 1 else ""
        lines = [
            f"{self.lines:,} lines: {self.accepted:,} accepted, {self.rejected:,} rejected, "
            f"{self.other_events:,} other events, {self.blank:,} blank"
            + (f", {self.filtered:,} filtered" if self.filtered else "")
            + ("" if self.late is None else f", {self.late:,} late"),
            *_most_frequent("rejected", self.reasons, _SHOWN),
            *_most_frequent("other events", self.names, _SHOWN),
            f"{self.rows:,} rows{series}{span}",
            f"{self.seconds:,.1f} s, {speed}",
        ]
        return "\n".join(lines)


def _most_frequent(title: str, counts: Counter[str], number: int) -> Iterator[str]:
    if counts:
        most = (f"{one_line(name)} ({count:,})" for name, count in counts.most_common(number))
        yield f"  {title}: {', '.join(most)}"


def _counters(found: Iterable[Any]) -> Counter[tuple[str, str]]:
    """The counters by namespace and name."""
    counters: Counter[tuple[str, str]] = Counter()
    for each in found:
        counters[each.key.metric.namespace, each.key.metric.name] += each.result or 0
    return counters


def _date_text(minute: int | None) -> str | None:
    return None if minute is None else date_texts(np.array([minute]))[0]


def _namespace(transform: type) -> str:
    return f"{transform.__module__}.{transform.__name__}"
