"""One line of the log: the event that it holds, or the reasons why it holds none."""

from __future__ import annotations

import base64
import json
import re
from calendar import monthrange
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError, from_json

DEFAULT_EVENT_NAME = "translation_delivered"
GROUP_FIELDS = ("client_name", "source_language", "target_language", "translation_id")
MAX_DEAD_LETTER_LINE_BYTES = 64 * 1024

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_END_OF_TIME = datetime(9998, 1, 1, tzinfo=timezone.utc)
_DAY_MINUTES = 24 * 60
_SIGNS = ("+", "-", "\u2212")
_DATE_AND_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt_ ]\d{2}:\d{2}", re.ASCII)


def _require_date_and_time(value: object) -> object:
    # pydantic's own parser also takes numbers, strings of digits and dates without a time.
    if not isinstance(value, str) or not _DATE_AND_TIME.match(value):
        raise PydanticCustomError(
            "timestamp_type", "Input should be a string with an ISO 8601 date and time"
        )
    # Of the forms that ISO 8601 has for an offset, pydantic lacks the one without minutes.
    return f"{value}:00" if value[-3:-2] in _SIGNS else value


def _to_utc_in_range(value: datetime) -> datetime:
    aware = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value
    # Compare before converting to UTC: the conversion overflows at both ends of the calendar.
    if not EPOCH <= aware < _END_OF_TIME:
        raise PydanticCustomError(
            "timestamp_range", "Input should be from 1970-01-01 up to, not including, 9998-01-01"
        )
    return aware.astimezone(timezone.utc)


class Event(BaseModel):
    """A delivered translation: the definition of what a valid line holds (strict types).

    `timestamp` is in UTC. Unknown keys are ignored, and of a repeated key the last counts.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    timestamp: Annotated[
        datetime,
        Field(strict=False),
        BeforeValidator(_require_date_and_time),
        AfterValidator(_to_utc_in_range),
    ]
    translation_id: str
    source_language: str
    target_language: str
    client_name: str
    event_name: str
    nr_words: Annotated[int, Field(ge=0)]
    duration: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]

    @property
    def minute(self) -> int:
        """The whole UTC minute of the event time, in minutes since 1970-01-01."""
        since_epoch = self.timestamp - EPOCH
        # This takes half the time of a division by a timedelta.
        return since_epoch.days * _DAY_MINUTES + since_epoch.seconds // 60

    @property
    def duration_millionths(self) -> int:
        """The duration in millionths: the integer nearest to the double product, ties to even."""
        return round(self.duration * 1e6)


class OtherEvent(NamedTuple):
    """A JSON object whose `event_name` is another string than the one asked for."""

    event_name: str


class FieldError(NamedTuple):
    """What is wrong with a line: `field` is empty where the line as a whole is at fault."""

    field: str
    type: str
    message: str


class Rejection(NamedTuple):
    """A line that is no event: everything that is wrong with it, at least one error."""

    errors: tuple[FieldError, ...]


class _Named(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    event_name: str


LINE_TOO_LONG = FieldError("", "line_too_long", "the line is longer than 64 MiB")
_NOT_A_NUMBER = FieldError("", "json_invalid", "Invalid JSON: NaN and Infinity are not JSON")

# The limits of pydantic's parser: a part of its message, and our reason.
_LIMITS = {
    "number out of range": FieldError(
        "", "integer_too_long", "a whole number has more than 4,300 digits"
    ),
    "recursion limit exceeded": FieldError(
        "", "nested_too_deep", "arrays and objects are nested more than 200 levels deep"
    ),
}


class _Form(NamedTuple):
    """Another form of file than JSON lines, and how one of its lines begins."""

    error: FieldError
    beginning: re.Pattern[bytes]

    @classmethod
    def of(cls, type_: str, beginning: bytes, name: str, remedy: str) -> _Form:
        return cls(FieldError("", type_, f"{name}: {remedy}"), re.compile(beginning, re.DOTALL))


_FORMS = (
    _Form.of(
        "json_array",
        rb"\s*\[",
        "a JSON array, not one object a line",
        "convert the file with jq -c '.[]'",
    ),
    _Form.of(
        "json_over_lines",
        rb"\s*\{\s*$",
        "a JSON object over several lines",
        "convert the file with jq -c .",
    ),
    _Form.of("gzip_data", rb"\x1f\x8b", "gzip data", "let the name of the file end in .gz"),
    _Form.of("bzip2_data", rb"BZh[1-9]", "bzip2 data", "let the name of the file end in .bz2"),
    _Form.of(
        "zstd_data", rb"\x28\xb5\x2f\xfd", "Zstandard data", "let the name of the file end in .zst"
    ),
    _Form.of("xz_data", rb"\xfd7zXZ\0", "xz data", "decompress it with xz -d"),
    _Form.of("zip_data", rb"PK\x03\x04", "a zip archive", "unpack it"),
    _Form.of(
        "utf_16",
        rb"\xff\xfe|\xfe\xff|\0{0,3}[\t -~]\0",
        "UTF-16 or UTF-32 text",
        "convert it to UTF-8 with iconv",
    ),
)
NOT_JSON_LINES = tuple(form.error for form in _FORMS)
"""The reason for rejecting such a line, with the remedy."""

_TIMESTAMP_PARTS = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[Tt_ ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(:(?P<second>\d\d)([.,]\d+)?)?([Zz]|(?P<offset>[-+\u2212](?P<oh>\d\d):?(?P<om>\d\d)?))?",
    re.ASCII,
)


def parse_line(line: bytes, event_name: str = DEFAULT_EVENT_NAME) -> Event | OtherEvent | Rejection:
    """Parses one line that is not blank, given without its line end."""
    try:
        event: Event | _Named = Event.model_validate_json(line)
    except ValidationError as error:
        named = _named(line)
        if named is None or named.event_name == event_name:
            return Rejection(tuple(_field_errors(line, error)))
        event = named
    if _has_no_number(line):
        return Rejection((_NOT_A_NUMBER,))
    if isinstance(event, Event) and event.event_name == event_name:
        return event
    return OtherEvent(event.event_name)


def _has_no_number(line: bytes) -> bool:
    """Whether NaN or Infinity is a value in a line: pydantic accepts them as JSON."""
    # Most lines have neither word, and are not parsed again.
    if b"NaN" not in line and b"Infinity" not in line:
        return False
    try:
        from_json(line, allow_inf_nan=False)
    except ValueError:
        return True
    return False


def _named(line: bytes) -> _Named | None:
    try:
        return _Named.model_validate_json(line)
    except ValidationError:
        return None


def _field_errors(line: bytes, error: ValidationError) -> Iterator[FieldError]:
    for detail in error.errors(include_url=False, include_context=False):
        field, type_, message = ".".join(map(str, detail["loc"])), detail["type"], detail["msg"]
        if not field:
            yield _error_of_line(line, FieldError(field, type_, message))
        elif type_.startswith("datetime_"):
            yield _error_of_timestamp(detail["input"]) or FieldError(field, type_, message)
        else:
            yield FieldError(field, type_, message)


def _error_of_line(line: bytes, error: FieldError) -> FieldError:
    """The error of a line as a whole, made from pydantic's error."""
    for form in _FORMS:
        if form.beginning.match(line):
            return form.error
    for told, limit in _LIMITS.items():
        if told in error.message:
            return limit
    return error


