"""The whole flow: the same bytes as the oracle's, however the events come and wherever it runs."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import oracle
import pytest
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineRunner
from examples import CHALLENGE_DRAIN, CHALLENGE_EVENTS, CHALLENGE_ROWS, challenge_cases, line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_runners import run_flow

from pipeline.core import row_rules
from pipeline.core.rejection import MaxRejected
from pipeline.core.where import Where
from pipeline.sources import sections

pytestmark = pytest.mark.slow

_ALL = MaxRejected(share=Decimal(1))

both_plans = pytest.mark.parametrize("plan", ["rolling", "windows"])

_THREADS = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
_RUNNERS: dict[str, tuple[type[PipelineRunner], list[str]]] = {
    "FnApiRunner": (FnApiRunner, []),
    "FnApiRunner, every bundle twice": (FnApiRunner, ["--direct_runner_bundle_repeat=1"]),
    "FnApiRunner, threads": (FnApiRunner, _THREADS),
    "BundleBasedDirectRunner": (BundleBasedDirectRunner, []),
}


@pytest.fixture(params=[*_RUNNERS, pytest.param("Prism", marks=pytest.mark.prism)])
def on_runner(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments of `run_flow` for each runner that the promise names."""
    if request.param == "Prism":
        flags = request.getfixturevalue("prism_options")
        return {"runner": PortableRunner(), "flags": flags}
    runner, flags = _RUNNERS[request.param]
    return {"runner": runner(), "flags": flags}


# ---------------------------------------------------------------------------------------------
# Known inputs


@pytest.mark.clause("2.10")
@both_plans
@pytest.mark.parametrize(
    ("until", "rows"), [("last", CHALLENGE_ROWS), ("drain", CHALLENGE_ROWS + CHALLENGE_DRAIN)]
)
def test_challenge_example_comes_out_byte_for_byte(
    tmp_path: Path, plan: Any, until: Any, rows: bytes
) -> None:
    assert run_flow(tmp_path, CHALLENGE_EVENTS, 10, plan=plan, until=until).rows == rows


@both_plans
@pytest.mark.parametrize("case", challenge_cases())
def test_challenge_case_of_a_public_solution(
    tmp_path: Path, plan: Any, case: dict[str, Any]
) -> None:
    data = "\n".join(case["input"]).encode()
    # The oracle is held to the rows that the authors expect, rounded as they show them.
    expected = oracle.output(data, case["window_size"])
    assert run_flow(tmp_path, data, case["window_size"], plan=plan).rows == expected


@both_plans
def test_an_input_without_lines_gives_an_empty_file(tmp_path: Path, plan: Any) -> None:
    result = run_flow(tmp_path, b"", 10, plan=plan)
    assert (result.rows, result.rejected, result.summary.rows) == (b"", b"", 0)


@pytest.mark.clause("2.7")
@both_plans
def test_sums_may_outgrow_64_bits(tmp_path: Path, plan: Any) -> None:
    greatest = [line(duration="1e9"), line(duration="999999999.999999")]
    data = b"\n".join(greatest * 5_000)
    events = oracle.events_of(data)
    assert sum(event.millionths for event in events) > 2**63
    assert run_flow(tmp_path, data, 2, plan=plan).rows == oracle.output(data, 2)


# ---------------------------------------------------------------------------------------------
# The oracle, on inputs that nobody has seen


_TEXTS = ["en", "fr", "", 'quo"ted', "\u00e9\u4e2d\U0001f600", "Z", "a\\b", "\x7f\t", ", ", "NaN"]
_NOISE = [
    b"",
    b" \t\r",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"event_name": "opened"}',
    b'{"event_name": "translation_delivered"}',
    line(event_name='"opened"', duration="null"),
    line(duration="-0.1"),
    line(duration="1e309"),
    line(nr_words="30.0"),
    line(timestamp='"2018-12-26"'),
    line(client_name=None),
    line('"duration": 3'),  # twice: the last one counts
    line('"extra": {"deep": [1, 2, {}]}'),
]
_TIMESTAMPS = ["{} {}", "{}T{}", "{}t{}Z", "{}_{}+00:00"]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@st.composite
def _event_line(draw: st.DrawFn, seconds: int) -> bytes:
    second = 1_545_847_868 + seconds  # 2018-12-26 18:11:08
    time = f"{oracle.EARLIEST + second * oracle.MINUTE / 60:%Y-%m-%d %H:%M:%S}"
    micros = draw(st.sampled_from(["", ".5", ".999999", ".1234567"]))
    timestamp = draw(st.sampled_from(_TIMESTAMPS)).format(*time.split())
    duration = draw(
        st.one_of(
            st.integers(0, 300).map(str),
            st.decimals(0, 10**9, places=6).map(str),
            st.floats(0, 1e9, allow_nan=False).map(json.dumps),
            st.sampled_from(["0", "-0.0", "0.0000005", "1000000000", "1e9"]),
        )
    )
    texts = st.sampled_from(_TEXTS)
    return line(
        timestamp=_quoted(re.sub(r"(:\d\d)(?=Z|\+|$)", rf"\g<1>{micros}", timestamp, count=1)),
        duration=duration,
        client_name=_quoted(draw(texts)),
        source_language=_quoted(draw(texts)),
        target_language=_quoted(draw(texts)),
        nr_words=str(draw(st.integers(0, 40) | st.integers(0, 2**70))),
    )


