"""Beam as its guide would have it: a model for each line, sliding windows over events, a mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import GlobalWindows, SlidingWindows, TimestampedValue
from pydantic import BaseModel

MINUTE = timedelta(minutes=1)

Average = tuple[tuple[str, ...], tuple[datetime, float]]


class Event(BaseModel):
    """A line."""

    timestamp: datetime
    translation_id: str
    source_language: str
    target_language: str
    client_name: str
    event_name: str
    nr_words: int
    duration: float


def with_timestamp(event: Event, fields: tuple[str, ...]) -> TimestampedValue:
    """The duration under its series, at the time of the event."""
    series = tuple(getattr(event, field) for field in fields)
    time = event.timestamp.replace(tzinfo=timezone.utc)
    return TimestampedValue((series, event.duration), time.timestamp())


def with_date(
    element: tuple[tuple[str, ...], float],
    window: beam.window.IntervalWindow = beam.DoFn.WindowParam,
) -> Average:
    """The mean of a window with the window's end."""
    series, average = element
    return series, (window.end.to_utc_datetime(), average)


def rows(
    element: tuple[tuple[str, ...], Iterable[tuple[datetime, float]]], window_minutes: int
) -> Iterator[tuple[datetime, tuple[str, ...], float]]:
    """All minutes of a series, from that of its first event to the one after its last."""
    series, averages = element
    by_date = dict(averages)
    date = min(by_date) - MINUTE
    last = max(by_date) - (window_minutes - 1) * MINUTE
    while date <= last:
        yield date, series, by_date.get(date, 0)
        date += MINUTE


def to_json(row: tuple[datetime, tuple[str, ...], float], fields: tuple[str, ...]) -> str:
    """A line of the result."""
    date, series, average = row
    names = dict(zip(fields, series, strict=True))
    return json.dumps({"date": str(date), **names, "average_delivery_time": average})


def main(files: str, window: str, output: str, *fields: str) -> None:
    """Builds the pipeline, and runs it in this process."""
    with beam.Pipeline(FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromText(files)
            | "Parse" >> beam.Map(Event.model_validate_json)
            | "Delivered" >> beam.Filter(lambda event: event.event_name == "translation_delivered")
            | "Timestamps" >> beam.Map(with_timestamp, fields)
            | beam.WindowInto(SlidingWindows(int(window) * 60, 60))
            | beam.combiners.Mean.PerKey()
            | "Dates" >> beam.Map(with_date)
            | "Global" >> beam.WindowInto(GlobalWindows())
            | beam.GroupByKey()
            | "Rows" >> beam.FlatMap(rows, int(window))
            | beam.combiners.ToList()
            | "Sort" >> beam.FlatMap(sorted)
            | "Format" >> beam.Map(to_json, fields)
            | beam.io.WriteToText(output, shard_name_template="")
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
