"""Sorted files, complete or not there: the sink of bounded runs.

New files stand beside the earlier ones until all of them are complete. Only then do they take their
places. So a run that fails leaves all earlier files as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.core.errors import OptionError, TooManyRowsError
from pipeline.core.events import DeadLetter
from pipeline.core.options import BOUNDED, Given, Option, RunKind, whole_number
from pipeline.core.rows import RowBlock
from pipeline.formats import FORMATS, RowFormat, format_of
from pipeline.sinks.sink import OUTPUT_FILE, REJECTED_FILE, Contents, RowCounters
from pipeline.sinks.sorting import (
    DEAD_LETTER_BYTES_PER_FILE,
    ROW_BYTES_PER_FILE,
    DeadLetterSorter,
    RowSorter,
    SortedFile,
    merge_dead_letters,
    merge_rows,
)
from pipeline.storage import files
from pipeline.storage.compression import compressing, without_ending
from pipeline.storage.files import STANDARD_STREAM
from pipeline.storage.replacing import preparing, replace, temporary_name
from pipeline.transforms.coders import JsonCoder

DEFAULT_MAX_ROWS = 100_000_000

_logger = logging.getLogger(__name__)


class SortedFileCoder(JsonCoder):
    """The fields in order."""

    def to_json(self, value: SortedFile) -> Any:
        return value

    def from_json(self, value: Any) -> SortedFile:
        return SortedFile(*value)


@dataclass(frozen=True)
class SortedFiles:
    """A file with the rows or the dead letters of a run, or several.

    Attributes:
        path: its name; with `num_shards` above 1, `-SSSSS-of-NNNNN` is added to it.
        num_shards: the number of files.
    """

    TITLE: ClassVar[str] = "What is written"
    OPTIONS: ClassVar[tuple[Option, ...]] = (
        OUTPUT_FILE,
        REJECTED_FILE,
        Option(
            "num_shards",
            "the number of output files, each sorted; more than 1 adds `-SSSSS-of-NNNNN` to the "
            "name",
            BOUNDED,
            metavar="FILES",
            parse=whole_number(1, 99_999),
            default_text="1",
        ),
        Option(
            "output_format",
            "the format of the rows; `.csv` and `.parquet` are these formats, and of all but "
            "Parquet `.gz`, `.bz2` and `.zst` behind the ending are compressed",
            BOUNDED,
            choices=tuple(FORMATS),
            default_text="by the ending of the name; else ndjson",
        ),
        Option(
            "max_rows",
            "the largest number of rows that is written; a larger result is refused",
            BOUNDED,
            metavar="ROWS",
            parse=whole_number(1),
            default_text=str(DEFAULT_MAX_ROWS),
        ),
    )

    path: str
    num_shards: int = 1
    option: str = field(default="output_file", compare=False)

    @classmethod
    def of(cls, contents: Contents, given: Given, run: RunKind) -> SortedFiles | None:
        option = f"{contents}_file"
        if not run.is_bounded or given[option] is None:
            return None
        if contents == "output":
            _check_format(given[option], given["output_format"])
        num_shards = (given["num_shards"] or 1) if contents == "output" else 1
        if num_shards > 1 and given[option] == STANDARD_STREAM:
            raise OptionError(
                "--num_shards above 1 needs an --output_file to name the shards after"
            )
        return cls(given[option], num_shards, option)


def _check_format(path: str, asked: str | None) -> None:
    is_parquet = (asked or format_of(path)) == "parquet"
    if is_parquet and without_ending(path) != path:
        raise OptionError(
            f"--output_file={path}: Parquet is compressed inside: let the name end in .parquet"
        )


@dataclass(frozen=True)
class Output:
    """`SortedFiles` of one run.

    Attributes:
        path, num_shards: as in `SortedFiles`.
        scratch: a folder that all workers reach, for what does not fit into memory.
        run_id: what tells the temporary files of this run from those of others.
    """

    path: str
    scratch: str
    run_id: str
    num_shards: int = 1

    def shard_path(self, shard: int) -> str:
        """The name of one of the files."""
        if self.num_shards == 1:
            return self.path
        return f"{self.path}-{shard:05d}-of-{self.num_shards:05d}"

    def paths(self) -> list[str]:
        """The names of all files."""
        return [self.shard_path(shard) for shard in range(self.num_shards)]

    def temporary_paths(self) -> list[str]:
        """What the files are called while they are written."""
        return [temporary_name(path, self.run_id) for path in self.paths()]

    def stale_paths(self, inputs: Iterable[str]) -> list[str]:
        """The shards of earlier runs with another number of shards.

        Files that `inputs` (paths and globs) name are not among them.
        """
        if self.num_shards == 1:
            return []
        stale = set(files.shards_of(self.path)) - set(self.paths())
        return sorted(
            path for path in stale if not any(files.names(pattern, path) for pattern in inputs)
        )


@dataclass(eq=False)
class WriteRows(beam.PTransform):
    """Writes `RowBlock`s, sorted by date and series, into one file or into shards.

    Gives the numbers of the shards, which have yet to take their places. Memory does not grow
    with the rows: sorted files in `output.scratch` are merged. Nothing is written, and no error
    raised, where `is_allowed` (a `PCollection` of one `bool`) says no.

    Counts the rows with `RowCounters`.

    Raises:
        TooManyRowsError, OutputError: when the pipeline runs.
    """

    output: Output
    format: RowFormat
    is_allowed: beam.PCollection
    max_rows: int

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        sorted_files = blocks | "Sort" >> beam.ParDo(
            _SortRowsFn(self.output, self.max_rows)
        ).with_output_types(SortedFile)
        num_shards = self.output.num_shards
        shards = blocks.pipeline | "Shards" >> beam.Create(
            range(num_shards), reshuffle=num_shards > 1
        )
        write = beam.ParDo(
            _WriteShardFn(self.output, self.format, self.max_rows),
            AsList(sorted_files),
            AsSingleton(self.is_allowed),
        ).with_output_types(SortedFile)
        count = beam.ParDo(_CountRowsFn()).with_output_types(int)
        return shards | "Write" >> write | "Count" >> count


class _SortRowsFn(beam.DoFn):
    def __init__(self, output: Output, max_rows: int) -> None:
        self._output = output
        self._max_rows = max_rows

    def start_bundle(self) -> None:
        self._rows = 0
        self._sorter = RowSorter()

    def process(self, block: RowBlock) -> Iterator[SortedFile]:
        self._rows += len(block)
        check_rows(self._rows, self._max_rows)
        self._sorter.add(block)
        if self._sorter.size >= ROW_BYTES_PER_FILE:
            yield from self._sorter.write(self._output.scratch, self._output.num_shards)
            self._sorter = RowSorter()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for sorted_file in self._sorter.write(self._output.scratch, self._output.num_shards):
            yield _global(sorted_file)


class _WriteShardFn(beam.DoFn):
    def __init__(self, output: Output, row_format: RowFormat, max_rows: int) -> None:
        self._output = output
        self._format = row_format
        self._max_rows = max_rows

    def process(
        self, shard: int, sorted_files: list[SortedFile], is_allowed: bool
    ) -> Iterator[SortedFile]:
        if not is_allowed:
            return
        check_rows(sum(each.rows for each in sorted_files), self._max_rows)
        mine = [each for each in sorted_files if each.shard == shard]
        path = self._output.shard_path(shard)
        rows = sum(each.rows for each in mine)
        _logger.info("writing %d rows out of %d sorted file(s)", rows, len(mine))
        with (
            preparing(path, self._output.run_id) as write,
            compressing(write, self._output.path) as compress,
            self._format.writing(compress) as write_rows,
        ):
            for block in merge_rows(mine):
                write_rows(block)
        yield SortedFile(
            path,
            shard,
            rows,
            min((each.first_date for each in mine), default=0),
            max((each.last_date for each in mine), default=0),
        )


class _CountRowsFn(beam.DoFn):
    """A step of its own: BundleBasedDirectRunner loses metrics of steps with side inputs."""

    def __init__(self) -> None:
        self._counters = RowCounters()

    def process(self, written: SortedFile) -> Iterator[int]:
        if written.rows:
            self._counters.add(written.rows, written.first_date, written.last_date)
        yield written.shard


def check_rows(rows: int, max_rows: int) -> None:
    """Raises TooManyRowsError where a result has more rows than allowed."""
    if rows > max_rows:
        raise TooManyRowsError(
            f"the result has more than --max_rows={max_rows} rows; what makes rows many: "
            "--group_by, a long --max_gap_minutes, --until=drain with a long --window_size; "
            "--empty_value=skip leaves the empty ones out"
        )


@dataclass(eq=False)
class WriteDeadLetters(beam.PTransform):
    """Writes `DeadLetter`s as NDJSON, sorted by source and offset, into one file.

    Gives the number of its only shard, 0, which has yet to take its place.

    Raises:
        OutputError: when the pipeline runs.
    """

    output: Output

    def expand(self, letters: beam.PCollection) -> beam.PCollection:
        paths = letters | "Sort" >> beam.ParDo(
            _SortDeadLettersFn(self.output.scratch)
        ).with_output_types(str)
        return (
            letters.pipeline
            | "Once" >> beam.Impulse()
            | "Write"
            >> beam.ParDo(_WriteDeadLettersFn(self.output), AsList(paths)).with_output_types(int)
        )


class _SortDeadLettersFn(beam.DoFn):
    def __init__(self, scratch: str) -> None:
        self._scratch = scratch

    def start_bundle(self) -> None:
        self._sorter = DeadLetterSorter()

    def process(self, letter: DeadLetter) -> Iterator[str]:
        self._sorter.add(letter)
        if self._sorter.size >= DEAD_LETTER_BYTES_PER_FILE:
            yield self._sorter.write(self._scratch)
            self._sorter = DeadLetterSorter()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._sorter.size:
            yield _global(self._sorter.write(self._scratch))


class _WriteDeadLettersFn(beam.DoFn):
    def __init__(self, output: Output) -> None:
        self._output = output

    def process(self, _once: bytes, paths: list[str]) -> Iterator[int]:
        with (
            preparing(self._output.path, self._output.run_id) as write,
            compressing(write, self._output.path) as compress,
        ):
            for line in merge_dead_letters(paths):
                compress(line)
        yield 0


@dataclass(eq=False)
class TakePlaces(beam.PTransform):
    """Puts the files of a run in the place of earlier ones, once all of them are complete.

    Shards of an earlier run with another number of shards are removed, but no file that `inputs`
    (paths and globs) name. Takes a pipeline, and `written`: of each output the numbers of
    its shards. Gives how many files each has.

    Raises:
        OutputError: when the pipeline runs.
    """

    written: Sequence[tuple[Output, beam.PCollection]]
    inputs: Sequence[str]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        replace_all = beam.ParDo(
            _TakePlacesFn([output for output, _ in self.written], self.inputs),
            *(AsList(shards) for _, shards in self.written),
        )
        return pipeline | "Once" >> beam.Impulse() | "Replace" >> replace_all.with_output_types(int)


class _TakePlacesFn(beam.DoFn):
    def __init__(self, outputs: list[Output], inputs: Sequence[str]) -> None:
        self._outputs = outputs
        self._inputs = inputs

    def process(self, _once: bytes, *written: list[int]) -> Iterator[int]:
        for output, shards in zip(self._outputs, written, strict=True):
            for shard in shards:
                replace(output.shard_path(shard), output.run_id)
            for path in output.stale_paths(self._inputs) if shards else ():
                files.remove(path)
            yield len(shards)


@dataclass(eq=False)
class RemoveScratch(beam.PTransform):
    """Removes the scratch folder of a run, once its files are `published`. Takes a pipeline.

    Gives one `int`, the number of outputs.
    """

    scratch: str
    published: beam.PCollection

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        remove = beam.Map(_remove_folder, self.scratch, AsList(self.published))
        return pipeline | "Once" >> beam.Impulse() | "Remove" >> remove.with_output_types(int)


def _remove_folder(_once: bytes, folder: str, published: list[int]) -> int:
    files.remove_folder(folder)
    return len(published)


def _global(value: object) -> WindowedValue:
    window = GlobalWindow()
    return WindowedValue(value, window.start, [window])
