"""When a followed run writes its checkpoints, and how it goes on from the last one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from pipeline.live.account import Account
from pipeline.live.checkpoints import Checkpoint, Output, StateFolder, repair
from pipeline.live.following import FollowedRows
from pipeline.sinks.appended_lines import HeldLines

_SECONDS = 0.2
"""Between two checkpoints, at least: rows are not in the outputs before."""
_SHARE = 10
"""A checkpoint that takes long is followed by so many times its duration without one."""
_MAX_HELD_BYTES = 2**24


class Memory:
    """Remembers what is known and what was given, whenever all of that fits together.

    Args:
        folder: where it is remembered; locked by this process.
        following: what is to be remembered.
        account: the counts since the last summary.
        held: by path, the outputs, whose lines wait for a checkpoint.
    """

    def __init__(
        self,
        folder: StateFolder,
        following: FollowedRows,
        account: Account,
        held: Mapping[str, HeldLines],
    ) -> None:
        self._folder = folder
        self._following = following
        self._account = account
        self._held = held
        self._given = 0
        self._has_changed = False
        self._next_at = 0.0

    def note(self, lines: int) -> None:
        """Takes note of a turn that gave so many lines to the outputs."""
        self._has_changed = True
        self._given += lines

    @property
    def is_settled(self) -> bool:
        """Whether all lines that were given have come to the outputs."""
        return sum(each.number for each in self._held.values()) == self._given

    @property
    def is_due(self) -> bool:
        """Whether there is something to remember, and it is time."""
        is_full = sum(each.size for each in self._held.values()) >= _MAX_HELD_BYTES
        return self._has_changed and (is_full or time.monotonic() >= self._next_at)

    def conclude(self, summary: bytes | None) -> None:
        """The same as `remember` at the end of a run, and begins the account anew.

        Args:
            summary: what is to become the summary file, if there is to be one. It is remembered
                until the next call of `remember`.
        """
        self._account.restore(Account().state())
        self.remember(summary)

    def remember(self, summary: bytes | None = None) -> None:
        """Writes a checkpoint, then what was given; call it when all is settled and consistent.

        Raises:
            OutputError: something cannot be written.
        """
        started = time.monotonic()
        outputs = {path: Output(_size(path), held.take()) for path, held in self._held.items()}
        self._folder.write(Checkpoint(self._following.state(), outputs, summary))
        self._folder.publish(outputs)
        now = time.monotonic()
        self._next_at = now + max(_SECONDS, _SHARE * (now - started))
        self._has_changed = False

    def recall(self) -> bytes | None:
        """Goes on from the last checkpoint, if there is one; gives a summary still to be written.

        Raises:
            InputError: an input or an output is gone, or not as it was; nothing has changed.
            OptionError: the checkpoint is of a run with other options; nothing has changed.
            OutputError: something cannot be written.
        """
        last = self._folder.read()
        if last is None:
            return None
        self._following.restore(last.state)
        self._folder.publish(repair(last.outputs))
        return last.summary


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0
