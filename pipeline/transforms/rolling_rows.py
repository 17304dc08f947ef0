"""Rows of unbounded input by the plan `rolling`: the minutes of series are kept in state.

The keys are shards of series, as each wake of a key costs several round trips for its state, and
the work between them is done in arrays. All logic is in `pipeline.core.shards`.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from uuid import uuid4

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import (
    BagStateSpec,
    ReadModifyWriteStateSpec,
    TimerSpec,
    on_timer,
)
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.core.durations import MinuteSums
from pipeline.core.exact import Exact
from pipeline.core.rows import Series
from pipeline.core.shards import (
    NEVER,
    RevisedRows,
    Shard,
    ShardBook,
    ShardCounts,
    ShardRules,
    ShardSums,
)
from pipeline.transforms.coders import ColumnsCoder, JsonCoder
from pipeline.transforms.in_process import Few
from pipeline.transforms.parse_events import MinuteSumsCoder

_MINUTE_SECONDS = 60

_LONGEST_STRIDE = 1024
"""Minutes at most that are leapt over at a time when the watermark leaps."""
_MAX_WAITING = 64
"""So many tables at most wait until the watermark moves."""
_MIN_STORED = 2**14
"""Fewer sums are not worth being rewritten because most are old."""
_MAX_REMEMBERED_BYTES = 2**28
MAX_WARNINGS = 5

_logger = logging.getLogger(__name__)


class ShardSumsCoder(ColumnsCoder):
    """The names, and the sums as `MinuteSumsCoder` has them."""

    VERSION = b"\x01"

    def to_arrays(self, value: ShardSums) -> tuple[Any, list[Exact]]:
        head, arrays = MinuteSumsCoder().to_arrays(value.sums)
        return [value.names, head], arrays

    def of_arrays(self, head: Any, arrays: list[Exact]) -> ShardSums:
        names, of_sums = head
        return ShardSums([*map(tuple, names)], MinuteSumsCoder().of_arrays(of_sums, arrays))


class ShardBookCoder(ColumnsCoder):
    """The dates and the names; then the arrays in order."""

    VERSION = b"\x01"

    def to_arrays(self, value: ShardBook) -> tuple[Any, list[Exact]]:
        *head, latest, revised, revisions = value
        return head, [latest, *revised, *revisions]

    def of_arrays(self, head: Any, arrays: list[Exact]) -> ShardBook:
        reached, confirmed, floor, names = head
        latest, *others = arrays
        half = len(others) // 2
        series = [None if name is None else tuple(name) for name in names]
        places, numbers = others[:half], others[half:]
        return ShardBook(reached, confirmed, floor, series, latest, places, numbers)


class RevisedRowsCoder(ColumnsCoder):
    """The names, the size and the names of the measures; then the arrays in order."""

    VERSION = b"\x01"

    def to_arrays(self, value: RevisedRows) -> tuple[Any, list[Exact]]:
        head = [value.names, value.window_minutes, *value.values]
        columns = value.codes, value.dates, value.counts, value.revisions
        return head, [*columns, *value.values.values()]

    def of_arrays(self, head: Any, arrays: list[Exact]) -> RevisedRows:
        names, window_minutes, *measures = head
        codes, dates, counts, revisions, *columns = arrays
        series = [None if name is None else tuple(name) for name in names]
        values = dict(zip(measures, columns, strict=True))
        return RevisedRows(series, window_minutes, codes, dates, counts, values, revisions)


class Clock(NamedTuple):
    """The small part of a shard's state, which every call reads.

    Attributes:
        reached: as in `Shard`.
        near, far: the dates to which timers are set, or `NEVER`.
        stride: how far `far` is behind `near`.
        waiting: how many tables wait.
        stored: how many sums are stored.
        token: a name for what is stored, by which a process may remember what it decoded.
    """

    reached: int = NEVER
    near: int = NEVER
    far: int = NEVER
    stride: int = 2
    waiting: int = 0
    stored: int = 0
    token: str = ""


class ClockCoder(JsonCoder):
    """The fields in order."""

    def to_json(self, value: Clock) -> Any:
        return value

    def from_json(self, value: Any) -> Clock:
        return Clock(*value)


class _Remembered:
    """Shards that this process has decoded, by their tokens.

    One is taken out while it is worked on. So a bundle that fails leaves none that differs from
    what is stored: its next try decodes what is stored.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._shards: OrderedDict[str, tuple[Shard, int]] = OrderedDict()
        self._bytes = 0

    def take(self, token: str) -> Shard | None:
        with self._lock:
            shard, size = self._shards.pop(token, (None, 0))
            self._bytes -= size
            return shard

    def put(self, token: str, shard: Shard) -> None:
        with self._lock:
            size = shard.size
            self._shards[token] = shard, size
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, dropped) = self._shards.popitem(last=False)
                self._bytes -= dropped


