"""The columnar path against the model: it only accepts what the model does, with equal values.

MUTANTS and EXAMPLES in the environment make the search longer.
"""

from __future__ import annotations

import json
import os
import random
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import columnar
from pipeline.columnar import BlockSums, sum_block
from pipeline.durations import DurationSum
from pipeline.events import Event, parse_line

_GROUPS = [
    (),
    ("client_name",),
    ("source_language", "target_language"),
    ("translation_id",),
    ("client_name", "source_language", "target_language", "translation_id"),
]
_MUTANTS = int(os.environ.get("MUTANTS", "20000"))

_PLAIN = (
    b'{"timestamp": "2018-12-26 18:11:08.509654","translation_id": "5aa5b2f39f7254a75aa5",'
    b'"source_language": "en","target_language": "fr","client_name": "airliberty",'
    b'"event_name": "translation_delivered","nr_words": 30, "duration": 20}'
)
_SAMPLES = [
    _PLAIN,
    _PLAIN.replace(b": ", b":").replace(b", ", b","),
    _PLAIN.replace(b"08.509654", b"08.509654Z").replace(b"26 18", b"26T18"),
    _PLAIN.replace(b"08.509654", b"08+02:30"),
    _PLAIN.replace(b":08.509654", b"-11:45"),
    _PLAIN.replace(
        b": 20}",
        b': 20.25, "region": "eu", "retries": 3,'
        b' "meta": {"tags": ["a", "b"], "score": -1.5e3, "ok": true}}',
    ),
    b'{"duration":0.125,"client_name":"Soci\xc3\xa9t\xc3\xa9 \xe6\x9d\xb1","nr_words":0,'
    b'"event_name":"translation_delivered","timestamp":"1970-01-01T00:00:00.000Z",'
    b'"translation_id":"","source_language":"pt-br","target_language":"x"}',
    b' { "duration" : 1e3 , "x" : [1, 2.5, [{"timestamp": "a", "y": 3}]], "nr_words" : 7 ,'
    b' "client_name" : "a" , "event_name" : "translation_delivered" , "translation_id" : "1" ,'
    b' "source_language" : "b" , "target_language" : "c" , "timestamp" : "2020-02-29 23:59" } ',
    _PLAIN.replace(b"{", b'{"a":1,', 1),
]
# fmt: off
_TOKENS = [
    b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b" ", b"\t", b"\r", b"\x00", b"\x01",
    b"\x1f", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9", b"\xc0\x80", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"\xe2\x80", b"0", b"00", b"9", b"-", b"+", b".", b"e", b"E5", b"e400",
    b"e-400", b"_", b"t", b"T", b"Z", b"z", b"null", b"true", b"NaN", b"Infinity", b"1.", b".5",
    b"+1", b"-0", b"-0.0", b"-1", b"020", b"30.0", b"1e2", b"1e9", b"1000000001", b"1000000000",
    b"1000000000.0000001", b"99999999", b"123456789", b"0.1234567", b"0.0000005", b"0.0000015",
    b"2.5e-7", b"1" * 30, b"9" * 5000, b"1" * 64, b'"20"', b"24:00:00", b"23:59:60",
    b"2019-02-30", b"2019-02-29", b"2020-02-29", b"0000-01-01", b"1969-12-31", b"9998-01-01",
    b"9997-12-31", b"1970-01-01", b"00:00:00", b"23:59:59.999999", b"+00:00", b"-00:00",
    b"+24:00", b"+23:59", b"-23:59", b"-01:00", b"+0100", b" UTC", b"12:60", b"-13-", b"-00-",
    b'"duration": 1, ', b'"duration": "x", ', b'"nr_words": 1, ', b'"client_name": "b", ',
    b'"event_name": "other", ', b'"event_name": "translation_delivered", ',
    b'"timestamp": "2018-01-01 00:00:00", ', b'"extra": 1, ', b'"extra": {"duration": 5}, ',
    b", ,", b"//", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\\u0041", b'\\"', b"x" * 70, b"x" * 1200,
]
# fmt: on
# fmt: off
_PIECES = [
    b"timestamp", b"duration", b"nr_words", b"client_name", b"translation_delivered",
    b"2018-12-26", b"18:11:08.509654", b"18:11", b": 20", b":30", b" 30", b"20", b"en", b"fr",
    b"airliberty", b"0.125", b"1e3", b"20.25", b"1970-01-01", b"00:00:00.000", b"+02:30",
    b"2020-02-29", b"23:59",
]
# fmt: on


