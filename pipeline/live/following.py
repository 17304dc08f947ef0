"""From the lines that come to the rows that are due, a turn at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pipeline.core.durations import MinuteSums
from pipeline.core.rows import Series
from pipeline.core.shards import RevisedRows, Shard, ShardBook, ShardRules, ShardSums
from pipeline.live.account import Account
from pipeline.parsing.chunks import Chunk, ChunkParser, ParsedLines
from pipeline.sources.timed_tail import TimedTail
from pipeline.transforms.in_process import Few
from pipeline.transforms.rolling_rows import MAX_WARNINGS, warn_of

_MINUTE_SECONDS = 60
_ROWS_PER_TURN = 50_000
_WAITING_CHUNKS = 16
"""The sums of so many chunks at most wait: adding few to all others costs as much as many."""


@dataclass(frozen=True)
class Turn:
    """What came of a turn.

    Attributes:
        parsed: what lines hold.
        rows: rows that are due.
        is_consistent: whether each line that was read is in what is known.
        is_up_to_date: whether all that had come was read, and the watermark has moved.
    """

    parsed: ParsedLines | None = None
    rows: Sequence[RevisedRows] = ()
    is_consistent: bool = False
    is_up_to_date: bool = False

    @property
    def lines(self) -> int:
        """How many lines were read and rows given."""
        read = 0 if self.parsed is None else self.parsed.tally.counts()["lines"]
        return read + sum(map(len, self.rows))


def seconds_of_revisions(lateness: int, ahead: int, largest_window: int) -> int:
    """For how long events may change rows of an input that goes on after it has ended.

    An end gives the rows up to the largest window behind the last event, before their time.

    Args:
        lateness: how many seconds late events may come.
        ahead: how many seconds events may be ahead of the watermark.
        largest_window: in minutes.
    """
    return lateness + ahead + largest_window * _MINUTE_SECONDS


class FollowedLines:
    """Reads what is followed, and parses it.

    Args:
        tail: the lines.
        parser: what is asked of them.
        account: counts what the turns give, and nothing else.
    """

    def __init__(self, tail: TimedTail, parser: ChunkParser, account: Account) -> None:
        self._tail = tail
        self._parser = parser
        self._account = account

    def turns(self) -> Iterator[Turn]:
        """Gives all turns up to the end of the input, if it ever ends."""
        while True:
            for chunk in self._tail.read():
                yield from self._take(chunk)
            yield from self._settle()
            if self._tail.is_complete:
                break
            yield from self._move(self._tail.advance())
            yield Turn(is_consistent=True, is_up_to_date=True)
        for chunk in self._tail.finish():
            yield from self._take(chunk)
        yield from self._settle()
        yield from self._end()

    def _take(self, chunk: Chunk) -> Iterator[Turn]:
        latest = -1
        for parsed in self._parser.parse(chunk, time.time()):
            self._account.add_lines(parsed.tally)
            latest = max(latest, parsed.latest)
            yield Turn(parsed)
        self._tail.see(latest)

    def _settle(self) -> Iterator[Turn]:
        """Takes into account what was parsed."""
        yield Turn(is_consistent=True)

    def _move(self, watermark: float | None) -> Iterator[Turn]:
        """Lets time go on to the watermark, in seconds since 1970-01-01 UTC."""
        yield from ()

    def _end(self) -> Iterator[Turn]:
        """Gives what is left."""
        yield from ()


class FollowingState(NamedTuple):
    """All that is known between two turns.

    Attributes:
        plain: how far the lines are read, the watermark, and the counts, as plain data.
        book, sums: the series.
    """

    plain: dict[str, Any]
    book: ShardBook
    sums: MinuteSums


class FollowedRows(FollowedLines):
    """Makes the rows of all series that are followed.

    Args:
        rules: which rows there are.
        delay_seconds: how long after the watermark has reached it the row of a date is given.
        skips_empty: whether rows of empty windows are left out.
    """

    def __init__(
        self,
        tail: TimedTail,
        parser: ChunkParser,
        account: Account,
        rules: ShardRules,
        delay_seconds: int = 0,
        skips_empty: bool = False,
    ) -> None:
        super().__init__(tail, parser, account)
        self._rules = rules
        self._delay_seconds = delay_seconds
        self._skips_empty = skips_empty
        self._shard = Shard(rules)
        self._waiting: list[tuple[Series, MinuteSums]] = []
        self._chunks = 0
        self._few = Few(MAX_WARNINGS)

    def _take(self, chunk: Chunk) -> Iterator[Turn]:
        for turn in super()._take(chunk):
            if turn.parsed is not None:
                self._waiting += turn.parsed.sums
                turn = replace(turn, parsed=turn.parsed._replace(sums=[]))
            yield turn
        self._chunks += 1
        if self._chunks >= _WAITING_CHUNKS:
            yield from self._settle()

    def _settle(self) -> Iterator[Turn]:
        rows: list[RevisedRows] = []
        if self._waiting:
            rows = self._shard.add(self._shard.numbered([ShardSums.of(self._waiting)]))
        self._waiting, self._chunks = [], 0
        yield self._given(rows)

    def _move(self, watermark: float | None) -> Iterator[Turn]:
        if watermark is not None:
            date = int(watermark - self._delay_seconds) // _MINUTE_SECONDS
            for rows in self._shard.advance_in_parts(date, _ROWS_PER_TURN):
                yield self._given(rows)
            for rows in self._shard.confirm_in_parts(date, _ROWS_PER_TURN):
                yield self._given(rows)

    def _end(self) -> Iterator[Turn]:
        for rows in self._shard.advance_in_parts(self._shard.end_date, _ROWS_PER_TURN):
            yield self._given(rows)

    def _given(self, rows: Sequence[RevisedRows]) -> Turn:
        counts = self._shard.take_counts()
        self._account.add_series(counts.series)
        warn_of(counts, self._rules, self._few)
        if self._skips_empty:
            rows = [block.without_empty() for block in rows]
        rows = [block for block in rows if len(block)]
        for block in rows:
            self._account.add_rows(len(block), int(block.dates.min()), int(block.dates.max()))
        return Turn(rows=rows, is_consistent=True)

    def state(self) -> FollowingState:
        """What is known after a consistent turn, for `restore`."""
        plain = {"tail": self._tail.state(), "account": self._account.state()}
        return FollowingState(plain, self._shard.book, self._shard.sums)

    def restore(self, state: FollowingState) -> None:
        """Goes on where another process has been.

        Raises:
            InputError: an input is gone.
        """
        self._tail.restore(state.plain["tail"])
        self._account.restore(state.plain["account"])
        self._shard = Shard(self._rules, state.book, [state.sums])
