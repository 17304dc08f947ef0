"""The account of a run: its counts as metrics, as JSON, and for a person."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import oracle
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.testing.util import assert_that, equal_to
from examples import CHALLENGE_EVENTS, line
from local_runners import run_flow, transform_pipeline

from pipeline import DeadLetter
from pipeline.cli.summary import Summary
from pipeline.core.events import FieldError
from pipeline.core.rejection import MaxRejected
from pipeline.core.tally import SAMPLE_SIZE, Tally
from pipeline.transforms.accounting import AddUp, Report

_KEYS = [
    "lines",
    "blank",
    "other_events",
    "filtered",
    "accepted",
    "rejected",
    "rows",
    "series",
    "first_row",
    "last_row",
    "seconds",
]
_NO_EVENT = FieldError("", "json_invalid", "Invalid JSON")


def _summary(**changes: Any) -> Summary:
    given: dict[str, Any] = {
        "lines": 1_234_567,
        "blank": 1,
        "other_events": 30,
        "filtered": 0,
        "accepted": 1_234_036,
        "rejected": 500,
        "rows": 1_440,
        "series": 1,
        "first_row": "2018-12-26 18:11:00",
        "last_row": "2018-12-27 18:10:00",
        "seconds": 2.5,
        "names": Counter(),
        "reasons": Counter(),
        **changes,
    }
    return Summary(**given)


# ---------------------------------------------------------------------------------------------
# As JSON


@pytest.mark.clause("4.3")
def test_json_has_the_keys_of_the_contract_in_its_order() -> None:
    encoded = _summary(names=Counter(a=1), reasons=Counter(b=1)).to_json()
    assert encoded.splitlines(keepends=True) == [encoded]
    written = json.loads(encoded)
    assert list(written) == _KEYS
    assert written == {key: getattr(_summary(), key) for key in _KEYS}


def test_without_rows_there_is_no_first_or_last_one(tmp_path: Path) -> None:
    summary = run_flow(tmp_path, b"\n", 10).summary
    written = json.loads(summary.to_json())
    assert (written["first_row"], written["last_row"], written["rows"]) == (None, None, 0)
    assert "None" not in summary.text()


# ---------------------------------------------------------------------------------------------
# From the metrics


def test_a_summary_counts_lines_rows_and_series_and_tells_the_first_and_last_row(
    tmp_path: Path,
) -> None:
    data = [b"\nno event\n" + CHALLENGE_EVENTS, line(event_name='"opened"')]
    result = run_flow(tmp_path, data, 10, group_by=("client_name",))
    assert result.rows is not None
    dates = [json.loads(row)["date"] for row in result.rows.splitlines()]
    assert result.counts == oracle.counts_of(data) == oracle.Counts(6, 1, 1, 3, 1)
    assert vars(result.summary) | {"seconds": 0} == {
        **vars(result.counts),
        "rows": len(dates),
        "series": 2,
        "first_row": min(dates),
        "last_row": max(dates),
        "seconds": 0,
        "late": None,
        "names": Counter(opened=1),
        "reasons": Counter(json_invalid=1),
    }


@pytest.mark.parametrize("num_shards", [1, 3])
def test_rows_in_several_files_are_counted_together(tmp_path: Path, num_shards: int) -> None:
    summary = run_flow(tmp_path, CHALLENGE_EVENTS, 10, num_shards=num_shards).summary
    assert (summary.rows, summary.first_row, summary.last_row) == (
        14,
        "2018-12-26 18:11:00",
        "2018-12-26 18:24:00",
    )


def test_a_refused_run_has_its_counts_and_no_rows(tmp_path: Path) -> None:
    data = b"no event\n" + CHALLENGE_EVENTS
    summary = run_flow(tmp_path, data, 10, max_rejected=MaxRejected(count=0)).summary
    assert (summary.lines, summary.accepted, summary.rejected, summary.rows) == (4, 3, 1, 0)
    assert summary.first_row is None


def test_other_events_and_reasons_are_named_with_their_counts(tmp_path: Path) -> None:
    others = ["\u00e9t\u00e9", "opened", "opened", "a\nb"]
    data = b"\n".join(
        [
            *(json.dumps({"event_name": name}).encode() for name in others),
            line(duration="null"),
            line(duration="null", nr_words="null"),
            line(timestamp=None),
        ]
    )
    summary = run_flow(tmp_path, data, 10, max_rejected=MaxRejected(count=9)).summary
    assert summary.names == Counter(others)
    # A line counts once, by the first thing that is wrong with it.
    assert summary.reasons.total() == 3
    assert summary.reasons["timestamp: missing"] == 1
    assert summary.reasons["duration: float_type"] >= 1


# ---------------------------------------------------------------------------------------------
# The tally


@pytest.mark.parametrize(
    ("tallies", "total"),
    [
        ([], Tally()),
        ([Tally(blank=1)], Tally(blank=1)),
        (
            [Tally(accepted=1, other_events=Counter(a=1)), Tally(2, 3, Counter(a=1, b=2))],
            Tally(2, 4, Counter(a=2, b=2)),
        ),
    ],
)
def test_the_tallies_of_a_run_add_up_to_one_also_where_there_are_none(
    tallies: list[Tally], total: Tally
) -> None:
    with transform_pipeline() as p:
        added = p | beam.Create(tallies) | AddUp()
        assert_that(added, equal_to([total]))


def _reported(
    tally: Tally, caplog: pytest.LogCaptureFixture, *, show_rejected: bool = True
) -> tuple[dict[str, dict[str, int]], list[str]]:
    """The counters that a tally becomes, by the ends of their namespaces, and the log."""
    with caplog.at_level(logging.INFO, "pipeline"), transform_pipeline() as p:
        _ = p | beam.Create([tally]) | Report(show_rejected)
    counters: dict[str, dict[str, int]] = {}
    for each in p.result.metrics().query(MetricsFilter())["counters"]:
        namespace = each.key.metric.namespace.rpartition(".")[2]
        counters.setdefault(namespace, {})[each.key.metric.name] = each.result
    return counters, [record.getMessage() for record in caplog.records]


def test_the_most_frequent_names_and_reasons_become_counters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = Counter({f"name {number}": number for number in range(1, 31)})
    counters, _ = _reported(Tally(other_events=names, rejected=Counter(b=7)), caplog)
    assert counters == {
        "other_events": {f"name {number}": number for number in range(21, 31)},
        "rejected": {"b": 7},
    }


def test_an_event_may_have_an_empty_name(caplog: pytest.LogCaptureFixture) -> None:
    counters, _ = _reported(Tally(other_events=Counter({"": 3, "a": 1})), caplog)
    assert sorted(counters["other_events"].values()) == [1, 3]


def test_a_name_without_end_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    counters, _ = _reported(Tally(other_events=Counter({"x" * 10_000: 1})), caplog)
    ((name, count),) = counters["other_events"].items()
    assert (set(name), count) == ({"x"}, 1)
    assert len(name) <= 1_000


def _letters(errors: Sequence[FieldError]) -> tuple[DeadLetter, ...]:
    return tuple(
        DeadLetter.of("log\u00e9.json", offset, b"the line", tuple(errors))
        for offset in range(0, 10 * SAMPLE_SIZE, 10)
    )


def test_the_first_rejected_lines_are_shown_each_as_a_line_with_source_offset_and_reasons(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = [_NO_EVENT, FieldError("duration", "missing", "Field required")]
    _, log = _reported(Tally(first_rejected=_letters(errors)), caplog)
    assert len(log) == SAMPLE_SIZE
    for offset, message in zip(range(0, 10 * SAMPLE_SIZE, 10), log, strict=True):
        for part in ("log\u00e9.json", f"byte {offset}:", "Invalid JSON", "duration: Field req"):
            assert part in message
        assert message.splitlines() == [message]


def test_rejected_lines_that_go_to_a_file_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally(rejected=Counter(json_invalid=5), first_rejected=_letters([_NO_EVENT]))
    counters, log = _reported(tally, caplog, show_rejected=False)
    assert log == []
    assert counters == {"rejected": {"json_invalid": 5}}


# ---------------------------------------------------------------------------------------------
# For a person


def test_the_text_is_read_in_five_seconds() -> None:
    reasons = Counter(json_invalid=400, missing=60, too_long=39, rare=1)
    names = Counter(opened=20, closed=5, renamed=4, lost=1)
    text = _summary(reasons=reasons, names=names, series=3).text()
    assert len(text.splitlines()) <= 6
    for part in (
        "1,234,567 lines",
        "1,234,036 accepted",
        "500 rejected",
        "30 other events",
        "1 blank",
        "json_invalid (400), missing (60), too_long (39)",
        "opened (20), closed (5), renamed (4)",
        "1,440 rows of 3 series",
        "2018-12-26 18:11:00 to 2018-12-27 18:10:00",
        "2.5 s",
        "493,827 lines/s",
    ):
        assert part in text
    assert "rare" not in text
    assert "lost" not in text


def test_what_did_not_happen_is_not_explained() -> None:
    text = _summary(rejected=0, other_events=0).text()
    assert "  rejected:" not in text
    assert "  other events:" not in text
    assert "series" not in text


def test_a_run_that_took_no_time_has_no_speed() -> None:
    assert "lines/s" not in _summary(seconds=0.0).text()


def test_a_name_that_holds_a_line_end_does_not_break_the_text() -> None:
    usual = _summary(names=Counter(opened=1)).text()
    strange = _summary(names=Counter({"a\nb\r\x1b[31m": 1})).text()
    assert len(strange.splitlines()) == len(usual.splitlines())
    assert "\x1b" not in strange
