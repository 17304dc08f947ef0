"""Rows without end as files: one for each hour of event time, and one more for what comes late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, IntervalWindow

from pipeline import files
from pipeline.replacing import replacing

_HOUR_SECONDS = 3600


@dataclass(eq=False)
class WriteHours(beam.PTransform):
    """Writes its elements (`bytes`, each a line without its end) to files of a folder.

    An element belongs to the hour of its timestamp. `2018-12-26T18-RUN.json` has what came until
    the watermark passed the end of that hour; what comes later makes files of its own, with `-0001`
    and so on behind the run. Each appears under its name complete or not at all, and what a runner
    does again makes the same file again.

    Args:
        folder: a path in a bucket or on this machine, with or without a separator at its end.
        run_id: tells the files of this run from those of others that write to the folder.
        allowed_lateness_seconds: an element may come so long after the watermark has passed it.

    Raises:
        OutputError: a file cannot be written (when the pipeline runs).
    """

    folder: str
    run_id: str
    allowed_lateness_seconds: int

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        return (
            lines
            | "AddKey" >> beam.Map(_add_key).with_output_types(tuple[int, bytes])
            | "Hours"
            >> beam.WindowInto(
                FixedWindows(_HOUR_SECONDS),
                trigger=AfterWatermark(late=AfterCount(1)),
                accumulation_mode=AccumulationMode.DISCARDING,
                allowed_lateness=self.allowed_lateness_seconds + _HOUR_SECONDS,
            )
            | "Gather" >> beam.GroupByKey()
            | "WriteFile"
            >> beam.ParDo(_WriteHourFn(self.folder, self.run_id)).with_output_types(str)
        )


def _add_key(line: bytes) -> tuple[int, bytes]:
    return 0, line


class _WriteHourFn(beam.DoFn):
    def __init__(self, folder: str, run_id: str) -> None:
        self._folder = folder
        self._run_id = run_id

    def process(
        self,
        element: tuple[int, Iterable[bytes]],
        window: IntervalWindow = beam.DoFn.WindowParam,
        pane: Any = beam.DoFn.PaneInfoParam,
    ) -> Iterator[str]:
        _, lines = element
        hour = datetime.fromtimestamp(window.start.micros // 1_000_000, timezone.utc)
        later = f"-{pane.index:04}" if pane.index else ""
        path = files.join(self._folder, f"{hour:%Y-%m-%dT%H}-{self._run_id}{later}.json")
        with replacing(path, run_id=f"pane-{pane.index}") as write:
            for line in lines:
                write(line + b"\n")
        yield path
