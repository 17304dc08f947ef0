"""The step that follows: the turns of this process, as a splittable `DoFn`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.coders import Coder, StrUtf8Coder
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Duration, Timestamp

from pipeline.core.durations import MinuteSums
from pipeline.core.events import DeadLetter
from pipeline.core.rows import Series
from pipeline.core.shards import RevisedRows
from pipeline.live.following import FollowedLines, Turn
from pipeline.live.memory import Memory
from pipeline.sources.timed_tail import TimedTail
from pipeline.transforms.in_process import InProcess

_POLL_SECONDS = 0.2
_SETTLING_SECONDS = 0.01
_LINES_PER_BUNDLE = 20_000
_STOP_SECONDS = 4

_REJECTED, _LATE, _ROWS = "rejected", "late", "rows"


class FollowedRun(InProcess):
    """A run that follows: its turns, put together to bundles, and its memory, if it has one.

    Args:
        following: gives the turns.
        tail: how far event time is.
        memory: remembers what was given.
        remembered: which outputs the memory holds beside the rows, of `rejected` and `late`.

    Attributes:
        has_ended: whether the last turn was given.
        pause_seconds: when to ask for the next bundle.
    """

    def __init__(
        self,
        following: FollowedLines,
        tail: TimedTail,
        memory: Memory | None = None,
        remembered: frozenset[str] = frozenset(),
    ) -> None:
        self._turns = following.turns()
        self._tail = tail
        self._memory = memory
        self._remembered = remembered
        self._is_consistent = True
        self._has_begun = False
        self._looked_at = time.monotonic()
        self._is_asked_to_stop = False
        self._has_stopped = threading.Event()
        self.has_ended = False
        self.pause_seconds: float = 0

    @property
    def watermark(self) -> Timestamp:
        """How far event time is."""
        reached = self._tail.watermark
        return MIN_TIMESTAMP if reached is None else Timestamp.from_utc_datetime(reached)

    def bundle(self) -> Iterator[Turn]:
        """Gives some turns; none while lines of earlier ones are on their way to an output."""
        self._has_begun = True
        self.pause_seconds = 0
        memory = self._memory
        is_due = self._is_asked_to_stop or (memory is not None and memory.is_due)
        if self._is_consistent and is_due:
            self.pause_seconds = _SETTLING_SECONDS
            if memory is not None and not memory.is_settled:
                return
            if self._is_asked_to_stop:
                self._has_stopped.set()
                return
            if memory is not None:
                memory.remember()
        lines = 0
        for turn in self._turns:
            self._is_consistent = turn.is_consistent
            self._note(turn)
            yield turn
            if turn.is_up_to_date:
                now = time.monotonic()
                self.pause_seconds = max(self._looked_at + _POLL_SECONDS - now, 0)
                self._looked_at = now + self.pause_seconds
                return
            lines += turn.lines
            if lines >= _LINES_PER_BUNDLE or (turn.is_consistent and self._is_asked_to_stop):
                return
        self.has_ended = True

    def _note(self, turn: Turn) -> None:
        if self._memory is None or not turn.lines:
            return
        given = 0
        if turn.parsed is not None:
            given += len(turn.parsed.dead_letters) if _REJECTED in self._remembered else 0
            given += len(turn.parsed.late) if _LATE in self._remembered else 0
        given += sum(map(len, turn.rows))
        self._memory.note(given)

    def stop(self) -> bool:
        """Asks the run to stop between two turns, and waits for it; tells whether it has."""
        self._is_asked_to_stop = True
        return not self._has_begun or self._has_stopped.wait(_STOP_SECONDS)


class Followed(NamedTuple):
    """What `Follow` gives.

    Attributes:
        rows: `RevisedRows`; none unless the run makes rows.
        sums: `tuple[Series, MinuteSums]`; none if the run makes rows.
        rejected, late: `DeadLetter`s, as of `ParseEvents`.
    """

    rows: beam.PCollection
    sums: beam.PCollection
    rejected: beam.PCollection
    late: beam.PCollection


@dataclass(eq=False)
class Follow(beam.PTransform):
    """Hands out the turns of a `FollowedRun` of this process, given by its name; takes a pipeline.

    Gives `Followed`, all at the watermark. The watermark does not move while what has come is being
    read, so that no line is late because of the order of the files.
    """

    name: str

    def expand(self, pipeline: beam.Pipeline) -> Followed:
        follow = beam.ParDo(_FollowFn()).with_output_types(
            tuple[Series, MinuteSums],
            **{_ROWS: RevisedRows, _REJECTED: DeadLetter, _LATE: DeadLetter},
        )
        outputs = (
            pipeline
            | "Name" >> beam.Create([self.name], reshuffle=False)
            | "Follow" >> follow.with_outputs(_ROWS, _REJECTED, _LATE, main="sums")
        )
        return Followed(outputs[_ROWS], outputs.sums, outputs[_REJECTED], outputs[_LATE])


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


class _FollowFn(beam.DoFn):
    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        name: str,
        tracker: Any = _RESTRICTION,
        estimator: Any = _WATERMARK,
    ) -> Iterator[Any]:
        if not tracker.try_claim(_OPEN):
            return
        run = FollowedRun.find(name)
        now = estimator.current_watermark() or MIN_TIMESTAMP
        for turn in run.bundle():
            for tag, output in _outputs(turn):
                timed = TimestampedValue(output, now)
                yield timed if tag is None else TaggedOutput(tag, timed)
        if run.has_ended:
            tracker.try_claim(_ENDED)
            return
        estimator.set_watermark(max(now, run.watermark))
        tracker.defer_remainder(Duration(run.pause_seconds))


def _outputs(turn: Turn) -> Iterator[tuple[str | None, Any]]:
    if turn.parsed is not None:
        yield from ((None, sums) for sums in turn.parsed.sums)
        yield from ((_REJECTED, letter) for letter in turn.parsed.dead_letters)
        yield from ((_LATE, letter) for letter in turn.parsed.late)
    yield from ((_ROWS, block) for block in turn.rows)
