"""The results of a bounded run in this process: all of them take their places, or none does.

What can fail is done first: files are prepared beside their places, and streams get theirs. Only
then are earlier files replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from pipeline.core.errors import OptionError, run_error_in
from pipeline.sinks.destinations import Destination, check_destinations
from pipeline.sinks.sorted_files import Output, SortedFiles
from pipeline.storage import files
from pipeline.storage.compression import compressed
from pipeline.storage.replacing import preparing, replace_together


class Result(NamedTuple):
    """Where a result is asked for, and the files that it is prepared in."""

    destination: Destination
    output: Output


class Results:
    """The results of one run.

    Args:
        scratch: a folder for what goes to streams, and for what does not fit into memory.
        run_id: what tells the temporary files of this run from those of others.
    """

    def __init__(self, scratch: str, run_id: str) -> None:
        self._scratch = scratch
        self._run_id = run_id
        self._results: list[Result] = []

    def add(self, sink: SortedFiles) -> Result:
        """Decides where a result is prepared: beside its place, or in the folder for a stream."""
        destination = Destination.of(sink.option, sink.path, self._scratch)
        output = Output(destination.path, self._scratch, self._run_id, sink.num_shards)
        result = Result(destination, output)
        self._results.append(result)
        return result

    def leave_out(self, result: Result) -> None:
        """Drops a result: an earlier file in its place stays."""
        self._results.remove(result)

    def check(self, patterns: Sequence[str], found: Collection[str]) -> None:
        """Refuses results that are inputs, that collide, or that cannot be written.

        Args:
            patterns: the paths and globs of the inputs.
            found: the files that are inputs.

        Raises:
            OptionError, OutputError: a result is refused.
        """
        destinations = [each.destination for each in self._results]
        for each in self._results:
            if each.output.num_shards > 1:
                destinations += _shards(each)
        check_destinations(destinations, patterns, found)

    def write(self, result: Result, data: bytes) -> None:
        """Prepares a result of one file.

        Raises:
            OutputError: it cannot be written.
        """
        with preparing(result.output.path, self._run_id) as write:
            write(compressed(data, result.output.path))

    def give_to_streams(self) -> None:
        """Copies what was prepared for streams, devices and pipes.

        Raises:
            OutputError: one cannot be written.
            BrokenPipeError: the reader of one has gone.
        """
        for destination, output in self._results:
            if not destination.is_file:
                (prepared,) = output.temporary_paths()
                destination.copy(prepared)

    def take_places(self, patterns: Sequence[str]) -> None:
        """Replaces earlier files together, and removes stale shards that no pattern names.

        Raises:
            OutputError: a change failed; all earlier files are as they were.
        """
        outputs = [each.output for each in self._results if each.destination.is_file]
        replace_together(
            [path for output in outputs for path in output.paths()],
            self._run_id,
            [path for output in outputs for path in output.stale_paths(patterns)],
        )

    @contextlib.contextmanager
    def abandoned_on_failure(self) -> Iterator[None]:
        """Removes what was prepared beside the results when the body fails or is interrupted."""
        paths = [path for _, output in self._results for path in output.temporary_paths()]
        try:
            yield
        except BaseException as error:
            for path in paths:
                with contextlib.suppress(OSError):  # the first error is the one that is reported
                    files.remove(path)
            raise (run_error_in(error) or error) from error


def _shards(result: Result) -> list[Destination]:
    """The files of the shards, and those of an earlier run, which will be removed.

    Raises:
        OptionError, OutputError: there can be no shards here.
    """
    destination, output = result
    if not destination.is_file:
        raise OptionError(f"--num_shards above 1 needs files, not {destination.asked}")
    destination.check()
    with files.writing(output.path):
        paths = {*output.paths(), *files.shards_of(output.path)}
    return [Destination(destination.option, path, path) for path in sorted(paths)]
