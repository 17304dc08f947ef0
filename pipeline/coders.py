"""How the values of the pipeline are encoded between its steps: explicit and versioned.

A running streaming job is updated, and its state read, by these bytes: a changed layout takes a new
version byte, and a reader that still knows the old one.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
from apache_beam.coders import Coder, registry

from pipeline.chunks import Chunk, Origin
from pipeline.durations import DurationSum, MeanDuration, MinuteSums
from pipeline.events import EPOCH, DeadLetter, FieldError
from pipeline.reading import ReadTask, Section
from pipeline.rolling import Dates
from pipeline.rows import Row, RowBlock, StateKey
from pipeline.runs import RowRun
from pipeline.silences import Silences
from pipeline.tally import Tally

_VERSION = b"\x01"
_MICROSECOND = timedelta(microseconds=1)


class _VersionedCoder(Coder):
    """Encodes a value as a version byte and what a subclass makes of it."""

    def encode(self, value: Any) -> bytes:
        return _VERSION + self._pack(value)

    def decode(self, encoded: bytes) -> Any:
        if encoded[:1] != _VERSION:
            raise ValueError(f"{type(self).__name__} cannot read version {encoded[:1]!r}")
        return self._unpack(memoryview(encoded)[1:])

    def is_deterministic(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def _pack(self, value: Any) -> bytes:
        raise NotImplementedError

    def _unpack(self, payload: memoryview) -> Any:
        raise NotImplementedError


class ChunkCoder(_VersionedCoder):
    """All but the data as JSON behind its length, then the data."""

    def estimate_size(self, value: Chunk) -> int:
        # Runners ask for it far more often than they encode: steps that are fused do not.
        return len(value.data)

    def _pack(self, value: Chunk) -> bytes:
        origins = [_without_no_message(origin) for origin in value.origins]
        fields = [origins, value.is_cut, value.watermark]
        head = json.dumps(fields, separators=(",", ":")).encode()
        return b"".join((struct.pack(">I", len(head)), head, value.data))

    def _unpack(self, payload: memoryview) -> Chunk:
        (length,) = struct.unpack_from(">I", payload)
        origins, *rest = json.loads(bytes(payload[4 : 4 + length]))
        return Chunk(bytes(payload[4 + length :]), tuple(Origin(*each) for each in origins), *rest)


def _without_no_message(value: Origin | DeadLetter) -> tuple[object, ...]:
    """The fields in order; the last one, the id of a message, only where there is one."""
    return tuple(value) if value.message_id is not None else tuple(value)[:-1]


class DurationSumCoder(_VersionedCoder):
    """The count as eight bytes, the total as few or as many as it takes."""

    def _pack(self, value: DurationSum) -> bytes:
        total = value.total_millionths
        return struct.pack(">q", value.count) + total.to_bytes(total.bit_length() // 8 + 1, "big")

    def _unpack(self, payload: memoryview) -> DurationSum:
        (count,) = struct.unpack_from(">q", payload)
        return DurationSum(int.from_bytes(payload[8:], "big"), count)


class MeanDurationCoder(_VersionedCoder):
    """The mean as a double, NaN for none, then the sum."""

    def _pack(self, value: MeanDuration) -> bytes:
        mean = math.nan if value.mean is None else value.mean
        return struct.pack(">d", mean) + DurationSumCoder()._pack(value.sum)

    def _unpack(self, payload: memoryview) -> MeanDuration:
        (mean,) = struct.unpack_from(">d", payload)
        return MeanDuration(
            None if math.isnan(mean) else mean, DurationSumCoder()._unpack(payload[8:])
        )


class MinuteSumsCoder(_VersionedCoder):
    """The four columns, one after the other, as little-endian int64."""

    def _pack(self, value: MinuteSums) -> bytes:
        columns = (value.minutes, value.counts, value.high, value.low)
        return b"".join(column.astype("<i8", copy=False).tobytes() for column in columns)

    def _unpack(self, payload: memoryview) -> MinuteSums:
        return MinuteSums(*np.frombuffer(payload, "<i8").reshape(4, -1))


class RowBlockCoder(_VersionedCoder):
    """The series as JSON behind its length, then five columns of eight bytes a value."""

    def _pack(self, value: RowBlock) -> bytes:
        series = json.dumps(value.series).encode()
        windows = MinuteSumsCoder()._pack(value.windows)
        averages = value.averages.astype("<f8", copy=False).tobytes()
        return struct.pack(">I", len(series)) + series + averages + windows

    def _unpack(self, payload: memoryview) -> RowBlock:
        (length,) = struct.unpack_from(">I", payload)
        series, columns = payload[4 : 4 + length], payload[4 + length :]
        averages = np.frombuffer(columns, "<f8", len(columns) // 40)
        windows = MinuteSumsCoder()._unpack(columns[averages.nbytes :])
        return RowBlock(tuple(json.loads(bytes(series))), windows, averages)


class _JsonCoder(_VersionedCoder):
    """Small structures as JSON; every double and integer comes back as it was."""

    def _pack(self, value: Any) -> bytes:
        return json.dumps(self._to_json(value), separators=(",", ":"), sort_keys=True).encode()

    def _unpack(self, payload: memoryview) -> Any:
        return self._from_json(json.loads(bytes(payload)))

    def _to_json(self, value: Any) -> Any:
        raise NotImplementedError

    def _from_json(self, value: Any) -> Any:
        raise NotImplementedError


class RowCoder(_JsonCoder):
    """The fields in order, the date as microseconds since 1970-01-01 UTC."""

    def _to_json(self, value: Row) -> Any:
        date = (value.date - EPOCH) // _MICROSECOND
        sums = (value.count, value.total_millionths)
        return [value.series, date, value.average, *sums, value.revision]

    def _from_json(self, value: Any) -> Row:
        series, date, *rest = value
        return Row(tuple(series), EPOCH + date * _MICROSECOND, *rest)


class DeadLetterCoder(_JsonCoder):
    """The fields in order."""

    def _to_json(self, value: DeadLetter) -> Any:
        return _without_no_message(value)

    def _from_json(self, value: Any) -> DeadLetter:
        source, offset, line, is_base64, truncated, errors, *message_id = value
        reasons = tuple(FieldError(*error) for error in errors)
        return DeadLetter(source, offset, line, is_base64, truncated, reasons, *message_id)


class TallyCoder(_JsonCoder):
    """The fields by name."""

    def _to_json(self, value: Tally) -> Any:
        letters = [_without_no_message(letter) for letter in value.first_rejected]
        fields = {**vars(value), "first_rejected": letters}
        if not value.unnamed:
            # As tallies were encoded before there was this field.
            del fields["unnamed"]
        return fields

    def _from_json(self, value: Any) -> Tally:
        letters = map(DeadLetterCoder()._from_json, value.pop("first_rejected"))
        names, reasons = Counter(value.pop("other_events")), Counter(value.pop("rejected"))
        return Tally(**value, other_events=names, rejected=reasons, first_rejected=tuple(letters))


class StateKeyCoder(_JsonCoder):
    """The fields in order."""

    def _to_json(self, value: StateKey) -> Any:
        return [value.series, value.hour]

    def _from_json(self, value: Any) -> StateKey:
        series, hour = value
        return StateKey(tuple(series), hour)


class SilencesCoder(_JsonCoder):
    """The fields in order."""

    def _to_json(self, value: Silences) -> Any:
        return [value.minutes, value.given, value.reached, value.has_past]

    def _from_json(self, value: Any) -> Silences:
        minutes, given, *rest = value
        return Silences(minutes, [Dates(*dates) for dates in given], *rest)


class RevisionsCoder(_JsonCoder):
    """Dates (in minutes since 1970-01-01), each with its revision, total and count."""

    def _to_json(self, value: dict[int, tuple[int, DurationSum]]) -> Any:
        return [
            [date, revision, total.total_millionths, total.count]
            for date, (revision, total) in sorted(value.items())
        ]

    def _from_json(self, value: Any) -> dict[int, tuple[int, DurationSum]]:
        return {date: (revision, DurationSum(*total)) for date, revision, *total in value}


class ReadTaskCoder(_JsonCoder):
    """The sections, and the fields of each in order."""

    def _to_json(self, value: ReadTask) -> Any:
        return value.sections

    def _from_json(self, value: Any) -> ReadTask:
        return ReadTask(tuple(Section(*section) for section in value))


class RowRunCoder(_JsonCoder):
    """The fields in order."""

    def _to_json(self, value: RowRun) -> Any:
        return value

    def _from_json(self, value: Any) -> RowRun:
        return RowRun(*value)


_CODERS: dict[type, Callable[[], Coder]] = {
    ReadTask: ReadTaskCoder,
    Chunk: ChunkCoder,
    DurationSum: DurationSumCoder,
    MeanDuration: MeanDurationCoder,
    MinuteSums: MinuteSumsCoder,
    RowBlock: RowBlockCoder,
    Row: RowCoder,
    StateKey: StateKeyCoder,
    Silences: SilencesCoder,
    DeadLetter: DeadLetterCoder,
    RowRun: RowRunCoder,
    Tally: TallyCoder,
}

for _type, _coder in _CODERS.items():
    registry.register_coder(_type, _coder)
