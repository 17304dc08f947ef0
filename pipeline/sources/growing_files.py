"""Files that are followed as they grow: the source of unbounded runs over files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.coders import Coder, StrUtf8Coder
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Duration, Timestamp

from pipeline.core.errors import OptionError
from pipeline.core.events import DEFAULT_EVENT_NAME
from pipeline.core.options import Given, Option, RunKind, Use, chosen, whole_number
from pipeline.parsing.chunks import Chunk
from pipeline.parsing.timeliness import MAX_SECONDS
from pipeline.sources.event_clock import EventClock
from pipeline.sources.source import Opened, Runners
from pipeline.sources.tail import Tail
from pipeline.sources.whole_files import INPUT_FILE, patterns_of
from pipeline.storage import files
from pipeline.storage.files import STANDARD_STREAM
from pipeline.transforms.in_process import InProcess

_POLL_SECONDS = 0.2
_BUNDLE_BYTES = 4 * 2**20


_FOLLOWED = Use("--follow", lambda run: run.source == "GrowingFiles")

_FOLLOW = Option(
    "follow",
    "continue reading as files grow and new ones appear: write each row when its minute is over, "
    "and again when late events change it",
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


@dataclass(frozen=True)
class GrowingFiles:
    """Files of this machine, followed as `tail -F` does.

    Attributes:
        patterns: paths and globs, which need not match anything yet.
        event_name: the events whose times move the watermark.
        out_of_order_seconds: the watermark is the latest event time minus this.
        max_future_seconds: an event further ahead of the wall clock does not move it.
        stop_after_idle_seconds: the input ends after this time without new data; None for never.
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
    OPTIONS: ClassVar[tuple[Option, ...]] = (INPUT_FILE, _FOLLOW, _STOP_AFTER_IDLE, _OUT_OF_ORDER)

    patterns: tuple[str, ...]
    event_name: str = DEFAULT_EVENT_NAME
    out_of_order_seconds: int = 60
    max_future_seconds: int = 300
    stop_after_idle_seconds: int | None = None

    @classmethod
    def of(cls, given: Given) -> GrowingFiles:
        patterns = patterns_of(given["input_file"])
        if STANDARD_STREAM in patterns or not all(map(files.is_local, patterns)):
            raise OptionError("--follow takes files of this machine as --input_file")
        return cls(patterns, **chosen(given, cls))

    @contextmanager
    def opened_here(self, scratch: str) -> Iterator[Opened]:
        tail = Tail(self.patterns)
        sizes = {path: os.path.getsize(path) for path in tail.look()}
        clock = EventClock(self.event_name, self.out_of_order_seconds, self.max_future_seconds)
        timed = TimedTail(tail, clock, self.stop_after_idle_seconds)
        with timed.opened() as name:
            yield Opened(ReadGrowingFiles(name), sizes, timed.watermark)

    def read_in_job(self) -> beam.PTransform:
        raise OptionError("--follow takes files of this machine, which no job can read")


