"""The kernel against the model: it only accepts what the model does, with equal values.

MUTANTS and EXAMPLES in the environment make the search longer.
"""

from __future__ import annotations

import json
import os
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_lines import PLAIN, SAMPLES, mutated
from verdicts import added

from pipeline.core.durations import DurationSum
from pipeline.core.events import Event, OtherEvent, parse_line
from pipeline.parsing import blocks, library
from pipeline.parsing.blocks import BlockSums, sum_block
from pipeline.parsing.trust import trusted_kernel

_GROUPS = [
    (),
    ("client_name",),
    ("source_language", "target_language"),
    ("translation_id",),
    ("client_name", "source_language", "target_language", "translation_id"),
]
_NAME = "translation_delivered"
_MUTANTS = int(os.environ.get("MUTANTS", "100000"))


def _is_event(line: bytes) -> bool:
    return isinstance(parse_line(line), Event)


def _check(
    lines: list[bytes], group_by: tuple[str, ...], end: bytes = b"\n", unended: bool = False
) -> Counter[bytes]:
    """Compares what a block holds; returns the lines that were not left to the model."""
    data = end.join(lines) + (b"" if unended else end)
    parts = _read(data, group_by)
    unsure = Counter(data[start:stop] for part in parts for start, stop in part.unsure.tolist())
    split = data.split(b"\n")
    if not split[-1]:
        split.pop()
        split = [line.removesuffix(b"\r") for line in split]
    else:
        split = [line.removesuffix(b"\r") for line in split[:-1]] + split[-1:]
    taken = Counter(split)
    assert unsure <= taken
    taken -= unsure
    blank = Counter({line: count for line, count in taken.items() if not line.strip()})
    taken -= blank
    assert sum(part.blank for part in parts) == blank.total()
    expected: dict[tuple[tuple[str, ...], int], DurationSum] = {}
    expected_others: Counter[str] = Counter()
    accepted = 0
    for line, count in taken.items():
        event = parse_line(line)
        if isinstance(event, OtherEvent):
            expected_others[event.event_name] += count
            continue
        assert isinstance(event, Event), line
        accepted += count
        cell = tuple(getattr(event, field) for field in group_by), event.minute
        durations = DurationSum(count * event.duration_millionths, count)
        expected[cell] = expected.get(cell, DurationSum()) + durations
    for part in parts:
        for _, minutes in part.sums:
            assert len(minutes) > 0
            assert (minutes.minutes[1:] > minutes.minutes[:-1]).all()
    assert added(sums for part in parts for sums in part.sums) == expected
    assert sum(part.accepted for part in parts) == accepted
    assert sum((part.other_events for part in parts), Counter()) == expected_others
    return taken


def _walk() -> library.Walk:
    walk = trusted_kernel()
    assert walk, "scripts/build_kernel.py makes what is tested here"
    return walk


def _read(
    data: bytes, group_by: tuple[str, ...], walk: library.Walk | None = None
) -> list[BlockSums]:
    """The parts that a block is read in, which follow one another."""
    parts = list(sum_block(data, group_by, _NAME, walk or _walk()))
    position = 0
    for part in parts:
        assert part.start == position < part.stop
        assert part.stop == len(data) or data[part.stop - 1] == ord("\n")
        position = part.stop
    assert position == len(data)
    return parts


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_of_mutated_lines_only_events_are_accepted_with_their_values(
    sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(sample)
    line = SAMPLES[sample]
    assert _is_event(line)
    accepted = mutants = 0
    while mutants < _MUTANTS // len(SAMPLES):
        monkeypatch.setattr(blocks, "_CAPACITY", rng.choice((1, 4, 64, 1 << 15)))
        monkeypatch.setattr(blocks, "_TAIL_BYTES", rng.choice((1, 500, 4096)))
        bad = [mutated(rng, line) for _ in range(100)]
        lines = [line] * 100 + bad
        rng.shuffle(lines)
        lines[rng.randrange(5)] = line
        end, unended = rng.choice((b"\n", b"\r\n")), rng.random() < 0.3
        taken = _check(lines, rng.choice(_GROUPS), end, unended)
        accepted += sum(mutant in taken and mutant != line for mutant in bad)
        mutants += len(bad)
    assert accepted > 0, "mutants that are valid are accepted too: else this test says little"


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_usual_lines_are_not_left_to_the_model(sample: int) -> None:
    for end in (b"\n", b"\r\n"):
        for unended in (False, True):
            if not (unended and end == b"\r\n"):
                assert _check([SAMPLES[sample]] * 300, (), end, unended).total() == 300


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
    good = PLAIN.replace(b"2018-12-26 18:11:08.509654", f"2018-12-26 18:11{tail}{zone}".encode())
    lines = [PLAIN.replace(b"2018-12-26 18:11:08.509654", stamp.encode()) for stamp in stamps]
    taken = _check([good] * 500 + lines, ())
    assert taken.total() > 500 + 40


@pytest.mark.parametrize(
    "twice", [b'"duration": 1, ', b'"event_name": "other", ', b'"client_name": "airliberty", ']
)
def test_a_name_that_stands_twice_is_for_the_model(twice: bytes) -> None:
    assert not _check([PLAIN.replace(b'"nr_words"', twice + b'"nr_words"')] * 300, ())


def test_a_number_may_stand_in_the_first_bytes_of_a_block() -> None:
    line = SAMPLES[-1]
    assert line.startswith(b'{"a":1,')
    for bad in (b"x", b"", b"01", b"-", b"1."):
        lines = [line.replace(b'"a":1', b'"a":' + bad)] + [line] * 200 + [PLAIN + b"  1111111"]
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
        PLAIN,
        PLAIN.replace(b"08.509654", b"08.509Z"),
        PLAIN.replace(b"26 18", b"26T18"),
    ] * 100
    for stamp, duration, words, client, language in rows:
        names = [json.dumps(text, ensure_ascii=False).encode()[1:-1] for text in (client, language)]
        line = PLAIN.replace(b"airliberty", names[0]).replace(b'"en"', b'"%s"' % names[1])
        lines.append(
            line.replace(b": 20}", b": %s}" % duration.encode()).replace(
                b": 30", b": %s" % words.encode()
            )
        )
        lines.append(line.replace(b": 20}", b": %s}" % duration.encode()))
        lines.append(PLAIN.replace(b"2018-12-26 18:11:08.509654", stamp.encode()))
    _check(lines, group_by)


