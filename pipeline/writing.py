"""From rows and dead letters to files: sorted, and complete or not there.

What is written stands beside the earlier files until all of it is there; only then does it take
their places. So a run that fails, whatever it was writing, leaves all of them as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import coders, files  # noqa: F401  registers the coders of the types below
from pipeline.errors import TooManyRejectedError, TooManyRowsError
from pipeline.events import DeadLetter
from pipeline.replacing import preparing, replace, temporary_name
from pipeline.rows import RowBlock, RowFormat
from pipeline.runs import (
    DEAD_LETTER_BYTES_PER_RUN,
    ROWS_PER_RUN,
    DeadLetterSorter,
    RowRun,
    RowSorter,
    merge_dead_letters,
    merge_rows,
)
from pipeline.tally import MaxRejected, Tally, refusal

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Output:
    """A file to write, or several.

    Attributes:
        path: its name; with `num_shards` above 1, `-SSSSS-of-NNNNN` is added to it.
        scratch: a folder that all workers reach, for what does not fit into memory.
        run_id: what tells the temporary files of this run from those of others.
        num_shards: the number of files.
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
        """The shards of earlier runs, with another number of them, that this run leaves no place.

        Files that `inputs` (paths and globs) name are none.
        """
        if self.num_shards == 1:
            return []
        stale = set(files.shards_of(self.path)) - set(self.paths())
        return sorted(
            path for path in stale if not any(files.names(pattern, path) for pattern in inputs)
        )


@dataclass(eq=False)
class WriteRows(beam.PTransform):
    """Writes `RowBlock`s as NDJSON, sorted by date and series, into one file or into shards.

    Gives the numbers of the shards, which are there once they are published. Memory does not
    grow with the rows: they are sorted in runs in `output.scratch`, and merged. Nothing is written,
    and no error raised, where `max_rejected` does not allow what `tally` (a `PCollection` of one
    `Tally`) says.

    Counts `rows` and their dates (a distribution, in minutes since 1970-01-01) in the namespace of
    this class.

    Raises:
        TooManyRowsError, OutputError: when the pipeline runs.
    """

    output: Output
    format: RowFormat
    tally: beam.PCollection
    max_rejected: MaxRejected
    max_rows: int

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        runs = blocks | "Sort" >> beam.ParDo(
            _SortRowsFn(self.output, self.format, self.max_rows)
        ).with_output_types(RowRun)
        num_shards = self.output.num_shards
        shards = blocks.pipeline | "Shards" >> beam.Create(
            range(num_shards), reshuffle=num_shards > 1
        )
        write = beam.ParDo(
            _WriteShardFn(self.output, self.format, self.max_rejected, self.max_rows),
            AsList(runs),
            AsSingleton(self.tally),
        ).with_output_types(RowRun)
        count = beam.ParDo(_CountRowsFn()).with_output_types(int)
        return shards | "Write" >> write | "Count" >> count


class _SortRowsFn(beam.DoFn):
    def __init__(self, output: Output, row_format: RowFormat, max_rows: int) -> None:
        self._output = output
        self._format = row_format
        self._max_rows = max_rows

    def start_bundle(self) -> None:
        self._rows = 0
        self._sorter = RowSorter()

    def process(self, block: RowBlock) -> Iterator[RowRun]:
        dates, averages = self._format.shown(block)
        self._rows += len(dates)
        check_rows(self._rows, self._max_rows)
        self._sorter.add(block.series, dates, averages)
        if self._sorter.rows >= ROWS_PER_RUN:
            yield from self._sorter.write(self._output.scratch, self._output.num_shards)
            self._sorter = RowSorter()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for run in self._sorter.write(self._output.scratch, self._output.num_shards):
            yield _global(run)


class _WriteShardFn(beam.DoFn):
    def __init__(
        self, output: Output, row_format: RowFormat, max_rejected: MaxRejected, max_rows: int
    ) -> None:
        self._output = output
        self._format = row_format
        self._max_rejected = max_rejected
        self._max_rows = max_rows

    def process(self, shard: int, runs: list[RowRun], tally: Tally) -> Iterator[RowRun]:
        if not self._max_rejected.allows(tally.counts()["rejected"], tally.non_blank):
            return
        check_rows(sum(run.rows for run in runs), self._max_rows)
        mine = [run for run in runs if run.shard == shard]
        path = self._output.shard_path(shard)
        rows = sum(run.rows for run in mine)
        _logger.info("writing %d rows out of %d sorted run(s)", rows, len(mine))
        with preparing(path, self._output.run_id) as write:
            for block in merge_rows(mine):
                write(self._format.lines(block.dates, block.series, block.averages, block.table))
        yield RowRun(
            path,
            shard,
            rows,
            min((run.first_date for run in mine), default=0),
            max((run.last_date for run in mine), default=0),
        )