_STEPS = st.one_of(st.integers(0, 90), st.integers(0, 1_800), st.integers(3_000, 12_000))


@st.composite
def _logs(draw: st.DrawFn) -> list[bytes]:
    """One to three files of events with silences short and long, and noise, in any order."""
    seconds = 0
    lines = draw(st.lists(st.sampled_from(_NOISE), max_size=8))
    for step in draw(st.lists(_STEPS, max_size=30)):
        seconds += step
        lines.append(draw(_event_line(seconds)))
    lines = draw(st.permutations(lines))
    number = draw(st.integers(1, 3))
    return [
        draw(st.sampled_from([b"", oracle.BYTE_ORDER_MARK]))
        + begin
        + draw(st.sampled_from(separators)).join(lines[start::number])
        + draw(st.sampled_from(ends))
        for start in range(number)
        for begin, separators, ends in [draw(st.sampled_from([_LINES, _LINES, _ARRAY]))]
    ]


# How a file begins, what stands between its events, and how it ends.
_LINES = b"", [b"\n", b"\r\n"], [b"", b"\n"]
_ARRAY = b"[", [b",", b" ,\n  "], [b"]", b"\n]\n", b""]


_MEASURES = (
    *("mean", "count", "words", "per_word", "min", "max"),
    *("p50", "p99.9", "within_100", "within_0.5"),
)
_OPTIONS = st.fixed_dictionaries(
    {
        "group_by": st.lists(
            st.sampled_from(["client_name", "source_language", "target_language"]), unique=True
        ).map(tuple),
        "until": st.sampled_from(["last", "drain"]),
        "empty_value": st.sampled_from(["0", "null", "skip"]),
        "decimals": st.sampled_from([None, 0, 2, 15]),
        "measures": st.lists(st.sampled_from(_MEASURES), min_size=1, unique=True).map(tuple)
        | st.just(("mean",)),
    }
)


@pytest.mark.clause("2.1", "2.11", "2.12", "2.13", "2.14", "2.15")
@both_plans
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=_logs(),
    options=_OPTIONS,
    windows=st.lists(st.sampled_from([1, 2, 10, 90]), min_size=1, max_size=3, unique=True),
    dates=st.just([]) | st.lists(st.integers(0, 300), min_size=2, max_size=2, unique=True),
    where=st.just({})
    | st.dictionaries(
        st.sampled_from(["client_name", "source_language"]),
        st.lists(st.sampled_from(_TEXTS), min_size=1),
        min_size=1,
    ),
    more_gap=st.sampled_from([0, 1, 30, 100_000]),
    chunk_size=st.sampled_from([None, 1, 7]),
)
def test_output_and_dead_letters_and_counts_are_those_of_the_oracle(
    tmp_path: Path,
    plan: Any,
    data: list[bytes],
    options: dict[str, Any],
    windows: list[int],
    dates: list[int],
    where: dict[str, list[str]],
    more_gap: int,
    chunk_size: int | None,
) -> None:
    options["max_gap"] = max(windows) + more_gap
    minutes = [25_764_131 + each for each in sorted(dates)]
    cut = dict(zip(("rows_from", "rows_before"), minutes, strict=False))
    folder = tmp_path / uuid4().hex
    folder.mkdir()

    result = run_flow(
        *(folder, data, tuple(windows)),
        plan=plan,
        chunk_size=chunk_size,
        max_rejected=_ALL,
        where=Where.of(where),
        **options,
        **cut,
    )

    cut_dates = {name: oracle.EARLIEST + each * oracle.MINUTE for name, each in cut.items()}
    taken = [
        event
        for event in oracle.events_of(data)
        if all(event.fields[name] in values for name, values in where.items())
    ]
    rows = oracle.rows(taken, windows, **options, **cut_dates)
    assert result.rows == oracle.render(rows, len(windows) > 1)
    counts = oracle.counts_of(data)
    filtered = counts.accepted - len(taken)
    assert result.counts == replace(counts, accepted=len(taken), filtered=filtered)
    assert _places(result.rejected) == [
        (f"{index}.json", offset)
        for index, file in enumerate(data)
        for offset, _ in oracle.rejected_of(file)
    ]


