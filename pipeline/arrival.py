"""How far event time was when the lines of an input without end came."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import Timestamp

from pipeline import coders  # noqa: F401  registers the coder of chunks
from pipeline.chunks import Chunk

_SHARDS = 8
_TICK_SECONDS = 60
_SEARCH_SECONDS = 10
_FIRST_STRIDE_TICKS = 2**24  # to the year 2001: from there to the present the search is short
_END_OF_TIME = 253_402_300_800  # 10000-01-01, in seconds since 1970-01-01 UTC

# Starts the clock of a shard: a chunk of lines has an origin.
_START = Chunk(b"", ())


@dataclass(eq=False)
class StampArrival(beam.PTransform):
    """Makes chunks of lines that know the watermark which they came at.

    Takes `str`, `bytes` or `Chunk`s in any windowing, gives `Chunk`s in the global window.

    A `DoFn` cannot ask for the watermark, but event-time timers fire as it moves. So the watermark
    is known to the minute: exactly at the seconds `tick_offset`, `tick_offset` + 60, … since
    1970-01-01, and less than a minute too low between them. In the first seconds, and after a leap
    of the watermark, timers are still in search of it: then it is taken to be at least the chunk's
    own timestamp, which sources give as the watermark or the time of publication. An event that was
    taken to be in time by mistake might be dropped unseen by the windows that it comes to.

    Chunks are spread over a few shards, each with timers of its own: what a runner does with the
    lines of one shard, it does one after the other.
    """

    tick_offset: int

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        keyed = tuple[int, Chunk]
        return (
            (
                lines.pipeline
                | "Once" >> beam.Impulse()
                | "Start" >> beam.FlatMap(_start).with_output_types(keyed),
                lines
                | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
                | "Shard" >> beam.Map(_shard).with_output_types(keyed),
            )
            | "Flatten" >> beam.Flatten()
            | "Stamp" >> beam.ParDo(_StampFn(self.tick_offset)).with_output_types(Chunk)
        )


def _start(_once: bytes) -> Iterator[tuple[int, Chunk]]:
    return ((shard, _START) for shard in range(_SHARDS))


def _shard(lines: str | bytes | Chunk) -> tuple[int, Chunk]:
    chunk = Chunk.of(lines)
    return zlib.crc32(chunk.data) % _SHARDS, chunk


class _StampFn(beam.DoFn):
    """Follows the watermark with two timers: one a tick ahead of it, the other a stride.

    When both fire the stride is doubled, when only the near one does it is halved: a leap of years
    is followed in a few dozen rounds, and a minute in one. A third one fires when the input ends,
    and clears both: what waits for a timer holds the watermark back.
    """

    REACHED = ReadModifyWriteStateSpec("reached", VarIntCoder())
    STRIDE = ReadModifyWriteStateSpec("stride", VarIntCoder())
    LEAPT_AT = ReadModifyWriteStateSpec("leapt_at", VarIntCoder())
    NEAR = TimerSpec("near", TimeDomain.WATERMARK)
    FAR = TimerSpec("far", TimeDomain.WATERMARK)
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, tick_offset: int) -> None:
        self._before_all = tick_offset % _TICK_SECONDS - _TICK_SECONDS

    def process(
        self,
        element: tuple[int, Chunk],
        timestamp: Timestamp = beam.DoFn.TimestampParam,
        reached: Any = beam.DoFn.StateParam(REACHED),
        stride: Any = beam.DoFn.StateParam(STRIDE),
        leapt_at: Any = beam.DoFn.StateParam(LEAPT_AT),
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[Chunk]:
        _, chunk = element
        watermark = reached.read()
        if watermark is None:
            watermark = self._before_all
            reached.write(watermark)
            leapt_at.write(int(time.time()))
            self._wait(watermark, _FIRST_STRIDE_TICKS, stride, near, far)
            end.set(GlobalWindow().max_timestamp())
        if chunk.origins:
            if time.time() < leapt_at.read() + _SEARCH_SECONDS:
                watermark = max(watermark, timestamp.micros // 1_000_000)
            yield chunk._replace(watermark=watermark)

    @on_timer(NEAR)
    def tick(
        self,
        fired: Any = beam.DoFn.TimestampParam,
        reached: Any = beam.DoFn.StateParam(REACHED),
        stride: Any = beam.DoFn.StateParam(STRIDE),
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
    ) -> None:
        watermark = self._reach(fired, reached)
        self._wait(watermark, max(stride.read() // 2, 1), stride, near, far)

    @on_timer(FAR)
    def leap(
        self,
        fired: Any = beam.DoFn.TimestampParam,
        reached: Any = beam.DoFn.StateParam(REACHED),
        stride: Any = beam.DoFn.StateParam(STRIDE),
        leapt_at: Any = beam.DoFn.StateParam(LEAPT_AT),
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
    ) -> None:
        watermark = self._reach(fired, reached)
        leapt_at.write(int(time.time()))
        # Twice what it was: the near timer, which fires first, has halved it.
        self._wait(watermark, stride.read() * 4, stride, near, far)

    @on_timer(END)
    def finish(
        self,
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
    ) -> None:
        near.clear()
        far.clear()

    def _reach(self, fired: Timestamp, reached: Any) -> int:
        watermark: int = max(reached.read(), fired.micros // 1_000_000)
        reached.write(watermark)
        return watermark

    def _wait(self, watermark: int, ticks: int, stride: Any, near: Any, far: Any) -> None:
        if watermark < _END_OF_TIME:
            ahead = min(ticks * _TICK_SECONDS, _END_OF_TIME - self._before_all)
            stride.write(ahead // _TICK_SECONDS)
            near.set(Timestamp(watermark + _TICK_SECONDS))
            far.set(Timestamp(watermark + ahead))
