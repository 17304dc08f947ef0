"""Empty rows while events still come: held against a brute force that remembers everything."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.silences import SilenceRules, Silences

_LATENESS = 3


def _empty_rows(minutes: set[int], rules: SilenceRules, until: int) -> set[int]:
    """The empty rows up to a date of a series with events in these minutes, as far as is known."""
    if not minutes:
        return set()
    dates = {min(minutes)}
    in_order = sorted(minutes)
    for minute, following in zip(in_order, [*in_order[1:], None], strict=True):
        drained = minute + rules.window + 1
        if following is None:
            dates |= {drained, *range(drained, minute + rules.max_gap + 1)}
        elif following - minute <= rules.max_gap:
            dates |= {*range(drained, following + 1)}
        else:
            dates |= {drained, following}
    return {date for date in dates if date <= until}


def _is_empty(date: int, minutes: set[int], rules: SilenceRules) -> bool:
    return not minutes & {*range(date - rules.window, date)}


@dataclass
class _Series:
    """A series as the pipeline treats it: asked at the dates that it waits for."""

    rules: SilenceRules
    silences: Silences | None = None
    known: set[int] = field(default_factory=set)
    given: list[int] = field(default_factory=list)

    def add(self, minute: int) -> None:
        self.known.add(minute)
        self.silences = self.silences or Silences()
        self.silences.add(minute)

    def wait_until(self, watermark: int) -> None:
        while self.silences:
            date = self.silences.next_date(self.rules)
            if date > watermark:
                return
            dates = self.silences.reach(date, self.rules)
            assert all(each <= watermark for each in dates)
            assert all(_is_empty(each, self.known, self.rules) for each in dates)
            self.given += dates
            if self.silences.is_at_rest(self.rules):
                self.silences = None

    def end(self) -> None:
        if self.silences:
            self.given += self.silences.end(self.rules)
            self.silences = None


_rules = st.builds(
    lambda window, more: SilenceRules(window, window + more, _LATENESS + 1),
    st.integers(1, 4),
    st.integers(0, 6),
)
# A number of minutes that the watermark advances by, or how far an event is from it.
_steps = st.lists(
    st.tuples(st.just("advance"), st.integers(1, 9))
    | st.tuples(st.just("event"), st.integers(-_LATENESS, 12)),
    max_size=25,
)


def _play(rules: SilenceRules, steps: list[tuple[str, int]]) -> _Series:
    """Plays a schedule; a minute with an event is known when the watermark has passed it."""
    series, watermark = _Series(rules), 100
    to_come: set[int] = set()
    for kind, number in steps:
        if kind == "event":
            minute = watermark + number
            if minute < watermark:
                series.add(minute)
            else:
                to_come.add(minute)
            series.wait_until(watermark)
        else:
            for now in range(watermark + 1, watermark + number + 1):
                if now - 1 in to_come:
                    series.add(now - 1)
                series.wait_until(now)
            watermark += number
            to_come = {minute for minute in to_come if minute >= watermark}
        due = {
            date
            for date in _empty_rows(series.known, rules, watermark)
            if _is_empty(date, series.known, rules)
        }
        assert due <= {*series.given}, "an empty row that is due was not given"
    for minute in to_come:
        series.add(minute)
    series.end()
    assert len(series.given) == len({*series.given}), "an empty row was given twice"
    return series


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(_rules, _steps)
def test_empty_rows_are_given_once_when_the_watermark_reaches_them(
    rules: SilenceRules, steps: list[tuple[str, int]]
) -> None:
    series = _play(rules, steps)
    if not series.known:
        assert series.given == []
        return
    between = _empty_rows(series.known, rules, max(series.known))
    assert {date for date in between if _is_empty(date, series.known, rules)} <= {*series.given}
    # What else was given is the silence after an event, before it was known what follows.
    for date in {*series.given} - between:
        assert any(
            minute < date <= minute + max(rules.window + 1, rules.max_gap)
            for minute in series.known
        )


@given(_rules, _steps)
def test_a_series_at_rest_is_forgotten(rules: SilenceRules, steps: list[tuple[str, int]]) -> None:
    assert _play(rules, steps).silences is None
    series = _Series(rules)
    series.add(100)
    end_of_trail = 100 + max(rules.window + 1, rules.max_gap)
    series.wait_until(end_of_trail + rules.retention - 1)
    assert series.silences is not None, "an event within the retention could still come"
    series.wait_until(end_of_trail + 2 * rules.retention)
    assert series.silences is None


@given(_rules, st.integers(1, 4))
def test_what_is_remembered_of_a_series_that_never_rests_is_bounded(
    rules: SilenceRules, rhythm: int
) -> None:
    series = _Series(rules)
    for minute in range(100, 400, rhythm):
        series.wait_until(minute + 1)
        series.add(minute)
        series.wait_until(minute + 1)
        assert series.silences is not None
        assert len(series.silences.minutes) <= 2 * (rules.retention + rules.window) + 2
        assert len(series.silences.given) <= len(series.silences.minutes) + 2


def test_gaps_are_the_silences_that_are_too_long_to_be_filled() -> None:
    rules = SilenceRules(2, 5, 10)
    silences = Silences([10, 15, 21, 22])
    assert silences.gaps(rules) == 1
    silences.add(18)
    assert silences.gaps(rules) == 0


@pytest.mark.parametrize(("date", "in_trail"), [(12, False), (13, True), (20, True)])
def test_the_trail_begins_behind_the_last_row_that_holds_an_event(
    date: int, in_trail: bool
) -> None:
    assert Silences([3, 10]).is_in_trail(date, SilenceRules(2, 5, 10)) == in_trail
