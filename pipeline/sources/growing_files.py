"""Files that are followed as they grow, and streams as they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam

from pipeline.core.errors import OptionError
from pipeline.core.options import Given, Option, RunKind, Use, chosen, whole_number
from pipeline.parsing.timeliness import MAX_SECONDS
from pipeline.sources.event_clock import EventClock
from pipeline.sources.source import Opened, Runners
from pipeline.sources.streams import Streams
from pipeline.sources.tail import Tail
from pipeline.sources.timed_tail import TimedTail
from pipeline.sources.whole_files import INPUT_FILE, patterns_of
from pipeline.storage import files
from pipeline.storage.files import STANDARD_STREAM

_FOLLOWED = Use("--follow", lambda run: run.source == "GrowingFiles")

_FOLLOW = Option(
    "follow",
    "continue reading as files grow and new ones appear, or a pipe or standard input until it "
    "ends: write each row when its minute is over, and again when late events change it",
    _FOLLOWED,
)
_STOP_AFTER_IDLE = Option(
    "stop_after_idle_seconds",
    "end after this time without new data",
    _FOLLOWED,
    metavar="SECONDS",
    parse=whole_number(0, MAX_SECONDS),
    default_text="never",
)
_OUT_OF_ORDER = Option(
    "out_of_order_seconds",
    "the watermark is the latest event time minus this; after this time without new data, the wall "
    "clock minus this",
    _FOLLOWED,
    metavar="SECONDS",
    parse=whole_number(0, MAX_SECONDS),
    default_text="60",
)
_STATE_DIR = Option(
    "state_dir",
    "a folder of this run's own: started again after any stop, it goes on where it was, and writes "
    "nothing twice",
    _FOLLOWED,
    metavar="FOLDER",
)


@dataclass(frozen=True)
class GrowingFiles:
    """Files of this machine, followed as `tail -F` does; or standard input and pipes.

    Attributes:
        patterns: paths and globs, which need not match anything yet; or only streams.
        out_of_order_seconds: the watermark is the latest event time minus this.
        stop_after_idle_seconds: the input ends after this time without new data; None for never.
        state_dir: where it is remembered how far the run is, if anywhere.
    """

    TITLE: ClassVar[str] = "How files are followed"
    HERE: ClassVar[RunKind] = RunKind("--follow", "GrowingFiles", False, False)
    AS_JOB: ClassVar[RunKind] = HERE
    RUNNERS: ClassVar[Runners | None] = Runners(
        ("direct", "prism"), "--follow runs on Prism in this process"
    )
    LAUNCHER: ClassVar[str] = "prism"
    INPUTS: ClassVar[tuple[str, ...]] = ("input_file",)
    SWITCH: ClassVar[str | None] = "follow"
    OPTIONS: ClassVar[tuple[Option, ...]] = (
        *(INPUT_FILE, _FOLLOW, _STOP_AFTER_IDLE, _OUT_OF_ORDER),
        _STATE_DIR,
    )

    patterns: tuple[str, ...]
    out_of_order_seconds: int = 60
    stop_after_idle_seconds: int | None = None
    state_dir: str | None = None

    @classmethod
    def of(cls, given: Given) -> GrowingFiles:
        patterns = patterns_of(given["input_file"])
        if not all(map(files.is_local, patterns)):
            raise OptionError("--follow takes files of this machine as --input_file")
        streams = [each for each in patterns if _is_stream(each)]
        if streams and len(streams) < len(patterns):
            raise OptionError(
                f"--input_file: {streams[0]} ends, and files do not: follow them in runs of their "
                "own"
            )
        if streams and given["state_dir"] is not None:
            raise OptionError(f"--state_dir is for files: {streams[0]} cannot be read again")
        ends = streams or given["stop_after_idle_seconds"] is not None
        if given["summary_file"] and not ends and given["state_dir"] is None:
            raise OptionError(
                "--summary_file is for a run that ends or goes on: say --stop_after_idle_seconds "
                "or --state_dir"
            )
        return cls(patterns, **chosen(given, cls))

    @contextmanager
    def opened_here(self, scratch: str) -> Iterator[Opened]:
        clock = EventClock(self.out_of_order_seconds)
        followed = (Streams if all(map(_is_stream, self.patterns)) else Tail)(self.patterns)
        sizes = {path: os.path.getsize(path) for path in followed.look()}
        tail = TimedTail(followed, clock, self.stop_after_idle_seconds)
        yield Opened(tail, sizes)

    def read_in_job(self) -> beam.PTransform:
        raise OptionError("--follow takes files of this machine, which no job can read")


def _is_stream(pattern: str) -> bool:
    return pattern == STANDARD_STREAM or files.is_pipe(pattern)
