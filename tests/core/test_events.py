"""One line of the log: event, other event or rejection, as the contract and the oracle have it."""

import base64
import json
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

import oracle
import pytest
from examples import CHALLENGE_EVENTS, VALID, line
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from oracle import STRING_FIELDS
from verdicts import verdict

from pipeline.core.events import (
    GROUP_FIELDS,
    LINE_TOO_LONG,
    MAX_DEAD_LETTER_LINE_BYTES,
    NOT_JSON_LINES,
    DeadLetter,
    Event,
    FieldError,
    OtherEvent,
    Rejection,
    parse_line,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _accepted(data: bytes) -> Event:
    parsed = parse_line(data)
    assert isinstance(parsed, Event), parsed
    return parsed


def _errors(data: bytes) -> tuple[FieldError, ...]:
    parsed = parse_line(data)
    assert isinstance(parsed, Rejection), parsed
    return parsed.errors


def _faults(data: bytes) -> set[str]:
    return {error.field for error in _errors(data)}


# ---------------------------------------------------------------------------------------------
# Against the oracle

_VALUES: dict[str, tuple[str | None, ...]] = {
    "timestamp": (
        '"2018-12-26 18:11:08.509654"',
        '"2018-12-26T18:11:08,509654321+01:30"',
        '"2018-12-26t23:59-2359"',
        '"2018-12-26 18:11+05"',
        '"2018-12-26T18:11:08.5-03"',
        '"2018-12-26T18:11:08\u221203"',
        '"2018-12-26 18:11+24"',
        '"1970-01-01_00:00Z"',
        '"9997-12-31 23:59:59.9999999"',
        '"9998-01-01 00:00"',
        '"1969-12-31 23:59:59.999999"',
        '"2018-12-26"',
        '"1545847868"',
        "1545847868",
    ),
    "duration": (
        *("20", "20.5", "2e1", "0", "-0.0", "0.0000005", "0.0000015", "1e9", "1000000000.0000001"),
        *("-1", '"20"', "true", "NaN", "Infinity", "1e400", "[20]"),
    ),
    "nr_words": ("30", "0", "-0", "18446744073709551616", "30.0", "3e1", "-1", '"30"', "false"),
    "event_name": ('"translation_delivered"', '"translation_requested"', '""', "1"),
    **dict.fromkeys(STRING_FIELDS, ('"a"', '"é\\u00e9"', '""', '"\\ud83d\\ude00"', "1")),
}


_EXTRAS = ("{}", "[1]", "NaN", "[-Infinity]", '"NaN"', "1e400")


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    """Mostly right lines: any order of fields, at times a wrong one, a missing or a second one."""
    members = []
    for field in draw(st.permutations(list(VALID))):
        odd = draw(st.integers(0, 9)) == 0
        value = draw(st.sampled_from([*_VALUES[field], None, "null"])) if odd else VALID[field]
        members += [] if value is None else [f'"{field}": {value}']
    if draw(st.integers(0, 3)) == 0:
        field = draw(st.sampled_from([*VALID, "extra"]))
        members.append(f'"{field}": {draw(st.sampled_from(_VALUES.get(field, _EXTRAS)))}')
    return ("{" + ", ".join(members) + "}").encode()


# What a line is most likely to break by, or to be read differently by two parsers.
_SNIPPETS = [
    *(bytes([byte]) for byte in b'"{}[],:\\0159+-.eETZtz_ \t\r\x00\x0b\x1f\x7f\x80\xc3\xed\xff'),
    *(b"NaN", b"null", b"true", b"\\u0000", b"\\ud800", b"\xef\xbb\xbf", b"\xc2\xa0", b"1e", b"/*"),
]


@st.composite
def _mutated_lines(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(_lines()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        end = min(at + draw(st.integers(0, 3)), len(data))
        data[at:end] = draw(st.sampled_from([b"", *_SNIPPETS]) | st.binary(max_size=2))
    return bytes(data).replace(b"\n", b"")


def _agrees(data: bytes, event_name: str = "translation_delivered") -> None:
    parsed = parse_line(data, event_name)
    expected = oracle.classify(data, event_name)
    assert verdict(parsed) == expected
    if isinstance(parsed, Event):
        assert isinstance(expected, oracle.Event)
        assert parsed.minute == (expected.minute - _EPOCH).total_seconds() / 60


@pytest.mark.slow
@pytest.mark.clause("1.10")
@settings(max_examples=1500, deadline=None)
@given(_mutated_lines(), st.sampled_from(["translation_delivered", "translation_requested"]))
@example(line(timestamp=None) + b" ", "translation_delivered")
def test_any_line_is_what_the_oracle_says(data: bytes, event_name: str) -> None:
    assume(data.strip())
    _agrees(data, event_name)


@pytest.mark.parametrize("field", [*_VALUES])
def test_each_way_to_write_a_field_is_what_the_oracle_says(field: str) -> None:
    for value in [*_VALUES[field], None, "null", '"\\ud800"', "9" * 4301, "[" * 250 + "]" * 250]:
        _agrees(line(**{field: value}))
        _agrees(line(f'"{field}": {value or 1}'))


def test_a_line_changed_at_any_one_place_is_what_the_oracle_says() -> None:
    data = line(timestamp='"2018-12-26T18:11:08.5+01:00"', duration="20.5")
    for at in range(len(data)):
        for snippet in [b"", *_SNIPPETS]:
            _agrees(data[:at] + snippet + data[at + 1 :])
            _agrees(data[:at] + snippet + data[at:])


# ---------------------------------------------------------------------------------------------
# The model


def test_the_challenge_events_are_accepted() -> None:
    events = [_accepted(each) for each in CHALLENGE_EVENTS.splitlines()]
    assert [event.minute for event in events] == [25_764_131, 25_764_135, 25_764_143]
    assert [event.duration_millionths for event in events] == [20_000_000, 31_000_000, 54_000_000]


def test_group_fields_are_the_strings_of_an_event() -> None:
    assert sorted(GROUP_FIELDS) == sorted(STRING_FIELDS)


@pytest.mark.parametrize(
    ("written", "type_"),
    [
        ("1545847868", "timestamp_type"),
        ('"1545847868"', "timestamp_type"),
        ('"2018-12-26"', "timestamp_type"),
        ('"\u0662018-12-26 18:11"', "timestamp_type"),
        ("null", "timestamp_type"),
        ('"1969-12-31 23:59:59.999999"', "timestamp_range"),
        ('"1970-01-01 00:00+00:01"', "timestamp_range"),
        ('"9998-01-01 00:00"', "timestamp_range"),
        ('"9999-12-31 23:59-01:00"', "timestamp_range"),
        ('"0001-01-01 00:00+01:00"', "timestamp_range"),
    ],
)
def test_what_pydantic_alone_would_take_for_a_timestamp_is_rejected(
    written: str, type_: str
) -> None:
    (error,) = _errors(line(timestamp=written))
    assert (error.field, error.type) == ("timestamp", type_)


@given(st.integers(0, 10**15))
def test_duration_of_up_to_six_decimals_is_exact(millionths: int) -> None:
    written = f"{millionths // 10**6}.{millionths % 10**6:06}"
    assert _accepted(line(duration=written)).duration_millionths == millionths


def test_word_count_may_be_of_any_size() -> None:
    assert _accepted(line(nr_words="9" * 400)).nr_words == int("9" * 400)


# ---------------------------------------------------------------------------------------------
# Other events


def test_event_name_asked_for_decides_what_is_another_event() -> None:
    requested = line(event_name='"translation_requested"')
    assert isinstance(parse_line(requested, "translation_requested"), Event)
    assert parse_line(line(), "translation_requested") == OtherEvent("translation_delivered")


# ---------------------------------------------------------------------------------------------
# Rejections


@pytest.mark.parametrize(
    "data", [b"x", b"1", b"null", b'"a"', line()[:-1], line() + line(), b"\xff", b"\xef\xbb\xbf{}"]
)
def test_fault_of_the_line_as_a_whole_has_an_empty_field(data: bytes) -> None:
    (error,) = _errors(data)
    assert error.field == ""
    assert error.type
    assert error.message


@pytest.mark.parametrize("data", [b"[", b" \t[", b"[" + line() + b"]", b"[" + line() + b","])
def test_json_array_is_rejected_with_the_remedy(data: bytes) -> None:
    assert _errors(data) == (NOT_JSON_LINES[0],)
    assert "jq -c '.[]'" in NOT_JSON_LINES[0].message


@pytest.mark.clause("1.11")
@pytest.mark.parametrize(
    ("timestamp", "message"),
    [
        ("2018-12-26 24:00:00", "hour 24 is out of range"),
        ("2018-12-26T18:60", "minute 60 is out of range"),
        ("2018-12-26 18:11:60.5Z", "second 60 is out of range"),
        ("2018-13-26 18:11", "month 13 is out of range"),
        ("2018-00-26 18:11", "month 0 is out of range"),
        ("2018-12-32 18:11", "day 32 is out of range: 2018-12 has 31 days"),
        ("2018-02-29_18:11", "day 29 is out of range: 2018-02 has 28 days"),
        ("2018-02-00 18:11", "day 0 is out of range: 2018-02 has 28 days"),
        ("2018-12-26 18:11+25:00", "offset +25:00 is out of range"),
        ("2018-12-26 18:11-0560", "offset -0560 is out of range"),
        ("2018-12-26 18:11:08+24", "offset +24:00 is out of range"),
    ],
)
def test_what_is_out_of_range_in_a_timestamp_is_named(timestamp: str, message: str) -> None:
    (error,) = _errors(line(timestamp=f'"{timestamp}"'))
    assert error == FieldError("timestamp", "timestamp_value", message)


@pytest.mark.parametrize("timestamp", ["2018-12-26 18:11:", "2018-12-26 18:11 UTC"])
def test_a_timestamp_of_another_form_has_the_reason_of_the_parser(timestamp: str) -> None:
    (error,) = _errors(line(timestamp=f'"{timestamp}"'))
    assert (error.field, error.type[:9]) == ("timestamp", "datetime_")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("name", ['"translation_delivered"', '"translation_requested"'])
def test_what_is_no_json_number_is_named_wherever_it_stands(constant: str, name: str) -> None:
    (error,) = _errors(line(f'"extra": [{{"x": {constant}}}]', event_name=name))
    message = "Invalid JSON: NaN and Infinity are not JSON"
    assert error == FieldError("", "json_invalid", message)


@pytest.mark.parametrize(
    ("extra", "type_", "message"),
    [
        ("1" * 4_301, "integer_too_long", "a whole number has more than 4,300 digits"),
        (
            "[" * 200 + "1" + "]" * 200,
            "nested_too_deep",
            "arrays and objects are nested more than 200 levels deep",
        ),
    ],
    ids=["digits", "levels"],
)
def test_a_limit_that_is_exceeded_is_named(extra: str, type_: str, message: str) -> None:
    assert _errors(line(f'"extra": {extra}')) == (FieldError("", type_, message),)
    if type_ == "integer_too_long":
        assert _errors(line(nr_words=extra)) == (FieldError("", type_, message),)


def test_reasons_name_neither_web_pages_nor_python() -> None:
    errors = _errors(line(timestamp="1", duration='"1"', nr_words="-1")) + _errors(b"{")
    for error in errors:
        assert "http" not in error.message
        assert "\n" not in error.message


# ---------------------------------------------------------------------------------------------
# Dead letters

_ERRORS = (FieldError("duration", "float_type", "Input should be a valid number"),)


def _letter(data: bytes, errors: Iterable[FieldError] = _ERRORS) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(
        DeadLetter.of("events.json", 7, data, tuple(errors)).to_json()
    )
    return record


@pytest.mark.clause("4.1")
def test_dead_letter_is_one_line_of_json_as_the_contract_has_it() -> None:
    letter = DeadLetter.of("a/é.json", 1234, '{"é": "\t\n"}'.encode(), _ERRORS)
    assert letter.to_json() == (
        r'{"source": "a/é.json", "offset": 1234, "line": "{\"é\": \"\t\n\"}", "errors": [{'
        '"field": "duration", "type": "float_type", "message": "Input should be a valid number"}]}'
    )


def test_dead_letter_holds_every_error() -> None:
    letter = _letter(b"x", (*_ERRORS, LINE_TOO_LONG))
    assert [error["type"] for error in letter["errors"]] == ["float_type", "line_too_long"]


@pytest.mark.clause("4.2")
@given(st.binary(max_size=20))
def test_dead_letter_keeps_the_line_as_text_or_as_base64_of_its_bytes(data: bytes) -> None:
    letter = _letter(data)
    assert (letter["source"], letter["offset"]) == ("events.json", 7)
    assert "truncated" not in letter
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert "line" not in letter
        assert base64.b64decode(letter["line_base64"]) == data
    else:
        assert "line_base64" not in letter
        assert letter["line"] == text


@pytest.mark.clause("4.2")
@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 3, 4, 100_000])
def test_text_of_a_line_is_cut_after_64_kib_between_characters(character: str, beyond: int) -> None:
    size = MAX_DEAD_LETTER_LINE_BYTES + beyond
    width = len(character.encode())
    data = b"x" * (size % width) + (character * (size // width)).encode()
    letter = _letter(data)
    kept = letter["line"].encode()
    assert data.startswith(kept)
    if beyond <= 0:
        assert kept == data
        assert "truncated" not in letter
    else:
        assert MAX_DEAD_LETTER_LINE_BYTES - 4 < len(kept) <= MAX_DEAD_LETTER_LINE_BYTES
        assert letter["truncated"] is True


@pytest.mark.parametrize("at", [0, MAX_DEAD_LETTER_LINE_BYTES, MAX_DEAD_LETTER_LINE_BYTES + 50])
def test_bytes_of_a_line_that_is_not_utf_8_anywhere_are_cut_after_64_kib(at: int) -> None:
    data = b"x" * at + b"\xff" + b"x" * MAX_DEAD_LETTER_LINE_BYTES
    letter = _letter(data)
    assert base64.b64decode(letter["line_base64"]) == data[:MAX_DEAD_LETTER_LINE_BYTES]
    assert letter["truncated"] is True
