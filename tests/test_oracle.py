"""The oracle is held to the contract before anything else is held to the oracle."""

import json
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

import oracle
import pytest
from examples import (
    CHALLENGE_DRAIN,
    CHALLENGE_EVENTS,
    CHALLENGE_ROWS,
    challenge_cases,
    events,
    line,
)
from oracle import Counts, Event, OtherEvent, classify


def table(data: bytes | list[bytes], window: int, **options: Any) -> list[tuple[Any, ...]]:
    """The output's rows, each as time of day, values of the series, average."""
    printed = [json.loads(row) for row in oracle.output(data, window, **options).splitlines()]
    rows = [tuple(row.values()) for row in printed]
    return [(date.removeprefix("2018-12-26 ")[:-3], *others) for date, *others in rows]


def number(data: bytes, **options: Any) -> str:
    """The average of the second row of a window of one minute, as it is printed."""
    row = oracle.output(data, 1, **options).splitlines()[1].decode()
    return row.rpartition(": ")[2].removesuffix("}")


def accepted(data: bytes) -> Event:
    kind = classify(data)
    assert isinstance(kind, Event), kind
    return kind


# ---------------------------------------------------------------------------------------------
# The challenge's example


def test_challenge_example_comes_out_byte_for_byte() -> None:
    assert oracle.output(CHALLENGE_EVENTS, 10) == CHALLENGE_ROWS


def test_challenge_example_drained_comes_out_byte_for_byte() -> None:
    assert oracle.output(CHALLENGE_EVENTS, 10, until="drain") == CHALLENGE_ROWS + CHALLENGE_DRAIN


# ---------------------------------------------------------------------------------------------
# Section 1: an event (its cases are in cases.py)


def test_event_name_asked_for_decides_what_is_another_event() -> None:
    requested = line(event_name='"translation_requested"')
    assert isinstance(classify(requested, "translation_requested"), Event)
    assert classify(line(), "translation_requested") == OtherEvent("translation_delivered")


def test_duration_of_up_to_six_decimals_is_exact() -> None:
    chance = random.Random(0)
    for _ in range(1000):
        millionths = chance.randrange(10 ** chance.randrange(1, 16))
        written = f"{millionths // 10**6}.{millionths % 10**6:06}"
        assert accepted(line(duration=written)).millionths == millionths


# ---------------------------------------------------------------------------------------------
# Lines of a file


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\xef\xbb\xbf", []),
        (b"\n", [(0, b"")]),
        (b"a", [(0, b"a")]),
        (b"a\n", [(0, b"a")]),
        (b"a\nb", [(0, b"a"), (2, b"b")]),
        (b"a\r\nb\r\n", [(0, b"a"), (3, b"b")]),
        (b"a\r\r\n\nb", [(0, b"a\r"), (4, b""), (5, b"b")]),
        (b"a\rb", [(0, b"a\rb")]),
        (b"\xef\xbb\xbfa\nb\n", [(3, b"a"), (5, b"b")]),
        (b"a\n\xef\xbb\xbfb\n", [(0, b"a"), (2, b"\xef\xbb\xbfb")]),
        ("é\u2028\x85\nb".encode(), [(0, "é\u2028\x85".encode()), (8, b"b")]),
    ],
)
def test_lines_and_their_offsets(data: bytes, lines: list[tuple[int, bytes]]) -> None:
    assert list(oracle.lines_of(data)) == lines


@pytest.mark.parametrize(
    "data",
    [
        CHALLENGE_EVENTS.replace(b"\n", b"\r\n"),
        CHALLENGE_EVENTS.removesuffix(b"\n"),
        b"\xef\xbb\xbf" + CHALLENGE_EVENTS,
        CHALLENGE_EVENTS.replace(b"\n", b"\n \n\n"),
        [CHALLENGE_EVENTS],
        [CHALLENGE_EVENTS[-300:].partition(b"\n")[2], CHALLENGE_EVENTS.rpartition(b'{"')[0]],
        [b"\xef\xbb\xbf" + row for row in CHALLENGE_EVENTS.splitlines()],
        b"".join(reversed(CHALLENGE_EVENTS.splitlines(keepends=True))),
    ],
)
def test_line_ends_files_and_order_do_not_change_the_output(data: bytes | list[bytes]) -> None:
    assert oracle.counts_of(data).accepted == 3
    assert oracle.output(data, 10) == CHALLENGE_ROWS


# ---------------------------------------------------------------------------------------------
# Section 2: rows


