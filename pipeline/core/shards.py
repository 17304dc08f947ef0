"""The rows of series whose events still come, many series at a time.

Time stands at a date of the watermark, and a minute that it has passed is over. Let S be the
minutes of a series with events that are over. There is a row at a date D if

    D is in S, or D comes at most H after the latest minute of S before D,

where H is the longest silence that is filled, but at least X + 1 minutes. These are the rows of
`pipeline.core.row_rules`, and those of silences that nobody knows to be too long. More events never
make fewer rows. So which rows have been given follows from the events and from how far time was,
and only revisions have to be remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.durations import MinuteSums
from pipeline.core.events import EPOCH
from pipeline.core.exact import Int64s
from pipeline.core.measures import Values
from pipeline.core.row_rules import MAX_WINDOW_MINUTES, RollingSums, RowRules
from pipeline.core.rows import Row, Series, finite

NEVER = -1
"""Stands for a minute where there is none."""
_END = 1 << 32
"""After all minutes."""

_Bools = npt.NDArray[np.bool_]

# A place is the code of a series and a minute, in one number: places ascend by series and minute.
_MINUTE_BITS = 33
_FIRST_MINUTE = 2 * MAX_WINDOW_MINUTES  # so that a window before 1970 is of the same series


def places_of(codes: Int64s, minutes: Int64s) -> Int64s:
    """The places of minutes (since 1970-01-01 UTC, or `NEVER`) of series."""
    return (codes << _MINUTE_BITS) + (minutes + _FIRST_MINUTE)


def series_of(places: Int64s) -> Int64s:
    """The codes of the series of places."""
    return places >> _MINUTE_BITS


def minutes_of(places: Int64s) -> Int64s:
    """The minutes of places."""
    return (places & ((1 << _MINUTE_BITS) - 1)) - _FIRST_MINUTE


class ShardSums(NamedTuple):
    """Sums of some series: the `minutes` of `sums` are places, whose codes are of `names`."""

    names: Sequence[Series]
    sums: MinuteSums

    @classmethod
    def of(cls, sums: Iterable[tuple[Series, MinuteSums]]) -> ShardSums:
        """Puts the sums of series together; a series may come several times."""
        codes: dict[Series, int] = {}
        parts = []
        for series, each in sums:
            code = codes.setdefault(series, len(codes))
            parts.append(each.at(places_of(np.int64(code), each.minutes)))
        return cls([*codes], MinuteSums.merge(parts))

    @property
    def first_minute(self) -> int:
        """The earliest minute; there is at least one."""
        return int(minutes_of(self.sums.minutes).min())


@dataclass(frozen=True, slots=True, eq=False)
class RevisedRows:
    """Rows of some series and one size of windows, as columns; in no order.

    Attributes:
        names: `names[codes[i]]` is the series of row i.
        dates: in minutes since 1970-01-01 UTC.
        counts: the number of deliveries in each window.
        values: a column for each measure, by its name.
        revisions: how often each row has been given before.
    """

    names: Sequence[Series | None]
    window_minutes: int
    codes: Int64s
    dates: Int64s
    counts: Int64s
    values: Mapping[str, Values]
    revisions: Int64s

    def __len__(self) -> int:
        return len(self.dates)

    def without_empty(self) -> RevisedRows:
        """The rows whose windows have deliveries."""
        full = self.counts > 0
        values = {name: column[full] for name, column in self.values.items()}
        columns = self.codes[full], self.dates[full], self.counts[full]
        return RevisedRows(self.names, self.window_minutes, *columns, values, self.revisions[full])

    def __iter__(self) -> Iterator[Row]:
        columns = [column.tolist() for column in self.values.values()]
        for code, minute, count, revision, *values in zip(
            self.codes.tolist(),
            self.dates.tolist(),
            self.counts.tolist(),
            self.revisions.tolist(),
            *columns,
            strict=True,
        ):
            by_name = dict(zip(self.values, map(finite, values), strict=True))
            date = EPOCH + timedelta(minutes=minute)
            yield Row(self.names[code] or (), date, self.window_minutes, count, by_name, revision)


@dataclass(frozen=True)
class ShardRules:
    """Which rows there are, and how long what is known is kept.

    Args:
        rows: the rules for each size of windows.
        retention: how many minutes after a minute is over an event of it may still come.
    """

    rows: Sequence[RowRules]
    retention: int

    @property
    def kept(self) -> int:
        """For how many minutes sums are needed: a late event changes rows of as many before."""
        return max(each.window_minutes for each in self.rows) + self.retention + 1

    @property
    def longest_silence(self) -> int:
        """The longest H of all windows."""
        return max(map(_longest_silence, self.rows))


def _longest_silence(rows: RowRules) -> int:
    return max(rows.window_minutes + 1, rows.max_gap_minutes)


class _Revisions:
    """How often rows have been given again, by place; of others nothing is known."""

    def __init__(self, places: Int64s, numbers: Int64s) -> None:
        self.places = places
        self.numbers = numbers

    def count(self, given: Int64s) -> Int64s:
        """Counts a revision of each of some distinct rows, and gives its number."""
        places, where = np.unique(np.concatenate((self.places, given)), return_inverse=True)
        known, new = where[: len(self.places)], where[len(self.places) :]
        numbers = np.zeros(len(places), np.int64)
        numbers[known] = self.numbers
        numbers[new] += 1
        self.places, self.numbers = places, numbers
        counted: Int64s = numbers[new]
        return counted

    def forget(self, before: int) -> None:
        """Forgets rows of dates before one."""
        is_kept = minutes_of(self.places) >= before
        self.places, self.numbers = self.places[is_kept], self.numbers[is_kept]


class ShardBook(NamedTuple):
    """All that a shard knows beside sums.

    Attributes:
        reached: how far time is known to be; `NEVER` before the first date.
        confirmed: up to which date silences have been given their rows.
        floor: sums of minutes before this one are needed no more.
        names: the series by their codes; None where a code is free.
        latest: for each code the last minute with events before `floor`, or `NEVER`.
        revised, revisions: for each size of windows the places of rows that have been given
            several times, and how often less one.
    """

    reached: int
    confirmed: int
    floor: int
    names: list[Series | None]
    latest: Int64s
    revised: list[Int64s]
    revisions: list[Int64s]


class ShardCounts(NamedTuple):
    """What happened to series.

    Attributes:
        series: how many have begun.
        gaps: how many silences were too long to be filled.
        overdue: how many events came after all retention; they are in no row.
    """

    series: int = 0
    gaps: int = 0
    overdue: int = 0


class Shard:
    """Some series whose events still come.

    Events are added to it, and it is told how far time is. It gives rows that are due: those of a
    date once time is there, each once, and again whenever an event was added to its window. Of a
    silence after the last event that is known it gives those beyond the window only when they are
    confirmed, since the end of the input cuts them off.

    Attributes:
        reached: how far time is, as a date in minutes since 1970-01-01 UTC, or `NEVER`.

    Args:
        rules: which rows there are.
        book, sums: what an earlier object knew, and all that was ever added to it, by place. Sums
            that are no longer needed may be left out.
    """

    def __init__(
        self, rules: ShardRules, book: ShardBook | None = None, sums: Iterable[MinuteSums] = ()
    ) -> None:
        self._rules = rules
        nothing = np.zeros(0, np.int64)
        if book is None:
            each = [nothing for _ in rules.rows]
            book = ShardBook(NEVER, NEVER, NEVER, [], nothing, each, each)
        self.reached = book.reached
        self._confirmed = book.confirmed
        self._names = [*book.names]
        self._codes = {name: code for code, name in enumerate(self._names) if name is not None}
        self._free = [code for code, name in enumerate(self._names) if name is None]
        self._latest = book.latest.copy()  # what was decoded is read-only
        self._revisions = [*map(_Revisions, book.revised, book.revisions)]
        self._floor = book.floor
        stored = MinuteSums.merge(sums)
        self._sums = stored.take(np.flatnonzero(minutes_of(stored.minutes) >= self._floor))
        self._counts = ShardCounts()

    @property
    def book(self) -> ShardBook:
        """What makes the same shard, together with its sums."""
        return ShardBook(
            self.reached,
            self._confirmed,
            self._floor,
            self._names,
            self._latest,
            [each.places for each in self._revisions],
            [each.numbers for each in self._revisions],
        )

    @property
    def sums(self) -> MinuteSums:
        """All sums that may still be needed, by place."""
        return self._sums

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        sums = self._sums
        arrays = [sums.minutes, sums.counts, sums.totals]
        for detail, column in sums.details.items():
            arrays += detail.arrays(column)
        return sum(each.nbytes for each in arrays) + 200 * len(self._names)

    @property
    def is_empty(self) -> bool:
        """Whether all its series are at rest."""
        return not self._codes

    def take_counts(self) -> ShardCounts:
        """What has happened since this was last asked."""
        counts, self._counts = self._counts, ShardCounts()
        return counts

    def numbered(self, parts: Iterable[ShardSums]) -> MinuteSums:
        """Sums of the minutes of series, by the places that they have here.

        Those of overdue events are counted and left out: no row knows them.
        """
        numbered = []
        for names, sums in parts:
            is_overdue = minutes_of(sums.minutes) < self.reached - self._rules.retention
            if is_overdue.any():
                self._count(overdue=int(sums.counts[is_overdue].sum()))
                sums = sums.take(np.flatnonzero(~is_overdue))
            codes = np.zeros(len(names), np.int64)
            for index in np.unique(series_of(sums.minutes)).tolist():
                codes[index] = self._code(names[index])
            places = places_of(codes[series_of(sums.minutes)], minutes_of(sums.minutes))
            order = np.argsort(places)
            numbered.append(sums.take(order).at(places[order]))
        return MinuteSums.merge(numbered)

    def add(self, added: MinuteSums) -> list[RevisedRows]:
        """Takes sums that are `numbered`; those of minutes that are over give rows at once."""
        if not len(added):
            return []
        return self._go_on(added, self.reached, self._confirmed)

    def advance(self, date: int) -> list[RevisedRows]:
        """Gives the rows up to a date that time has reached."""
        rows = self._go_on(None, max(self.reached, date), self._confirmed)
        self._forget()
        return rows

    def confirm(self, date: int) -> list[RevisedRows]:
        """Gives the rows of silences up to a date, after which the input goes on."""
        rows = self._go_on(None, self.reached, max(self._confirmed, min(date, self.reached)))
        self._forget()
        return rows

    def end(self) -> list[RevisedRows]:
        """Gives the rows that are left when the input has ended."""
        return self._go_on(None, self.end_date, self._confirmed)

    @property
    def end_date(self) -> int:
        """The last date of all rows if the input ends now."""
        longest = max(each.window_minutes for each in self._rules.rows)
        return max(self.reached, int(self._known().max(initial=NEVER)) + longest)

    def advance_in_parts(self, date: int, max_rows: int) -> Iterator[list[RevisedRows]]:
        """The same as `advance`, in parts of about `max_rows` rows."""
        while self.reached < date:
            following = date if self.is_empty else self.next_date()
            yield self.advance(min(date, max(following, self.reached + self._minutes(max_rows))))

    def confirm_in_parts(self, date: int, max_rows: int) -> Iterator[list[RevisedRows]]:
        """The same as `confirm`, in parts of about `max_rows` rows."""
        while len(left := self._unconfirmed()) and (first := int(left.min())) < date:
            yield self.confirm(min(date, first + self._minutes(max_rows)))
        yield self.confirm(date)

    def _minutes(self, max_rows: int) -> int:
        """In how many minutes there are so many rows."""
        return max(max_rows // (max(len(self._codes), 1) * len(self._rules.rows)), 1)

    @property
    def needs_confirmation(self) -> bool:
        """Whether time has reached rows of a silence that have not been given."""
        return len(self._unconfirmed()) > 0

    def _unconfirmed(self) -> Int64s:
        """The dates up to which rows were given, where there are more of a silence by now."""
        last = self._last_over()
        done = self._all_done(self._known(), self.reached, self._confirmed)
        parts = [
            each[(last > NEVER) & (each < np.minimum(self.reached, last + silence))]
            for each, silence in zip(done, map(_longest_silence, self._rules.rows), strict=True)
        ]
        return np.concatenate(parts)

    def next_date(self) -> int:
        """The next date at which something is to be done; not of an empty shard."""
        last, known = self._last_over(), self._known()
        if np.any((last > NEVER) & (last + self._rules.longest_silence > self.reached)):
            return self.reached + 1
        forgetting = known[known > NEVER] + self._rules.longest_silence + self._rules.retention + 1
        pending = known[known >= max(self.reached, 0)]
        if len(pending):
            minutes = minutes_of(self._sums.minutes)
            first = int(minutes[minutes >= self.reached].min())
            return min(first + 1, max(int(forgetting.min()), self.reached + 1))
        return max(int(forgetting.min()), self.reached + 1)

    def _go_on(self, added: MinuteSums | None, reached: int, confirmed: int) -> list[RevisedRows]:
        """Gives the rows that there are now, and were not before or have changed."""
        sums, latest, over = self._sums, self._latest, self.reached
        known = self._known()
        given = self._all_done(known, self.reached, self._confirmed)
        self.reached, self._confirmed = reached, confirmed
        late = np.zeros(0, np.int64)
        if added is not None:
            self._count_gaps(added, known)
            late = added.minutes[minutes_of(added.minutes) < over]
            self._sums = MinuteSums.merge([sums, added]) if len(sums) else added
            known = self._known()
        done = self._all_done(known, reached, confirmed)
        blocks = []
        rolling: RollingSums | None = None
        for rows, revisions, before, until in zip(
            self._rules.rows, self._revisions, given, done, strict=True
        ):
            silence = _longest_silence(rows)
            codes = np.flatnonzero((until > before) & (known > NEVER))
            fresh = _rows(self._sums, latest, codes, before, until, reached, silence)
            parts = [fresh, self._begun_at(over, before, silence) if reached > over else fresh[:0]]
            changed_revisions = fresh[:0]
            if len(late):
                codes, firsts = np.unique(series_of(late), return_index=True)
                after = np.full(len(known), NEVER, np.int64)
                after[codes] = minutes_of(late[firsts]) - 1
                now = _rows(self._sums, latest, codes, after, before, over, silence)
                then = _rows(sums, latest, codes, after, before, over, silence)
                is_old = np.isin(now, then, assume_unique=True)
                changes = np.searchsorted(late, now) - np.searchsorted(
                    late, now - rows.window_minutes
                )
                changed = now[is_old & (changes > 0)]
                parts += now[~is_old], changed
                changed_revisions = revisions.count(changed)
            due = np.concatenate(parts)
            if len(due):
                rolling = rolling or RollingSums(self._sums)
                numbers = np.zeros(len(due), np.int64)
                numbers[len(due) - len(changed_revisions) :] = changed_revisions
                blocks.append(self._block(rows, rolling, due, numbers))
        return blocks

    def _begun_at(self, minute: int, given: Int64s, silence: int) -> Int64s:
        """The rows of the date of a minute which there are since its own events are over."""
        places = self._sums.minutes[minutes_of(self._sums.minutes) == minute]
        codes = series_of(places)
        last = _last_before(self._sums, self._latest, codes, minute)
        is_begun = (last == NEVER) | (minute - last > silence)
        begun: Int64s = places[is_begun & (given[codes] >= minute)]
        return begun

    def _block(
        self, rows: RowRules, rolling: RollingSums, due: Int64s, revisions: Int64s
    ) -> RevisedRows:
        windows = rolling.over(due, rows.window_minutes)
        return RevisedRows(
            [*self._names],
            rows.window_minutes,
            series_of(due),
            minutes_of(due),
            windows.counts,
            {name: each.column(windows, rows.decimals) for name, each in rows.measures.items()},
            revisions,
        )

    def _all_done(self, known: Int64s, reached: int, confirmed: int) -> list[Int64s]:
        """For each size of windows the dates up to which series have been given their rows."""
        return [
            np.where(
                known > NEVER,
                np.maximum(np.minimum(reached, known + rows.window_minutes), confirmed),
                confirmed,
            )
            for rows in self._rules.rows
        ]

    def _known(self) -> Int64s:
        """The last minute of each series that has events, or `NEVER`."""
        return _last_before(self._sums, self._latest, np.arange(len(self._names)), _END)

    def _last_over(self) -> Int64s:
        """The last minute of each series that has events and is over, or `NEVER`."""
        return _last_before(self._sums, self._latest, np.arange(len(self._names)), self.reached)

    def _count(self, **counts: int) -> None:
        known = self._counts._asdict()
        self._counts = ShardCounts(**{name: known[name] + counts.get(name, 0) for name in known})

    def _code(self, name: Series) -> int:
        code = self._codes.get(name)
        if code is None:
            self._count(series=1)
            if self._free:
                code = self._free.pop()
                self._names[code] = name
            else:
                code = len(self._names)
                self._names.append(name)
                self._latest = np.append(self._latest, NEVER)
            self._codes[name] = code
        return code

    def _count_gaps(self, added: MinuteSums, known: Int64s) -> None:
        codes, firsts = np.unique(series_of(added.minutes), return_index=True)
        silences = minutes_of(added.minutes[firsts]) - known[codes]
        max_gap = self._rules.rows[0].max_gap_minutes
        self._count(gaps=int(np.sum((known[codes] > NEVER) & (silences > max_gap))))

    def _forget(self) -> None:
        """Forgets what is no longer needed: old sums and revisions, and series at rest."""
        rules = self._rules
        end = self._known() + rules.longest_silence
        is_taken = np.array([each is not None for each in self._names], np.bool_)
        is_resting = (end < self.reached - rules.retention) & (end <= self._confirmed)
        at_rest = np.flatnonzero(is_taken & is_resting)
        floor = self.reached - rules.kept
        if len(at_rest) or floor - self._floor >= rules.kept // 8:
            self._floor = max(floor, self._floor)
            minutes = minutes_of(self._sums.minutes)
            is_old = minutes < self._floor
            np.maximum.at(self._latest, series_of(self._sums.minutes[is_old]), minutes[is_old])
            self._sums = self._sums.take(np.flatnonzero(~is_old))
            for revisions in self._revisions:
                revisions.forget(self.reached - rules.retention)
        # Their sums are all before the floor.
        self._count(gaps=len(at_rest))
        self._latest[at_rest] = NEVER
        for code in at_rest.tolist():
            name = self._names[code]
            assert name is not None, "a code without a name is free"
            del self._codes[name]
            self._names[code] = None
            self._free.append(code)


def _last_before(sums: MinuteSums, latest: Int64s, codes: Int64s, minutes: Int64s | int) -> Int64s:
    """The last minute with events before another one, for each series, or `NEVER`."""
    index = np.searchsorted(sums.minutes, places_of(codes, np.asarray(minutes))) - 1
    found = latest[codes]
    is_kept = index >= 0
    is_kept[is_kept] = series_of(sums.minutes[index[is_kept]]) == codes[is_kept]
    found[is_kept] = minutes_of(sums.minutes[index[is_kept]])
    return found


def _rows(
    sums: MinuteSums,
    latest: Int64s,
    codes: Int64s,
    after: Int64s,
    until: Int64s,
    over: int,
    silence: int,
) -> Int64s:
    """The places of the rows that series have after a date, up to another one; they ascend.

    `codes` are those of the series, and `after` and `until` have a date for every code that there
    is. Events are in `sums` and, before these, in `latest`; minutes from `over` on are not over.
    """
    after, until = after[codes], until[codes]
    first = np.searchsorted(sums.minutes, places_of(codes, after + 1))
    stop = np.searchsorted(sums.minutes, places_of(codes, np.minimum(until + 1, over)))
    # A stretch of rows for each minute with events, and for the last one before all of them.
    sizes = np.maximum(stop - first, 0) + 1
    owners = np.repeat(np.arange(len(codes)), sizes)
    numbers = np.arange(len(owners)) - (np.cumsum(sizes) - sizes)[owners]
    is_inside = numbers > 0
    events = _last_before(sums, latest, codes, after + 1)[owners]
    events[is_inside] = minutes_of(sums.minutes[(first[owners] + numbers - 1)[is_inside]])
    begins = np.where(is_inside, events, after[owners] + 1)
    ends = np.append(events[1:] - 1, NEVER)
    is_last = numbers == sizes[owners] - 1
    ends[is_last] = until[owners[is_last]]
    ends = np.where(events > NEVER, np.minimum(ends, events + silence), NEVER)
    counts = np.maximum(ends - begins + 1, 0)
    before = np.cumsum(counts) - counts
    starts = places_of(codes[owners], begins) - before
    return np.repeat(starts, counts) + np.arange(int(counts.sum()))