def _mutate(rng: random.Random, line: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(line) + 1)
        to = min(len(line), at + rng.choice((1, 1, 2, 4, 8, 20)))
        what = rng.randrange(9)
        if what == 0:
            line = line[:at] + line[to:]
        elif what == 1:
            line = line[:at] + bytes([rng.randrange(256)]) + line[at:]
        elif what == 2 and at < len(line):
            line = line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
        elif what == 3:
            line = line[:to] + line[at:to] + line[to:]
        elif what == 4:
            line = line[:at] + rng.choice(_TOKENS) + line[at:]
        elif what == 5 and at < len(line) and line[at : at + 1].isdigit():
            line = line[:at] + b"%d" % rng.randrange(10) + line[at + 1 :]
        elif what in (6, 7):
            piece = rng.choice(_PIECES)
            line = line.replace(
                piece,
                rng.choice(_TOKENS) if what == 6 else rng.choice(_PIECES),
                rng.choice((1, -1)),
            )
        else:
            parts = line.split(b",")
            i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
            parts[i], parts[j] = parts[j], parts[i]
            line = b",".join(parts)
        line = line or b" "
    return line.replace(b"\n", b"")


def _is_event(line: bytes) -> bool:
    return isinstance(parse_line(line), Event)


def _check(
    lines: list[bytes], group_by: tuple[str, ...], end: bytes = b"\n", unended: bool = False
) -> Counter[bytes]:
    """Compares one block, read in as many parts as it takes; returns the accepted lines."""
    data = end.join(lines) + (b"" if unended else end)
    parts, unsure = _read(data, group_by)
    split = data.split(b"\n")
    if not split[-1]:
        split.pop()
        split = [line.removesuffix(b"\r") for line in split]
    else:
        split = [line.removesuffix(b"\r") for line in split[:-1]] + split[-1:]
    accepted = Counter(split)
    blank = Counter(line for line in split if not line.strip()) - unsure
    assert unsure <= accepted
    accepted -= unsure
    assert sum(part.blank for part in parts) == blank.total()
    accepted -= blank
    assert sum(part.accepted for part in parts) == accepted.total()
    expected: dict[tuple[tuple[str, ...], int], DurationSum] = {}
    for line, count in accepted.items():
        event = parse_line(line)
        assert isinstance(event, Event), line
        cell = tuple(getattr(event, field) for field in group_by), event.minute
        durations = DurationSum(count * event.duration_millionths, count)
        expected[cell] = expected.get(cell, DurationSum()) + durations
    actual: dict[tuple[tuple[str, ...], int], DurationSum] = {}
    for part in parts:
        assert len({series for series, _ in part.sums}) == len(part.sums)
        for series, minutes in part.sums:
            assert len(minutes) > 0
            assert (minutes.minutes[1:] > minutes.minutes[:-1]).all()
            assert ((minutes.low >= 0) & (minutes.low < 2**32)).all()
            for minute, each in minutes:
                actual[series, minute] = actual.get((series, minute), DurationSum()) + each
    assert actual == expected
    return accepted


def _read(data: bytes, group_by: tuple[str, ...]) -> tuple[list[BlockSums], Counter[bytes]]:
    """The parts that a block is read in, and the unsure lines of all."""
    parts: list[BlockSums] = []
    unsure: Counter[bytes] = Counter()
    while data:
        part = sum_block(data, group_by, _is_event)
        unsure += Counter(
            data[a:b] for a, b in zip(part.unsure_starts, part.unsure_ends, strict=True)
        )
        parts.append(part)
        assert 0 < part.stop == len(data) or data[part.stop - 1] == ord("\n")
        data = data[part.stop :]
    return parts, unsure


