"""Pipelines on runners that are named, and the whole flow from files to files on them.

Beam's own default tries to download another runner first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import apache_beam as beam
import oracle
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner
from apache_beam.testing.test_pipeline import TestPipeline

from pipeline import beam_internals
from pipeline.cli.batch import build_pipeline
from pipeline.cli.settings import Settings
from pipeline.cli.summary import Summary
from pipeline.core.row_rules import LEAP_YEAR_MINUTES
from pipeline.sinks.sorted_files import Output, SortedFiles, TakePlaces
from pipeline.sources.whole_files import WholeFiles


def transform_pipeline() -> TestPipeline:
    """A pipeline to test single transforms with."""
    return TestPipeline(FnApiRunner())


@dataclass(frozen=True)
class Result:
    """What a run has left: the bytes of its files (None where there is none), and its account."""

    rows: bytes | None
    rejected: bytes | None
    summary: Summary

    @property
    def counts(self) -> oracle.Counts:
        """The equation of lines."""
        names = vars(oracle.Counts())
        return oracle.Counts(**{name: getattr(self.summary, name) for name in names})


def run_flow(
    folder: Path,
    data: bytes | Sequence[bytes],
    window: int | tuple[int, ...],
    *,
    runner: PipelineRunner | None = None,
    flags: Sequence[str] = (),
    until: Any = "last",
    max_gap: int = LEAP_YEAR_MINUTES,
    decimals: int | None = None,
    num_shards: int = 1,
    chunk_size: int | None = None,
    **settings: Any,
) -> Result:
    """Writes each of `data` to a file of its own, and runs the flow over all of them.

    The results are `rows.json` and `rejected.json` in the folder; `settings` are those of
    `Settings`.
    """
    inputs = folder / uuid4().hex
    scratch = inputs / "scratch"
    scratch.mkdir(parents=True)
    for index, content in enumerate(oracle.files_of(data)):
        (inputs / f"{index}.json").write_bytes(content)
    pattern = str(inputs / "*.json")
    rows, rejected = folder / "rows.json", folder / "rejected.json"
    pipeline = beam.Pipeline(runner or FnApiRunner(), options=PipelineOptions(list(flags)))
    source = WholeFiles((pattern,), chunk_size)
    checked = Settings(
        source=source,
        window_minutes=(window,) if isinstance(window, int) else window,
        rows=SortedFiles(str(rows), num_shards),
        until=until,
        max_gap_minutes=max_gap,
        decimals=decimals,
        **settings,
    )
    prepared = build_pipeline(
        pipeline,
        checked,
        source.read_in_job(),
        Output(str(rows), str(scratch), inputs.name, num_shards),
        Output(str(rejected), str(scratch), inputs.name),
    )
    _ = pipeline | TakePlaces(prepared.written, source.patterns)
    with beam_internals.whole_elements():
        result = pipeline.run()
        result.wait_until_finish()
    return Result(_content(rows), _content(rejected), Summary.of(result.metrics(), seconds=0))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
