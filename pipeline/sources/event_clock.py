"""The watermark of a followed input."""

from __future__ import annotations

from pipeline.core.events import EPOCH, Event, parse_line
from pipeline.parsing.chunks import Chunk


class EventClock:
    """The watermark of lines that arrive in roughly the order of their event times.

    It is the latest event time minus `out_of_order_seconds`; after that time without new data, it
    is the wall clock minus that. It never goes back, and never passes the wall clock. An event too
    far ahead of the wall clock does not count. All times are in seconds since 1970-01-01 UTC.
    """

    def __init__(self, event_name: str, out_of_order_seconds: int, max_future_seconds: int) -> None:
        self._event_name = event_name
        self._out_of_order_seconds = out_of_order_seconds
        self._max_future_seconds = max_future_seconds
        self._latest: float | None = None
        self._watermark: float | None = None
        self._grown_at: float | None = None

    def see(self, chunk: Chunk, now: float) -> None:
        """Takes the events of a chunk into account, which arrived at the time `now`."""
        self._grown_at = now
        for _, line in chunk.lines():
            event = parse_line(line, self._event_name)
            if isinstance(event, Event):
                seconds = (event.timestamp - EPOCH).total_seconds()
                if seconds <= now + self._max_future_seconds:
                    self._latest = max(seconds, self._latest or 0)

    def idle_seconds(self, now: float) -> float:
        """How long no data has arrived; since the first call, if none ever has."""
        if self._grown_at is None:
            self._grown_at = now
        return now - self._grown_at

    def watermark(self, now: float) -> float | None:
        """The watermark at a time; None before there is any."""
        reached = [] if self._latest is None else [self._latest]
        if self.idle_seconds(now) >= self._out_of_order_seconds:
            reached.append(now)
        if reached:
            ahead = min(max(reached) - self._out_of_order_seconds, now)
            self._watermark = max(ahead, self._watermark or ahead)
        return self._watermark
