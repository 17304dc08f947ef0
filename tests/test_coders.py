"""The bytes between steps: each value comes back, and no layout changes unseen."""

import math
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from apache_beam.coders import Coder, FastPrimitivesCoder, registry
from hypothesis import given
from hypothesis import strategies as st

from pipeline import coders
from pipeline.chunks import Chunk, Origin
from pipeline.durations import DurationSum, MeanDuration, MinuteSums
from pipeline.events import DeadLetter, FieldError
from pipeline.reading import ReadTask, Section
from pipeline.rolling import Dates
from pipeline.rows import Row, RowBlock, StateKey
from pipeline.runs import RowRun
from pipeline.silences import Silences
from pipeline.tally import Tally

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LETTER = DeadLetter("é.json", 7, '{"a"', False, True, (FieldError("", "json_invalid", "EOF"),))

# A value of each type, and its encoding.
_GOLDEN: list[tuple[Any, str]] = [
    (DurationSum(), "01 0000000000000000 00"),
    (DurationSum(255, 2), "01 0000000000000002 00ff"),
    (DurationSum(2**64, 3), "01 0000000000000003 010000000000000000"),
    (
        MeanDuration(25.5, DurationSum(51_000_000, 2)),
        "01 4039800000000000 0000000000000002 030a32c0",
    ),
    (MeanDuration(None, DurationSum()), "01 7ff8000000000000 0000000000000000 00"),
    (
        MinuteSums.of_sums([(1, DurationSum(2**32 + 5, 2)), (2, DurationSum(6, 1))]),
        "01 0100000000000000 0200000000000000 0200000000000000 0100000000000000"
        "0100000000000000 0000000000000000 0500000000000000 0600000000000000",
    ),
    (
        RowBlock(("fr",), MinuteSums.of_sums([(1, DurationSum(5, 2))]), np.array([25.5])),
        "01 00000006 5b226672225d 0000000000803940"
        "0100000000000000 0200000000000000 0000000000000000 0500000000000000",
    ),
    (
        Row(("é",), _EPOCH + timedelta(minutes=1), 0.1, 2, 2**64),
        b'\x01[["\\u00e9"],60000000,0.1,2,18446744073709551616,null]'.hex(),
    ),
    (Row((), _EPOCH, None, 0, 0, 3), b"\x01[[],0,null,0,0,3]".hex()),
    (StateKey(("é",)), b'\x01[["\\u00e9"],null]'.hex()),
    (StateKey(("é",), 7), b'\x01[["\\u00e9"],7]'.hex()),
    (
        Silences([1, 5], [Dates(1, 1), Dates(4, 5)], 7, True),
        b"\x01[[1,5],[[1,1],[4,5]],7,true]".hex(),
    ),
    (
        ReadTask((Section("a", "é", 0, 7), Section("b.gz", "b.gz", 0, None))),
        b'\x01[["a","\\u00e9",0,7],["b.gz","b.gz",0,null]]'.hex(),
    ),
    (
        Chunk(b"a\nb", (Origin(0, "é", 7), Origin(2, "b", 0))),
        "01 00000027" + b'[[[0,"\\u00e9",7],[2,"b",0]],false,null]a\nb'.hex(),
    ),
    (
        Chunk(b"a", (Origin(0, "", 0),), True, -60),
        "01 00000015" + b'[[[0,"",0]],true,-60]a'.hex(),
    ),
    (
        Chunk(b"a", (Origin(0, "b", 0, "17"),)),
        "01 0000001d" + b'[[[0,"b",0,"17"]],false,null]a'.hex(),
    ),
    (RowRun("a", 0, 3, -1, 2), b'\x01["a",0,3,-1,2]'.hex()),
    (
        _LETTER,
        b'\x01["\\u00e9.json",7,"{\\"a\\"",false,true,[["","json_invalid","EOF"]]]'.hex(),
    ),
    (
        _LETTER._replace(message_id="17"),
        b'\x01["\\u00e9.json",7,"{\\"a\\"",false,true,[["","json_invalid","EOF"]],"17"]'.hex(),
    ),
    (
        Tally(1, 2, Counter({"b": 3, "a": 1}), Counter({"json_invalid": 1}), (_LETTER,), 4),
        (
            b'\x01{"accepted":2,"blank":1,"first_rejected":'
            b'[["\\u00e9.json",7,"{\\"a\\"",false,true,[["","json_invalid","EOF"]]]],'
            b'"late":4,"other_events":{"a":1,"b":3},"rejected":{"json_invalid":1}}'
        ).hex(),
    ),
]
_TYPES = sorted({type(value) for value, _ in _GOLDEN}, key=lambda each: each.__name__)


def _shown(value: Any) -> object:
    """Something to compare values by that hold arrays or NaN."""
    if isinstance(value, MinuteSums):
        return [column.tolist() for column in (value.minutes, value.counts, value.high, value.low)]
    if isinstance(value, RowBlock):
        averages = [None if math.isnan(each) else each for each in value.averages.tolist()]
        return value.series, _shown(value.windows), averages
    return value


def _coder(value: Any) -> Coder:
    return registry.get_coder(type(value))


# ---------------------------------------------------------------------------------------------
# Layouts


@pytest.mark.parametrize(("value", "encoded"), _GOLDEN)
def test_values_are_encoded_as_ever(value: Any, encoded: str) -> None:
    assert _coder(value).encode(value).hex() == encoded.replace(" ", ""), (
        "jobs that run hold values in this layout: give the new one a version"
    )


@pytest.mark.parametrize(("value", "encoded"), _GOLDEN)
def test_values_encoded_before_are_still_read(value: Any, encoded: str) -> None:
    assert _shown(_coder(value).decode(bytes.fromhex(encoded))) == _shown(value)


