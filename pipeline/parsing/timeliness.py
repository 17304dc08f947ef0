"""Whether an event of an unbounded input is on time: not too late, and not in the future."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from pipeline.core.events import EPOCH, Event, FieldError

MAX_SECONDS = 10**9
"""The largest number of seconds that may be allowed: about thirty years."""

_MINUTE_SECONDS = 60
_SECOND = timedelta(seconds=1)


class Timeliness(NamedTuple):
    """What an event's time is compared with on arrival; times in seconds since 1970-01-01 UTC.

    An event is late, as a whole, when the watermark has reached the end of its minute plus the
    allowed lateness. It is in the future when its time is further ahead of the wall clock than
    `max_future`. If `is_bound`, the watermark is only known not to be beyond `watermark`: an event
    that is not late is on time for sure, and of others nobody knows.
    """

    watermark: int
    allowed_lateness: int
    clock: float
    max_future: int
    is_bound: bool = False

    def sure_minutes(self) -> tuple[int, int]:
        """The first minute whose events are all on time, and the one behind the last."""
        first = (self.watermark - self.allowed_lateness) // _MINUTE_SECONDS
        return max(first, 0), int((self.clock + self.max_future) // _MINUTE_SECONDS)

    def is_late(self, minute: int) -> bool:
        """Whether the events of a minute (since 1970-01-01) are too late."""
        return (minute + 1) * _MINUTE_SECONDS + self.allowed_lateness <= self.watermark

    def is_from_the_future(self, event: Event) -> bool:
        """Whether the event is further ahead of the clock than is allowed."""
        return (event.timestamp - EPOCH) / _SECOND > self.clock + self.max_future

    @property
    def late_error(self) -> FieldError:
        """The error of a late event."""
        reached = EPOCH + self.watermark // _MINUTE_SECONDS * timedelta(minutes=1)
        return FieldError(
            "timestamp",
            "late",
            f"the watermark had reached {reached:%Y-%m-%d %H:%M}, and events of a minute may come "
            f"up to {self.allowed_lateness} s after it",
        )

    @property
    def future_error(self) -> FieldError:
        """The error of an event in the future."""
        return FieldError(
            "timestamp", "future", f"more than {self.max_future} s ahead of the wall clock"
        )
