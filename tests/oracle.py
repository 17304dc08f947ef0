"""The contract as a brute force: slow, exact, and short enough to be believed by reading.

It shares neither code nor technique with the package that it judges: Python's own ``json``, a
regular expression for timestamps, ``Fraction`` for averages, and for every row a loop over all
events of its series.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any, NamedTuple

DEFAULT_EVENT_NAME = "translation_delivered"
DEFAULT_MAX_GAP = 527_040
STRING_FIELDS = ("translation_id", "source_language", "target_language", "client_name")

MINUTE = timedelta(minutes=1)
EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
TOO_LATE = datetime(9998, 1, 1, tzinfo=timezone.utc)
NEVER = datetime.max.replace(tzinfo=timezone.utc)

# What pydantic's JSON parser takes; beyond it the whole line is no JSON to it.
MAX_INTEGER_DIGITS = 4300
MAX_DEPTH = 200

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


# ---------------------------------------------------------------------------------------------
# Lines


@dataclass(frozen=True)
class Blank:
    """A line of nothing but ASCII white space."""


@dataclass(frozen=True)
class OtherEvent:
    """A JSON object that names another kind of event."""

    name: str


@dataclass(frozen=True)
class Event:
    """A valid event: its time in UTC, its duration in millionths, its string fields, its words."""

    time: datetime
    millionths: int
    fields: dict[str, str]
    words: int = field(default=0, compare=False)

    @property
    def minute(self) -> datetime:
        """The whole minute that the event falls in."""
        return self.time.replace(second=0, microsecond=0)


@dataclass(frozen=True)
class Rejected:
    """No valid event: the fields at fault, or ``""`` where it is the line as a whole."""

    fields: frozenset[str]


BLANK = Blank()
BROKEN_LINE = Rejected(frozenset({""}))


def lines_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields each line of a file without its line end, and the byte offset it starts at."""
    start = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    while start < len(data):
        end = data.find(b"\n", start)
        if end == -1:
            yield start, data[start:]
            return
        yield start, data[start:end].removesuffix(b"\r")
        start = end + 1


class Element(NamedTuple):
    """An element of a JSON array; or with `is_rest` all that follows, which is none any more."""

    offset: int
    text: bytes
    is_rest: bool = False


def elements_of(data: bytes) -> Iterator[Element]:
    """What stands in a file that holds a JSON array, character by character."""
    place = _skip_white_space(data, data.index(b"[") + 1)
    may_end = True
    while data[place : place + 1] != b"]" or not may_end:
        stop = _end_of_value(data, place)
        if stop is None:
            yield Element(place, data[place:], True)
            return
        yield Element(place, data[place:stop])
        place = _skip_white_space(data, stop)
        may_end = True
        if data[place : place + 1] == b",":
            place = _skip_white_space(data, place + 1)
            may_end = False
        elif data[place : place + 1] != b"]":
            yield Element(place, data[place:], True)
            return
    place = _skip_white_space(data, place + 1)
    if place < len(data):
        yield Element(place, data[place:], True)


def holds_array(data: bytes) -> bool:
    """Whether a file holds a JSON array in place of lines."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1] == b"["


def _skip_white_space(data: bytes, place: int) -> int:
    while data[place : place + 1] in (b" ", b"\t", b"\r", b"\n"):
        place += 1
    return place


def _end_of_value(data: bytes, place: int) -> int | None:
    """Where a value ends by its brackets and quotes; None where there is none, or no end."""
    start, depth, is_string = place, 0, False
    while place < len(data):
        character = data[place : place + 1]
        if character == b"\\" and (is_string or depth):
            place += 1 + (data[place + 1 : place + 2] in (b"\\", b'"'))
            continue
        is_last = False
        if character == b'"':
            if not is_string and not depth and place > start:
                return place  # behind a number
            is_last = is_string and not depth
            is_string = not is_string
        elif not is_string and character in (b"{", b"["):
            if not depth and place > start:
                return place
            depth += 1
        elif not is_string and character in (b"}", b"]") and depth:
            depth -= 1
            is_last = not depth
        elif not is_string and not depth and character in b" \t\r\n,]}\\\f\v":
            return place if place > start else None
        place += 1
        if is_last:
            return place
    return None if depth or is_string or place == start else place


def classify(
    line: bytes, event_name: str = DEFAULT_EVENT_NAME
) -> Blank | OtherEvent | Event | Rejected:
    """Says what one line (without its line end) is."""
    if line.strip() == b"":
        return BLANK
    try:
        json_object = _json_object(line)
    except (ValueError, RecursionError):
        return BROKEN_LINE

    name = json_object.get("event_name")
    if isinstance(name, str) and name != event_name:
        return OtherEvent(name) if _is_strict(line) else BROKEN_LINE

    # Every reader answers None for an invalid value, and `get` does for a missing one.
    time = _time(json_object.get("timestamp"))
    millionths = _millionths(json_object.get("duration"))
    strings = {field: _string(json_object.get(field)) for field in STRING_FIELDS}
    words = _word_count(json_object.get("nr_words"))
    read = {
        "timestamp": time,
        "duration": millionths,
        "event_name": _string(name),
        "nr_words": words,
        **strings,
    }
    faulty = frozenset(field for field, value in read.items() if value is None)
    if faulty:
        return Rejected(faulty)
    assert time is not None
    assert millionths is not None
    assert words is not None
    if not _is_strict(line):
        return BROKEN_LINE
    fields = {k: value for k, value in strings.items() if value is not None}
    return Event(time, millionths, fields, words)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it is written, with its repeated keys."""


