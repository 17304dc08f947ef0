"""Whether the compiled kernel may be used: it is there, and knows the model as it is now."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.core.durations import DurationSum, MinuteSums
from pipeline.core.events import DEFAULT_EVENT_NAME, GROUP_FIELDS, Event
from pipeline.core.rows import Series
from pipeline.parsing import kernel, library
from pipeline.parsing.blocks import sum_block

_logger = logging.getLogger(__name__)

_STRING = {"type": "str"}
KNOWN_FIELDS: Mapping[str, object] = {
    **dict.fromkeys(kernel.SERIES_FIELDS, _STRING),
    "event_name": _STRING,
    "timestamp": {
        "type": "function-after",
        "function": "_to_utc_in_range",
        "schema": {
            "type": "function-before",
            "function": "_require_date_and_time",
            "schema": {"type": "datetime", "microseconds_precision": "truncate", "strict": False},
        },
    },
    "nr_words": {"type": "int", "ge": 0},
    "duration": {
        "type": "float",
        "ge": 0,
        "le": kernel.MAX_MILLIONTHS / 1e6,
        "allow_inf_nan": False,
    },
}
"""The schemas of the fields, as pydantic validates by them, that the kernel was written for."""

_KNOWN_KEYS = {"type", "schema", "custom_init", "root_model", "config"}
_KNOWN_CONFIG = {"strict": True, "extra_fields_behavior": "ignore", "title": None}
_NO_RULES = {"cls", "ref", "metadata"}

# What a function that validates may refuse, of what the kernel accepts: the limits, and odd values.
_STRINGS = ('""', '"\\u0000"', '"\\ud83d\\ude00é "', f'"{"x" * 5000}"')
_PROBES = {
    "timestamp": (
        *('"1970-01-01T00:00Z"', '"9997-12-31 23:59:59.999999"', '"2000-02-29t12:30:00,5z"'),
        *('"1970-01-01_23:59+23:59"', '"9997-12-31T00:00:59-23:59"', '"2024-02-29 00:00-0030"'),
    ),
    **dict.fromkeys(kernel.SERIES_FIELDS, _STRINGS),
    "nr_words": ("0", "7" * kernel.MAX_DIGITS),
    "duration": ("0", "1e9", "0.000001", "0.0000014", "123456789.12345678", "1E-9"),
    "x": ('{"duration": [null, true, -1.5e300]}', "[]"),
}
_USUAL = {
    **dict.fromkeys(kernel.SERIES_FIELDS, '"en"'),
    "event_name": f'"{DEFAULT_EVENT_NAME}"',
    "timestamp": '"2018-12-26 18:11:08.509654"',
    "nr_words": "30",
    "duration": "20",
}


@functools.cache
def trusted_kernel() -> library.Walk | None:
    """The compiled kernel; None, and one line in the log, where it may not be used."""
    try:
        walk = library.load()
        check(Event, walk)
    except (OSError, ValueError, AttributeError) as error:
        _logger.warning("parsing is slow, without the compiled parser: %s", error)
        return None
    return walk


def check(model: type[BaseModel], walk: library.Walk) -> None:
    """Holds the kernel against the model.

    Raises:
        ValueError: the model has a rule that the kernel does not know, or refuses what it accepts.
    """
    schema = _outline(model.__pydantic_core_schema__)
    if schema.keys() != _KNOWN_KEYS or schema["type"] != "model":
        raise ValueError(f"it does not know the rules of {model.__name__}")
    if {**schema["config"], "title": None} != _KNOWN_CONFIG:
        raise ValueError(f"it does not know the configuration of {model.__name__}")
    fields = schema["schema"].get("fields", {})
    for name in sorted(fields.keys() | KNOWN_FIELDS.keys()):
        if fields.get(name) != {"type": "model-field", "schema": KNOWN_FIELDS.get(name)}:
            raise ValueError(f"it does not know the rules of the field {name}")
    lines = list(probes())
    block = sum_block(b"\n".join(lines), GROUP_FIELDS, DEFAULT_EVENT_NAME, walk)
    accepted = (sums for part in block for sums in part.sums)
    if _added(accepted) != _added(_sums(model, line) for line in lines):
        raise ValueError(f"{model.__name__} refuses lines that it accepts")


def probes() -> Iterator[bytes]:
    """Valid lines, each with a value at a limit or an odd one."""
    for name, values in _PROBES.items():
        for value in values:
            members = (f'"{key}": {each}' for key, each in {**_USUAL, name: value}.items())
            yield f"{{{', '.join(members)}}}".encode()


def _sums(model: type[BaseModel], line: bytes) -> tuple[Series, MinuteSums]:
    try:
        event: Any = model.model_validate_json(line)
    except ValidationError:
        return (), MinuteSums.of((), ())
    series = tuple(getattr(event, field) for field in GROUP_FIELDS)
    return series, MinuteSums.of([event.minute], [event.duration_millionths])


def _added(sums: Iterable[tuple[Series, MinuteSums]]) -> dict[tuple[Series, int], DurationSum]:
    total: dict[tuple[Series, int], DurationSum] = {}
    for series, by_minute in sums:
        for minute, each in by_minute:
            total[series, minute] = total.get((series, minute), DurationSum()) + each
    return total


def _outline(schema: Any) -> Any:
    """A schema of pydantic's core without what validates nothing; functions are named."""
    if isinstance(schema, Mapping):
        if schema.get("type") == "no-info":
            return schema["function"].__name__
        return {key: _outline(each) for key, each in schema.items() if key not in _NO_RULES}
    return schema
