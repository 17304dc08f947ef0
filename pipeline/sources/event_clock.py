"""The watermark of a followed input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EventClock:
    """The watermark of lines that arrive in roughly the order of their event times.

    It is the latest event time minus `out_of_order_seconds`; after that time without new data, it
    is the wall clock minus that. It never goes back, and never passes the wall clock. All times are
    in seconds since 1970-01-01 UTC.
    """

    def __init__(self, out_of_order_seconds: int) -> None:
        self._out_of_order_seconds = out_of_order_seconds
        self._latest: int | None = None
        self._watermark: float | None = None
        self._grown_at: float | None = None

    def see(self, latest: int, now: float) -> None:
        """Takes new data into account, which arrived at the time `now`.

        `latest` is the last event time in it, rounded down; -1 without any. An event too far ahead
        of the wall clock must not count: see `ParsedLines`.
        """
        self._grown_at = now
        if latest >= 0:
            self._latest = max(latest, self._latest or 0)

    def idle_seconds(self, now: float) -> float:
        """How long no data has arrived; since the first call, if none ever has."""
        if self._grown_at is None:
            self._grown_at = now
        return now - self._grown_at

    @property
    def reached(self) -> float | None:
        """The last watermark; None before there is any."""
        return self._watermark

    def advance(self, now: float) -> float | None:
        """Moves the watermark to where it is at a time, and returns it; None before any."""
        reached: list[float] = [] if self._latest is None else [self._latest]
        if self.idle_seconds(now) >= self._out_of_order_seconds:
            reached.append(now)
        if reached:
            ahead = min(max(reached) - self._out_of_order_seconds, now)
            self._watermark = max(ahead, self._watermark or ahead)
        return self._watermark

    def state(self) -> dict[str, Any]:
        """How far it is: plain data for `restore`."""
        return {"latest": self._latest, "watermark": self._watermark}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where the clock of another process has been."""
        self._latest, self._watermark = state["latest"], state["watermark"]