def _json_object(line: bytes) -> dict[str, Any]:
    value = json.loads(
        line.decode("utf-8"),  # strict: raises UnicodeDecodeError, a ValueError
        object_pairs_hook=_Pairs,
        parse_int=lambda digits: int(_short_enough(digits)),
        parse_float=lambda digits: float(_short_enough(digits)),
    )
    if not isinstance(value, _Pairs):
        raise ValueError("not an object")
    _check_strings_and_depth(value, depth=1)
    return dict(value)  # of equal keys the last one counts


def _is_strict(line: bytes) -> bool:
    """Whether JSON has none of the `NaN` and `Infinity` that Python's parser takes beyond it."""
    constants: list[str] = []
    json.loads(line, parse_int=str, parse_constant=constants.append)
    return not constants


def _short_enough(number: str) -> str:
    integer_part = re.match(r"-?([0-9]+)", number)
    assert integer_part is not None
    if len(integer_part[1]) > MAX_INTEGER_DIGITS:
        raise ValueError("integer too long")
    return number


def _check_strings_and_depth(value: Any, depth: int) -> None:
    r"""Raises ValueError for a lone surrogate (``\\ud800``) and for too many levels.

    A container without contents is no level.
    """
    if isinstance(value, str):
        value.encode("utf-8")  # raises UnicodeEncodeError, a ValueError
    elif isinstance(value, list) and value:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        keys, values = zip(*value, strict=True) if isinstance(value, _Pairs) else ((), value)
        for item in (*keys, *values):
            _check_strings_and_depth(item, depth + 1)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _word_count(value: Any) -> int | None:
    # `type` and not `isinstance`: True is an instance of int.
    return value if type(value) is int and value >= 0 else None


def _millionths(value: Any) -> int | None:
    if type(value) not in (int, float):
        return None
    if not 0 <= value <= 10**9:  # false for NaN and infinity, too
        return None
    return round(float(value) * 1e6)  # of a float: the nearest integer, ties to even


TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt_ ]([0-9]{2}):([0-9]{2})"
    r"(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"(?:[Zz]|([-+\u2212])([0-9]{2})(?::?([0-9]{2}))?)?"
)


def _time(value: Any) -> datetime | None:
    match = TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction = match.groups(default="0")[:7]
    sign, offset_hours, offset_minutes = match.groups(default="0")[7:]
    if int(offset_hours) > 23 or int(offset_minutes) > 59:
        return None
    offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
    try:
        local = datetime(
            year=int(year),
            month=int(month),
            day=int(day),
            hour=int(hour),
            minute=int(minute),
            second=int(second),
            microsecond=int(fraction[:6].ljust(6, "0")),  # cut off, not rounded
            tzinfo=timezone.utc,
        )
        time = local - offset if sign == "+" else local + offset
    except (ValueError, OverflowError):  # no such day or time; before year 1, after year 9999
        return None
    return time if EARLIEST <= time < TOO_LATE else None


# ---------------------------------------------------------------------------------------------
# Files


@dataclass(frozen=True)
class Counts:
    """The summary's counts of lines."""

    lines: int = 0
    blank: int = 0
    other_events: int = 0
    accepted: int = 0
    rejected: int = 0
    filtered: int = 0


