"""Standard input and pipes that are followed: every line once, up to the end of the writer."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.events import LINE_TOO_LONG
from pipeline.parsing.chunks import Chunk
from pipeline.sources.streams import Streams
from pipeline.sources.whole_lines import WholeLines

pytestmark = pytest.mark.clause("5.13")


def _text(chunks: Iterator[Chunk]) -> bytes:
    return b"".join(bytes(chunk.data) for chunk in chunks)


def test_pipes_are_read_until_their_writers_have_gone(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in "ab"]
    for path in paths:
        os.mkfifo(path)
    streams = Streams(paths)
    streams.look()
    assert not streams.has_ended
    pause = threading.Event()
    with open(paths[0], "wb", buffering=0) as first, open(paths[1], "wb", buffering=0) as second:
        first.write(b"one\ntw")
        found: list[Chunk] = []
        while not found:
            found += streams.poll()
            pause.wait(0.01)
        (chunk,) = found
        assert (chunk.data, chunk.origins[0].source) == (b"one\n", paths[0])
        second.write(b"three\n")
        first.write(b"o\nno end")
        assert not streams.has_ended
    assert sorted(_read_to_the_end_of(streams).splitlines()) == [b"no end", b"three", b"two"]


def _read_to_the_end_of(streams: Streams) -> bytes:
    text, pause = b"", threading.Event()
    while not streams.has_ended:
        text += _text(streams.poll())
        pause.wait(0.01)
    return text + _text(streams.finish())


def test_a_stream_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    streams = Streams([str(tmp_path / "gone")])
    streams.look()
    with pytest.raises(InputError, match="gone: no such file"):
        _read_to_the_end_of(streams)


def test_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input: is closed"):
        Streams(["-"]).look()


# ---------------------------------------------------------------------------------------------
# Whole lines


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc", b"\r\n", b"\xef\xbb\xbf"])), st.data())
def test_lines_are_those_of_the_whole_text_whatever_pieces_come_and_who_reads_them(
    pieces: list[bytes], data: st.DataObject
) -> None:
    text = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    lines, found = WholeLines("log"), []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += [*lines.take(text[begin:end])]
        if data.draw(st.booleans(), "another process"):
            lines = WholeLines.restored(lines.state())
    found += lines.finish()
    given_lines = [
        (chunk.origin(position).offset, text) for chunk in found for position, text in chunk.lines()
    ]
    (whole,) = [WholeLines("log").take(text + b"\n")] if text else [iter(())]
    expected = [
        (chunk.origin(position).offset, text) for chunk in whole for position, text in chunk.lines()
    ]
    assert given_lines == (expected[:-1] if text.endswith(b"\n") else expected)


def test_a_line_that_is_too_long_is_given_cut_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.whole_lines.MAX_LINE_BYTES", 10)
    monkeypatch.setattr("pipeline.sources.whole_lines.CUT_LINE_BYTES", 4)
    lines = WholeLines("log")
    found = [
        chunk for piece in (b"a\n12345678", b"9012", b"345\nb\n") for chunk in lines.take(piece)
    ]
    assert [(chunk.data, chunk.fault, chunk.origins[0].offset) for chunk in found] == [
        (b"a\n", None, 0),
        (b"1234", LINE_TOO_LONG, 2),
        (b"b\n", None, 18),
    ]
