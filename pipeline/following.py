"""Followed files as an unbounded input: chunks of lines, and a watermark."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import Coder, StrUtf8Coder
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Duration, Timestamp

from pipeline import coders  # noqa: F401  registers the coder of chunks
from pipeline.chunks import Chunk
from pipeline.event_clock import EventClock
from pipeline.follow import Follower
from pipeline.in_process import InProcess

_POLL_SECONDS = 0.2
_BUNDLE_BYTES = 4 * 2**20


class Session(InProcess):
    """What a run follows.

    Args:
        stop_after_idle_seconds: the input ends when nothing new came for so long; None for never.

    Attributes:
        reached: the watermark that was given last; to look at it moves nothing.
    """

    def __init__(
        self, follower: Follower, clock: EventClock, stop_after_idle_seconds: int | None
    ) -> None:
        self._follower = follower
        self._clock = clock
        self._stop_after_idle_seconds = stop_after_idle_seconds
        self._new: Iterator[Chunk] | None = None
        self._polled_at = time.time()
        self.reached: Timestamp = MIN_TIMESTAMP

    def read(self) -> Iterator[Chunk]:
        """Reads on, some megabytes at a time, until all files have been read to their ends."""
        if self._new is None:
            self._new = self._follower.poll()
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
        """Whether all files have been read to their ends, so that event time may go on."""
        return self._new is None

    @property
    def is_complete(self) -> bool:
        """Whether nothing new has come for so long that the input ends."""
        return (
            self._stop_after_idle_seconds is not None
            and self._clock.idle_seconds(self._polled_at) >= self._stop_after_idle_seconds
        )

    def finish(self) -> Iterator[Chunk]:
        """Gives the last lines that have no end."""
        return self._follower.finish()

    def advance(self) -> Timestamp:
        """Moves the watermark to where event time is now, and gives it.

        Only for when all files have been read to their ends: what is not yet read would be late.
        So would be what came since, while what had been read was on its way: the time is that of
        the last look at the files.
        """
        seconds = self._clock.watermark(self._polled_at)
        if seconds is not None:
            self.reached = Timestamp(micros=int(seconds * 1_000_000))
        return self.reached


class Follow(beam.PTransform):
    """Gives `Chunk`s of whole lines as the files of the session grow that its one element names.

    The watermark stands still while files are being read to their ends: their lines are not late
    for the order in which the files are read.
    """

    def expand(self, names: beam.PCollection) -> beam.PCollection:
        return names | "Follow" >> beam.ParDo(_FollowFn()).with_output_types(Chunk)


# Beam takes a restriction that is false for none.
_OPEN, _ENDED = "open", "ended"


class _EndTracker(RestrictionTracker):
    """Of a restriction that only says whether the input has ended.

    It is not split: with two parts a runner could let event time run ahead of the slower one.
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


class _FollowFn(beam.DoFn):
    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        name: str,
        tracker: Any = _RESTRICTION,
        estimator: Any = _WATERMARK,
    ) -> Iterator[TimestampedValue]:
        if not tracker.try_claim(_OPEN):
            return
        session = Session.find(name)
        now = estimator.current_watermark() or MIN_TIMESTAMP
        for chunk in session.read():
            yield TimestampedValue(chunk, now)
        if not session.is_at_ends:
            tracker.defer_remainder(Duration(0))
        elif session.is_complete:
            for chunk in session.finish():
                yield TimestampedValue(chunk, now)
            tracker.try_claim(_ENDED)
        else:
            estimator.set_watermark(max(now, session.advance()))
            tracker.defer_remainder(Duration(_POLL_SECONDS))