def test_first_row_is_the_empty_one_of_the_first_event_s_minute() -> None:
    assert table(events(("18:11:59.999999", 20)), 10) == [("18:11", 0), ("18:12", 20)]


def test_event_on_a_whole_minute_first_counts_a_minute_later_and_last_after_the_window() -> None:
    data = events(("18:15:00", 20), ("18:30:00", 40))
    values = dict(table(data, 3))
    assert [values[f"18:{minute}"] for minute in (15, 16, 17, 18, 19)] == [0, 20, 20, 20, 0]


def test_event_just_before_a_whole_minute_counts_in_its_row_and_leaves_with_its_minute() -> None:
    data = events(("18:14:59.999999", 20), ("18:30:00", 40))
    values = dict(table(data, 3))
    assert [values[f"18:{minute}"] for minute in (14, 15, 16, 17, 18)] == [0, 20, 20, 20, 0]


def test_last_row_is_the_minute_after_the_last_event_s() -> None:
    rows = table(events(("18:11:00", 20), ("18:13:00", 40)), 10)
    assert rows == [("18:11", 0), ("18:12", 20), ("18:13", 20), ("18:14", 30)]


def test_drained_series_ends_with_the_last_row_that_holds_an_event() -> None:
    rows = table(events(("18:11:00", 20), ("18:12:59.999999", 40)), 3, until="drain")
    assert rows == [("18:11", 0), ("18:12", 20), ("18:13", 30), ("18:14", 30), ("18:15", 40)]


def test_window_of_one_minute_is_the_same_drained() -> None:
    data = events(("18:11:00", 20), ("18:12:30", 40))
    assert table(data, 1) == [("18:11", 0), ("18:12", 20), ("18:13", 40)]
    assert table(data, 1, until="drain") == table(data, 1)


@pytest.mark.parametrize(
    ("empty_value", "rows"),
    [
        ("0", [("18:11", 0), ("18:12", 20), ("18:13", 0), ("18:14", 0), ("18:15", 40)]),
        ("null", [("18:11", None), ("18:12", 20), ("18:13", None), ("18:14", None), ("18:15", 40)]),
        ("skip", [("18:12", 20), ("18:15", 40)]),
    ],
)
def test_minute_of_an_empty_window_has_the_empty_value(empty_value: str, rows: object) -> None:
    data = events(("18:11:00", 20), ("18:14:00", 40))
    assert table(data, 1, empty_value=empty_value) == rows


@pytest.mark.parametrize("empty_value", ["0", "null", "skip"])
def test_average_of_nought_is_no_empty_window(empty_value: str) -> None:
    rows = table(events(("18:11:00", 0), ("18:12:00", 0)), 1, empty_value=empty_value)
    assert rows[-2:] == [("18:12", 0), ("18:13", 0)]


def test_no_event_no_row() -> None:
    assert oracle.output(b"", 10) == b""
    assert oracle.output([b"\n", line(event_name='"other"'), b"x"], 10, until="drain") == b""


