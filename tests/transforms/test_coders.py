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

from pipeline.core.details import Histogram, Longest, Shortest, Within, Words
from pipeline.core.durations import DurationSum, MeanDuration, MinuteSums
from pipeline.core.events import DeadLetter, FieldError
from pipeline.core.exact import exact
from pipeline.core.row_rules import MAX_WINDOW_MINUTES, Dates
from pipeline.core.rows import Measured, Row, RowBlock
from pipeline.core.shards import NEVER, RevisedRows, ShardBook, ShardSums
from pipeline.core.silences import Silences
from pipeline.core.tally import Tally
from pipeline.parsing.chunks import Chunk, Origin
from pipeline.sinks.sorting import SortedFile
from pipeline.sources.sections import ReadTask, Section
from pipeline.transforms.revisions import RevisionsCoder, StateKey
from pipeline.transforms.rolling_rows import Clock

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LETTER = DeadLetter("é.json", 7, '{"a"', False, True, (FieldError("", "json_invalid", "EOF"),))

_DETAILS = (Words(), Within(8_000_000), Shortest(), Longest(), Histogram())


def _headed(header: bytes, *numbers: int, version: bytes = b"\x02") -> str:
    """The bytes of columns of one number each, behind a header and its length."""
    columns = b"".join(number.to_bytes(8, "little") for number in numbers)
    return (version + len(header).to_bytes(4, "big") + header + columns).hex()


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
        "02 00000000 0100000000000000 0200000000000000 0200000000000000 0100000000000000"
        "0500000001000000 0600000000000000",
    ),
    (
        MinuteSums.of_sums([(1, DurationSum(2**64, 2))]),
        _headed(
            b'[{},[{"dtype":"i8","size":1},{"dtype":"i8","size":1},'
            b'{"numbers":["0x10000000000000000"]}]]',
            *(1, 2),
        ),
    ),
    (
        MinuteSums.of([1], [7_000_000], [3], _DETAILS),
        _headed(
            b'[{"words":1,"within_8000000":1,"shortest":1,"longest":1,"histogram":3},['
            + b'{"dtype":"i8","size":1},' * 7
            + b'{"dtype":"i8","size":2},{"dtype":"i8","size":1},{"dtype":"i8","size":1}]]',
            *(1, 1, 7_000_000, 3, 1, 7_000_000, 7_000_000, 0, 1, 4_300, 1),
        ),
    ),
    (
        DurationSum.of_delivery(7_000_000, 3, _DETAILS),
        "01 ffffffffffffffff"
        + (
            b'[7000000, 1, {"words": [[3]], "within_8000000": [[1]], "shortest": [[7000000]], '
            b'"longest": [[7000000]], "histogram": [[0, 1], [4300], [1]]}]'
        ).hex(),
    ),
    (
        Measured((0.5, 2, None), DurationSum(1_000_000, 2)),
        b"\x01[[0.5,2,null],[1000000,2]]".hex(),
    ),
    (
        RowBlock(
            ("fr",),
            10,
            np.array([1]),
            np.array([2]),
            {"mean": np.array([25.5]), "words": exact([2**64])},
        ),
        _headed(
            b'[[["fr"],10,"mean","words"],[{"dtype":"i8","size":1},{"dtype":"i8","size":1},'
            b'{"dtype":"f8","size":1},{"numbers":["0x10000000000000000"]}]]',
            *(1, 2, 0x4039800000000000),  # the bits of 25.5
        ),
    ),
    (
        Row(("é",), _EPOCH + timedelta(minutes=1), 10, 2, {"mean": 0.1, "words": 3}),
        b'\x02[["\\u00e9"],60000000,10,2,["mean","words"],[0.1,3],null]'.hex(),
    ),
    (
        Row((), _EPOCH, 10, 0, {"mean": None}, 3),
        b'\x02[[],0,10,0,["mean"],[null],3]'.hex(),
    ),
    (Clock(7, 8, 10, 2, 1, 5, "x"), b'\x01[7,8,10,2,1,5,"x"]'.hex()),
    (
        ShardSums.of([(("é",), MinuteSums.of([1], [7]))]),
        _headed(
            b'[[[["\\u00e9"]],{}],['
            + b'{"dtype":"i8","size":1},' * 2
            + b'{"dtype":"i8","size":1}]]',
            *(2 * MAX_WINDOW_MINUTES + 1, 1, 7),
            version=b"\x01",
        ),
    ),
    (
        ShardBook(7, 6, 5, [("é",), None], np.array([1, NEVER]), [np.array([3])], [np.array([2])]),
        _headed(
            b'[[7,6,5,[["\\u00e9"],null]],[{"dtype":"i8","size":2},{"dtype":"i8","size":1},'
            b'{"dtype":"i8","size":1}]]',
            *(1, 2**64 - 1, 3, 2),
            version=b"\x01",
        ),
    ),
    (
        RevisedRows(
            [("é",), None],
            10,
            np.array([0]),
            np.array([1]),
            np.array([2]),
            {"mean": np.array([25.5])},
            np.array([3]),
        ),
        _headed(
            b'[[[["\\u00e9"],null],10,"mean"],['
            + b'{"dtype":"i8","size":1},' * 4
            + b'{"dtype":"f8","size":1}]]',
            *(0, 1, 2, 3, 0x4039800000000000),
            version=b"\x01",
        ),
    ),
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
        "02 00000026" + b'[[[0,"\\u00e9",7],[2,"b",0]],null,null]a\nb'.hex(),
    ),
    (
        Chunk(b"a", (Origin(0, "", 0),), FieldError("", "b", "c"), -60),
        "02 0000001d" + b'[[[0,"",0]],["","b","c"],-60]a'.hex(),
    ),
    (
        Chunk(b"a", (Origin(0, "b", 0, "17"),)),
        "02 0000001c" + b'[[[0,"b",0,"17"]],null,null]a'.hex(),
    ),
    (SortedFile("a", 0, 3, -1, 2), b'\x01["a",0,3,-1,2]'.hex()),
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
        return list(value)
    if isinstance(value, RowBlock):
        return value.series, value.window_minutes, list(value)
    if isinstance(value, RevisedRows):
        return value.names, list(value)
    if isinstance(value, ShardSums):
        return value.names, list(value.sums)
    return repr(value) if isinstance(value, ShardBook) else value


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
@pytest.mark.parametrize("version", ["00", "03", "ff"])
def test_an_unknown_version_is_refused(value: Any, encoded: str, version: str) -> None:
    with pytest.raises(ValueError, match=f"{type(value).__name__}Coder cannot read version"):
        _coder(value).decode(bytes.fromhex(version + encoded[2:]))
    with pytest.raises(ValueError, match="cannot read version"):
        _coder(value).decode(b"")


