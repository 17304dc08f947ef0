"""The command with --state_dir, as a process on Prism: killed, stopped, started again."""

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import oracle
import pytest
from copies import CHECKOUT
from examples import CHALLENGE_DRAIN, CHALLENGE_EVENTS, CHALLENGE_ROWS, line
from processes import running, wait_for
from timelines import Settings, check_rows

from pipeline import Row

pytestmark = [pytest.mark.slow, pytest.mark.prism]

_KILLS = int(os.environ.get("KILLS", "5"))
_START = datetime(2018, 12, 26, tzinfo=timezone.utc)


@pytest.fixture
def environment(prism_binary: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "PRISM_BIN": prism_binary}


def _life(
    folder: Path, environment: dict[str, str], *arguments: str, stderr: int = PIPE
) -> AbstractContextManager[Popen[bytes]]:
    options = [
        *("--follow", "--input_file=events.json", "--window_size=10", "--state_dir=state"),
        *("--output_file=rows.json", *arguments),
    ]
    return running([sys.executable, "-m", "pipeline", *options], folder, environment, stderr)


def _lines(path: Path) -> list[Any]:
    return [json.loads(each) for each in path.read_bytes().splitlines()] if path.exists() else []


def _summary(folder: Path) -> Counter[str]:
    """The counts of the last life, if it has left a summary; takes it away."""
    path = folder / "summary.json"
    counts = json.loads(path.read_text()) if path.exists() else {}
    path.unlink(missing_ok=True)
    return Counter({name: each for name, each in counts.items() if isinstance(each, int)})


# ---------------------------------------------------------------------------------------------
# However it is stopped


def _row(row: dict[str, Any]) -> Row:
    count = row["deliveries"]
    values = {"mean": row["average_delivery_time"] if count else None, "count": count}
    date = datetime.fromisoformat(row["date"]).replace(tzinfo=timezone.utc)
    return Row((row["client_name"],), date, 10, count, values, row["revision"])