def test_sums_may_outgrow_64_bits() -> None:
    line = PLAIN.replace(b": 20}", b": 1000000000}") + b"\n"
    total = DurationSum()
    for part in _read(line * 20_000, ()):
        ((_, minutes),) = part.sums
        ((_, each),) = minutes
        total += each
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
        PLAIN,
        PLAIN + b"\n\n",
        (PLAIN + b"\n") * 2,
    ],
)
@pytest.mark.parametrize("group_by", [(), ("client_name",)])
def test_a_block_may_hold_anything(data: bytes, group_by: tuple[str, ...]) -> None:
    for copy in (data, (PLAIN + b"\n") * 100 + data):
        if copy:
            _check(
                copy.split(b"\n")[: -1 if copy.endswith(b"\n") else None],
                group_by,
                unended=not copy.endswith(b"\n"),
            )
        else:
            assert _read(copy, group_by) == []


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
    st.lists(st.sampled_from([*_SHORT, PLAIN]) | st.just(PLAIN), min_size=1, max_size=60),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.sampled_from([1, 2, 16]),
    st.integers(1, 300),
)
def test_blank_lines_are_counted_wherever_parts_end(
    lines: list[bytes], end: bytes, unended: bool, capacity: int, tail_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_CAPACITY", capacity)
        patch.setattr(blocks, "_TAIL_BYTES", tail_bytes)
        _check([*lines, *lines[:1]], ("client_name",), end, unended)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_no_blank_line_is_left_to_the_model(end: bytes) -> None:
    data = end * 200_000 + (b" \t" + end) * 100_000 + (PLAIN + end + end) * 1_000
    parts = _read(data, ())
    assert sum(len(part.unsure) for part in parts) == 0
    assert sum(part.blank for part in parts) == 301_000
    assert sum(part.accepted for part in parts) == 1_000


def test_unsure_lines_are_left_before_they_are_too_many() -> None:
    parts = _read(b"7\n" * 500_000 + (PLAIN + b"\n") * 1_000, ())
    assert sum(len(part.unsure) for part in parts) == 500_000
    assert sum(part.accepted for part in parts) == 1_000
    assert max(len(part.unsure) for part in parts) == blocks._CAPACITY


@pytest.mark.parametrize("text", [b"\0", b"x", b" x"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_long_line_may_be_the_models(text: bytes, end: bytes) -> None:
    long = text * 2**21
    before = (PLAIN + b"\n") * 100
    data = before + long + end + (before if end else b"")
    parts = _read(data, ())
    assert [data[start:stop] for part in parts for start, stop in part.unsure.tolist()] == [long]
    assert sum(part.accepted for part in parts) == (200 if end else 100)


@pytest.mark.parametrize("text", [b"\n", b"7\n", b"\0", b" \n", b"\r\n"])
def test_what_a_block_takes_in_memory_is_not_a_multiple_of_it(text: bytes) -> None:
    data = text * (2**22 // len(text))
    tracemalloc.start()
    try:
        for _ in _iterate(data):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**23


def _iterate(data: bytes) -> Iterator[BlockSums]:
    return sum_block(data, (), _NAME, _walk())
