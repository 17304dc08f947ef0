"""The account of lines adds up in any order, and says what may be rejected."""

from collections import Counter
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import tally
from pipeline.core.events import DeadLetter, FieldError
from pipeline.core.rejection import MaxRejected
from pipeline.core.tally import MAX_NAMES, SAMPLE_SIZE, Tally, first_of


def _letter(source: str, offset: int, line: str = "x", type_: str = "missing") -> DeadLetter:
    return DeadLetter(source, offset, line, False, False, (FieldError("duration", type_, "why"),))


_letters = st.builds(
    _letter,
    st.sampled_from(["", "a.json", "b.json"]),
    st.integers(0, 3),
    st.sampled_from(["x", "y"]),
    st.sampled_from(["missing", "float_type"]),
)
_names = st.dictionaries(st.sampled_from(["", "a", "b"]), st.integers(1, 9)).map(Counter)
_tallies = st.builds(
    Tally,
    st.integers(0, 9),
    st.integers(0, 9),
    _names,
    _names,
    st.lists(_letters, max_size=8).map(first_of),
    st.integers(0, 9),
    filtered=st.integers(0, 9),
)


@given(_tallies, _tallies, _tallies)
def test_tallies_are_a_commutative_monoid(a: Tally, b: Tally, c: Tally) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Tally() == a == Tally() + a


@given(_tallies, _tallies)
def test_the_equation_of_lines_holds_and_adds_up(a: Tally, b: Tally) -> None:
    counts = (a + b).counts()
    assert counts == {name: count + b.counts()[name] for name, count in a.counts().items()}
    lines = counts.pop("lines")
    assert lines == sum(counts.values()) + (a + b).late
    assert (a + b).non_blank == lines - counts["blank"]


def test_counts_have_the_names_of_the_contract_in_its_order() -> None:
    counted = Tally(
        1, 2, Counter({"a": 3, "b": 1}), Counter({"missing": 4, "other": 1}), filtered=7
    )
    assert [*counted.counts().items()] == [
        ("lines", 19),
        ("blank", 1),
        ("other_events", 4),
        ("filtered", 7),
        ("accepted", 2),
        ("rejected", 5),
    ]
    assert counted.non_blank == 18


def test_the_dead_letters_shown_are_the_first_by_source_and_offset() -> None:
    letters = [_letter(source, offset) for source in ("b", "a") for offset in (10, 9, 100)]
    a, b = (Tally(first_rejected=first_of(half)) for half in (letters[:3], letters[3:]))
    assert [(each.source, each.offset) for each in (a + b).first_rejected] == [
        ("a", 9), ("a", 10), ("a", 100), ("b", 9), ("b", 10)
    ]  # fmt: skip
    assert SAMPLE_SIZE == 5


def test_names_beyond_the_number_that_is_kept_are_counted_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally, "MAX_NAMES", 3)
    total = sum((Tally(other_events=Counter([name])) for name in "abcdeabcde"), Tally())
    assert len(total.other_events) == 3
    assert {*total.other_events.values()} == {2}
    assert total.unnamed == 4
    assert total.counts()["other_events"] == total.non_blank == 10


@given(st.lists(st.sampled_from(["", *"abcdefg"]), max_size=40), st.randoms())
def test_names_are_kept_and_counted_the_same_whatever_the_order_of_adding(
    names: list[str], numbers: Random
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "MAX_NAMES", 3)
        parts = [Tally(other_events=Counter([name])) for name in names]
        in_order = sum(parts, Tally())
        numbers.shuffle(parts)
        while len(parts) > 1:
            index = numbers.randrange(len(parts) - 1)
            parts[index : index + 2] = [parts[index] + parts[index + 1]]
    assert sum(parts, Tally()) == in_order
    counted = Counter(names)
    assert all(counted[name] == count for name, count in in_order.other_events.items())
    assert in_order.counts()["other_events"] == len(names)


def test_as_many_names_as_allowed_are_all_kept() -> None:
    names = Counter({f"name-{n}": 1 for n in range(MAX_NAMES)})
    assert (Tally(other_events=names) + Tally()).other_events == names


# ---------------------------------------------------------------------------------------------
# How many may be rejected


@pytest.mark.parametrize(
    ("allowed", "rejected", "non_blank", "allows"),
    [
        (MaxRejected(), 0, 0, True),
        (MaxRejected(), 0, 1, True),
        (MaxRejected(), 9, 10, True),
        (MaxRejected(), 10, 10, False),
        (MaxRejected(count=0), 0, 10, True),
        (MaxRejected(count=0), 1, 10, False),
        (MaxRejected(count=100), 100, 101, True),
        (MaxRejected(count=100), 101, 1000, False),
        (MaxRejected(count=100), 5, 5, False),
        (MaxRejected(count=0), 0, 0, True),
        (MaxRejected(share=Decimal("0.005")), 5, 1000, True),
        (MaxRejected(share=Decimal("0.005")), 6, 1000, False),
        (MaxRejected(share=Decimal("0.001")), 3, 3000, True),  # no double is 0.001
        (MaxRejected(share=Decimal(0)), 0, 10, True),
        (MaxRejected(share=Decimal(0)), 1, 10, False),
        (MaxRejected(share=Decimal("0.99")), 10, 10, False),
        (MaxRejected(share=Decimal(1)), 10, 10, True),
        (MaxRejected(share=Decimal(1)), 0, 0, True),
    ],
)
def test_whether_so_many_may_be_rejected(
    allowed: MaxRejected, rejected: int, non_blank: int, allows: bool
) -> None:
    assert allowed.allows(rejected, non_blank) is allows
