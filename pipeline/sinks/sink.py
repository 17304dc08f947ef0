"""What a sink is, and the options that several sinks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.core.options import EVERY_RUN, UNBOUNDED_HERE, Given, Option, RunKind, Use
from pipeline.formats import LineFormat
from pipeline.sinks.destinations import Destination

Contents = Literal["output", "rejected", "late"]
"""What goes to a sink: rows, dead letters, or late events. Options begin with these words."""

OUTPUT_FILE = Option(
    "output_file",
    "the file for the rows, one JSON object a line, or CSV or Parquet by its ending; `-` is "
    "standard output; for a streaming job a folder (`.../`), which gets one file for each hour of "
    "event time",
    EVERY_RUN,
    metavar="FILE",
    default_text="standard output",
)
REJECTED_FILE = Option(
    "rejected_file",
    "the file for lines that are not valid events, with the reasons",
    Use(
        "runs with files (a streaming job has --rejected_topic)",
        lambda run: run.is_bounded or not run.is_job,
    ),
    metavar="FILE",
)
LATE_FILE = Option(
    "late_file",
    "the file for events that arrive too late",
    Use("unbounded input on this machine (a job has --late_topic)", UNBOUNDED_HERE.includes),
    metavar="FILE",
    default_text="with the dead letters",
)


class Sink(Protocol):
    """Where the rows, the dead letters or the late events of a run go: plain data, made of options.

    Attributes:
        TITLE: what the help calls its options.
        OPTIONS: the options that this kind of sink reads.
        option: the option that names it.
        path: the file or folder that workers write; None where they write none.
    """

    TITLE: ClassVar[str]
    OPTIONS: ClassVar[tuple[Option, ...]]

    @property
    def option(self) -> str: ...

    @property
    def path(self) -> str | None: ...

    @classmethod
    def of(cls, contents: Contents, given: Given, run: RunKind) -> Sink | None:
        """The sink that the options of a run ask for, if they ask for one of this kind.

        Raises:
            OptionError: they ask for one that cannot be.
        """


class StreamSink(Sink, Protocol):
    """A sink of unbounded runs."""

    def destination(self) -> Destination | None:
        """The place on this machine that a run in this process writes, if it is one."""

    def open_here(self) -> None:
        """Sees that a run in this process can write, and creates what is not there.

        Raises:
            OutputError: it cannot.
        """

    def write_rows(self, row_format: LineFormat) -> beam.PTransform:
        """The transform that takes `Row`s, each timed at its date."""

    def write_lines(self) -> beam.PTransform:
        """The transform that takes `bytes`: dead letters, each a line without its end."""


class LineSink:
    """The part of a `StreamSink` that is the same for all that write rows as lines."""

    def destination(self) -> Destination | None:
        return None

    def write_rows(self, row_format: LineFormat) -> beam.PTransform:
        return WriteAsLines(row_format.revised_line, self.write_lines())

    def write_lines(self) -> beam.PTransform:
        raise NotImplementedError


@dataclass(eq=False)
class WriteAsLines(beam.PTransform):
    """Makes a line, or several, of each element, for a transform that takes lines."""

    format: Callable[..., bytes]
    write_lines: beam.PTransform

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        lines = rows | "Format" >> beam.Map(self.format).with_output_types(bytes)
        return lines | "Write" >> self.write_lines


class RowCounters:
    """Counts the rows that a run gives.

    `rows` is a counter, `dates` a distribution in minutes since 1970-01-01 UTC; both are in the
    namespace of this class.
    """

    def __init__(self) -> None:
        self._rows = Metrics.counter(RowCounters, "rows")
        self._dates = Metrics.distribution(RowCounters, "dates")

    def add(self, rows: int, first_date: int, last_date: int) -> None:
        """Counts at least one row; dates in minutes since 1970-01-01 UTC."""
        self._rows.inc(rows)
        self._dates.update(first_date)
        self._dates.update(last_date)
