"""How values are encoded between the steps of a pipeline: explicit and versioned.

A running streaming job is updated, and its state read, by these bytes. A changed layout takes a new
version byte, and a decoder that still reads the old one. The coder of a type stands beside the
first transform that uses the type; the folder of that transform registers it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from apache_beam.coders import Coder

from pipeline.core.exact import exact, of_json, to_json


class VersionedCoder(Coder):
    """Encodes a value as a version byte and what a subclass makes of it."""

    VERSION: ClassVar[bytes] = b"\x01"

    def encode(self, value: Any) -> bytes:
        return self.VERSION + self.pack(value)

    def decode(self, encoded: bytes) -> Any:
        if encoded[:1] != self.VERSION:
            raise ValueError(f"{type(self).__name__} cannot read version {encoded[:1]!r}")
        return self.unpack(memoryview(encoded)[1:])

    def is_deterministic(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def pack(self, value: Any) -> bytes:
        raise NotImplementedError

    def unpack(self, payload: memoryview) -> Any:
        raise NotImplementedError


class JsonCoder(VersionedCoder):
    """Encodes small structures as JSON; every double and integer is decoded as it was."""

    def pack(self, value: Any) -> bytes:
        return json.dumps(self.to_json(value), separators=(",", ":"), sort_keys=True).encode()

    def unpack(self, payload: memoryview) -> Any:
        return self.from_json(json.loads(bytes(payload)))

    def to_json(self, value: Any) -> Any:
        raise NotImplementedError

    def from_json(self, value: Any) -> Any:
        raise NotImplementedError


def fields_of(value: tuple[object, ...]) -> tuple[object, ...]:
    """The fields of a named tuple in order; the last one only where it is not None."""
    return value if value[-1] is not None else value[:-1]


class ColumnsCoder(VersionedCoder):
    """Encodes arrays: the length of a header, the header as JSON, the numbers in little-endian.

    The header holds what a subclass puts there, and for each array its dtype and length, or the
    numbers themselves, where some are beyond 64 bits.
    """

    VERSION = b"\x02"

    def pack(self, value: Any) -> bytes:
        head, arrays = self.to_arrays(value)
        told = [
            {"numbers": [*map(to_json, array.tolist())]}
            if array.dtype == object
            else {"dtype": array.dtype.str[1:], "size": len(array)}
            for array in arrays
        ]
        header = json.dumps([head, told], separators=(",", ":")).encode()
        columns = (
            array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            for array in arrays
            if array.dtype != object
        )
        return struct.pack(">I", len(header)) + header + b"".join(columns)

    def unpack(self, payload: memoryview) -> Any:
        (length,) = struct.unpack_from(">I", payload)
        head, told = json.loads(bytes(payload[4 : 4 + length]))
        position = 4 + length
        arrays = []
        for each in told:
            if "numbers" in each:
                arrays.append(exact(map(of_json, each["numbers"])))
            else:
                dtype = f"<{each['dtype']}"
                arrays.append(np.frombuffer(payload, dtype, each["size"], position))
                position += arrays[-1].nbytes
        return self.of_arrays(head, arrays)

    def to_arrays(self, value: Any) -> tuple[Any, Sequence[Any]]:
        raise NotImplementedError

    def of_arrays(self, head: Any, arrays: list[Any]) -> Any:
        raise NotImplementedError