@dataclass(eq=False)
class RollingRows(beam.PTransform):
    """Makes rows with revisions of the sums of an unbounded input.

    Takes `tuple[Series, MinuteSums]` and gives `RevisedRows`, all in the global window. A shard
    keeps no state when all its series are at rest.

    Counts, in the namespace of this class: `series`, as often as they begin anew; `gaps`, the
    silences too long to be filled; and `overdue`, the events that came after all retention. These
    are in no row, and an error in the log tells of them: a runner that holds the watermark back for
    what it has yet to process has none.

    Args:
        rules: which rows there are.
        shards: the number of keys that the series are spread over.
        delay_seconds: how long after the watermark has reached it the row of a date is given. With
            the allowed lateness no event comes later, and there are no revisions.
    """

    rules: ShardRules
    shards: int
    delay_seconds: int = 0

    def expand(self, sums: beam.PCollection) -> beam.PCollection:
        shard = beam.ParDo(_ShardFn(self.shards)).with_output_types(tuple[int, ShardSums])
        roll = beam.ParDo(_RollFn(self.rules, self.delay_seconds)).with_output_types(RevisedRows)
        return sums | "Shard" >> shard | "Roll" >> roll


class _ShardFn(beam.DoFn):
    """Puts the sums of a bundle together, in one table a shard."""

    def __init__(self, shards: int) -> None:
        self._shards = shards

    def start_bundle(self) -> None:
        self._sums: dict[int, list[tuple[Series, MinuteSums]]] = {}
        self._earliest: Timestamp | None = None

    def process(
        self, element: tuple[Series, MinuteSums], timestamp: Any = beam.DoFn.TimestampParam
    ) -> None:
        series, _ = element
        shard = zlib.crc32(repr(series).encode(errors="surrogatepass")) % self._shards
        self._sums.setdefault(shard, []).append(element)
        if self._earliest is None or timestamp < self._earliest:
            self._earliest = timestamp

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for shard, sums in self._sums.items():
            element = shard, ShardSums.of(sums)
            yield WindowedValue(element, self._earliest, (GlobalWindow(),))


class _Cells(NamedTuple):
    """The state of a shard, and its timers."""

    clock: Any
    waiting: Any
    book: Any
    sums: Any
    near: Any
    far: Any
    confirm: Any
    end: Any


