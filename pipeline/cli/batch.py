"""The flow of a bounded input: lines to rows, dead letters and an account of the lines."""

from __future__ import annotations

from typing import NamedTuple, cast

import apache_beam as beam

from pipeline.cli.settings import Settings
from pipeline.core.rows import RowBlock
from pipeline.sinks.sink import Sink
from pipeline.sinks.sorted_files import (
    Output,
    RemoveScratch,
    SortedFiles,
    TakePlaces,
    WriteDeadLetters,
    WriteRows,
)
from pipeline.transforms.accounting import AddUp, Gate, Refuse, Report


class Prepared(NamedTuple):
    """The results of the flow before they take their places.

    Attributes:
        tally: the one `Tally` of the run.
        written: each output, and the numbers of its shards (`int`) that stand beside their places.
    """

    tally: beam.PCollection
    written: list[tuple[Output, beam.PCollection]]


def build_pipeline(
    pipeline: beam.Pipeline,
    settings: Settings,
    read: beam.PTransform,
    rows: Output,
    rejected: Output | None = None,
) -> Prepared:
    """Adds the flow to a pipeline, up to files that are complete and not yet in their places.

    Args:
        pipeline: the caller runs it.
        settings: what is averaged, and how many lines may be rejected. With more, no rows are
            written; the caller decides whether the run fails.
        read: takes the pipeline and gives `Chunk`s.
        rows: the files of the rows.
        rejected: the file of the dead letters; without it the first few are shown in the log.
    """
    parsed = pipeline | "Read" >> read | "ParseEvents" >> settings.parse_events()
    tally = parsed.tally | "AddUp" >> AddUp()
    _ = tally | "Report" >> Report(show_rejected=rejected is None)
    is_allowed = tally | "Gate" >> Gate(settings.max_rejected)
    write_rows = WriteRows(rows, settings.sorted_format(), is_allowed, settings.max_rows)
    blocks = parsed | "MovingAverage" >> settings.moving_average().blocks()
    if settings.empty_value == "skip":
        blocks = blocks | "SkipEmpty" >> beam.Map(RowBlock.without_empty).with_output_types(
            RowBlock
        )
    written = [(rows, blocks | "WriteRows" >> write_rows)]
    if rejected is not None:
        letters = parsed.rejected | "WriteDeadLetters" >> WriteDeadLetters(rejected)
        written.append((rejected, letters))
    return Prepared(tally, written)


def sorted_files(sink: Sink) -> SortedFiles:
    """The sink of a bounded run, which is of this kind."""
    return cast("SortedFiles", sink)


def finish_on_workers(pipeline: beam.Pipeline, settings: Settings, prepared: Prepared) -> None:
    """Adds the end of the flow for a job, whose results no process here can move.

    Files take their places, the scratch folder is removed, and the job fails if more lines were
    rejected than allowed.
    """
    published = pipeline | "TakePlaces" >> TakePlaces(prepared.written, settings.source.patterns)
    scratch = prepared.written[0][0].scratch
    removed = pipeline | "RemoveScratch" >> RemoveScratch(scratch, published)
    _ = prepared.tally | "Refuse" >> Refuse(settings.max_rejected, removed)
