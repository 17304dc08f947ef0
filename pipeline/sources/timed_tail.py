"""What is followed, and how far event time is in it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Protocol

from pipeline.parsing.chunks import Chunk
from pipeline.sources.event_clock import EventClock

_NO_WATERMARK = 0  # all event times are later


class Followed(Protocol):
    """Something that grows: `Tail` is of files, `Streams` of pipes."""

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, and all was given but last lines that have no line end."""

    def poll(self) -> Iterator[Chunk]:
        """Gives the whole lines that have come by now.

        Raises:
            InputError: it cannot be read.
        """

    def finish(self) -> Iterator[Chunk]:
        """Gives the last lines that have no line end."""

    def state(self) -> Any:
        """How far it was read, at any chunk that was given: plain data for `restore`."""

    def restore(self, state: Any) -> None:
        """Goes on where another process has been.

        Raises:
            InputError: it cannot, or something is gone.
        """


class TimedTail:
    """Lines as they come, each chunk with the watermark at its arrival.

    Args:
        followed: where the lines come from.
        clock: the watermark of the lines.
        stop_after_idle_seconds: the input ends after this time without new data; None for never.
    """

    def __init__(
        self, followed: Followed, clock: EventClock, stop_after_idle_seconds: int | None
    ) -> None:
        self._followed = followed
        self._clock = clock
        self._stop_after_idle_seconds = stop_after_idle_seconds
        self._polled_at = time.time()

    def read(self) -> Iterator[Chunk]:
        """Gives what has come by now: the watermark does not move until all of it is read.

        So no line is late because of the order of the files.
        """
        self._polled_at = time.time()
        return self._stamped(self._followed.poll())

    def see(self, latest: int) -> None:
        """Takes a chunk into account that was read and parsed; `latest` as in `ParsedLines`."""
        self._clock.see(latest, time.time())

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will come: all has ended, or has been silent for so long."""
        return self._followed.has_ended or (
            self._stop_after_idle_seconds is not None
            and self._clock.idle_seconds(self._polled_at) >= self._stop_after_idle_seconds
        )

    def finish(self) -> Iterator[Chunk]:
        """Gives the last lines that have no line end."""
        return self._stamped(self._followed.finish())

    def _stamped(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        watermark = int(self._clock.reached or _NO_WATERMARK)
        return (chunk._replace(watermark=watermark) for chunk in chunks)

    @property
    def watermark(self) -> datetime | None:
        """The last watermark; None before there is one."""
        reached = self._clock.reached
        return None if reached is None else datetime.fromtimestamp(reached, timezone.utc)

    def advance(self) -> float | None:
        """Moves the watermark, and returns it in seconds since 1970-01-01 UTC; None before any.

        Call it only after all that had come was read: later lines would be late. The time is that
        of the last look: what has come since would be late, too.
        """
        return self._clock.advance(self._polled_at)

    def state(self) -> dict[str, Any]:
        """How far it is, at any chunk that was given and seen: plain data for `restore`."""
        return {"clock": self._clock.state(), "followed": self._followed.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where another process has been.

        Raises:
            InputError: an input is gone.
        """
        self._clock.restore(state["clock"])
        self._followed.restore(state["followed"])
