"""Rows of what is followed: any schedule against the oracle, in one life or in several."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schedules import Schedule, check, check_final, schedules
from timelines import play_followed

from pipeline.live import following

_any_number = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.clause("5.1", "5.3")
@_any_number
@given(schedules("rolling"), st.sampled_from([1, 20, 50_000]))
def test_the_last_revisions_of_rows_and_the_late_events_are_all_that_came(
    schedule: Schedule, rows_per_turn: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "_ROWS_PER_TURN", rows_per_turn)
        check(schedule, play_followed(schedule.steps, schedule.settings))


@pytest.mark.clause("5.12")
@_any_number
@given(schedules("rolling"), st.data())
def test_another_process_goes_on_after_any_consistent_turn(
    schedule: Schedule, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "_ROWS_PER_TURN", data.draw(st.sampled_from([1, 20, 50_000])))
        check(
            schedule,
            play_followed(
                schedule.steps,
                schedule.settings,
                starts_anew=lambda: data.draw(st.booleans(), "starts anew"),
            ),
        )


@pytest.mark.clause("5.11")
@_any_number
@given(schedules("rolling", "final"))
def test_final_rows_come_once_and_when_no_event_can_change_them(schedule: Schedule) -> None:
    check_final(schedule, play_followed(schedule.steps, schedule.settings))
