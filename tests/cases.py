"""Cases of the contract's section on events, by clause: lines, and what each of them is.

`tests/test_cases.py` holds the oracle, the model, the fast path and the command to them.
"""

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

from examples import VALID, line
from oracle import BLANK, BROKEN_LINE, STRING_FIELDS, Event, OtherEvent, Rejected


class Case(NamedTuple):
    """A line of a clause, and what it is as the oracle has it."""

    clause: str
    line: bytes
    verdict: Any


_OTHER_EVENTS = [
    line(event_name='"translation_requested"'),
    line(event_name='"translation_requested"', duration='"x"', timestamp=None),
    b'{"event_name": "translation_requested"}',
    line('"event_name": "translation_requested"'),
    line('"x": "NaN"', event_name='"translation_requested"'),
]
_NOT_JSON = [
    b"x",
    b"{",
    b"[]",
    b"1",
    b"null",
    b'"a"',
    b"[" + line() + b"]",
    line() + b",",
    line() + line(),
    line() + b"\x0b",
    line()[:-1],
    line(""),  # a comma before the brace
    line("'extra': 1"),
    line('"extra": 01'),
    line('"extra": 1.'),
    line('"extra": .5'),
    line('"extra": +1'),
    line('"extra": -NaN'),
    line('"extra": [1,]'),
    line('"extra": "\t"'),
    line('"extra": "\\x"'),
    b"\xef\xbb\xbf" + line(),  # skipped at the start of a file only
]
_LONE_SURROGATES = [
    '"extra": "\\ud800"',
    '"extra": "\\udc00"',
    '"extra": "\\ude00\\ud83d"',
    '"extra": ["\\ud800\\u0041"]',
    '"\\ud800": 1',
    '"extra": {"\\ud800": 1}',
    '"extra": "\\ud800", "extra": 1',
]
_LEVELS = [
    ("[" * 200 + "]" * 200, "[" * 201 + "]" * 201),
    ("[" * 199 + "1" + "]" * 199, "[" * 200 + "1" + "]" * 200),
    ('{"a":' * 199 + "1" + "}" * 199, '{"a":' * 200 + "1" + "}" * 200),
    ("[" * 199 + "1" + "]" * 199, "[" * 100_000 + "]" * 100_000),
]
_TIMESTAMPS = [
    ("2018-12-26 18:11:08.509654", "2018-12-26 18:11:08.509654"),
    ("2018-12-26T18:11:08", "2018-12-26 18:11:08.000000"),
    ("2018-12-26t18:11:08", "2018-12-26 18:11:08.000000"),
    ("2018-12-26_18:11:08", "2018-12-26 18:11:08.000000"),
    ("2018-12-26 18:11", "2018-12-26 18:11:00.000000"),
    ("2018-12-26 18:11Z", "2018-12-26 18:11:00.000000"),
    ("2018-12-26 18:11-01:30", "2018-12-26 19:41:00.000000"),
    ("2018-12-26 18:11:08.5", "2018-12-26 18:11:08.500000"),
    ("2018-12-26 18:11:08,05", "2018-12-26 18:11:08.050000"),
    ("2018-12-26 18:11:08.5096549", "2018-12-26 18:11:08.509654"),
    ("2018-12-26 18:11:08." + "9" * 100, "2018-12-26 18:11:08.999999"),
    ("2018-12-26 18:11:08.5z", "2018-12-26 18:11:08.500000"),
    ("2018-12-26 18:11:08.5+01:30", "2018-12-26 16:41:08.500000"),
    ("2018-12-26 18:11:08.5+0130", "2018-12-26 16:41:08.500000"),
    ("2018-12-26 18:11:08-0130", "2018-12-26 19:41:08.000000"),
    ("2018-12-26 18:11:08\u221201:30", "2018-12-26 19:41:08.000000"),
    ("2018-12-26 18:11:08-00:00", "2018-12-26 18:11:08.000000"),
    ("2018-12-26 18:11:08+23:59", "2018-12-25 18:12:08.000000"),
    ("2018-12-26 18:11:08-23:59", "2018-12-27 18:10:08.000000"),
    ("2016-02-29 00:00", "2016-02-29 00:00:00.000000"),
    ("1970-01-01 00:00", "1970-01-01 00:00:00.000000"),
    ("1969-12-31 23:59-00:01", "1970-01-01 00:00:00.000000"),
    ("9997-12-31 23:59:59.9999999", "9997-12-31 23:59:59.999999"),
    ("9998-01-01 00:00+00:01", "9997-12-31 23:59:00.000000"),
    ("2018-12-26\\u002018:11:08", "2018-12-26 18:11:08.000000"),
]
_NO_TIMESTAMPS = [
    "1545847868",
    "true",
    '""',
    '"1545847868"',
    '"1545847868.5"',
    '"now"',
    '"2018-12-26"',
    '"18:11:08"',
    '"2018-12-26 18"',
    '"2018-12-26 18:11:"',
    '"2018-12-26 18:11.5"',
    '"2018-12-26 18:11:08."',
    '"2018-12-26 18:11:08.Z"',
    '"2018-12-26 18:11:60"',
    '"2018-12-26 18:60:00"',
    '"2018-12-26 24:00:00"',
    '"2018-02-29 00:00"',
    '"2018-13-01 00:00"',
    '"2018-00-01 00:00"',
    '"2018-01-00 00:00"',
    '"2018-1-01 00:00"',
    '"20181226T181108"',
    '"2018-12-26T181108"',
    '"2018-W52-3T18:11"',
    '"2018/12/26 18:11"',
    '"2018-12-26-18:11"',
    '"2018-12-26  18:11"',
    '" 2018-12-26 18:11"',
    '"2018-12-26 18:11 "',
    '"2018-12-26 18:11\\n"',
    '"2018-12-26 18:11 Z"',
    '"2018-12-26 18:11 +01:00"',
    '"2018-12-26 18:11+1:00"',
    '"2018-12-26 18:11+010"',
    '"2018-12-26 18:11+01:00:00"',
    '"2018-12-26 18:11+24:00"',
    '"2018-12-26 18:11+23:60"',
    '"2018-12-26 18:11\u201301:00"',
    '"2018-12-26 18:11 UTC"',
    '"2018-12-26 18:11[UTC]"',
    '"\uff12018-12-26 18:11"',
    '"2018-12-26 18:1\u0661"',
    '"0000-01-01 00:00"',
    '"0001-01-01 00:00+01:00"',
    '"1969-12-31 23:59:59.999999"',
    '"1970-01-01 00:00+00:01"',
    '"9998-01-01 00:00"',
    '"9997-12-31 23:59-00:01"',
    '"9999-12-31 23:59-01:00"',
    '"10000-01-01 00:00"',
]
_DURATIONS = [
    ("20", 20_000_000),
    ("0", 0),
    ("-0", 0),
    ("-0.0", 0),
    ("-1e-400", 0),
    ("20.5", 20_500_000),
    ("2e1", 20_000_000),
    ("0.000001", 1),
    ("0.0000005", 0),  # a tie, to even
    ("0.0000015", 2),  # a tie, to even
    ("0.0000025", 2),  # a tie, to even
    ("0.00000050000001", 1),
    ("1e9", 10**15),
    ("1000000000", 10**15),
    ("999999999.999999", 999_999_999_999_999),
    ("123456789.123457", 123_456_789_123_457),
    ("0." + "3" * 5000, 333_333),
]
_NO_DURATIONS = [
    '"20"',
    "true",
    "false",
    "[20]",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1",
    "-1e-9",
    "1000000001",
    "1000000000.0000001",
    "9" * 400,  # too large for a double
]
_NO_WORD_COUNTS = ["30.0", "3e1", "-1", '"30"', "true", "[]", "NaN", "-" + "9" * 4300]