def files_of(data: bytes | Sequence[bytes]) -> Sequence[bytes]:
    """One file's bytes or those of several, as several."""
    return [data] if isinstance(data, bytes) else data


def classified(
    data: bytes, event_name: str = DEFAULT_EVENT_NAME
) -> Iterator[tuple[int, bytes, Blank | OtherEvent | Event | Rejected]]:
    """The lines of one file with an end, or the elements of its array: offset, bytes, kind."""
    if holds_array(data):
        for offset, text, is_rest in elements_of(data):
            yield offset, text, BROKEN_LINE if is_rest else classify(text, event_name)
    else:
        for offset, line in lines_of(data):
            yield offset, line, classify(line, event_name)


def events_of(data: bytes | Sequence[bytes], event_name: str = DEFAULT_EVENT_NAME) -> list[Event]:
    """The valid events of one file or several, in the order they stand there."""
    kinds = (kind for file in files_of(data) for *_, kind in classified(file, event_name))
    return [kind for kind in kinds if isinstance(kind, Event)]


def rejected_of(data: bytes, event_name: str = DEFAULT_EVENT_NAME) -> list[tuple[int, bytes]]:
    """Offset and bytes of each line of one file that becomes a dead letter."""
    return [
        (offset, line)
        for offset, line, kind in classified(data, event_name)
        if isinstance(kind, Rejected)
    ]


def counts_of(data: bytes | Sequence[bytes], event_name: str = DEFAULT_EVENT_NAME) -> Counts:
    """How many lines of each kind one file or several have."""
    kinds = [type(kind) for file in files_of(data) for *_, kind in classified(file, event_name)]
    return Counts(
        lines=len(kinds),
        blank=kinds.count(Blank),
        other_events=kinds.count(OtherEvent),
        accepted=kinds.count(Event),
        rejected=kinds.count(Rejected),
    )


# ---------------------------------------------------------------------------------------------
# Rows


Value = Fraction | None
"""What is to be printed, exactly; None is ``null``."""


@dataclass(frozen=True)
class Row:
    """One row: its values are those of the measures, in their order."""

    date: datetime
    series: tuple[tuple[str, str], ...]
    window: int
    count: int
    values: tuple[tuple[str, Value], ...]

    @property
    def average(self) -> Value:
        """The mean."""
        return dict(self.values)["mean"]


def rows(
    events: Iterable[Event],
    window: int | Sequence[int],
    *,
    group_by: Sequence[str] = (),
    until: str = "last",
    empty_value: str = "0",
    decimals: int | None = None,
    max_gap: int = DEFAULT_MAX_GAP,
    measures: Sequence[str] = ("mean",),
    rows_from: datetime = EARLIEST,
    rows_before: datetime = NEVER,
) -> list[Row]:
    """All rows in the order of the output: by date, then by the values of the series, then size."""
    windows = [window] if isinstance(window, int) else window
    for each in windows:
        _check_options(each, group_by, until, empty_value, decimals, max_gap)
    by_series: dict[tuple[tuple[str, str], ...], list[Event]] = {}
    for event in events:
        series = tuple((field, event.fields[field]) for field in group_by)
        by_series.setdefault(series, []).append(event)

    result = []
    for size in windows:
        for series, its_events in by_series.items():
            for date in _dates({event.minute for event in its_events}, size, until, max_gap):
                start = date - size * MINUTE
                counted = [event for event in its_events if start <= event.time < date]
                if counted or empty_value != "skip":
                    empty = Fraction(0) if empty_value == "0" else None
                    values = [(each, _value(each, counted, decimals, empty)) for each in measures]
                    result.append(Row(date, series, size, len(counted), tuple(values)))
    # Within one output the fields' names and order are the same, so the values decide; Python
    # compares strings by code point.
    in_order = sorted(result, key=lambda row: (row.date, row.series, row.window))
    return [row for row in in_order if rows_from <= row.date < rows_before]


