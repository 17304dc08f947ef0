"""The `CombineFn`s: thin wrappers of `DurationSum`, which is the accumulator."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.coders import Coder
from apache_beam.typehints import with_input_types, with_output_types

from pipeline.core.details import detail_named
from pipeline.core.durations import DurationSum, MeanDuration
from pipeline.core.events import Event
from pipeline.core.exact import exact, of_json, to_json
from pipeline.core.measures import details_of, measures_named
from pipeline.core.rows import Measured
from pipeline.transforms.coders import JsonCoder, VersionedCoder

_WITH_DETAILS = -1


def fields_of_sum(value: DurationSum) -> list[Any]:
    """A sum as JSON has it: total, count and, where there are any, the details by name."""
    details = {
        detail.name: [[*map(to_json, array.tolist())] for array in arrays]
        for detail, found in value.details.items()
        for arrays in [detail.arrays(detail.column([found]))]
    }
    return [value.total_millionths, value.count, *([details] if details else [])]


def sum_of_fields(total: int, count: int, details: dict[str, Any] | None = None) -> DurationSum:
    """The inverse of `fields_of_sum`."""
    found = {}
    for name, arrays in (details or {}).items():
        detail = detail_named(name)
        columns = (exact(map(of_json, numbers)) for numbers in arrays)
        (found[detail],) = detail.values(detail.of_arrays(*columns))
    return DurationSum(total, count, found)


class DurationSumCoder(VersionedCoder):
    """The count as eight bytes, then the total in as many bytes as it needs.

    With details, -1 in place of the count and then JSON.
    """

    def pack(self, value: DurationSum) -> bytes:
        if value.details:
            return struct.pack(">q", _WITH_DETAILS) + json.dumps(fields_of_sum(value)).encode()
        total = value.total_millionths
        return struct.pack(">q", value.count) + total.to_bytes(total.bit_length() // 8 + 1, "big")

    def unpack(self, payload: memoryview) -> DurationSum:
        (count,) = struct.unpack_from(">q", payload)
        if count == _WITH_DETAILS:
            return sum_of_fields(*json.loads(bytes(payload[8:])))
        return DurationSum(int.from_bytes(payload[8:], "big"), count)


class MeanDurationCoder(VersionedCoder):
    """The mean as a double, NaN for none, then the sum."""

    def pack(self, value: MeanDuration) -> bytes:
        mean = math.nan if value.mean is None else value.mean
        return struct.pack(">d", mean) + DurationSumCoder().pack(value.sum)

    def unpack(self, payload: memoryview) -> MeanDuration:
        (mean,) = struct.unpack_from(">d", payload)
        return MeanDuration(
            None if math.isnan(mean) else mean, DurationSumCoder().unpack(payload[8:])
        )


class MeasuredCoder(JsonCoder):
    """The values, then the sum."""

    def to_json(self, value: Measured) -> Any:
        return [[*map(to_json, value.values)], fields_of_sum(value.sum)]

    def from_json(self, value: Any) -> Measured:
        values, total = value
        return Measured(tuple(map(of_json, values)), sum_of_fields(*total))


class _AddDurationsCombineFn(beam.CombineFn):
    """Adds `DurationSum`s up."""

    def create_accumulator(self) -> DurationSum:
        return DurationSum()

    def add_input(self, accumulator: DurationSum, element: DurationSum) -> DurationSum:
        return accumulator + element

    def merge_accumulators(self, accumulators: Iterable[DurationSum]) -> DurationSum:
        return sum(accumulators, DurationSum())

    def get_accumulator_coder(self) -> Coder:
        return DurationSumCoder()


@with_input_types(DurationSum)
@with_output_types(DurationSum)
class SumDurationsCombineFn(_AddDurationsCombineFn):
    """Combines `DurationSum`s into one."""

    def extract_output(self, accumulator: DurationSum) -> DurationSum:
        return accumulator


class _AddDeliveriesCombineFn(_AddDurationsCombineFn):
    """Adds up `Event`s, or `DurationSum`s of them, as measures need it."""

    def __init__(self, measures: Sequence[str], decimals: int | None) -> None:
        super().__init__()
        self._measures = [*measures_named(measures).values()]
        self._details = details_of(self._measures)
        self._decimals = decimals

    def add_input(self, accumulator: DurationSum, element: Event | DurationSum) -> DurationSum:
        if isinstance(element, Event):
            element = DurationSum.of_delivery(
                element.duration_millionths, element.nr_words, self._details
            )
        return accumulator + element


@with_input_types(Event | DurationSum)
@with_output_types(Measured)
class MeasuresCombineFn(_AddDeliveriesCombineFn):
    """Combines `Event`s, or `DurationSum`s of them, into what measures say of them: `Measured`.

    It is exact, in any order, and for windows and keys of any kind.

    Args:
        measures: their names, as in the contract's section 2.
        decimals: round exact quotients half to even to this number of places.

    Raises:
        ValueError: a name is that of no measure, or stands twice.
    """

    def __init__(self, measures: Sequence[str] = ("mean",), decimals: int | None = None) -> None:
        super().__init__(measures, decimals)

    def extract_output(self, accumulator: DurationSum) -> Measured:
        return Measured.of(accumulator, self._measures, self._decimals)


@with_input_types(Event | DurationSum)
@with_output_types(MeanDuration)
class MeanDurationCombineFn(_AddDeliveriesCombineFn):
    """Combines `Event`s, or `DurationSum`s of them, into their `MeanDuration`: exact, in any order.

    Args:
        decimals: round the exact mean half to even to this number of places.
    """

    def __init__(self, decimals: int | None = None) -> None:
        super().__init__(("mean",), decimals)

    def extract_output(self, accumulator: DurationSum) -> MeanDuration:
        return MeanDuration(accumulator.mean(self._decimals), accumulator)
