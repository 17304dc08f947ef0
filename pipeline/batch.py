"""The batch flow: files to rows, dead letters and an account of the lines."""

from __future__ import annotations

import apache_beam as beam

from pipeline import files
from pipeline.moving_average import MovingAverageBlocks
from pipeline.options import Settings
from pipeline.parsing import ParseEvents
from pipeline.reading import FindInputs, Input, ReadChunks
from pipeline.rows import RowFormat
from pipeline.summary import AddUp, Report
from pipeline.writing import CleanUp, Output, Publish, WriteDeadLetters, WriteRows


def build_pipeline(
    pipeline: beam.Pipeline,
    settings: Settings,
    inputs: tuple[Input, ...],
    rows: Output,
    rejected: Output | None = None,
) -> None:
    """Adds the whole flow to a pipeline; `inputs` are looked up, and files written, when it runs.

    Where the rows' scratch folder is in a bucket, the pipeline itself removes it, and fails if more
    lines were rejected than allowed; on this machine both are left to the caller.
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
    published = pipeline | "Publish" >> Publish(written, settings.patterns)
    if not files.is_local(rows.scratch):
        _ = tally | "CleanUp" >> CleanUp(rows.scratch, settings.max_rejected, published)
