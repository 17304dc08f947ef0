"""An unbounded run in this process: opens the source and the outputs, and runs until it stops."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from pipeline.cli import status
from pipeline.cli.settings import Settings
from pipeline.cli.signals import AskedToEnd
from pipeline.cli.streaming import average_followed, average_live, stream_sinks
from pipeline.cli.summary import Summary
from pipeline.core.errors import OptionError, run_error_in
from pipeline.live.account import Account
from pipeline.live.checkpoints import StateFolder
from pipeline.live.following import FollowedLines, FollowedRows, seconds_of_revisions
from pipeline.live.following_step import Follow, FollowedRun
from pipeline.live.memory import Memory
from pipeline.runners import LAUNCHERS
from pipeline.sinks.appended_lines import AppendedLines, append, holding
from pipeline.sinks.destinations import Destination, check_destinations
from pipeline.sources.growing_files import GrowingFiles
from pipeline.sources.source import Opened
from pipeline.sources.timed_tail import TimedTail
from pipeline.storage import files
from pipeline.storage.compression import compressed
from pipeline.storage.files import STANDARD_STREAM
from pipeline.storage.replacing import replacing


def run_unbounded(settings: Settings, options: PipelineOptions, is_debugging: bool) -> None:
    """Runs the streaming flow until it is stopped, or its source ends; as `run_here`."""
    run = _Run(settings, options, is_debugging)
    # DoFns may still run until the runner has ended.
    with (
        files.scratch_folder() as scratch,
        _temporary_files_in(scratch),
        settings.source.opened_here(scratch) as source,
    ):
        if isinstance(source.lines, TimedTail):
            run.follow(source, source.lines)
        else:
            run.take_messages(source, source.lines)


class _Run:
    def __init__(self, settings: Settings, options: PipelineOptions, is_debugging: bool) -> None:
        self._settings = settings
        self._options = options
        self._is_debugging = is_debugging
        self._account = Account()
        self._started = time.monotonic()

    def take_messages(self, source: Opened, read: beam.PTransform) -> None:
        """Runs the flow of a source that a transform reads."""
        settings = self._settings
        _check_outputs(settings, source)
        _open_outputs(settings)
        with self._account.opened() as account, self._launched() as pipeline:
            average_live(pipeline | "Read" >> read, settings, account)
            metrics = _run_shown(pipeline, self._account).metrics()
            summary = Summary.of(metrics, self._seconds(), is_live=True)
        if settings.summary_file is not None:
            _write_summary(settings.summary_file, summary.to_json())
        print(summary.text(), file=sys.stderr)

    def follow(self, source: Opened, tail: TimedTail) -> None:
        """Runs the flow of a source that only this process can read."""
        settings = self._settings
        assert isinstance(settings.source, GrowingFiles), "no other source is followed"
        _check_outputs(settings, source)
        with contextlib.ExitStack() as stack:
            memory = None
            if settings.plan == "windows":
                parser = settings.parse_events().parser()
                following = FollowedLines(tail, parser, self._account)
            else:
                following = rows = self._rows_of(tail, settings.source)
                memory = self._memory(rows, settings.source, stack)
            _open_outputs(settings)
            letters = {"rejected": settings.rejected, "late": settings.late}
            remembered = frozenset(name for name, sink in letters.items() if sink is not None)
            run = FollowedRun(following, tail, memory, remembered)
            name = stack.enter_context(run.opened())
            account = stack.enter_context(self._account.opened())
            pipeline = stack.enter_context(self._launched())
            average_followed(pipeline | "Read" >> Follow(name), settings, account)
            try:
                metrics = _run_shown(pipeline, self._account, tail).metrics()
            except AskedToEnd:
                if memory is not None and run.stop():
                    self._conclude(memory, Summary.of_account(self._account, self._seconds()))
                raise
            summary = Summary.of_account(self._account, self._seconds(), metrics)
            self._conclude(memory, summary)
            print(summary.text(), file=sys.stderr)

    def _rows_of(self, tail: TimedTail, source: GrowingFiles) -> FollowedRows:
        settings = self._settings
        lateness = revised = settings.allowed_lateness_seconds
        if source.state_dir is not None:
            ahead = max(source.out_of_order_seconds, settings.max_future_seconds)
            revised = seconds_of_revisions(lateness, ahead, max(settings.window_minutes))
        return FollowedRows(
            tail,
            settings.parse_events().parser(),
            self._account,
            settings.moving_average().live_rules(revised),
            delay_seconds=lateness if settings.emit == "final" else 0,
            skips_empty=settings.empty_value == "skip",
        )

    def _memory(
        self, following: FollowedRows, source: GrowingFiles, stack: contextlib.ExitStack
    ) -> Memory | None:
        """The memory of the run, if it is to have one, with what is in it recalled."""
        settings = self._settings
        if source.state_dir is None:
            return None
        sinks = [sink for sink in stream_sinks(settings) if isinstance(sink, AppendedLines)]
        for sink in sinks:
            if sink.path == STANDARD_STREAM or files.is_stream(sink.path):
                raise OptionError(
                    f"--state_dir is for rows and lines in files: name one with --{sink.option}"
                )
        retry_seconds = max(sink.retry_seconds for sink in sinks)
        folder = StateFolder(source.state_dir, _meaning(settings, source), retry_seconds)
        stack.enter_context(folder.locked())
        held = stack.enter_context(holding(sink.path for sink in sinks))
        memory = Memory(folder, following, self._account, held)
        summary = memory.recall()
        if summary is not None and settings.summary_file is not None:
            _write_summary(settings.summary_file, summary)
        return memory

    def _conclude(self, memory: Memory | None, summary: Summary) -> None:
        """Writes the summary; what comes next is counted anew."""
        path = self._settings.summary_file
        if memory is not None:
            memory.conclude(None if path is None else summary.to_json())
        if path is not None:
            _write_summary(path, summary.to_json())
        if memory is not None:
            memory.remember()

    @contextlib.contextmanager
    def _launched(self) -> Iterator[beam.Pipeline]:
        launcher = LAUNCHERS[self._settings.source.LAUNCHER]
        with launcher(self._options, self._is_debugging) as runner:
            yield beam.Pipeline(runner, self._options)

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def _meaning(settings: Settings, source: GrowingFiles) -> dict[str, Any]:
    """The options that decide what is in the outputs, by name."""
    names = (
        *("event_name", "group_by", "measures", "empty_value", "max_gap_minutes", "decimals"),
        *("allowed_lateness_seconds", "max_future_seconds", "emit"),
    )
    where = zip(settings.where.fields, settings.where.values, strict=True)
    return {
        "input_file": [os.path.abspath(each) for each in source.patterns],
        "window_size": settings.window_minutes,
        **{name: getattr(settings, name) for name in names},
        "where": [(name, sorted(values)) for name, values in where],
        "out_of_order_seconds": source.out_of_order_seconds,
        **{sink.option: os.path.abspath(sink.path or "") for sink in stream_sinks(settings)},
    }


@contextlib.contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """Makes Beam put its temporary folders, which it does not remove, into a folder."""
    previous = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = previous


def _check_outputs(settings: Settings, source: Opened) -> None:
    """Checks where an unbounded run writes.

    Raises:
        OptionError: an output is an input or matches one, or two outputs are the same.
        OutputError: one cannot be written.
    """
    destinations = [sink.destination() for sink in stream_sinks(settings)]
    if settings.summary_file is not None:
        destinations.append(Destination.of("summary_file", settings.summary_file, ""))
    check_destinations(
        [each for each in destinations if each is not None], settings.source.patterns, source.sizes
    )


def _open_outputs(settings: Settings) -> None:
    """Creates what will be appended to.

    Raises:
        OutputError: one cannot be written.
    """
    for sink in stream_sinks(settings):
        sink.open_here()


def _run_shown(
    pipeline: beam.Pipeline, account: Account, tail: TimedTail | None = None
) -> PipelineResult:
    """Runs a pipeline to its end, and shows its status.

    Raises:
        RunError: the pipeline failed with it.
        BrokenPipeError: the reader of standard output or of a pipe has gone.
    """

    def describe() -> str:
        # Where the source cannot tell: it has passed the dates of all rows.
        return status.text(account, account.last_row if tail is None else tail.watermark)

    try:
        with status.shown(describe):
            result = pipeline.run()
            result.wait_until_finish()
    except Exception as error:
        if BrokenPipeError.__name__ in f"{type(error).__name__}: {error}":
            raise BrokenPipeError from error
        raise (run_error_in(error) or error) from error
    return result


def _write_summary(path: str, summary: bytes) -> None:
    data = compressed(summary, path)
    if Destination.of("summary_file", path, "").is_file:
        with replacing(path, run_id=uuid4().hex) as write:
            write(data)
    else:
        append(path, data)
