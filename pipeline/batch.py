"""The batch flow: files to rows, dead letters and an account of the lines."""

from __future__ import annotations

from typing import NamedTuple

import apache_beam as beam

from pipeline.moving_average import MovingAverageBlocks
from pipeline.options import Settings
from pipeline.parsing import ParseEvents
from pipeline.reading import FindInputs, Input, ReadChunks
from pipeline.rows import RowFormat
from pipeline.summary import AddUp, Report
from pipeline.writing import CleanUp, Output, Publish, WriteDeadLetters, WriteRows


class Prepared(NamedTuple):
    """What the batch flow has when it has run.

    Attributes:
        tally: the one `Tally` of the run.
        written: each output, and the numbers of its shards (`int`) that stand beside their places.
    """

    tally: beam.PCollection
    written: list[tuple[Output, beam.PCollection]]


def build_pipeline(
    pipeline: beam.Pipeline,
    settings: Settings,
    inputs: tuple[Input, ...],
    rows: Output,
    rejected: Output | None = None,
) -> Prepared:
    """Adds the flow up to files that are complete, and not yet in their places, to a pipeline.

    `inputs` are looked up when it runs. Where more lines are rejected than allowed, no rows are
    written; to refuse the run is left to the caller.
    """
    parsed = (
        pipeline
        | "Inputs" >> beam.Create([inputs], reshuffle=False)
        | "FindInputs" >> FindInputs()
        | "ReadChunks" >> ReadChunks(settings.chunk_size)
        | "ParseEvents" >> ParseEvents(settings.event_name, settings.group_by)
    )
    tally = parsed.tally | "AddUp" >> AddUp()
    _ = tally | "Report" >> Report(show_rejected=rejected is None)
    write_rows = WriteRows(
        rows,
        RowFormat(settings.group_by, settings.empty_value),
        tally,
        settings.max_rejected,
        settings.max_rows,
    )
    blocks = parsed | "MovingAverage" >> MovingAverageBlocks(settings.rows, settings.plan)
    written = [(rows, blocks | "WriteRows" >> write_rows)]
    if rejected is not None:
        letters = parsed.rejected | "WriteDeadLetters" >> WriteDeadLetters(rejected)
        written.append((rejected, letters))
    return Prepared(tally, written)


def publish_on_workers(pipeline: beam.Pipeline, settings: Settings, prepared: Prepared) -> None:
    """Adds the end of the flow as a job of its own: nobody else moves, removes or refuses anything.

    Files take their places, the scratch folder is removed, and the job fails if more lines were
    rejected than allowed.
    """
    published = pipeline | "Publish" >> Publish(prepared.written, settings.patterns)
    scratch = prepared.written[0][0].scratch
    _ = prepared.tally | "CleanUp" >> CleanUp(scratch, settings.max_rejected, published)