@pytest.mark.parametrize("sample", range(len(_SAMPLES)))
def test_of_mutated_lines_only_events_are_accepted_with_their_values(
    sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(sample)
    line = _SAMPLES[sample]
    assert _is_event(line)
    accepted = mutants = 0
    while mutants < _MUTANTS // len(_SAMPLES):
        monkeypatch.setattr(columnar, "_PIECE_BYTES", rng.choice((5000, 50_000, 1 << 21)))
        monkeypatch.setattr(columnar, "_WORTHWHILE_LINES", rng.choice((1, 8, 64)))
        monkeypatch.setattr(columnar, "_PIECE_LINES", rng.choice((30, 1 << 16)))
        monkeypatch.setattr(columnar, "_MAX_UNSURE_LINES", rng.choice((20, 1 << 16)))
        bad = [_mutate(rng, line) for _ in range(100)]
        lines = [line] * 100 + bad
        rng.shuffle(lines)
        lines[rng.randrange(5)] = line
        end, unended = rng.choice((b"\n", b"\r\n")), rng.random() < 0.3
        taken = _check(lines, rng.choice(_GROUPS), end, unended)
        accepted += sum(mutant in taken and mutant != line for mutant in bad)
        mutants += len(bad)
    assert accepted > 0, "mutants that are valid are accepted too: else this test says little"


@pytest.mark.parametrize("sample", range(len(_SAMPLES)))
def test_usual_lines_are_not_left_to_the_model(sample: int) -> None:
    for end in (b"\n", b"\r\n"):
        for unended in (False, True):
            if not (unended and end == b"\r\n"):
                assert _check([_SAMPLES[sample]] * 300, (), end, unended).total() == 300


@pytest.mark.parametrize(
    "zone", ["", "Z", "+00:00", "+01:00", "-01:00", "+23:59", "-23:59", "-00:00"]
)
@pytest.mark.parametrize("tail", ["", ":59", ":00.5", ":59.999999"])
def test_a_timestamp_is_read_as_the_model_reads_it(zone: str, tail: str) -> None:
    """Every odd timestamp in a block whose shape has been learned from good ones of its layout."""
    days = """
        1970-01-01 1970-01-02 1969-12-31 9997-12-31 9998-01-01 9997-12-30 0000-01-01
        0001-01-01 9999-12-31 2019-02-28 2019-02-29 2020-02-29 2020-02-30 2100-02-29
        2000-02-29 2018-04-31 2018-12-31 2018-12-32 2018-13-01 2018-00-10 2018-01-00
        2018-19-39 2018-10-10
    """
    times = [
        "00:00",
        "00:59",
        "01:00",
        "23:59",
        "22:59",
        "24:00",
        "29:00",
        "23:60",
        "12:30",
        "-1:00",
        " 1:00",
        "1::00",
    ]
    stamps = [f"{day} {time}{tail}{zone}" for day in days.split() for time in times]
    stamps += [
        f"2018-10-10 12:00{odd}{zone}"
        for odd in (":60", ":61", ":6", ":599", ":59.", ":59,5", ":5a", "::9", ":59.99999a")
    ]
    good = _PLAIN.replace(b"2018-12-26 18:11:08.509654", f"2018-12-26 18:11{tail}{zone}".encode())
    lines = [_PLAIN.replace(b"2018-12-26 18:11:08.509654", stamp.encode()) for stamp in stamps]
    taken = _check([good] * 500 + lines, ())
    assert taken.total() > 500 + 40


def test_a_key_that_stands_twice_is_for_the_model() -> None:
    for twice in (b'"duration": 1, ', b'"extra": 1, "extra": 2, ', b'"event_name": "other", '):
        assert not _check([_PLAIN.replace(b'"nr_words"', twice + b'"nr_words"')] * 300, ())


def test_a_number_may_stand_in_the_first_bytes_of_a_block() -> None:
    line = _SAMPLES[-1]
    assert line.startswith(b'{"a":1,')
    for bad in (b"x", b"", b"01", b"-", b"1."):
        lines = [line.replace(b'"a":1', b'"a":' + bad)] + [line] * 200 + [_PLAIN + b"  1111111"]
        assert _check(lines, (), unended=True)[line] == 200


_NUMBERS = st.one_of(
    st.integers(0, 10**10).map(str),
    st.floats(0, 1e9).map(repr),
    st.decimals(0, 10**9, places=7).map(str),
    st.decimals(0, 1000, places=20).map("{:f}".format),
    st.integers(0, 10**16).map(lambda n: f"{n}.5e-6"),
    st.integers(0, 2000).map(lambda n: f"{2 * n + 1}e-{n % 9 + 1}"),
    st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{0,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=80)
_STAMPS = st.one_of(
    st.datetimes().map(str),
    st.datetimes().map(lambda t: t.isoformat("T", "milliseconds") + "Z"),
    st.from_regex(
        r"(19[67]|20[0-2]|999)[0-9]-[01][0-9]-[0-3][0-9][ T_t][0-2][0-9]:[0-6][0-9]"
        r"(:[0-6][0-9](\.[0-9]{1,7})?)?([Zz]|[+-][0-2][0-9]:?[0-6][0-9])?",
        fullmatch=True,
    ),
)


@settings(max_examples=int(os.environ.get("EXAMPLES", "100")), deadline=None)
@given(
    st.lists(st.tuples(_STAMPS, _NUMBERS, _NUMBERS, _TEXTS, _TEXTS), min_size=1, max_size=8),
    st.sampled_from(_GROUPS),
)
def test_values_are_those_of_the_model(
    rows: list[tuple[str, str, str, str, str]], group_by: tuple[str, ...]
) -> None:
    lines = [
        _PLAIN,
        _PLAIN.replace(b"08.509654", b"08.509Z"),
        _PLAIN.replace(b"26 18", b"26T18"),
    ] * 100
    for stamp, duration, words, client, language in rows:
        names = [json.dumps(text, ensure_ascii=False).encode()[1:-1] for text in (client, language)]
        line = _PLAIN.replace(b"airliberty", names[0]).replace(b'"en"', b'"%s"' % names[1])
        lines.append(
            line.replace(b": 20}", b": %s}" % duration.encode()).replace(
                b": 30", b": %s" % words.encode()
            )
        )
        lines.append(line.replace(b": 20}", b": %s}" % duration.encode()))
        lines.append(_PLAIN.replace(b"2018-12-26 18:11:08.509654", stamp.encode()))
    _check(lines, group_by)


def test_sums_may_outgrow_64_bits() -> None:
    line = _PLAIN.replace(b": 20}", b": 1000000000}") + b"\n"
    sums = sum_block(line * 20_000, (), _is_event)
    ((_, minutes),) = sums.sums
    ((_, total),) = minutes
    assert total == DurationSum(20_000 * 10**15, 20_000)
    assert total.total_millionths > 2**64


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\n\n",
        b"\xff",
        b'"' * 50,
        b"{" * 200_000,
        _PLAIN,
        _PLAIN + b"\n\n",
        (_PLAIN + b"\n") * 2,
    ],
)
@pytest.mark.parametrize("group_by", [(), ("client_name",)])
def test_a_block_may_hold_anything(data: bytes, group_by: tuple[str, ...]) -> None:
    for copy in (data, (_PLAIN + b"\n") * 100 + data):
        if copy:
            _check(
                copy.split(b"\n")[: -1 if copy.endswith(b"\n") else None],
                group_by,
                unended=not copy.endswith(b"\n"),
            )
        else:
            assert sum_block(copy, group_by, _is_event).accepted == 0


