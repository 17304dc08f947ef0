"""A run that is stopped at any moment and started again, as often as one likes.

Each life is the whole engine without Beam, over real files. It ends in the middle of any call that
changes a file. A power cut also takes back what was not yet flushed to the disk.
"""

import json
import os
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from itertools import count
from operator import methodcaller
from pathlib import Path
from typing import Any

import oracle
import pytest
from examples import line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timelines import Settings, check_rows

from pipeline import MovingAverage, ParseEvents, Row
from pipeline.core.errors import InputError
from pipeline.core.measures import measures_named
from pipeline.formats.ndjson import Ndjson
from pipeline.formats.row_format import RowShape
from pipeline.live import memory
from pipeline.live.account import Account
from pipeline.live.checkpoints import Checkpoint, StateFolder
from pipeline.live.following import FollowedRows, seconds_of_revisions
from pipeline.live.following_step import FollowedRun
from pipeline.live.memory import Memory
from pipeline.sinks.appended_lines import holding
from pipeline.sources.event_clock import EventClock
from pipeline.sources.tail import Tail
from pipeline.sources.timed_tail import TimedTail
from pipeline.storage import files
from pipeline.transforms import moving_average

_START = datetime(2018, 12, 26, 18, tzinfo=timezone.utc)
_MEASURES = ("mean", "count")
_SETTINGS = Settings((2, 7), 9, 120, ("client_name",), _MEASURES)
_CHANGES = ("write", "fsync", "replace", "truncate", "ftruncate")


class _KilledError(BaseException):
    """The process is gone."""