class TestSilence:
    """Between events at 18:10 and 18:16: six minutes from minute to minute."""

    data = events(("18:10:59.9", 20), ("18:16:00", 40))
    before: ClassVar = [("18:10", 0), ("18:11", 20), ("18:12", 20)]
    after: ClassVar = [("18:16", 0), ("18:17", 40)]

    def test_as_long_as_max_gap_is_filled(self) -> None:
        between = [("18:13", 0), ("18:14", 0), ("18:15", 0)]
        assert table(self.data, 2, max_gap=6) == self.before + between + self.after

    def test_longer_than_max_gap_leaves_one_empty_row_and_starts_anew(self) -> None:
        assert table(self.data, 2, max_gap=5) == [*self.before, ("18:13", 0), *self.after]

    def test_is_measured_between_minutes_and_not_between_events(self) -> None:
        shorter = events(("18:10:59.9", 20), ("18:16:00", 40))  # 5 minutes and 0.1 seconds
        longer = events(("18:10:00", 20), ("18:16:59.9", 40))  # 6 minutes and 59.9 seconds
        assert table(shorter, 2, max_gap=5) == table(longer, 2, max_gap=5)
        assert table(shorter, 2, max_gap=6) == table(longer, 2, max_gap=6)

    def test_drains_within_the_series_whatever_until_says_of_its_end(self) -> None:
        drained = table(self.data, 2, max_gap=5, until="drain")
        assert drained == [*self.before, ("18:13", 0), *self.after, ("18:18", 40)]

    def test_writes_its_empty_rows_as_null(self) -> None:
        rows = table(self.data, 2, max_gap=5, empty_value="null")
        assert [row for row in rows if row[1] is None] == [
            ("18:10", None),
            ("18:13", None),
            ("18:16", None),
        ]

    def test_writes_no_empty_row_where_they_are_skipped(self) -> None:
        skipped = [("18:11", 20), ("18:12", 20), ("18:17", 40)]
        assert table(self.data, 2, max_gap=5, empty_value="skip") == skipped
        assert table(self.data, 2, max_gap=6, empty_value="skip") == skipped

    def test_writes_a_date_once_that_ends_the_old_rows_and_starts_the_new(self) -> None:
        # The last non-empty row is 18:15, one empty row more is 18:16, and so is the new first.
        once = [*self.before, ("18:13", 20), ("18:14", 20), ("18:15", 20), *self.after]
        assert table(self.data, 5, max_gap=5) == once

    def test_of_max_gap_equal_to_the_window_starts_anew_without_an_empty_row_between(self) -> None:
        data = events(("18:10:00", 20), ("18:15:00", 40))
        filled = [("18:10", 0), *((f"18:{m}", 20) for m in range(11, 16)), ("18:16", 40)]
        assert table(data, 5, max_gap=5) == filled

    def test_is_each_series_own(self) -> None:
        busy = [(f"18:{minute}:00", 7) for minute in range(10, 17)]
        data = self.data + events(*busy, client_name="busy")
        rows = table(data, 2, max_gap=5, group_by=["client_name"])
        quiet = [(date, value) for date, client, value in rows if client == "airliberty"]
        assert quiet == table(self.data, 2, max_gap=5)
        assert table(data, 2, max_gap=5) == table(data, 2)

    def test_may_come_more_than_once(self) -> None:
        data = self.data + events(("18:30:00", 60))
        assert table(data, 2, max_gap=5) == [
            *self.before,
            ("18:13", 0),
            *self.after,
            ("18:18", 40),
            ("18:19", 0),
            ("18:30", 0),
            ("18:31", 60),
        ]

    @pytest.mark.slow
    @pytest.mark.slow
    def test_of_a_leap_year_is_filled_by_default_and_one_minute_more_is_not(self) -> None:
        start = accepted(line(timestamp='"2018-12-26 18:10:00"'))
        a_leap_year_later = accepted(line(timestamp='"2019-12-27 18:10:00"'))
        a_minute_more = accepted(line(timestamp='"2019-12-27 18:11:00"'))
        assert len(oracle.rows([start, a_leap_year_later], 1)) == 527_040 + 2
        assert len(oracle.rows([start, a_minute_more], 1)) == 3 + 2


def test_average_is_exact_before_it_is_printed() -> None:
    data = events(("18:11:00", "0.1"), ("18:11:01", "0.2"), ("18:11:02", "0.3"))
    row = oracle.rows(oracle.events_of(data), 1)[1]
    assert (row.count, row.average) == (3, Fraction(1, 5))
    assert number(data) == "0.2"  # a sum of doubles gives 0.20000000000000004


def test_average_is_the_correctly_rounded_quotient() -> None:
    data = events(("18:11:00", 1), ("18:11:01", 0), ("18:11:02", 0))
    assert number(data) == "0.3333333333333333"
    data = events(("18:11:00", 2), ("18:11:01", 0), ("18:11:02", 0))
    assert number(data) == "0.6666666666666666"
    # Their sum has more digits than a double: dividing doubles gives 999999874.5442044.
    durations = ["999999171.154377", "999999814.143524", "999999634.688346", *["1e9"] * 8]
    assert number(events(*(("18:11:00", it) for it in durations))) == "999999874.5442042"


def test_sum_beyond_64_bits_is_exact() -> None:
    many = events(*[("18:11:00", 1_000_000_000)] * 20_000, ("18:11:01", "0.000001"))
    row = oracle.rows(oracle.events_of(many), 1)[1]
    total = 20_000 * 10**15 + 1
    assert total > 2**64
    assert row.average == Fraction(total, 1_000_000 * 20_001)