class _CountRowsFn(beam.DoFn):
    """Apart from the writing: BundleBasedDirectRunner loses metrics of steps with side inputs."""

    def __init__(self) -> None:
        self._rows = Metrics.counter(WriteRows, "rows")
        self._dates = Metrics.distribution(WriteRows, "dates")

    def process(self, written: RowRun) -> Iterator[int]:
        if written.rows:
            self._rows.inc(written.rows)
            self._dates.update(written.first_date)
            self._dates.update(written.last_date)
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

    Gives the number of its only shard, 0; it is there once it is published.

    Raises:
        OutputError: when the pipeline runs.
    """

    output: Output

    def expand(self, letters: beam.PCollection) -> beam.PCollection:
        runs = letters | "Sort" >> beam.ParDo(
            _SortDeadLettersFn(self.output.scratch)
        ).with_output_types(str)
        return (
            letters.pipeline
            | "Once" >> beam.Impulse()
            | "Write"
            >> beam.ParDo(_WriteDeadLettersFn(self.output), AsList(runs)).with_output_types(int)
        )


class _SortDeadLettersFn(beam.DoFn):
    def __init__(self, scratch: str) -> None:
        self._scratch = scratch

    def start_bundle(self) -> None:
        self._sorter = DeadLetterSorter()

    def process(self, letter: DeadLetter) -> Iterator[str]:
        self._sorter.add(letter)
        if self._sorter.size >= DEAD_LETTER_BYTES_PER_RUN:
            yield self._sorter.write(self._scratch)
            self._sorter = DeadLetterSorter()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._sorter.size:
            yield _global(self._sorter.write(self._scratch))


class _WriteDeadLettersFn(beam.DoFn):
    def __init__(self, output: Output) -> None:
        self._output = output

    def process(self, _once: bytes, runs: list[str]) -> Iterator[int]:
        with preparing(self._output.path, self._output.run_id) as write:
            for line in merge_dead_letters(runs):
                write(line)
        yield 0


@dataclass(eq=False)
class Publish(beam.PTransform):
    """Puts the files of a run in the place of earlier ones, once all of them are complete.

    Shards that an earlier run, with another number of them, has left are removed, but no file that
    `inputs` (paths and globs) name. Takes a pipeline, and `written`: of each output the numbers of
    its shards. Gives how many files each has.

    Raises:
        OutputError: when the pipeline runs.
    """

    written: Sequence[tuple[Output, beam.PCollection]]
    inputs: Sequence[str]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        publish = beam.ParDo(
            _PublishFn([output for output, _ in self.written], self.inputs),
            *(AsList(shards) for _, shards in self.written),
        )
        return pipeline | "Once" >> beam.Impulse() | "Replace" >> publish.with_output_types(int)


class _PublishFn(beam.DoFn):
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


class CleanUp(beam.PTransform):
    """Ends a run on a remote runner: removes its scratch folder, then fails it if it was refused.

    Takes the one `Tally` of the run, and waits for what is `published`.

    Raises:
        TooManyRejectedError: when the pipeline runs, where `max_rejected` does not allow the tally.
    """

    def __init__(
        self, scratch: str, max_rejected: MaxRejected, published: beam.PCollection
    ) -> None:
        super().__init__()
        self._scratch = scratch
        self._max_rejected = max_rejected
        self._published = published

    def expand(self, tally: beam.PCollection) -> beam.PCollection:
        return tally | "CleanUp" >> beam.ParDo(
            _CleanUpFn(self._scratch, self._max_rejected), AsList(self._published)
        )


class _CleanUpFn(beam.DoFn):
    def __init__(self, scratch: str, max_rejected: MaxRejected) -> None:
        self._scratch = scratch
        self._max_rejected = max_rejected

    def process(self, tally: Tally, _published: list[int]) -> None:
        files.remove_folder(self._scratch)
        rejected = tally.counts()["rejected"]
        if not self._max_rejected.allows(rejected, tally.non_blank):
            raise TooManyRejectedError(refusal(rejected, tally.non_blank, tally.rejected))


def _global(value: object) -> WindowedValue:
    window = GlobalWindow()
    return WindowedValue(value, window.start, [window])