def _places(rejected: bytes | None) -> list[tuple[str, int]]:
    assert rejected is not None
    letters = map(json.loads, rejected.splitlines())
    return [(Path(letter["source"]).name, letter["offset"]) for letter in letters]


# ---------------------------------------------------------------------------------------------
# The same bytes, whatever the runner, the order and the split


def _busy_log(seed: int = 1) -> list[bytes]:
    """Lines of two hours and two days later, of a dozen series, with noise."""
    numbers = random.Random(seed)
    lines = [*_NOISE] * 3
    for _ in range(400):
        minute = numbers.randrange(120) + numbers.choice([0, 0, 2_880])
        time = f"{oracle.EARLIEST + (25_764_131 + minute) * oracle.MINUTE:%Y-%m-%d %H:%M}"
        lines.append(
            line(
                timestamp=_quoted(f"{time}:{numbers.randrange(60):02}"),
                duration=f"{numbers.randrange(10**12) / 10**6:.6f}",
                client_name=_quoted(numbers.choice(_TEXTS)),
                target_language=_quoted(numbers.choice(["en", "fr"])),
                nr_words=f"{numbers.randrange(100)}",
            )
        )
    numbers.shuffle(lines)
    return lines


_BUSY_OPTIONS: dict[str, Any] = {
    "group_by": ("target_language", "client_name"),
    "max_gap": 1_000,
    "decimals": 3,
    "measures": _MEASURES,
}
_SIZES = (10, 60)


def _expected(lines: Sequence[bytes]) -> bytes:
    expected = oracle.output(b"\n".join(lines), _SIZES, **_BUSY_OPTIONS)
    assert expected.count(b"\n") > 3_000
    return expected


@pytest.mark.clause("2.9")
@both_plans
def test_every_runner_gives_the_same_bytes_and_counts(
    tmp_path: Path, plan: Any, on_runner: dict[str, Any]
) -> None:
    lines = _busy_log()
    data = [b"\n".join(lines[:100]), b"\n".join(lines[100:]) + b"\n", b"\n"]
    result = run_flow(tmp_path, data, _SIZES, plan=plan, **on_runner, **_BUSY_OPTIONS)
    assert result.rows == _expected(lines)
    assert result.counts == oracle.counts_of(data)
    assert result.summary.rows == result.rows.count(b"\n")


@pytest.mark.clause("2.9")
@pytest.mark.parametrize("chunk_size", [1, 7, None])
@pytest.mark.parametrize("files", [1, 2, 40])
def test_order_of_lines_and_split_over_files_do_not_matter(
    tmp_path: Path, files: int, chunk_size: int | None
) -> None:
    lines = _busy_log()
    expected = _expected(lines)
    random.Random(files).shuffle(lines)
    data = [b"\n".join(lines[start::files]) for start in range(files)]
    result = run_flow(tmp_path, data, _SIZES, chunk_size=chunk_size, **_BUSY_OPTIONS)
    assert result.rows == expected
    assert result.counts == oracle.counts_of(data)


@pytest.mark.clause("2.9")
@pytest.mark.parametrize("block_bytes", [1, 1_000, sections.BLOCK_BYTES])
@pytest.mark.parametrize("task_bytes", [500, 30_000])
def test_sections_and_blocks_of_files_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task_bytes: int, block_bytes: int
) -> None:
    monkeypatch.setattr(sections, "TASK_BYTES", task_bytes)
    monkeypatch.setattr(sections, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(sections, "_MIN_BLOCK_BYTES", 1)
    monkeypatch.setattr(sections, "TASK_FILES", 2)
    lines = _busy_log()
    data = [b"\r\n".join(lines[:300]), *lines[300:310], b"\n".join(lines[310:])]
    result = run_flow(tmp_path, data, _SIZES, **_BUSY_OPTIONS)
    assert result.rows == _expected(lines)
    assert _places(result.rejected) == [
        (source, offset)
        for source, file in sorted((f"{index}.json", file) for index, file in enumerate(data))
        for offset, _ in oracle.rejected_of(file)
    ]


@both_plans
def test_blocks_of_rows_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Any
) -> None:
    monkeypatch.setattr(row_rules, "ROWS_PER_BLOCK", 7)
    lines = _busy_log()
    result = run_flow(tmp_path, b"\n".join(lines), _SIZES, plan=plan, **_BUSY_OPTIONS)
    assert result.rows == _expected(lines)
