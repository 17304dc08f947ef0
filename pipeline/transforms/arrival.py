"""The watermark at the arrival of the lines of an unbounded input."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from pipeline.core.events import FieldError
from pipeline.parsing.chunks import Chunk, Origin
from pipeline.transforms.coders import VersionedCoder, fields_of

_SHARDS = 8
_TICK_SECONDS = 60
_SEARCH_SECONDS = 10
_FIRST_STRIDE_TICKS = 2**24  # to the year 2001, so that the search for the present is short
_END_OF_TIME = 253_402_300_800  # 10000-01-01, in seconds since 1970-01-01 UTC

# Starts the clock of a shard: a chunk of lines has an origin.
_START = Chunk(b"", ())


class ChunkCoder(VersionedCoder):
    """All but the data as JSON behind its length, then the data."""

    VERSION = b"\x02"

    def estimate_size(self, value: Chunk) -> int:
        # Runners ask for it far more often than they encode: fused steps do not encode.
        return len(value.data)

    def pack(self, value: Chunk) -> bytes:
        origins = [fields_of(origin) for origin in value.origins]
        fields = [origins, value.fault, value.watermark]
        head = json.dumps(fields, separators=(",", ":")).encode()
        return b"".join((struct.pack(">I", len(head)), head, value.data))

    def unpack(self, payload: memoryview) -> Chunk:
        (length,) = struct.unpack_from(">I", payload)
        origins, fault, watermark = json.loads(bytes(payload[4 : 4 + length]))
        return Chunk(
            bytes(payload[4 + length :]),
            tuple(Origin(*each) for each in origins),
            fault and FieldError(*fault),
            watermark,
        )


@dataclass(eq=False)
class StampArrival(beam.PTransform):
    """Makes chunks stamped with the watermark at their arrival.

    Takes and gives `Chunk`s in the global window.

    A `DoFn` cannot ask for the watermark, but event-time timers fire as it moves. So the watermark
    is known to the minute: exactly at the seconds `tick_offset`, `tick_offset` + 60, … since
    1970-01-01, and less than a minute too low between them. In the first seconds, and after a leap
    of the watermark, timers still search for it. Then it is at least the chunk's own timestamp,
    which sources set to the watermark or the time of publication. (A later window could silently
    drop an event that was wrongly taken to be on time.)

    Chunks are spread over a few shards, each with its own timers, since a runner processes the
    chunks of one shard one after the other.
    """

    tick_offset: int

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        keyed = tuple[int, Chunk]
        return (
            (
                lines.pipeline
                | "Once" >> beam.Impulse()
                | "Start" >> beam.FlatMap(_start).with_output_types(keyed),
                lines | "Shard" >> beam.Map(_shard).with_output_types(keyed),
            )
            | "Flatten" >> beam.Flatten()
            | "Stamp" >> beam.ParDo(_StampFn(self.tick_offset)).with_output_types(Chunk)
        )


def _start(_once: bytes) -> Iterator[tuple[int, Chunk]]:
    return ((shard, _START) for shard in range(_SHARDS))


def _shard(chunk: Chunk) -> tuple[int, Chunk]:
    return zlib.crc32(chunk.data) % _SHARDS, chunk


class _StampFn(beam.DoFn):
    """Follows the watermark with two timers: one a tick ahead of it, the other a stride.

    When both fire, the stride is doubled; when only the near one fires, it is halved. So a leap of
    years takes a few dozen rounds, and a minute takes one. A third timer fires when the input ends,
    and clears both: a timer that is set holds the watermark back.
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
        # Twice the old stride: the near timer fires first and has halved it.
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