class _Disk:
    """Files, as a process and a power cut leave them.

    Attributes:
        changes_left: so many calls that change a file succeed before the process is killed.
        cuts_power: whether the power fails at the same time.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.changes_left: int | None = None
        self.cuts_power = False
        # What is on the disk for sure, by path; and what a name stood for, as far as that is.
        self._contents: dict[str, bytes] = {}
        self._names: dict[str, bytes | None] = {}
        for name in _CHANGES:
            patch.setattr(os, name, partial(self._change, getattr(os, name)))

    def _change(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if self.changes_left is not None:
            self.changes_left -= 1
            if self.changes_left < 0:
                if call.__name__ == "write":
                    descriptor, data = arguments
                    call(descriptor, bytes(data)[: len(data) // 2])
                self.stop()
                raise _KilledError
        if call.__name__ == "replace":
            source, path = map(os.path.realpath, arguments)
            self._names.setdefault(path, _content(path))
            self._contents[path] = self._contents.pop(source, b"")
        result = call(*arguments)
        if call.__name__ in ("write", "fsync"):
            path = os.readlink(f"/proc/self/fd/{arguments[0]}")
            if call.__name__ == "fsync":
                self._flush(path)
            self._contents.setdefault(path, b"")
        return result

    def _flush(self, path: str) -> None:
        if os.path.isdir(path):
            self._names = {each: it for each, it in self._names.items() if _folder(each) != path}
        else:
            self._contents[path] = _content(path) or b""

    def stop(self) -> None:
        """Takes back what is lost, if the power fails."""
        self.changes_left = None
        if not self.cuts_power:
            return
        for path, content in self._contents.items():
            found = _content(path)
            if found is not None and found != content:
                Path(path).write_bytes(content)
        for path, before in self._names.items():
            Path(path).unlink() if before is None else Path(path).write_bytes(before)
        self._names.clear()


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if os.path.isfile(path) else None


def _folder(path: str) -> str:
    return os.path.dirname(path)


class _Life:
    """One life of a run: what a process does with the files of a folder."""

    def __init__(self, folder: Path, now: Callable[[], float], ends: bool) -> None:
        self.account = Account()
        tail = Tail([str(folder / "*.log")], clock=now)
        tail.look()
        timed = TimedTail(tail, EventClock(30), 0 if ends else None)
        parser = ParseEvents(
            group_by=_SETTINGS.group_by,
            allowed_lateness_seconds=_SETTINGS.allowed_lateness,
            measures=_MEASURES,
        ).parser()
        rules = MovingAverage(
            _SETTINGS.window, max_gap_minutes=_SETTINGS.max_gap, measures=_MEASURES
        ).live_rules(seconds_of_revisions(_SETTINGS.allowed_lateness, 300, 7))
        rows = FollowedRows(timed, parser, self.account, rules)
        self._rows, self._letters = str(folder / "rows"), str(folder / "letters")
        self._format = Ndjson(RowShape(_SETTINGS.group_by, measures_named(_MEASURES), True))
        state = StateFolder(str(folder / "state"), {"window_size": 5}, retry_seconds=0)
        self._lock = state.locked()
        self._lock.__enter__()
        self._holding = holding([self._rows, self._letters])
        self._held = self._holding.__enter__()
        try:
            self.memory = Memory(state, rows, self.account, self._held)
            self.memory.recall()
        except BaseException:
            self.leave()
            raise
        self._run = FollowedRun(rows, timed, self.memory, frozenset({"rejected", "late"}))

    def look(self) -> None:
        """Reads all that has come, and remembers it."""
        self._take_turns()
        while self.memory.is_due and not self._run.has_ended:
            self._take_turns()
        if self._run.has_ended:
            self.memory.remember()

    def _take_turns(self) -> None:
        for turn in self._run.bundle():
            if turn.parsed is not None:
                for letter in (*turn.parsed.dead_letters, *turn.parsed.late):
                    self._held[self._letters].add(letter.to_json().encode() + b"\n")
            for block in turn.rows:
                self._held[self._rows].add(self._format.revised_lines(block) + b"\n")

    def leave(self) -> None:
        """Gives up what ends with a process."""
        self._holding.__exit__(None, None, None)
        self._lock.__exit__(None, None, None)


class _World:
    """A folder of logs that others write, and a run that is stopped and started again."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = _START.timestamp()
        self.disk = _Disk(patch)
        self.written: list[bytes] = []
        self._rotated = 0
        self._life: _Life | None = None
        patch.setattr(time, "time", lambda: self.now)
        patch.setattr(memory, "_SECONDS", -1)
        patch.setattr(memory, "_SHARE", 0)
        patch.setattr(moving_average, "_IN_FLIGHT_SECONDS", 0)  # so that little is kept

    def write(self, data: bytes, name: str = "events.log") -> None:
        self.written.append(data)
        with (self.folder / name).open("ab") as stream:
            stream.write(data)

    def write_event(
        self, ahead: int, client: str, duration: int, ending: bytes, name: str = "events.log"
    ) -> None:
        text = f"{datetime.fromtimestamp(self.now + ahead, timezone.utc):%Y-%m-%d %H:%M:%S}"
        number = f'"{len(self.written)}"'  # so that no two lines are equal
        fields = {"client_name": f'"{client}"', "duration": str(duration)}
        self.write(line(timestamp=f'"{text}"', translation_id=number, **fields) + ending, name)

    def rotate(self) -> None:
        """Renames the log, which its writer does not notice at once."""
        self.write(b"\n")
        self.look()
        self._rotated += 1
        name = f"events.log.{self._rotated}"
        (self.folder / "events.log").rename(self.folder / name)
        self.write_event(0, "a", 5, b"\n", name)

    def wait(self, seconds: int) -> None:
        self.now += seconds

    def look(self, ends: bool = False) -> None:
        """Looks at the logs, in a new life if the last one has ended."""
        try:
            if self._life is None:
                self._life = _Life(self.folder, lambda: self.now, ends)
            self._life.look()
        except _KilledError:
            self.end_life()

    def look_and_be_killed(self, changes: int, cuts_power: bool) -> None:
        self.disk.changes_left, self.disk.cuts_power = changes, cuts_power
        self.look()
        self.disk.changes_left = None

    def end_life(self) -> None:
        if self._life is not None:
            self._life.leave()
            self._life = None

    def end_the_input(self) -> None:
        """Lets a life come to its end: what has come is all there is, as far as it knows."""
        self.write(b"\n")
        self.end_life()
        self.look(ends=True)
        self.end_life()

    def tear(self, name: str, data: bytes) -> None:
        """Leaves half a line at the end of an output, as a power cut may."""
        self.end_life()
        if (self.folder / "state" / "checkpoint").exists():
            with (self.folder / name).open("ab") as stream:
                stream.write(data)

    def check(self) -> None:
        """Waits for the last rows, and holds all that all lives have left to the oracle."""
        self.write(b"\n")
        self.look()
        self.wait(10_000)
        self.look()
        assert self._life is not None
        account = self._life.account
        self.end_life()
        lines = [each for each in b"".join(self.written).split(b"\n") if each]
        letters = [json.loads(each) for each in self._lines("letters")]
        lettered = Counter(letter["line"].encode() for letter in letters)
        assert lettered <= Counter(lines)
        events = oracle.events_of(b"\n".join((Counter(lines) - lettered).elements()))
        check_rows([_row(each) for each in self._lines("rows")], events, _SETTINGS)
        counts = {**account.tally.counts(), "late": account.tally.late}
        late = [letter for letter in letters if letter["errors"][0]["type"] == "late"]
        rejected = len(letters) - len(late)
        assert counts["accepted"] == len(events)
        assert (counts["late"], counts["rejected"]) == (len(late), rejected)
        assert account.rows == len(self._lines("rows"))

    def _lines(self, name: str) -> list[bytes]:
        lines = (_content(str(self.folder / name)) or b"").split(b"\n")
        assert lines.pop() == b"", "the last line has no end"
        return lines


