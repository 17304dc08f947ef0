"""Whether an event of an input without end comes in time: not too late, and not from the future."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from pipeline.durations import MinuteSums
from pipeline.events import EPOCH, Event, FieldError

MAX_SECONDS = 10**9
"""The most that may be allowed: some thirty years, which Beam's timestamps hold many times."""

_MINUTE_SECONDS = 60
_SECOND = timedelta(seconds=1)


class Timeliness(NamedTuple):
    """What an event's time is held against when it comes; times in seconds since 1970-01-01 UTC.

    An event is late, as a whole, once the watermark has reached the end of its minute and the
    allowed lateness more. It comes from the future if its time is further ahead of the clock on the
    wall than `max_future`.
    """

    watermark: int
    allowed_lateness: int
    clock: float
    max_future: int

    def holds_for_all(self, sums: MinuteSums) -> bool:
        """Whether it is certain that every event of these minutes, ascending, comes in time."""
        first, last = int(sums.minutes[0]), int(sums.minutes[-1])
        end_of_last = (last + 1) * _MINUTE_SECONDS
        return not self.is_late(first) and end_of_last <= self.clock + self.max_future

    def is_late(self, minute: int) -> bool:
        """Whether the events of a minute (since 1970-01-01) come too late."""
        return (minute + 1) * _MINUTE_SECONDS + self.allowed_lateness <= self.watermark

    def is_from_the_future(self, event: Event) -> bool:
        """Whether the event is further ahead of the clock than is allowed."""
        return (event.timestamp - EPOCH) / _SECOND > self.clock + self.max_future

    @property
    def late_error(self) -> FieldError:
        """Why a late event is a dead letter."""
        reached = EPOCH + self.watermark // _MINUTE_SECONDS * timedelta(minutes=1)
        return FieldError(
            "timestamp",
            "late",
            f"the watermark had reached {reached:%Y-%m-%d %H:%M}, and events of a minute may come "
            f"up to {self.allowed_lateness} s after it",
        )

    @property
    def future_error(self) -> FieldError:
        """Why an event from the future is a dead letter."""
        return FieldError(
            "timestamp", "future", f"more than {self.max_future} s ahead of the clock on the wall"
        )
