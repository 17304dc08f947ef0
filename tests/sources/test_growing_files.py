"""The watermark of a followed input, and when it ends: by what was seen, not by what took long."""

import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from examples import line

from pipeline.sources.event_clock import EventClock
from pipeline.sources.growing_files import TimedTail
from pipeline.sources.tail import Tail

_NOON = datetime(2018, 12, 26, 12, tzinfo=timezone.utc).timestamp()
_EVENT = line(timestamp='"2018-12-26 12:00:00"') + b"\n"


class _Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = _NOON + 3600
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Time:
    return _Time(monkeypatch)


def _session(log: Path, stop_after_idle_seconds: int | None = None) -> TimedTail:
    event_clock = EventClock("translation_delivered", 10, 300)
    return TimedTail(Tail([str(log)]), event_clock, stop_after_idle_seconds)


def _append(log: Path) -> None:
    with log.open("ab") as file:
        file.write(_EVENT)


def test_what_is_on_its_way_for_long_is_no_silence(tmp_path: Path, clock: _Time) -> None:
    log = tmp_path / "events.json"
    _append(log)
    session = _session(log, stop_after_idle_seconds=60)
    for _ in session.read():
        clock.now += 1000
        _append(log)
    assert session.is_at_ends
    assert session.advance() == _NOON - 10
    assert not session.is_complete
    # What came meanwhile is found by the next look, and only what that does not find is silence.
    assert len([*session.read()]) == 1
    assert session.advance() == _NOON - 10
    clock.now += 1000
    assert [*session.read()] == []
    assert session.advance() == clock.now - 10
    assert session.is_complete


def test_to_look_at_the_watermark_moves_nothing(tmp_path: Path, clock: _Time) -> None:
    log = tmp_path / "events.json"
    _append(log)
    session = _session(log)
    list(session.read())
    reached = session.advance()
    clock.now += 1000
    assert session.reached == reached == _NOON - 10
