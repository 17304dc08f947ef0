"""The watermark of a followed input."""

import pytest
from examples import line
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing.chunks import Chunk
from pipeline.sources.event_clock import EventClock

_NOW = 1_545_848_000  # 2018-12-26 18:13:20
_NAME = "translation_delivered"


def _event(seconds: float) -> Chunk:
    minutes, second = divmod(seconds - _NOW + 20 + 13 * 60, 60)
    return Chunk.of(line(timestamp=f'"2018-12-26 18:{int(minutes):02}:{second:09.6f}"'))


def _clock() -> EventClock:
    return EventClock(_NAME, 60, 300)


def test_it_follows_the_latest_event_less_what_may_be_out_of_order() -> None:
    clock = _clock()
    assert clock.watermark(_NOW) is None
    clock.see(_event(_NOW - 100), _NOW)
    assert clock.watermark(_NOW) == _NOW - 160
    clock.see(_event(_NOW - 200), _NOW)
    assert clock.watermark(_NOW) == _NOW - 160
    clock.see(_event(_NOW - 0.5), _NOW)
    assert clock.watermark(_NOW) == pytest.approx(_NOW - 60.5)


@pytest.mark.clause("5.6")
def test_it_never_passes_the_clock_on_the_wall_or_believes_one_that_is_ahead() -> None:
    clock = _clock()
    clock.see(_event(_NOW + 300), _NOW)
    assert clock.watermark(_NOW) == _NOW
    clock.see(_event(_NOW + 301), _NOW)
    assert clock.watermark(_NOW + 1000) is not None
    clock = _clock()
    clock.see(_event(_NOW + 301), _NOW)
    assert clock.watermark(_NOW) is None


@pytest.mark.clause("5.7")
def test_silence_does_not_stop_time() -> None:
    clock = _clock()
    clock.see(_event(_NOW - 500), _NOW)
    assert clock.watermark(_NOW + 59) == _NOW - 560
    assert clock.watermark(_NOW + 60) == _NOW
    assert clock.watermark(_NOW + 90) == _NOW + 30
    clock.see(_event(_NOW + 90), _NOW + 90)
    assert clock.watermark(_NOW + 91) == _NOW + 30


def test_time_goes_on_where_nothing_ever_came() -> None:
    clock = _clock()
    assert clock.watermark(_NOW) is None
    assert clock.watermark(_NOW + 60) == _NOW


@pytest.mark.parametrize("other", [b"no event", b"", line(event_name='"opened"')])
def test_what_is_no_event_asked_for_moves_nothing_but_is_no_silence(other: bytes) -> None:
    clock = _clock()
    clock.see(Chunk.of(other), _NOW)
    assert clock.watermark(_NOW + 59) is None
    assert clock.idle_seconds(_NOW + 59) == 59


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(-700, 400)), max_size=10))
def test_it_never_goes_back(steps: list[tuple[int, int]]) -> None:
    clock, now, last = _clock(), float(_NOW), 0.0
    for passed, ahead in steps:
        now += passed
        clock.see(_event(min(_NOW + ahead, now)), now)
        watermark = clock.watermark(now)
        assert watermark is not None
        assert last <= watermark <= now
        last = watermark
