"""The cases of the contract's section on events, by everything that says what a line is."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import oracle
import pytest
from cases import CASES, Case
from copies import CHECKOUT
from examples import line
from verdicts import added, verdict

from pipeline import Chunk, DurationSum
from pipeline.core.events import DEFAULT_EVENT_NAME, parse_line
from pipeline.core.rows import Series
from pipeline.parsing.chunks import Origin, parse_chunk

_MINUTE_SECONDS = 60
_EACH = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case.clause}-{number}", marks=pytest.mark.clause(case.clause))
        for number, case in enumerate(CASES)
    ],
)


@_EACH
def test_the_oracle(case: Case) -> None:
    assert oracle.classify(case.line) == case.verdict


@_EACH
def test_the_model(case: Case) -> None:
    if case.verdict == oracle.BLANK:
        return  # blank lines do not come before the model
    assert verdict(parse_line(case.line)) == case.verdict


_AROUND = 2_000


@_EACH
def test_the_fast_path(case: Case) -> None:
    usual = line(duration="1") + b"\n"
    data = usual * _AROUND + case.line + b"\n" + usual * _AROUND
    chunk = Chunk(data, (Origin(0, "events.json", 0),))
    assert chunk.is_block
    (parsed,) = parse_chunk(chunk, DEFAULT_EVENT_NAME, ("client_name",))
    expected: dict[tuple[Series, int], DurationSum] = {
        (("airliberty",), 25_764_131): DurationSum(2 * _AROUND * 1_000_000, 2 * _AROUND)
    }
    counts = {"blank": 0, "other_events": 0, "accepted": 2 * _AROUND, "rejected": 0}
    said = case.verdict
    if isinstance(said, oracle.Event):
        place = (said.fields["client_name"],), int(said.minute.timestamp()) // _MINUTE_SECONDS
        expected[place] = expected.get(place, DurationSum()) + DurationSum(said.millionths, 1)
    counts[_kind(said)] += 1
    assert added(parsed.sums) == expected
    assert {name: parsed.tally.counts()[name] for name in counts} == counts


def _kind(said: object) -> str:
    if said == oracle.BLANK:
        return "blank"
    kinds = {oracle.Event: "accepted", oracle.OtherEvent: "other_events"}
    return kinds.get(type(said), "rejected")


def test_the_command(tmp_path: Path) -> None:
    lines = [case.line for case in CASES]
    (tmp_path / "events.json").write_bytes(b"".join(each + b"\n" for each in lines))
    command = [
        *(sys.executable, CHECKOUT / "unbabel_cli.py", "--input_file=events.json"),
        *("--window_size=10", "--group_by=client_name", "--rejected_file=rejected.json"),
        *("--max_gap_minutes=10", "--summary_file=summary.json", "--output_file=rows.json"),
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr

    rows = oracle.output(b"\n".join(lines), 10, group_by=("client_name",), max_gap=10)
    assert (tmp_path / "rows.json").read_bytes() == rows
    kinds = [_kind(case.verdict) for case in CASES]
    summary = json.loads((tmp_path / "summary.json").read_text())
    for kind in ("blank", "other_events", "accepted", "rejected"):
        assert summary[kind] == kinds.count(kind)
    letters = [json.loads(each) for each in (tmp_path / "rejected.json").read_text().splitlines()]
    rejected = [case for case in CASES if _kind(case.verdict) == "rejected"]
    for letter, case in zip(letters, rejected, strict=True):
        assert _text(letter) == case.line[: len(_text(letter))]
        assert {error["field"] for error in letter["errors"]} == set(case.verdict.fields)


def _text(letter: dict[str, Any]) -> bytes:
    if "line" in letter:
        return str(letter["line"]).encode()
    return base64.b64decode(letter["line_base64"])