@pytest.mark.parametrize("type_", _TYPES)
def test_each_type_has_its_own_deterministic_coder(type_: type) -> None:
    coder = registry.get_coder(type_)
    assert type(coder).__name__ == f"{type_.__name__}Coder"
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

_whole = st.integers(-(2**63), 2**63 - 1)
_series = st.lists(st.text(max_size=4), max_size=3).map(tuple)
_millionths = st.integers(0, 10**15)
_deliveries = st.tuples(st.integers(0, 9), _millionths, st.integers(0, 2**70))
_details = st.lists(st.sampled_from(_DETAILS), unique=True)
_sums = st.builds(DurationSum, st.integers(0, 2**100), st.integers(0, 2**63 - 1)) | st.builds(
    DurationSum.of_delivery, _millionths, st.integers(0, 10**5000), _details
)
_minute_sums = st.builds(
    lambda deliveries, details: MinuteSums.of(*zip(*deliveries, strict=True), details),
    st.lists(_deliveries, min_size=1, max_size=5),
    _details,
)
_averages = st.floats(0, 1e9) | st.none()
_row_blocks = st.builds(
    lambda series, dates, average, words: RowBlock(
        series,
        10,
        np.array(dates, np.int64),
        np.array(dates, np.int64),
        {
            "mean": np.full(len(dates), math.nan if average is None else average),
            "words": exact([words] * len(dates)),
        },
    ),
    _series,
    st.lists(st.integers(0, 4 * 10**9), max_size=5),
    _averages,
    st.integers(0, 10**5000),
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
    st.integers(1, 1000),
    st.integers(0, 2**63),
    st.fixed_dictionaries({"mean": _averages, "words": st.integers(0, 10**5000)}),
    st.none() | st.integers(0, 2**31),
)
_keys = st.builds(StateKey, _series, st.none() | _whole)
_silences = st.builds(
    Silences,
    st.lists(_whole, max_size=3),
    st.lists(st.builds(Dates, _whole, _whole), max_size=3),
    _whole,
    st.booleans(),
)
_paths = _texts | st.just("\udcff")
_counts = st.integers(0, 2**63)
_sections = st.builds(Section, _paths, _paths, _counts, st.none() | _counts)
_tasks = st.lists(_sections, max_size=3).map(lambda sections: ReadTask(tuple(sections)))
_runs = st.builds(SortedFile, _texts, _counts, _counts, _whole, _whole)
_means = st.builds(MeanDuration, _averages, _sums)
_measured = st.builds(Measured, st.tuples(_averages, st.integers(0, 10**5000)), _sums)


@given(
    st.one_of(
        *(_sums, _means, _minute_sums, _row_blocks, _rows, _letters, _tallies, _tasks, _runs),
        *(_keys, _silences, _measured),
    ),
)
def test_values_come_back_as_they_were(value: Any) -> None:
    coder = _coder(value)
    decoded = coder.decode(coder.encode(value))
    assert type(decoded) is type(value)
    assert _shown(decoded) == _shown(value)
    assert coder.encode(decoded) == coder.encode(value)


@given(
    st.dictionaries(_whole, st.tuples(st.integers(0, 2**31), _sums), max_size=3),
)
def test_revisions_come_back_as_they_were(
    revisions: dict[int, tuple[int, DurationSum]],
) -> None:
    coder = RevisionsCoder()
    assert coder.decode(coder.encode(revisions)) == revisions


@pytest.mark.parametrize(
    "value",
    [
        Tally(1, 2, Counter(opened=3), Counter(int_type=1), (_LETTER,)),
        SortedFile("gs://bucket/scratch/a", 1, 2, 3, 4),
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