# ---------------------------------------------------------------------------------------------
# Blank lines, and very short and very long ones

_SHORT = [
    b"",
    b" ",
    b"\t",
    b"\r",
    b"\v\f ",
    b" x",
    b"x ",
    b"7",
    b"\xff",
    b" \xff",
    b"\xc2\xa0",
    b"\0",
]


@settings(max_examples=int(os.environ.get("EXAMPLES", "100")), deadline=None)
@given(
    st.lists(st.sampled_from([*_SHORT, _PLAIN]) | st.just(_PLAIN), min_size=1, max_size=60),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([300, 1000, 3 << 20]),
)
def test_blank_lines_are_counted_wherever_pieces_and_parts_end(
    lines: list[bytes],
    end: bytes,
    unended: bool,
    piece_lines: int,
    max_unsure: int,
    piece_bytes: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar, "_PIECE_LINES", piece_lines)
        patch.setattr(columnar, "_MAX_UNSURE_LINES", max_unsure)
        patch.setattr(columnar, "_PIECE_BYTES", piece_bytes)
        _check([*lines, *lines[:1]], ("client_name",), end, unended)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_no_blank_line_is_left_to_the_model(end: bytes) -> None:
    data = end * 200_000 + (b" \t" + end) * 100_000 + (_PLAIN + end + end) * 1_000
    parts, unsure = _read(data, ())
    assert not unsure
    assert [(part.blank, part.accepted) for part in parts] == [(301_000, 1_000)]


def test_unsure_lines_are_left_before_they_are_too_many() -> None:
    parts, unsure = _read(b"7\n" * 500_000 + (_PLAIN + b"\n") * 1_000, ())
    assert unsure[b"7"] == 500_000
    assert sum(part.accepted for part in parts) + unsure[_PLAIN] == 1_000
    # What was found before the last piece is less than the limit, and a piece no more.
    limit = columnar._MAX_UNSURE_LINES + columnar._PIECE_LINES
    assert max(len(part.unsure_starts) for part in parts) < limit


@pytest.mark.parametrize("text", [b"\0", b"x", b" "])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_longer_than_a_piece_is_the_models(text: bytes, end: bytes) -> None:
    long = text * (columnar._PIECE_BYTES * 5 // 2)
    before = (_PLAIN + b"\n") * 100
    parts, unsure = _read(before + long + end + (before if end else b""), ())
    assert unsure == {long: 1}
    assert sum(part.accepted for part in parts) == (200 if end else 100)


@pytest.mark.parametrize("text", [b"\n", b"7\n", b"\0", b" \n", b"\r\n"])
def test_what_a_block_takes_in_memory_is_not_a_multiple_of_it(text: bytes) -> None:
    data = text * (2**24 // len(text))
    sum_block(data, (), _is_event)
    tracemalloc.start()
    try:
        sum_block(data, (), _is_event)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(data)