def _row(text: bytes) -> Row:
    row = json.loads(text)
    date = datetime.fromisoformat(row["date"]).replace(tzinfo=timezone.utc)
    values = {"mean": row["average_delivery_time"], "count": row["deliveries"]}
    if not row["deliveries"]:
        values["mean"] = None
    key = (row["client_name"],), date, row["window_size"]
    return Row(*key, row["deliveries"], values, row["revision"])


_ends = st.sampled_from([b"\n", b"\n", b"\n", b""])
_steps: st.SearchStrategy[list[Callable[[_World], None]]] = st.lists(
    st.one_of(
        st.builds(
            lambda *event: methodcaller("write_event", *event),
            *(st.integers(-400, 60), st.sampled_from("ab"), st.integers(0, 9), _ends),
        ),
        st.sampled_from([b"no event\n", b"\n", b'{"event_name": "opened"}\n']).map(
            lambda data: methodcaller("write", data)
        ),
        st.sampled_from([1, 20, 59, 200]).map(lambda seconds: methodcaller("wait", seconds)),
        st.just(methodcaller("look")),
        st.just(methodcaller("end_life")),
        st.just(methodcaller("end_the_input")),
        st.just(methodcaller("rotate")),
        st.builds(
            lambda *kill: methodcaller("look_and_be_killed", *kill),
            *(st.integers(0, 12), st.booleans()),
        ),
        st.builds(
            lambda *torn: methodcaller("tear", *torn),
            *(st.sampled_from(["rows", "letters"]), st.sampled_from([b'{"date": "2', b"\0"])),
        ),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.clause("5.12")
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(_steps)
def test_whenever_a_run_is_stopped_nothing_is_lost_and_nothing_comes_twice(
    steps: list[Callable[[_World], None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        world = _World(Path(folder), patch)
        for step in steps:
            step(world)
        world.check()


def _play(folder: Path, kill_at: int, cuts_power: bool) -> bool:
    """A story with late events and dead letters; tells whether the kill came before its end."""
    with pytest.MonkeyPatch.context() as patch:
        world = _World(folder, patch)
        world.disk.changes_left, world.disk.cuts_power = kill_at, cuts_power
        for minute in range(4):
            world.write_event(-90, "a", minute, b"\n")
            world.write_event(-30, "b", minute, b"\n")
            world.write(b"no event\n")
            world.write_event(-400, "a", 9, b"\n")
            world.look()
            world.wait(60)
            world.look()
        was_killed = world.disk.changes_left is None
        world.disk.changes_left = None
        world.check()
        return was_killed


def _kill_at_every_change(folder: Path, cuts_power: bool) -> int:
    """Plays the story again and again; returns how many changes it makes."""
    for kill_at in count():
        world = folder / f"{cuts_power}-{kill_at}"
        world.mkdir()
        if not _play(world, kill_at, cuts_power):
            return kill_at
    raise AssertionError("the story never ends")


@pytest.mark.parametrize("cuts_power", [False, True], ids=["killed", "power cut"])
def test_every_change_of_a_file_may_be_the_last_one(tmp_path: Path, cuts_power: bool) -> None:
    assert _kill_at_every_change(tmp_path, cuts_power) > 40


def _publish_first(patch: pytest.MonkeyPatch) -> None:
    write, publish = StateFolder.write, StateFolder.publish

    def write_late(self: StateFolder, checkpoint: Checkpoint) -> None:
        publish(self, checkpoint.outputs)
        write(self, checkpoint)

    patch.setattr(StateFolder, "write", write_late)
    patch.setattr(StateFolder, "publish", lambda *_: None)


def _never_sync_files(patch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    patch.setattr(os, "fsync", lambda it: stat.S_ISDIR(os.fstat(it).st_mode) and fsync(it))


def _never_sync_folders(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(files, "sync_folder", lambda path: None)


@pytest.mark.parametrize("mistake", [_publish_first, _never_sync_files, _never_sync_folders])
def test_these_tests_see_what_would_be_wrong(
    tmp_path: Path, mistake: Callable[[pytest.MonkeyPatch], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mistake(patch)
        with pytest.raises((AssertionError, InputError, ValueError)):
            _kill_at_every_change(tmp_path, cuts_power=True)