@pytest.mark.parametrize(
    ("durations", "decimals", "printed"),
    [
        (["0.5"], 0, "0"),
        (["1.5"], 0, "2"),
        (["2.5"], 0, "2"),
        (["3.5"], 0, "4"),
        (["2.500001"], 0, "3"),
        (["42.25"], 1, "42.2"),
        (["42.35"], 1, "42.4"),  # the double lies below the tie, the exact quotient on it
        (["1.005"], 2, "1"),  # a tie in millionths, though not in doubles
        (["1.015"], 2, "1.02"),
        (["1", "0", "0"], 3, "0.333"),
        (["2", "0", "0"], 15, "0.666666666666667"),
        (["20"], 2, "20"),
        (["19.999"], 2, "20"),
        (["20.10"], 2, "20.1"),
        (["0.000001", "0"], 6, "0"),  # half a millionth, to even
        (["0.000003", "0"], 6, "2e-06"),
        (["0.001"], 2, "0"),
    ],
)
def test_decimals_round_the_exact_quotient_half_to_even(
    durations: list[str], decimals: int, printed: str
) -> None:
    data = events(*(("18:11:00", duration) for duration in durations))
    assert number(data, decimals=decimals) == printed


def test_decimals_leave_the_empty_values() -> None:
    data = events(("18:11:00", "1.25"))
    assert table(data, 1, decimals=1) == [("18:11", 0), ("18:12", 1.2)]
    assert table(data, 1, decimals=1, empty_value="null") == [("18:11", None), ("18:12", 1.2)]


@pytest.mark.parametrize(
    ("durations", "printed"),
    [
        (["20"], "20"),
        (["20.0"], "20"),
        (["20.5", "19.5"], "20"),
        (["25.5"], "25.5"),
        (["1e9"], "1000000000"),
        (["999999999.999999"], "999999999.999999"),
        (["1e9"] * 999 + ["999999999.999999"], "1000000000"),  # whole once it is a double
        (["0.000001"], "1e-06"),
        (["0.0001"], "0.0001"),
        (["-0.0"], "0"),
    ],
)
def test_number_prints_as_json_but_whole_ones_without_a_fraction(
    durations: list[str], printed: str
) -> None:
    assert number(events(*(("18:11:00", duration) for duration in durations))) == printed


def test_each_series_has_its_own_first_and_last_row() -> None:
    data = events(("18:11:00", 1), ("18:13:00", 3), client_name="b") + events(
        ("18:12:00", 5), client_name="a"
    )
    assert table(data, 10, group_by=["client_name"]) == [
        ("18:11", "b", 0),
        ("18:12", "a", 0),
        ("18:12", "b", 1),
        ("18:13", "a", 5),
        ("18:13", "b", 1),
        ("18:14", "b", 2),
    ]


def test_series_are_ordered_by_date_and_then_by_code_points() -> None:
    # By UTF-16 units U+1F600 would stand before U+FF5E, by most locales "a" before "B".
    in_order = ["", "B", "a", "a ", "aa", "é", "\uff5e", "\U0001f600"]
    data = b"".join(events(("18:11:00", 1), client_name=name) for name in reversed(in_order))
    rows = table(data, 10, group_by=["client_name"])
    assert rows == [("18:11", name, 0) for name in in_order] + [
        ("18:12", name, 1) for name in in_order
    ]


def test_series_are_ordered_by_the_fields_in_the_order_asked_for() -> None:
    data = events(("18:11:00", 1), client_name="a", target_language="pt") + events(
        ("18:11:00", 2), client_name="b", target_language="fr"
    )
    rows = table(data, 1, group_by=["target_language", "client_name"])
    assert rows[:2] == [("18:11", "fr", "b", 0), ("18:11", "pt", "a", 0)]
    rows = table(data, 1, group_by=["client_name", "target_language"])
    assert rows[:2] == [("18:11", "a", "pt", 0), ("18:11", "b", "fr", 0)]


def test_rows_of_random_events_are_the_plain_means_of_their_windows() -> None:
    """Held to other words for the same thing: in row D the events of the X minutes before D."""
    chance = random.Random(1)
    minutes = [chance.randrange(60) for _ in range(40)]
    durations = [chance.randrange(1000) for _ in minutes]
    data = events(
        *(
            (f"18:{minute:02}:{chance.randrange(60):02}", duration)
            for minute, duration in zip(minutes, durations, strict=True)
        )
    )
    rows = table(data, 7)
    assert [row[0] for row in rows] == [
        f"{18 + minute // 60}:{minute % 60:02}" for minute in range(min(minutes), max(minutes) + 2)
    ]
    for minute, (_, average) in enumerate(rows, start=min(minutes)):
        pairs = zip(minutes, durations, strict=True)
        held = [duration for its, duration in pairs if minute - 7 <= its <= minute - 1]
        assert average == (sum(held) / len(held) if held else 0)


