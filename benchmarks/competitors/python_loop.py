"""Python alone: one pass over the lines, sums by minute, and a running sum over the minutes."""

from __future__ import annotations

import glob
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

MINUTE = timedelta(minutes=1)
NO_EVENTS = (0.0, 0)


def main(files: str, window: str, output: str, *fields: str) -> None:
    """Reads the files, and writes the rows."""
    sums: defaultdict[tuple[str, ...], dict[str, tuple[float, int]]] = defaultdict(dict)
    for line in lines_of(files):
        event = json.loads(line)
        if event["event_name"] == "translation_delivered":
            minutes = sums[tuple([event[field] for field in fields])]
            minute = event["timestamp"][:16]
            total, count = minutes.get(minute, NO_EVENTS)
            minutes[minute] = total + event["duration"], count + 1
    rows = [
        (date, series, average)
        for series, minutes in sums.items()
        for date, average in averages(minutes, int(window))
    ]
    rows.sort()
    with open(output, "w", encoding="utf-8") as file:
        for date, series, average in rows:
            names = dict(zip(fields, series, strict=True))
            row = {"date": f"{date}:00", **names, "average_delivery_time": average}
            file.write(json.dumps(row) + "\n")


def lines_of(files: str) -> Iterator[bytes]:
    """The lines of all files, compressed or not."""
    for path in glob.glob(files):
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            yield from file


def averages(
    minutes: dict[str, tuple[float, int]], window_minutes: int
) -> Iterator[tuple[str, float]]:
    """The rows of one series."""
    date = datetime.fromisoformat(min(minutes))
    last = datetime.fromisoformat(max(minutes)) + MINUTE
    dates = []
    total, count = NO_EVENTS
    while date <= last:
        text = date.isoformat(" ", "minutes")
        yield text, total / count if count else 0
        dates.append(text)
        added, more = minutes.get(text, NO_EVENTS)
        removed, fewer = (
            minutes.get(dates[-window_minutes - 1], NO_EVENTS)
            if len(dates) > window_minutes
            else NO_EVENTS
        )
        total += added - removed
        count += more - fewer
        date += MINUTE


if __name__ == "__main__":
    main(*sys.argv[1:])
