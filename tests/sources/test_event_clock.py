"""The watermark of a followed input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.event_clock import EventClock

_NOW = 1_545_848_000  # 2018-12-26 18:13:20
_NO_EVENT = -1


def test_it_follows_the_latest_event_less_what_may_be_out_of_order() -> None:
    clock = EventClock(60)
    assert clock.advance(_NOW) is None
    clock.see(_NOW - 100, _NOW)
    assert clock.reached is None
    assert clock.advance(_NOW) == clock.reached == _NOW - 160
    clock.see(_NOW - 200, _NOW)
    assert clock.advance(_NOW) == _NOW - 160
    clock.see(_NOW - 1, _NOW)
    assert clock.advance(_NOW) == _NOW - 61


@pytest.mark.clause("5.6")
def test_it_never_passes_the_clock_on_the_wall() -> None:
    clock = EventClock(60)
    clock.see(_NOW + 300, _NOW)
    assert clock.advance(_NOW) == _NOW


@pytest.mark.clause("5.7")
def test_silence_does_not_stop_time() -> None:
    clock = EventClock(60)
    clock.see(_NOW - 500, _NOW)
    assert clock.advance(_NOW + 59) == _NOW - 560
    assert clock.advance(_NOW + 60) == _NOW
    assert clock.advance(_NOW + 90) == _NOW + 30
    clock.see(_NOW + 90, _NOW + 90)
    assert clock.advance(_NOW + 91) == _NOW + 30


def test_time_goes_on_where_nothing_ever_came() -> None:
    clock = EventClock(60)
    assert clock.advance(_NOW) is None
    assert clock.advance(_NOW + 60) == _NOW


def test_what_is_no_event_asked_for_moves_nothing_but_is_no_silence() -> None:
    clock = EventClock(60)
    clock.see(_NO_EVENT, _NOW)
    assert clock.advance(_NOW + 59) is None
    assert clock.idle_seconds(_NOW + 59) == 59


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(-700, 400)), max_size=10), st.data())
def test_it_never_goes_back_also_not_in_another_process(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    clock, now, last = EventClock(60), float(_NOW), 0.0
    for passed, ahead in steps:
        now += passed
        clock.see(_NOW + ahead, now)
        watermark = clock.advance(now)
        assert watermark is not None
        assert last <= watermark <= now
        last = watermark
        if data.draw(st.booleans(), "a new process"):
            state, clock = clock.state(), EventClock(60)
            clock.restore(state)
            assert clock.reached == watermark