class _Log:
    """A log that grows and is rotated; some of its lines come late, others are no events."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.lines: list[bytes] = []
        self._path = folder / "events.json"
        self._chance = chance
        self._time = _START
        self._rotated = 0

    def grow(self, number: int) -> None:
        lines = [self._line() for _ in range(number)]
        self.lines += lines
        with self._path.open("ab") as stream:
            stream.write(b"".join(each + b"\n" for each in lines))

    def rotate(self) -> None:
        self._rotated += 1
        self._path.rename(self._path.with_suffix(f".{self._rotated}"))
        self._path.touch()

    def _line(self) -> bytes:
        number = len(self.lines) + self._chance.randrange(10**12)
        self._time += timedelta(seconds=self._chance.choice([0, 1, 7]))
        behind = self._chance.choice([0] * 8 + [200, 2000])
        text = f'"{self._time - timedelta(seconds=behind):%Y-%m-%d %H:%M:%S}"'
        if self._chance.random() < 0.05:
            return b"no event %d" % number
        return line(
            timestamp=text,
            translation_id=f'"{number}"',
            client_name=f'"{self._chance.choice("abc")}"',
            duration=str(self._chance.randrange(100)),
        )


@pytest.mark.clause("5.12")
def test_over_all_its_lives_nothing_is_lost_and_nothing_comes_twice(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    chance = random.Random(20181226)
    log = _Log(tmp_path, chance)
    options = [
        *("--group_by=client_name", "--measures=mean,count", "--rejected_file=letters.json"),
        *("--max_gap_minutes=15", "--summary_file=summary.json"),
    ]
    rows = tmp_path / "rows.json"
    total: Counter[str] = Counter()
    for _ in range(_KILLS):
        log.grow(chance.randrange(1, 300))
        sent = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        with _life(tmp_path, environment, *options) as process:
            for _ in range(chance.randrange(1, 20)):
                size = os.path.getsize(rows) if rows.exists() else 0

                def has_grown(size: int = size) -> bool:
                    log.grow(chance.randrange(1, 20))
                    return rows.exists() and os.path.getsize(rows) > size

                wait_for(has_grown, process)
            if chance.random() < 0.5:
                log.rotate()
            process.send_signal(sent)
            assert process.wait() in (-9, 143)
        total += _summary(tmp_path)
    with _life(tmp_path, environment, *options, "--stop_after_idle_seconds=1") as process:
        _, err = process.communicate()
    assert process.returncode == 0, err
    total += _summary(tmp_path)

    letters = _lines(tmp_path / "letters.json")
    lettered = Counter(letter["line"].encode() for letter in letters)
    assert lettered <= Counter(log.lines), "a dead letter came twice"
    events = oracle.events_of(b"\n".join((Counter(log.lines) - lettered).elements()))
    settings = Settings(10, 15, 600, ("client_name",), ("mean", "count"))
    check_rows([_row(each) for each in _lines(rows)], events, settings)
    late = sum(letter["errors"][0]["type"] == "late" for letter in letters)
    expected = {
        **{"lines": len(log.lines), "accepted": len(events), "late": late},
        **{"rejected": len(letters) - late, "rows": len(_lines(rows))},
    }
    assert {name: total[name] for name in expected} == expected


@pytest.mark.clause("5.12")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_summaries_of_a_run_that_was_asked_to_end_add_up(
    sent: int, code: int, tmp_path: Path, environment: dict[str, str]
) -> None:
    events = tmp_path / "events.json"
    events.write_bytes(CHALLENGE_EVENTS)
    with _life(tmp_path, environment, "--summary_file=summary.json") as process:
        wait_for(lambda: b"18:22" in _content(tmp_path / "rows.json"), process)
        process.send_signal(sent)
        _, err = process.communicate()
    assert (process.returncode, err) == (code, b"")
    # On a machine that is too busy to end in time, the next life counts for both.
    first = _summary(tmp_path)
    with events.open("ab") as stream:
        stream.write(b"no event\n")
    options = ("--summary_file=summary.json", "--stop_after_idle_seconds=0")
    with _life(tmp_path, environment, *options) as process:
        process.communicate()
    assert process.returncode == 0
    both = first + _summary(tmp_path)
    expected = {"lines": 4, "accepted": 3, "rejected": 1, "rows": 23, "series": 1}
    assert {name: both[name] for name in expected} == expected
    assert sorted(_content(tmp_path / "rows.json").splitlines()) == [
        row[:-1] + b', "revision": 0}' for row in (CHALLENGE_ROWS + CHALLENGE_DRAIN).splitlines()
    ]


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


# ---------------------------------------------------------------------------------------------
# What is refused


def _files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.clause("5.12")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--decimals=2"], "is of a run with another --decimals"),
        (["--output_file=other.json"], "is of a run with another --output_file"),
        (["--input_file=events.*"], "is of a run with another --input_file"),
        (["--output_file=-"], "name one with --output_file"),
    ],
    ids=str,
)
def test_another_run_is_refused_and_nothing_changes(
    changed: Sequence[str], message: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    with _life(tmp_path, environment, "--stop_after_idle_seconds=0") as process:
        assert process.wait() == 0
    before = _files(tmp_path)
    command = [sys.executable, "-m", "pipeline", "--follow", "--window_size=10"]
    options = {"--input_file": "events.json", "--output_file": "rows.json", "--state_dir": "state"}
    options |= dict(each.split("=") for each in changed)
    command += [f"{name}={value}" for name, value in options.items()]
    with running(command, tmp_path, environment) as process:
        _, err = process.communicate()
    assert process.returncode == 2
    (line_,) = err.decode().splitlines()
    assert message in line_
    assert _files(tmp_path) == before


@pytest.mark.clause("5.12")
@pytest.mark.parametrize("gone", ["events.json", "rows.json"])
def test_a_file_that_is_gone_is_told_and_nothing_changes(
    gone: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    with _life(tmp_path, environment, "--stop_after_idle_seconds=0") as process:
        assert process.wait() == 0
    (tmp_path / gone).unlink()
    before = _files(tmp_path)
    with _life(tmp_path, environment) as process:
        _, err = process.communicate()
    assert process.returncode == 2
    assert f"{gone}: is gone" in err.decode().splitlines()[-1]
    assert _files(tmp_path) == before


@pytest.mark.clause("5.12")
def test_two_runs_do_not_use_one_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    with _life(tmp_path, environment) as process:
        wait_for(lambda: b"18:22" in _content(tmp_path / "rows.json"), process)
        with _life(tmp_path, environment) as other:
            _, err = other.communicate()
        assert other.returncode == 2
        assert b"another run uses it" in err
        assert process.poll() is None