@pytest.mark.parametrize(("value", "encoded"), _GOLDEN)
@pytest.mark.parametrize("version", ["00", "02", "ff"])
def test_an_unknown_version_is_refused(value: Any, encoded: str, version: str) -> None:
    with pytest.raises(ValueError, match=f"{type(value).__name__}Coder cannot read version"):
        _coder(value).decode(bytes.fromhex(version + encoded[2:]))
    with pytest.raises(ValueError, match="cannot read version"):
        _coder(value).decode(b"")


@pytest.mark.parametrize("type_", _TYPES)
def test_each_type_has_its_own_deterministic_coder(type_: type) -> None:
    coder = registry.get_coder(type_)
    assert type(coder) is getattr(coders, f"{type_.__name__}Coder")
    assert coder.is_deterministic()
    again = registry.get_coder(type_)
    assert (coder, hash(coder)) == (again, hash(again))
    assert [other for other in _TYPES if registry.get_coder(other) == coder] == [type_]


def test_equal_tallies_have_equal_bytes_whatever_the_order_of_their_names() -> None:
    forward, backward = (
        Counter(dict(names)) for names in ((("a", 1), ("b", 2)), (("b", 2), ("a", 1)))
    )
    coder = registry.get_coder(Tally)
    assert coder.encode(Tally(0, 0, forward)) == coder.encode(Tally(0, 0, backward))


# ---------------------------------------------------------------------------------------------
# Round trips

_int64s = st.integers(-(2**63), 2**63 - 1)
_series = st.lists(st.text(max_size=4), max_size=3).map(tuple)
_sums = st.builds(DurationSum, st.integers(0, 2**100), st.integers(0, 2**63 - 1))
_minute_sums = st.lists(st.tuples(*[_int64s] * 4), max_size=5).map(
    lambda rows: MinuteSums(*np.array(rows, np.int64).reshape(-1, 4).T)
)
_averages = st.floats(0, 1e9) | st.none()
_row_blocks = st.builds(
    lambda series, windows, average: RowBlock(
        series, windows, np.full(len(windows), math.nan if average is None else average)
    ),
    _series,
    _minute_sums,
    _averages,
)
_dates = st.integers(0, 253_402_300_799).map(lambda seconds: _EPOCH + timedelta(seconds=seconds))
_texts = st.text(max_size=4)
_letters = st.builds(
    DeadLetter,
    # A source may be a file name that is not UTF-8.
    _texts | st.just("\udcff"),
    st.integers(0, 2**63),
    _texts,
    st.booleans(),
    st.booleans(),
    st.lists(st.builds(FieldError, _texts, _texts, _texts), max_size=2).map(tuple),
)
_names = st.dictionaries(_texts, st.integers(1, 2**63), max_size=3).map(Counter)
_tallies = st.builds(
    Tally,
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    _names,
    _names,
    st.lists(_letters, max_size=2).map(tuple),
    st.integers(0, 2**63),
)
_rows = st.builds(
    Row,
    _series,
    _dates,
    _averages,
    st.integers(0, 2**63),
    st.integers(0, 2**100),
    st.none() | st.integers(0, 2**31),
)
_keys = st.builds(StateKey, _series, st.none() | _int64s)
_silences = st.builds(
    Silences,
    st.lists(_int64s, max_size=3),
    st.lists(st.builds(Dates, _int64s, _int64s), max_size=3),
    _int64s,
    st.booleans(),
)
_paths = _texts | st.just("\udcff")
_counts = st.integers(0, 2**63)
_sections = st.builds(Section, _paths, _paths, _counts, st.none() | _counts)
_tasks = st.lists(_sections, max_size=3).map(lambda sections: ReadTask(tuple(sections)))
_runs = st.builds(RowRun, _texts, _counts, _counts, _int64s, _int64s)
_means = st.builds(MeanDuration, _averages, _sums)


@given(
    st.one_of(
        *(_sums, _means, _minute_sums, _row_blocks, _rows, _letters, _tallies, _tasks, _runs),
        *(_keys, _silences),
    ),
)
def test_values_come_back_as_they_were(value: Any) -> None:
    coder = _coder(value)
    decoded = coder.decode(coder.encode(value))
    assert type(decoded) is type(value)
    assert _shown(decoded) == _shown(value)
    assert coder.encode(decoded) == coder.encode(value)


@given(
    st.dictionaries(_int64s, st.tuples(st.integers(0, 2**31), _sums), max_size=3),
)
def test_revisions_come_back_as_they_were(
    revisions: dict[int, tuple[int, DurationSum]],
) -> None:
    coder = coders.RevisionsCoder()
    assert coder.decode(coder.encode(revisions)) == revisions


@pytest.mark.parametrize(
    "value",
    [
        Tally(1, 2, Counter(opened=3), Counter(int_type=1), (_LETTER,)),
        RowRun("gs://bucket/scratch/a", 1, 2, 3, 4),
    ],
)
def test_side_inputs_survive_the_coder_that_dataflow_has_for_all_of_them(value: Any) -> None:
    coder = FastPrimitivesCoder()
    decoded = coder.decode(coder.encode(value))
    assert (type(decoded), decoded) == (type(value), value)


def test_a_view_of_a_block_is_encoded_like_its_bytes_and_measured_without_that() -> None:
    origins = (Origin(0, "a", 0),)
    of_bytes, of_view = Chunk(b"bc\n", origins), Chunk(memoryview(b"abc\n")[1:], origins)
    assert _coder(of_view).encode(of_view) == _coder(of_bytes).encode(of_bytes)
    assert _coder(of_view).decode(_coder(of_view).encode(of_view)) == of_bytes
    assert _coder(of_view).estimate_size(of_view) == 3
