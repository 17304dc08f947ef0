"""One line of the log: the event it holds, or why it holds none."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timezone
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

DEFAULT_EVENT_NAME = "translation_delivered"
GROUP_FIELDS = ("client_name", "source_language", "target_language", "translation_id")
MAX_DEAD_LETTER_LINE_BYTES = 64 * 1024

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_END_OF_TIME = datetime(9998, 1, 1, tzinfo=timezone.utc)
_DAY_MINUTES = 24 * 60
_DATE_AND_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt_ ]\d{2}:\d{2}", re.ASCII)


def _require_date_and_time(value: object) -> object:
    # pydantic's own parser also takes numbers, strings of digits and dates without a time.
    if not isinstance(value, str) or not _DATE_AND_TIME.match(value):
        raise PydanticCustomError(
            "timestamp_type", "Input should be a string with an ISO 8601 date and time"
        )
    return value


def _to_utc_in_range(value: datetime) -> datetime:
    aware = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value
    # Compared before it is converted: the conversion overflows at both ends of the calendar.
    if not EPOCH <= aware < _END_OF_TIME:
        raise PydanticCustomError(
            "timestamp_range", "Input should be from 1970-01-01 up to, not including, 9998-01-01"
        )
    return aware.astimezone(timezone.utc)


class Event(BaseModel):
    """A delivered translation: the definition of what a valid line holds (strict types).

    `timestamp` comes out in UTC. Unknown keys are ignored, and of a repeated key the last counts.
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
        # Half the time of a division by a timedelta: every line that the model parses pays it.
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


JSON_ARRAY = FieldError(
    "", "json_array", "a JSON array, not one object a line: convert the file with jq -c '.[]'"
)
LINE_TOO_LONG = FieldError("", "line_too_long", "the line is longer than 64 MiB")


def parse_line(line: bytes, event_name: str = DEFAULT_EVENT_NAME) -> Event | OtherEvent | Rejection:
    """Parses one line that is not blank, given without its line end."""
    try:
        event = Event.model_validate_json(line)
    except ValidationError as error:
        other = _name_of_other_event(line, event_name)
        return other or Rejection(_field_errors(line, error))
    return event if event.event_name == event_name else OtherEvent(event.event_name)


def _name_of_other_event(line: bytes, event_name: str) -> OtherEvent | None:
    try:
        name = _Named.model_validate_json(line).event_name
    except ValidationError:
        return None
    return None if name == event_name else OtherEvent(name)


def _field_errors(line: bytes, error: ValidationError) -> tuple[FieldError, ...]:
    if line.lstrip().startswith(b"["):
        return (JSON_ARRAY,)
    return tuple(
        FieldError(".".join(map(str, detail["loc"])), detail["type"], detail["msg"])
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    )


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
        """The place and what is wrong there, for a log."""
        place = f"message {self.message_id}" if self.message_id else f"line at byte {self.offset}"
        reasons = "; ".join(
            f"{error.field}: {error.message}" if error.field else error.message
            for error in self.errors
        )
        return f"{self.source}, {place}: {reasons}"
