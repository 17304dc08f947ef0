"""The settings of a run: plain typed data, made from options or by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from pipeline.core.events import DEFAULT_EVENT_NAME, EPOCH, GROUP_FIELDS
from pipeline.core.measures import measures_named
from pipeline.core.options import (
    BOUNDED,
    EVERY_RUN,
    REQUIRED,
    UNBOUNDED,
    Option,
    OptionGroup,
    Use,
    checked,
    whole_number,
)
from pipeline.core.rejection import MaxRejected
from pipeline.core.row_rules import (
    LEAP_YEAR_MINUTES,
    MAX_WINDOW_MINUTES,
    MAX_WINDOW_SIZES,
    Until,
    check_window_sizes,
)
from pipeline.core.rows import EmptyValue
from pipeline.core.where import EVERY_EVENT, Where
from pipeline.formats import (
    DEFAULT_FORMAT,
    FORMATS,
    LINE_FORMATS,
    LineFormat,
    RowFormat,
    RowShape,
    format_of,
)
from pipeline.parsing.timeliness import MAX_SECONDS
from pipeline.sinks.sink import Sink
from pipeline.sinks.sorted_files import DEFAULT_MAX_ROWS
from pipeline.sources import Source
from pipeline.sources.whole_files import INPUT_FILE
from pipeline.transforms.moving_average import DEFAULT_SHARDS, Emit, MovingAverage, Plan
from pipeline.transforms.parse_events import ParseEvents, check_group_by

# From the first timestamp that is valid to the last.
_MAX_GAP_MINUTES = 8028 * LEAP_YEAR_MINUTES
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::00)?)?Z?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run. Those without a description are arguments of the transforms.

    Attributes:
        source: what is read.
        rows: where the rows go.
        rejected, late: where dead letters and late events go; None where they are only counted.
        summary_file: where the summary goes as JSON, if anywhere; `-` is standard output.
        max_rejected: with more rejected lines, a bounded run gives no rows.
        max_rows: a bounded run of more rows is refused.
        output_format: a name in `pipeline.formats.FORMATS`; if it is not given the name of the file
            decides.
    """

    source: Source
    window_minutes: tuple[int, ...]
    rows: Sink
    rejected: Sink | None = None
    late: Sink | None = None
    summary_file: str | None = None
    event_name: str = DEFAULT_EVENT_NAME
    group_by: tuple[str, ...] = ()
    measures: tuple[str, ...] = ("mean",)
    where: Where = EVERY_EVENT
    until: Until | None = None
    max_gap_minutes: int | None = None
    decimals: int | None = None
    plan: Plan = "rolling"
    empty_value: EmptyValue = "0"
    output_format: str | None = None
    rows_from: int | None = None
    rows_before: int | None = None
    max_rejected: MaxRejected = field(default_factory=MaxRejected)
    max_rows: int = DEFAULT_MAX_ROWS
    allowed_lateness_seconds: int = 600
    max_future_seconds: int = 300
    emit: Emit = "early"

    def parse_events(self) -> ParseEvents:
        """The transform that parses the lines."""
        return ParseEvents(
            self.event_name,
            self.group_by,
            self.allowed_lateness_seconds,
            self.max_future_seconds,
            self.measures,
            dict(zip(self.where.fields, self.where.values, strict=True)),
        )

    def moving_average(self, shards: int = DEFAULT_SHARDS) -> MovingAverage:
        """The transform that makes the rows; with a number of shards for unbounded input."""
        return MovingAverage(
            self.window_minutes,
            self.until,
            self.max_gap_minutes,
            self.decimals,
            self.plan,
            self.measures,
            self.rows_from,
            self.rows_before,
            shards,
            self.emit,
        )

    def sorted_format(self) -> RowFormat:
        """The format of the rows of a bounded run."""
        return FORMATS[self.output_format or format_of(self.rows.path or "")](self._shape())

    def line_format(self) -> LineFormat:
        """The format of the rows of an unbounded run."""
        return LINE_FORMATS[DEFAULT_FORMAT](self._shape())

    def _shape(self) -> RowShape:
        measures = measures_named(self.measures)
        has_window_size = len(self.window_minutes) > 1
        has_revision = self.emit == "early"
        return RowShape(self.group_by, measures, has_window_size, has_revision, self.empty_value)


def parse_window_size(text: str) -> tuple[int, ...]:
    """Reads the sizes of `--window_size`.

    Raises:
        ValueError: one is no such size, one is named twice, or there are too many.
    """
    sizes = []
    for each in text.split(","):
        if not re.fullmatch("[0-9]{1,18}", each) or not 1 <= int(each) <= MAX_WINDOW_MINUTES:
            raise ValueError(
                f"takes whole numbers of minutes, 1 to {MAX_WINDOW_MINUTES}, separated by commas, "
                f"not {text!r}"
            )
        sizes.append(int(each))
    check_window_sizes(sizes)
    return tuple(sizes)


def parse_group_by(text: str) -> tuple[str, ...]:
    """Reads the fields of `--group_by`.

    Raises:
        ValueError: one is none, or is named twice.
    """
    fields = tuple(text.split(","))
    check_group_by(fields)
    return fields


def parse_measures(text: str) -> tuple[str, ...]:
    """Reads the names of `--measures`.

    Raises:
        ValueError: one is that of no measure, or stands twice.
    """
    return tuple(measures_named(text.split(",")))