def _error_of_timestamp(text: str) -> FieldError | None:
    """Names the part of a timestamp that is out of range; None if the error is another one."""
    found = _TIMESTAMP_PARTS.fullmatch(text)
    if found is None:
        return None
    parts = {name: int(value or 0) for name, value in found.groupdict().items() if name != "offset"}
    limits = {"month": (1, 12), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
    for name, (first, last) in limits.items():
        if not first <= parts[name] <= last:
            return _out_of_range(f"{name} {parts[name]}")
    if parts["oh"] > 23 or parts["om"] > 59:
        return _out_of_range(f"offset {found['offset']}")
    days = monthrange(max(parts["year"], 1), parts["month"])[1]
    if not 1 <= parts["day"] <= days:
        month = text[: len("YYYY-MM")]
        return _out_of_range(f"day {parts['day']}", f": {month} has {days} days")
    return None


def _out_of_range(part: str, reason: str = "") -> FieldError:
    return FieldError("timestamp", "timestamp_value", f"{part} is out of range{reason}")


class DeadLetter(NamedTuple):
    """A rejected line, with the place it came from and the reasons.

    `offset` is the byte at which the line starts in its uncompressed source, or in the message of
    Pub/Sub that `message_id` names. `line` is its text, or its bytes as base64 where `is_base64`
    (it was not UTF-8), cut after 64 KiB (`truncated`).
    """

    source: str
    offset: int
    line: str
    is_base64: bool
    truncated: bool
    errors: tuple[FieldError, ...]
    message_id: str | None = None

    @classmethod
    def of(
        cls,
        source: str,
        offset: int,
        line: bytes,
        errors: tuple[FieldError, ...],
        message_id: str | None = None,
    ) -> DeadLetter:
        """Makes a dead letter of the bytes of a line."""
        head = line[:MAX_DEAD_LETTER_LINE_BYTES]
        truncated = len(head) < len(line)
        try:
            line.decode()
            # "ignore" can only drop the one character that the cut went through.
            text, is_base64 = head.decode(errors="ignore"), False
        except UnicodeDecodeError:
            text, is_base64 = base64.b64encode(head).decode(), True
        return cls(source, offset, text, is_base64, truncated, errors, message_id)

    def to_json(self) -> str:
        """One line of the file of dead letters, without its line end."""
        record: dict[str, object] = {
            # The name of a file may hold bytes that are not UTF-8.
            "source": self.source.encode(errors="surrogateescape").decode(errors="replace"),
            **({"message_id": self.message_id} if self.message_id else {"offset": self.offset}),
            "line_base64" if self.is_base64 else "line": self.line,
            "errors": [error._asdict() for error in self.errors],
        }
        if self.truncated:
            record["truncated"] = True
        return json.dumps(record, ensure_ascii=False)

    def reason(self) -> str:
        """The place and the errors, as one line for a log."""
        place = f"message {self.message_id}" if self.message_id else f"line at byte {self.offset}"
        reasons = "; ".join(
            f"{error.field}: {error.message}" if error.field else error.message
            for error in self.errors
        )
        return f"{self.source}, {place}: {reasons}"
