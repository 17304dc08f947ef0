"""Whole lines of a text that is read piece by piece, as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.events import LINE_TOO_LONG
from pipeline.parsing.chunks import Chunk, Origin
from pipeline.sources.sections import BYTE_ORDER_MARK, CUT_LINE_BYTES, MAX_LINE_BYTES


class WholeLines:
    """Holds back the beginning of an unfinished last line until its end comes.

    What it holds is up to date whenever it gives a chunk.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._line = b""
        self._offset = 0
        self._skips_line = False

    def take(self, data: bytes) -> Iterator[Chunk]:
        """Takes the next piece, and gives the lines that end in it, or one that is too long."""
        if self._skips_line:
            end = data.find(b"\n") + 1
            self._offset += end or len(data)
            self._skips_line = not end
            data = data[end:] if end else b""
        lines, newline, self._line = (self._line + data).rpartition(b"\n")
        if newline:
            yield self._chunk(lines + newline)
        if len(self._line) > MAX_LINE_BYTES:
            beginning, offset = self._line[:CUT_LINE_BYTES], self._offset
            self._line, self._offset, self._skips_line = b"", offset + len(self._line), True
            yield Chunk(beginning, (Origin(0, self._source, offset),), LINE_TOO_LONG)

    def finish(self) -> list[Chunk]:
        """Gives the last line, if it has no end: it counts as a whole one from now on."""
        line, self._line = self._line, b""
        return [self._chunk(line)] if line else []

    def _chunk(self, lines: bytes) -> Chunk:
        offset = self._offset
        self._offset += len(lines)
        if offset == 0 and lines.startswith(BYTE_ORDER_MARK):
            offset = len(BYTE_ORDER_MARK)
            lines = lines[offset:]
        return Chunk(lines, (Origin(0, self._source, offset),))

    def state(self) -> dict[str, Any]:
        """What it holds: plain data for `restored`."""
        return {
            "source": self._source,
            "line": self._line.hex(),
            "offset": self._offset,
            "skips_line": self._skips_line,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> WholeLines:
        """Goes on where another process has been."""
        lines = cls(state["source"])
        lines._line, lines._offset = bytes.fromhex(state["line"]), state["offset"]
        lines._skips_line = state["skips_line"]
        return lines