class _RollFn(beam.DoFn):
    """Keeps what comes, and wakes up when the watermark reaches the date of a row.

    NEAR is set to the next such date, or to the watermark when something came late. FAR, which is
    further ahead, fires together with it when the watermark leaps: then it is set further ahead.
    CONFIRM is set by these two to their own date. At the end of the input all timers fire, each
    before those that it sets: END clears CONFIRM, and the rows of the silences that nothing follows
    are not given.
    """

    CLOCK: ClassVar = ReadModifyWriteStateSpec("clock", ClockCoder())
    WAITING: ClassVar = BagStateSpec("waiting", ShardSumsCoder())
    BOOK: ClassVar = ReadModifyWriteStateSpec("book", ShardBookCoder())
    SUMS: ClassVar = BagStateSpec("sums", MinuteSumsCoder())
    NEAR: ClassVar = TimerSpec("near", TimeDomain.WATERMARK)
    FAR: ClassVar = TimerSpec("far", TimeDomain.WATERMARK)
    CONFIRM: ClassVar = TimerSpec("confirm", TimeDomain.WATERMARK)
    END: ClassVar = TimerSpec("end", TimeDomain.WATERMARK)

    _remembered: ClassVar = _Remembered(_MAX_REMEMBERED_BYTES)

    def __init__(self, rules: ShardRules, delay_seconds: int = 0) -> None:
        self._rules = rules
        self._delay_seconds = delay_seconds
        self._series = Metrics.counter(RollingRows, "series")
        self._gaps = Metrics.counter(RollingRows, "gaps")
        self._overdue = Metrics.counter(RollingRows, "overdue")
        self._few = Few(MAX_WARNINGS)

    def process(
        self,
        element: tuple[int, ShardSums],
        clock: Any = beam.DoFn.StateParam(CLOCK),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        book: Any = beam.DoFn.StateParam(BOOK),
        sums: Any = beam.DoFn.StateParam(SUMS),
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
        confirm: Any = beam.DoFn.TimerParam(CONFIRM),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[RevisedRows]:
        _, table = element
        now = clock.read()
        if now is None:
            now = Clock()
            end.set(GlobalWindow().max_timestamp())
        waiting.add(table)
        date = max(table.first_minute + 1, now.reached)
        if now.near == NEVER or date < now.near:
            near.set(self._timestamp(date))
            now = now._replace(near=date)
        now = now._replace(waiting=now.waiting + 1)
        if now.waiting < _MAX_WAITING:
            clock.write(now)
            return
        cells = _Cells(clock, waiting, book, sums, near, far, confirm, end)
        shard, now, rows = self._take(now, cells)
        yield from rows
        self._store(shard, now, cells)

    @on_timer(NEAR)
    def wake(
        self,
        fired: Any = beam.DoFn.TimestampParam,
        clock: Any = beam.DoFn.StateParam(CLOCK),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        book: Any = beam.DoFn.StateParam(BOOK),
        sums: Any = beam.DoFn.StateParam(SUMS),
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
        confirm: Any = beam.DoFn.TimerParam(CONFIRM),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[RevisedRows]:
        now = clock.read()
        if now is not None:
            now = now._replace(near=NEVER, stride=max(now.stride // 2, 2))
            cells = _Cells(clock, waiting, book, sums, near, far, confirm, end)
            yield from self._advance(self._date(fired), now, cells)

    @on_timer(FAR)
    def leap(
        self,
        fired: Any = beam.DoFn.TimestampParam,
        clock: Any = beam.DoFn.StateParam(CLOCK),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        book: Any = beam.DoFn.StateParam(BOOK),
        sums: Any = beam.DoFn.StateParam(SUMS),
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
        confirm: Any = beam.DoFn.TimerParam(CONFIRM),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[RevisedRows]:
        now = clock.read()
        if now is not None:
            # NEAR, which fired before, has halved it.
            now = now._replace(far=NEVER, stride=min(now.stride * 4, _LONGEST_STRIDE))
            cells = _Cells(clock, waiting, book, sums, near, far, confirm, end)
            yield from self._advance(self._date(fired), now, cells)

    @on_timer(CONFIRM)
    def go_on(
        self,
        fired: Any = beam.DoFn.TimestampParam,
        clock: Any = beam.DoFn.StateParam(CLOCK),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        book: Any = beam.DoFn.StateParam(BOOK),
        sums: Any = beam.DoFn.StateParam(SUMS),
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
        confirm: Any = beam.DoFn.TimerParam(CONFIRM),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[RevisedRows]:
        now = clock.read()
        if now is not None:
            cells = _Cells(clock, waiting, book, sums, near, far, confirm, end)
            shard, now, rows = self._take(now, cells)
            yield from rows
            yield from shard.confirm(self._date(fired))
            self._store(shard, now, cells)

    @on_timer(END)
    def finish(
        self,
        clock: Any = beam.DoFn.StateParam(CLOCK),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        book: Any = beam.DoFn.StateParam(BOOK),
        sums: Any = beam.DoFn.StateParam(SUMS),
        near: Any = beam.DoFn.TimerParam(NEAR),
        far: Any = beam.DoFn.TimerParam(FAR),
        confirm: Any = beam.DoFn.TimerParam(CONFIRM),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[RevisedRows]:
        now = clock.read()
        if now is not None:
            cells = _Cells(clock, waiting, book, sums, near, far, confirm, end)
            shard, now, rows = self._take(now, cells)
            yield from rows
            yield from shard.end()
            self._count(shard)
            for cell in cells:
                cell.clear()

    def _advance(self, date: int, now: Clock, cells: _Cells) -> Iterator[RevisedRows]:
        shard, now, rows = self._take(now, cells)
        yield from rows
        yield from shard.advance(date)
        if shard.needs_confirmation:
            cells.confirm.set(self._timestamp(shard.reached))
        if not shard.is_empty:
            following = shard.next_date()
            further = following + now.stride
            if following != now.near:
                cells.near.set(self._timestamp(following))
            if further != now.far:
                cells.far.set(self._timestamp(further))
            now = now._replace(near=following, far=further)
        self._store(shard, now, cells)

    def _take(self, now: Clock, cells: _Cells) -> tuple[Shard, Clock, list[RevisedRows]]:
        """The shard with what waited, and the rows that this brings."""
        shard = self._remembered.take(now.token)
        if shard is None:
            shard = Shard(self._rules)
            if now.token:
                shard = Shard(self._rules, cells.book.read(), cells.sums.read())
        if not now.waiting:
            return shard, now, []
        added = shard.numbered(cells.waiting.read())
        cells.waiting.clear()
        cells.sums.add(added)
        return shard, now._replace(waiting=0, stored=now.stored + len(added)), shard.add(added)

    def _store(self, shard: Shard, now: Clock, cells: _Cells) -> None:
        self._count(shard)
        if shard.is_empty:
            for cell in cells:
                cell.clear()
            return
        if now.stored > 2 * len(shard.sums) + _MIN_STORED:
            cells.sums.clear()
            cells.sums.add(shard.sums)
            now = now._replace(stored=len(shard.sums))
        token = uuid4().hex
        cells.book.write(shard.book)
        cells.clock.write(now._replace(reached=shard.reached, token=token))
        self._remembered.put(token, shard)

    def _count(self, shard: Shard) -> None:
        counts = shard.take_counts()
        self._series.inc(counts.series)
        self._gaps.inc(counts.gaps)
        self._overdue.inc(counts.overdue)
        warn_of(counts, self._rules, self._few)

    def _timestamp(self, date: int) -> Timestamp:
        """When the watermark makes the row of a date due."""
        return Timestamp(date * _MINUTE_SECONDS + self._delay_seconds)

    def _date(self, fired: Timestamp) -> int:
        """The date whose row a timer has made due."""
        return int(fired.micros // 1_000_000 - self._delay_seconds) // _MINUTE_SECONDS


def warn_of(counts: ShardCounts, rules: ShardRules, few: Few) -> None:
    """Tells the log of what becomes no row."""
    if counts.overdue:
        _logger.error("%d event(s) came after all retention, and are in no row", counts.overdue)
    if counts.gaps and (left := few.take()):
        _logger.warning(
            "%d silence(s) longer than --max_gap_minutes=%d are not filled with rows%s",
            counts.gaps,
            rules.rows[0].max_gap_minutes,
            "" if left > 1 else "; of others only the counter tells",
        )