def _value(measure: str, events: Sequence[Event], decimals: int | None, empty: Value) -> Value:
    """What a measure says of the events of a window."""
    words = sum(event.words for event in events)
    if measure in ("count", "words"):
        return Fraction(len(events) if measure == "count" else words)
    if not events:
        return empty
    durations = sorted(event.millionths for event in events)
    if measure in ("min", "max"):
        return Fraction(durations[0] if measure == "min" else durations[-1], 1_000_000)
    if measure.startswith("p") and measure != "per_word":
        place = Fraction(len(durations)) * Fraction(measure[1:]) / 100
        duration = durations[-(-place.numerator // place.denominator) - 1]
        rounded = Context(prec=3, rounding=ROUND_HALF_EVEN).create_decimal(Decimal(duration))
        return Fraction(rounded) / 1_000_000
    if measure == "mean":
        quotient = Fraction(sum(durations), 1_000_000 * len(durations))
    elif measure == "per_word":
        if not words:
            return None
        quotient = Fraction(sum(durations), 1_000_000 * words)
    else:
        limit = Fraction(measure.removeprefix("within_")) * 1_000_000
        quotient = Fraction(sum(duration <= limit for duration in durations), len(durations))
    return quotient if decimals is None else round(quotient, decimals)  # exact, half to even


def _dates(minutes: set[datetime], window: int, until: str, max_gap: int) -> set[datetime]:
    """The dates of a series' rows, from the minutes that its events fall in."""
    dates: set[datetime] = set()
    in_order = sorted(minutes)
    first = in_order[0]
    for minute, following in zip(in_order, [*in_order[1:], None], strict=True):
        if following is not None and following - minute <= max_gap * MINUTE:
            continue  # the rows go on
        if following is not None:
            last = minute + (window + 1) * MINUTE  # drained, and one empty row more
        elif until == "drain":
            last = minute + window * MINUTE
        else:
            last = minute + MINUTE
        date = first
        while date <= last:
            dates.add(date)
            date += MINUTE
        if following is not None:
            first = following
    return dates


def _check_options(
    window: int,
    group_by: Sequence[str],
    until: str,
    empty_value: str,
    decimals: int | None,
    max_gap: int,
) -> None:
    """Raises ValueError rather than let a test compare with what the contract does not define."""
    if not 1 <= window <= 527_040:
        raise ValueError(f"window is a whole number of minutes from 1 to 527040, not {window}")
    if max_gap < window:
        raise ValueError(f"max_gap ({max_gap}) may not be smaller than window ({window})")
    if not set(group_by) <= set(STRING_FIELDS) or len(set(group_by)) != len(group_by):
        raise ValueError(f"group_by holds distinct names out of {STRING_FIELDS}, not {group_by}")
    if until not in ("last", "drain"):
        raise ValueError(f"until is last or drain, not {until}")
    if empty_value not in ("0", "null", "skip"):
        raise ValueError(f"empty_value is 0, null or skip, not {empty_value}")
    if decimals is not None and not 0 <= decimals <= 15:
        raise ValueError(f"decimals is a whole number from 0 to 15, not {decimals}")


# ---------------------------------------------------------------------------------------------
# Output


KEYS = {
    "mean": "average_delivery_time",
    "count": "deliveries",
    "words": "words",
    "per_word": "delivery_time_per_word",
}


def key_of(measure: str) -> str:
    """The key of a measure in a row."""
    if measure.startswith("within_"):
        return measure
    return KEYS.get(measure) or f"{measure}_delivery_time"


def records(rows: Iterable[Row], has_size: bool) -> Iterator[dict[str, Any]]:
    """The rows as JSON objects."""
    for row in rows:
        yield {
            "date": row.date.strftime("%Y-%m-%d %H:%M:%S"),
            **({"window_size": row.window} if has_size else {}),
            **dict(row.series),
            **{key_of(measure): _number(measure, value) for measure, value in row.values},
        }


def render(rows: Iterable[Row], has_size: bool = False) -> bytes:
    """The rows as NDJSON."""
    lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in records(rows, has_size)]
    return "".join(lines).encode("utf-8")


def shown(measure: str, value: Value) -> int | float | None:
    """A value of a row as the type of its measure."""
    if value is None:
        return None
    # A float is correctly rounded: Python divides integers of any size so.
    return int(value) if measure in ("count", "words") else float(value)


def _number(measure: str, value: Value) -> int | float | None:
    number = shown(measure, value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def output(
    data: bytes | Sequence[bytes],
    window: int | Sequence[int],
    *,
    event_name: str = DEFAULT_EVENT_NAME,
    **options: Any,
) -> bytes:
    """The bytes of a batch run over one file or several, with the options of ``rows``."""
    has_size = not isinstance(window, int) and len(window) > 1
    return render(rows(events_of(data, event_name), window, **options), has_size)