class TimedTail(InProcess):
    """A `Tail` with a watermark, which the DoFns of this process can find.

    Args:
        stop_after_idle_seconds: the input ends after this time without new data; None for never.
    """

    def __init__(self, tail: Tail, clock: EventClock, stop_after_idle_seconds: int | None) -> None:
        self._tail = tail
        self._clock = clock
        self._stop_after_idle_seconds = stop_after_idle_seconds
        self._new: Iterator[Chunk] | None = None
        self._polled_at = time.time()
        self.reached: Timestamp = MIN_TIMESTAMP

    def read(self) -> Iterator[Chunk]:
        """Reads some megabytes more, or until all files are read to their ends."""
        if self._new is None:
            self._new = self._tail.poll()
            self._polled_at = time.time()
        size = 0
        for chunk in self._new:
            self._clock.see(chunk, time.time())
            yield chunk
            size += len(chunk.data)
            if size >= _BUNDLE_BYTES:
                return
        self._new = None

    @property
    def is_at_ends(self) -> bool:
        """Whether all files are read to their ends, so that the watermark may move."""
        return self._new is None

    @property
    def is_complete(self) -> bool:
        """Whether no new data has arrived for so long that the input ends."""
        return (
            self._stop_after_idle_seconds is not None
            and self._clock.idle_seconds(self._polled_at) >= self._stop_after_idle_seconds
        )

    def finish(self) -> Iterator[Chunk]:
        """Yields the last lines that have no line end."""
        return self._tail.finish()

    def watermark(self) -> datetime | None:
        """The last watermark; None before there is one."""
        if self.reached == MIN_TIMESTAMP:
            return None
        reached: datetime = self.reached.to_utc_datetime(has_tz=True)
        return reached

    def advance(self) -> Timestamp:
        """Moves the watermark, and returns it.

        Call only after all files were read to their ends: later lines would be late. The time is
        that of the last look at the files: what has come since would be late, too.
        """
        seconds = self._clock.watermark(self._polled_at)
        if seconds is not None:
            self.reached = Timestamp(micros=int(seconds * 1_000_000))
        return self.reached


@dataclass(eq=False)
class ReadGrowingFiles(beam.PTransform):
    """Reads the files of a `TimedTail` of this process, given by its name; takes a pipeline.

    Gives `Chunk`s of whole lines as the files grow. The watermark does not move while files are
    being read to their ends, so that no line is late because of the order of the files.
    """

    name: str

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Name" >> beam.Create([self.name], reshuffle=False)
            | "Read" >> beam.ParDo(_ReadFn()).with_output_types(Chunk)
        )


# Beam treats a false restriction as no restriction.
_OPEN, _ENDED = "open", "ended"


class _EndTracker(RestrictionTracker):
    """The tracker of a restriction that only says whether the input has ended.

    It is never split: with two parts, a runner could move the watermark past the slower one.
    """

    def __init__(self, restriction: str) -> None:
        self._restriction = restriction

    def current_restriction(self) -> str:
        return self._restriction

    def current_progress(self) -> RestrictionProgress:
        has_ended = self._restriction == _ENDED
        return RestrictionProgress(completed=int(has_ended), remaining=int(not has_ended))

    def try_claim(self, restriction: str) -> bool:
        if self._restriction == _ENDED:
            return False
        self._restriction = restriction
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[str, str] | None:
        if fraction_of_remainder != 0 or self._restriction == _ENDED:
            return None
        self._restriction = _ENDED
        return _ENDED, _OPEN

    def check_done(self) -> bool:
        if self._restriction != _ENDED:
            raise ValueError("the followed input was left before its end")
        return True

    def is_bounded(self) -> bool:
        return False


class _EndProvider(RestrictionProvider):
    def initial_restriction(self, element: str) -> str:
        return _OPEN

    def create_tracker(self, restriction: str) -> _EndTracker:
        return _EndTracker(restriction)

    def restriction_size(self, element: str, restriction: str) -> int:
        return 1

    def restriction_coder(self) -> Coder:
        return StrUtf8Coder()


_RESTRICTION = beam.DoFn.RestrictionParam(_EndProvider())
_WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())


class _ReadFn(beam.DoFn):
    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        name: str,
        tracker: Any = _RESTRICTION,
        estimator: Any = _WATERMARK,
    ) -> Iterator[TimestampedValue]:
        if not tracker.try_claim(_OPEN):
            return
        tail = TimedTail.find(name)
        now = estimator.current_watermark() or MIN_TIMESTAMP
        for chunk in tail.read():
            yield TimestampedValue(chunk, now)
        if not tail.is_at_ends:
            tracker.defer_remainder(Duration(0))
        elif tail.is_complete:
            for chunk in tail.finish():
                yield TimestampedValue(chunk, now)
            tracker.try_claim(_ENDED)
        else:
            estimator.set_watermark(max(now, tail.advance()))
            tracker.defer_remainder(Duration(_POLL_SECONDS))