def _event(
    time: str = "2018-12-26 18:11:08.509654", millionths: int = 20_000_000, **fields: str
) -> Event:
    """The event of `examples.line`, with these values in place of its own."""
    strings = {field: VALID[field].strip('"') for field in STRING_FIELDS}
    read = datetime.strptime(time, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=timezone.utc)
    return Event(read, millionths, {**strings, **fields})


def _faults(*fields: str) -> Rejected:
    return Rejected(frozenset(fields))


def _all() -> Iterator[Case]:
    yield Case("1.1", line() + b"\r", _event())
    for blank in (b"", b" ", b"\t", b"\r", b" \t \r", b"\x0b\x0c"):
        yield Case("1.2", blank, BLANK)
    for not_blank in ("\u00a0", "\u2003", "\ufeff", "\x00", "\x1c"):
        yield Case("1.2", not_blank.encode(), BROKEN_LINE)
    for other in _OTHER_EVENTS:
        yield Case("1.3", other, OtherEvent("translation_requested"))
    yield Case("1.3", line(event_name='""'), OtherEvent(""))
    for no_name in (None, "null", "1", "true", '["translation_delivered"]'):
        yield Case("1.3", line(event_name=no_name), _faults("event_name"))

    members = [f'"{key}"\t:\r {value} ' for key, value in reversed(VALID.items())]
    spaced = " {" + " , ".join([*members, '"extra": {"a": [null, {}]}']) + "}\r"
    yield Case("1.4", spaced.encode(), _event())
    for extra in ("1e400", '"NaN"', '"\\ud83d\\ude00"', "1" * 4_300):
        yield Case("1.4", line(f'"extra": {extra}'), _event())
    twice = _event(millionths=21_000_000)
    yield Case("1.4", line('"duration": 21', duration='"x"'), twice)
    yield Case("1.4", line('"duration": "x"'), _faults("duration"))
    yield Case("1.4", line('"\\u0064uration": 21'), twice)
    renamed = line('"event_name": "translation_delivered"', event_name='"other"')
    yield Case("1.4", renamed, _event())

    yield Case("1.5", b"{}", _faults(*VALID))
    faulty = line(timestamp="1", duration='"1"', nr_words="1.0", client_name="1")
    yield Case("1.5", faulty, _faults("timestamp", "duration", "nr_words", "client_name"))
    for field in VALID:
        for missing in (None, "null"):
            yield Case("1.5", line(**{field: missing}), _faults(field))
    for field in STRING_FIELDS:
        for no_string in ("1", "true", "[]", "{}", '["a"]'):
            yield Case("1.5", line(**{field: no_string}), _faults(field))
        for written, read in (('""', ""), ('"é\\u00e9\\n"', "éé\n"), ('"\\ud83d\\ude00"', "😀")):
            yield Case("1.5", line(**{field: written}), _event(**{field: read}))
    for written, utc in _TIMESTAMPS:
        yield Case("1.5", line(timestamp=f'"{written}"'), _event(utc))
    for written in _NO_TIMESTAMPS:
        yield Case("1.6", line(timestamp=written), _faults("timestamp"))
    for written, millionths in _DURATIONS:
        yield Case("1.7", line(duration=written), _event(millionths=millionths))
    for written in _NO_DURATIONS:
        yield Case("1.6", line(duration=written), _faults("duration"))
    for written in ("0", "-0", str(2**63), str(2**64), "9" * 400, "9" * 4300):
        yield Case("1.5", line(nr_words=written), _event())
    for written in _NO_WORD_COUNTS:
        yield Case("1.6", line(nr_words=written), _faults("nr_words"))

    for broken in _NOT_JSON:
        yield Case("1.8", broken, BROKEN_LINE)
    for constant in ("NaN", "Infinity", "-Infinity"):
        for name in ("translation_delivered", "translation_requested"):
            hidden = line(f'"extra": [{{"x": {constant}}}]', event_name=f'"{name}"')
            yield Case("1.8", hidden, BROKEN_LINE)
    for no_utf_8 in (b"\xe9", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        for with_text in (line(client_name='"?"'), line('"extra": "?"')):
            yield Case("1.8", with_text.replace(b"?", no_utf_8), BROKEN_LINE)
    for member in _LONE_SURROGATES:
        yield Case("1.8", line(member), BROKEN_LINE)

    for deepest, too_deep in _LEVELS:
        yield Case("1.9", line(f'"extra": {deepest}'), _event())
        yield Case("1.9", line(f'"extra": {too_deep}'), BROKEN_LINE)
    for too_long in ("9" * 4301, "-" + "9" * 4301, "9" * 4301 + ".5"):
        for field in ("nr_words", "duration", "extra"):
            yield Case("1.9", line(**{field: too_long}), BROKEN_LINE)


CASES = tuple(_all())
