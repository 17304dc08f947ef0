"""The watermark of a followed input, and when it ends: by what was seen, not by what took long."""

import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from examples import line

from pipeline.parsing.chunks import Chunk
from pipeline.sources.event_clock import EventClock
from pipeline.sources.tail import Tail
from pipeline.sources.timed_tail import TimedTail

_NOON = int(datetime(2018, 12, 26, 12, tzinfo=timezone.utc).timestamp())


class _Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = _NOON + 3600
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Time:
    return _Time(monkeypatch)


def _timed_tail(log: Path, stop_after_idle_seconds: int | None = None) -> TimedTail:
    return TimedTail(Tail([str(log)]), EventClock(10), stop_after_idle_seconds)


def _append(log: Path) -> None:
    with log.open("ab") as file:
        file.write(line() + b"\n")


def _read(tail: TimedTail) -> list[Chunk]:
    """The chunks that have come, each of them with an event at noon."""
    chunks = []
    for chunk in tail.read():
        tail.see(_NOON)
        chunks.append(chunk)
    return chunks


def test_what_is_on_its_way_for_long_is_no_silence(tmp_path: Path, clock: _Time) -> None:
    log = tmp_path / "events.json"
    _append(log)
    tail = _timed_tail(log, stop_after_idle_seconds=60)
    for _ in tail.read():
        clock.now += 1000
        tail.see(_NOON)
        _append(log)
    assert not tail.is_complete
    assert tail.advance() == _NOON - 10
    # What came meanwhile is found by the next look, and only what that does not find is silence.
    assert len(_read(tail)) == 1
    assert tail.advance() == _NOON - 10
    clock.now += 1000
    assert _read(tail) == []
    assert tail.advance() == clock.now - 10
    assert tail.is_complete


def test_lines_know_the_watermark_at_their_arrival(tmp_path: Path, clock: _Time) -> None:
    log = tmp_path / "events.json"
    _append(log)
    tail = _timed_tail(log)
    (first,) = _read(tail)
    assert first.watermark == 0
    tail.advance()
    clock.now += 1000
    _append(log)
    with log.open("ab") as file:
        file.write(b"no end")
    (second,) = _read(tail)
    assert second.watermark == _NOON - 10
    (last,) = tail.finish()
    assert (last.data, last.watermark) == (b"no end", _NOON - 10)


def test_to_look_at_the_watermark_moves_nothing(tmp_path: Path, clock: _Time) -> None:
    log = tmp_path / "events.json"
    _append(log)
    tail = _timed_tail(log)
    _read(tail)
    assert tail.watermark is None
    tail.advance()
    clock.now += 1000
    reached = tail.watermark
    assert reached is not None
    assert reached.timestamp() == _NOON - 10