def parse_date(text: str) -> int:
    """Reads a date, perhaps with a whole minute, in UTC: gives minutes since 1970-01-01.

    Raises:
        ValueError: it is none.
    """
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        year, month, day, hour, minute = (int(part or 0) for part in found.groups())
        date = datetime(year, month, day, hour, minute, tzinfo=timezone.utc)
    except ValueError as error:
        raise ValueError(
            f"takes a date (2018-12-26) or a date and a minute ('2018-12-26 18:11'), not {text!r}"
        ) from error
    return (date - EPOCH) // timedelta(minutes=1)


AVERAGED = OptionGroup(
    "What is averaged",
    (
        Option(
            "window_size",
            f"X: each row is of the deliveries of the X minutes before it, 1 to "
            f"{MAX_WINDOW_MINUTES}; or up to {MAX_WINDOW_SIZES} sizes, separated by commas",
            EVERY_RUN,
            metavar="MINUTES",
            parse=checked(parse_window_size),
            default_text=REQUIRED,
        ),
        Option(
            "measures",
            "what rows say, separated by commas: `mean`, `count`, `words`, `per_word`, `min`, "
            "`max`, percentiles (`p95`, `p99.9`), shares of deliveries within a duration "
            "(`within_30`)",
            EVERY_RUN,
            metavar="NAMES",
            parse=checked(parse_measures),
            default_text="mean",
        ),
        Option(
            "group_by",
            "one series of rows for each distinct value of these fields, separated by commas: "
            + ", ".join(f"`{name}`" for name in GROUP_FIELDS),
            EVERY_RUN,
            metavar="FIELDS",
            parse=checked(parse_group_by),
        ),
        Option(
            "where",
            "only events with this value in this field; given several times, those with any of the "
            "values of each field",
            EVERY_RUN,
            metavar="FIELD=VALUE",
            parse=checked(lambda text: Where.parse([text])),
            is_repeatable=True,
        ),
        Option(
            "event_name",
            "the events that are measured; others are counted",
            EVERY_RUN,
            metavar="NAME",
            default=DEFAULT_EVENT_NAME,
        ),
        Option(
            "until",
            "end the rows of a series after its last event, or (`drain`) with the last row that "
            "still holds it",
            BOUNDED,
            choices=("last", "drain"),
            default_text="last",
        ),
        Option(
            "empty_value",
            "the value of a window without deliveries; `skip` leaves its row out",
            EVERY_RUN,
            choices=("0", "null", "skip"),
            default="0",
        ),
        Option(
            "decimals",
            "round quotients (`mean`, `per_word`, `within_...`) half to even to this number of "
            "decimal places, 0 to 15",
            EVERY_RUN,
            metavar="PLACES",
            parse=whole_number(0, 15),
        ),
        Option(
            "max_gap_minutes",
            "the longest silence that is filled with rows; at least the largest window",
            EVERY_RUN,
            metavar="MINUTES",
            parse=whole_number(1, _MAX_GAP_MINUTES),
            default_text=f"{LEAP_YEAR_MINUTES}, a leap year; of unbounded input 1440, or the "
            "window where that is longer",
        ),
        Option(
            "rows_from",
            "write only rows from this date on (UTC): `2018-12-26`, or with a minute "
            "`2018-12-26T18:11`",
            BOUNDED,
            metavar="DATE",
            parse=checked(parse_date),
        ),
        Option(
            "rows_before",
            "write only rows before this date; the rows are those that there are without the two, "
            "cut",
            BOUNDED,
            metavar="DATE",
            parse=checked(parse_date),
        ),
        Option(
            "plan",
            "`rolling`: one pass over the minutes of a series; `windows`: Beam's `SlidingWindows` "
            "and a `CombineFn`. The rows are the same",
            EVERY_RUN,
            choices=("rolling", "windows"),
            default_text="rolling",
        ),
        Option(
            "max_rejected",
            "how many lines may be rejected: a count (`100`) or a share of the lines that are not "
            "blank (`0.5%`); with more, no rows are written",
            BOUNDED,
            metavar="LIMIT",
            parse=checked(MaxRejected.parse),
            default_text="fewer than all",
        ),
    ),
)
LATENESS = OptionGroup(
    "What becomes of late and early events of unbounded input",
    (
        Option(
            "allowed_lateness_seconds",
            "how long after the watermark has passed its minute an event may arrive",
            UNBOUNDED,
            metavar="SECONDS",
            parse=whole_number(0, MAX_SECONDS),
            default_text="600",
        ),
        Option(
            "max_future_seconds",
            "how far ahead of the wall clock an event may be; others are rejected",
            UNBOUNDED,
            metavar="SECONDS",
            parse=whole_number(0, MAX_SECONDS),
            default_text="300",
        ),
        Option(
            "emit",
            "`early`: a row when its minute is over, and again when late events change it; "
            "`final`: each row once, without a revision, when the allowed lateness is over, too",
            UNBOUNDED,
            choices=("early", "final"),
            default_text="early",
        ),
    ),
)
RUN = OptionGroup(
    "How it runs",
    (
        Option(
            "summary_file",
            "the file for the summary of the run, as JSON",
            INPUT_FILE.used_by,
            metavar="FILE",
        ),
        Option(
            "detach",
            "on a remote runner: return when the job is submitted",
            Use("batch jobs of a remote runner", lambda run: run.is_bounded and run.is_job),
        ),
        Option("verbose", "log the steps", EVERY_RUN),
        Option("debug", "show tracebacks of errors", EVERY_RUN),
    ),
)
