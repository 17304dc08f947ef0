"""Standard input, devices and pipes as inputs: they can be read once, so become files first."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable, Iterator

from pipeline.core.errors import InputError
from pipeline.sources.sections import Input
from pipeline.storage import files
from pipeline.storage.files import STANDARD_STREAM

_COPY_BYTES = 2**20
_HEED_SIGNALS_SECONDS = 0.2


def spool_inputs(patterns: Iterable[str], scratch: str) -> tuple[Input, ...]:
    """Makes inputs of patterns; writes standard input and pipes to files in a folder.

    Raises:
        InputError: one cannot be read.
        OutputError: there is no room for one.
    """
    inputs: list[Input] = []
    for pattern in dict.fromkeys(patterns):
        if pattern == STANDARD_STREAM or files.is_stream(pattern):
            path = files.join(scratch, f"input-{len(inputs)}")
            with files.writing(path), files.create(path) as spooled:
                for data in _read_stream(pattern):
                    spooled.write(data)
            inputs.append(Input(path, source=pattern))
        else:
            inputs.append(Input(pattern))
    return tuple(inputs)


def _read_stream(path: str) -> Iterator[bytes]:
    """Reads a stream to its end, as data arrives."""
    if path == STANDARD_STREAM and sys.stdin is None:
        raise InputError("standard input: is closed: name a file with --input_file")
    with (
        files.reading(path),
        os.fdopen(os.dup(0), "rb") if path == STANDARD_STREAM else open(path, "rb") as stream,
    ):
        while True:
            # A signal just before a blocking call does not interrupt it: it would wait for data.
            while not select.select([stream], [], [], _HEED_SIGNALS_SECONDS)[0]:
                pass
            data = os.read(stream.fileno(), _COPY_BYTES)
            if not data:
                return
            yield data