@pytest.mark.parametrize(
    "options",
    [
        {"window": 0},
        {"window": 527_041, "max_gap": 600_000},
        {"window": 10, "max_gap": 9},
        {"window": 10, "group_by": ["duration"]},
        {"window": 10, "group_by": ["client_name", "client_name"]},
        {"window": 10, "until": "end"},
        {"window": 10, "empty_value": "none"},
        {"window": 10, "decimals": 16},
        {"window": 10, "decimals": -1},
    ],
)
def test_option_that_the_contract_does_not_know_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"window|max_gap|group_by|until|empty_value|decimals"):
        oracle.output(CHALLENGE_EVENTS, **options)


# ---------------------------------------------------------------------------------------------
# Section 3: the bytes of a row


def test_group_fields_stand_between_date_and_average_in_the_order_asked_for() -> None:
    output = oracle.output(CHALLENGE_EVENTS, 10, group_by=["target_language", "client_name"])
    assert output.splitlines()[0] == (
        b'{"date": "2018-12-26 18:11:00", "target_language": "fr", '
        b'"client_name": "airliberty", "average_delivery_time": 0}'
    )


def test_text_is_written_as_itself_in_utf_8() -> None:
    data = events(("18:11:00", 1), client_name='é\u2028😀\x7f"\\\n\x00/')
    row = oracle.output(data, 10, group_by=["client_name"]).splitlines(keepends=True)[0]
    written = 'é\u2028😀\x7f\\"\\\\\\n\\u0000/'
    assert row.decode() == (
        f'{{"date": "2018-12-26 18:11:00", "client_name": "{written}", '
        '"average_delivery_time": 0}\n'
    )


def test_empty_value_null_is_written_as_null() -> None:
    output = oracle.output(events(("18:11:00", 1)), 10, empty_value="null")
    first = b'{"date": "2018-12-26 18:11:00", "average_delivery_time": null}\n'
    assert output.startswith(first)


# ---------------------------------------------------------------------------------------------
# Section 4: rejected lines


def test_every_line_is_counted_as_exactly_one_kind() -> None:
    other = line(event_name='"other"')
    data = b"\n".join([line(), b"", b" \t", other, b"x", line(), line(duration="-1"), b"\xff"])
    assert oracle.counts_of(data) == Counts(8, blank=2, other_events=1, accepted=2, rejected=3)
    assert oracle.counts_of([data, b"", data]) == Counts(16, 4, 2, 4, 6)


def test_counts_follow_the_event_name_asked_for() -> None:
    data = line() + b"\n" + line(event_name='"other"')
    assert oracle.counts_of(data, "other") == Counts(lines=2, other_events=1, accepted=1)
    assert oracle.counts_of(data, "third") == Counts(lines=2, other_events=2)


def test_rejected_lines_have_the_offset_they_start_at() -> None:
    assert oracle.rejected_of(b"x\n\n" + line() + b"\r\n\xff\r\ny") == [
        (0, b"x"),
        (len(line()) + 5, b"\xff"),
        (len(line()) + 8, b"y"),
    ]


def test_first_line_after_a_byte_order_mark_has_offset_3() -> None:
    assert oracle.rejected_of(b"\xef\xbb\xbfx\n") == [(3, b"x")]


# ---------------------------------------------------------------------------------------------
# Expected outputs of others


@pytest.mark.parametrize("case", challenge_cases())
def test_challenge_case_of_a_public_solution(case: dict[str, Any]) -> None:
    data = "\n".join(case["input"]).encode()
    # One case has a line without a time, and its author leaves that one out, too.
    timeless = sum('"timestamp": ""' in written for written in case["input"])
    assert oracle.counts_of(data).rejected == timeless
    assert oracle.counts_of(data).accepted == len(case["input"]) - timeless

    output = oracle.output(data, case["window_size"]).splitlines()

    rows = [json.loads(row, parse_float=Decimal) for row in output]
    assert [row["date"] for row in rows] == [row["date"] for row in case["expected"]]
    for row, expected in zip(rows, case["expected"], strict=True):
        # Some authors round, and half a unit of the last place they show is what that may cost.
        shown = Decimal(expected["average_delivery_time"])
        half_a_unit = Decimal(1).scaleb(int(shown.as_tuple().exponent)) / 2
        assert abs(row["average_delivery_time"] - shown) <= half_a_unit, row
