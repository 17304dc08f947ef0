"""A file for each hour of event time, and more for late rows: a sink of streaming jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, ClassVar
from uuid import uuid4

import apache_beam as beam
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, IntervalWindow

from pipeline.core.errors import OptionError
from pipeline.core.options import Given, Option, RunKind, chosen
from pipeline.sinks.sink import OUTPUT_FILE, Contents, LineSink
from pipeline.storage import files
from pipeline.storage.files import STANDARD_STREAM
from pipeline.storage.replacing import replacing

_HOUR_SECONDS = 3600


@dataclass(frozen=True)
class HourlyFiles(LineSink):
    """A folder that gets a file for each hour.

    Attributes:
        path: the folder, with a separator at its end.
        allowed_lateness_seconds: as in `WriteHours`.
    """

    TITLE: ClassVar[str] = "What a streaming job writes"
    OPTIONS: ClassVar[tuple[Option, ...]] = (OUTPUT_FILE,)

    path: str
    allowed_lateness_seconds: int = 600
    option: str = field(default="output_file", compare=False)

    @classmethod
    def of(cls, contents: Contents, given: Given, run: RunKind) -> HourlyFiles | None:
        path = given["output_file"]
        if run.is_bounded or not run.is_job or contents != "output" or path is None:
            return None
        if path == STANDARD_STREAM or not path.endswith("/"):
            raise OptionError(
                f"--output_file={path}: name a folder in a bucket (gs://BUCKET/FOLDER/), which "
                "gets a file for each hour, or an --output_topic"
            )
        return cls(path=path, **chosen(given, cls))

    def open_here(self) -> None:
        raise OptionError(f"--output_file={self.path}: a folder is for streaming jobs")

    def write_lines(self) -> beam.PTransform:
        return WriteHours(self.path, uuid4().hex[:12], self.allowed_lateness_seconds)


@dataclass(eq=False)
class WriteHours(beam.PTransform):
    """Writes its elements (`bytes`, each a line without its end) to files of a folder.

    An element belongs to the hour of its timestamp. `2018-12-26T18-RUN.json` has the elements that
    arrived before the watermark passed the end of that hour. Later ones make files of their own,
    with `-0001` and so on after the run. A file appears under its name complete or not at all, and
    a retry of the runner makes the same file again.

    Args:
        folder: a path in a bucket or on this machine, with or without a separator at its end.
        run_id: tells the files of this run from those of others that write to the folder.
        allowed_lateness_seconds: how late an element may arrive.

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
