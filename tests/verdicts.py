"""What the package says of lines, in the terms of the oracle."""

from collections.abc import Iterable

import oracle

from pipeline.core.durations import DurationSum, MinuteSums
from pipeline.core.events import Event, OtherEvent, Rejection
from pipeline.core.rows import Series


def verdict(parsed: Event | OtherEvent | Rejection) -> object:
    """What the oracle would say of a line of which the model says this."""
    if isinstance(parsed, Event):
        fields = {field: getattr(parsed, field) for field in oracle.STRING_FIELDS}
        return oracle.Event(parsed.timestamp, parsed.duration_millionths, fields, parsed.nr_words)
    if isinstance(parsed, OtherEvent):
        return oracle.OtherEvent(parsed.event_name)
    return oracle.Rejected(frozenset(error.field for error in parsed.errors))


def added(sums: Iterable[tuple[Series, MinuteSums]]) -> dict[tuple[Series, int], DurationSum]:
    """The sum of each series and minute, however they were split."""
    total: dict[tuple[Series, int], DurationSum] = {}
    for series, by_minute in sums:
        for minute, each in by_minute:
            total[series, minute] = total.get((series, minute), DurationSum()) + each
    return total
