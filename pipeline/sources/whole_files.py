"""Files with an end, standard input and pipes: the source of bounded runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam

from pipeline.core.errors import OptionError
from pipeline.core.options import BOUNDED, REQUIRED, Given, Option, RunKind, Use, whole_number
from pipeline.parsing.chunks import Chunk
from pipeline.sources.sections import (
    Input,
    ReadTask,
    Section,
    find_inputs,
    plan_tasks,
    read_chunks,
)
from pipeline.sources.source import Opened, Runners
from pipeline.sources.spooling import spool_inputs
from pipeline.transforms.coders import JsonCoder

_MAX_CHUNK_LINES = 10**9

_logger = logging.getLogger(__name__)

INPUT_FILE = Option(
    "input_file",
    "the log: a path, a glob, or several separated by commas; `.gz`, `.bz2` and `.zst` are "
    "decompressed; `-` is standard input; `gs://` and `s3://` need the extra gcp or aws",
    Use("--input_file", lambda run: run.source in ("WholeFiles", "GrowingFiles")),
    metavar="FILES",
    default_text=REQUIRED,
)
_CHUNK_SIZE = Option(
    "chunk_size",
    "read at most this number of lines at a time: uses less memory, and is slower",
    BOUNDED,
    metavar="LINES",
    parse=whole_number(1, _MAX_CHUNK_LINES),
    default_text="by size",
)


@dataclass(frozen=True)
class WholeFiles:
    """Files of this machine or of buckets, from their beginnings to their ends.

    Attributes:
        patterns: paths and globs; `-` is standard input.
        chunk_size: the most lines of a chunk; None limits chunks by their size.
    """

    TITLE: ClassVar[str] = "What is read"
    HERE: ClassVar[RunKind] = RunKind("a batch run on this machine", "WholeFiles", True, False)
    AS_JOB: ClassVar[RunKind] = RunKind("a batch job", "WholeFiles", True, True)
    RUNNERS: ClassVar[Runners | None] = None
    LAUNCHER: ClassVar[str] = "direct"
    INPUTS: ClassVar[tuple[str, ...]] = ("input_file",)
    SWITCH: ClassVar[str | None] = None
    OPTIONS: ClassVar[tuple[Option, ...]] = (INPUT_FILE, _CHUNK_SIZE)

    patterns: tuple[str, ...]
    chunk_size: int | None = None

    @classmethod
    def of(cls, given: Given) -> WholeFiles:
        return cls(patterns_of(given["input_file"]), given["chunk_size"])

    @contextmanager
    def opened_here(self, scratch: str) -> Iterator[Opened]:
        inputs = spool_inputs(self.patterns, scratch)
        sizes = {info.path: info.size for info, _ in find_inputs(inputs)}
        yield Opened(ReadFiles(inputs, self.chunk_size), sizes)

    def read_in_job(self) -> beam.PTransform:
        return ReadFiles(tuple(map(Input, self.patterns)), self.chunk_size)


def patterns_of(text: str) -> tuple[str, ...]:
    """The paths and globs that `--input_file` names.

    Raises:
        OptionError: one of them is empty.
    """
    # A path that exists is a path, whatever is in its name.
    patterns = (text,) if os.path.exists(text) else tuple(text.split(","))
    if not all(patterns):
        raise OptionError(f"--input_file={text} names a file that has no name")
    return patterns


@dataclass(eq=False)
class ReadFiles(beam.PTransform):
    """Reads files from their beginnings to their ends; takes a pipeline.

    Gives `Chunk`s of whole lines that know where each line came from. Inputs are looked up where
    the pipeline runs, not where it is submitted.

    Args:
        inputs: paths and globs.
        max_lines: the most lines of a chunk; None limits chunks by their size.

    Raises:
        InputError: a pattern matches nothing, a file cannot be read, or a compressed one is cut off
            (when the pipeline runs).
    """

    inputs: tuple[Input, ...]
    max_lines: int | None = None

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Inputs" >> beam.Create([self.inputs], reshuffle=False)
            | "Find" >> beam.FlatMap(_find_tasks).with_output_types(ReadTask)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_ReadFn(self.max_lines)).with_output_types(Chunk)
        )


def _find_tasks(inputs: tuple[Input, ...]) -> Iterator[ReadTask]:
    return plan_tasks(find_inputs(inputs))


class _ReadFn(beam.DoFn):
    def __init__(self, max_lines: int | None) -> None:
        self._max_lines = max_lines

    def process(self, task: ReadTask) -> Iterator[Chunk]:
        first = task.sections[0]
        _logger.info("reading %d section(s) from %s on", len(task.sections), first.source)
        yield from read_chunks(task, self._max_lines)


class ReadTaskCoder(JsonCoder):
    """The sections, and the fields of each in order."""

    def to_json(self, value: ReadTask) -> Any:
        return value.sections

    def from_json(self, value: Any) -> ReadTask:
        return ReadTask(tuple(Section(*section) for section in value))
