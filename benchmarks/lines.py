"""The ways in which a log may write the same events: which keys, in which order, how spaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

Record = Mapping[str, str | int]
Render = Callable[[int, Record], Iterable[str]]
"""Makes the lines for an event out of a random number and what is to be filled in."""

_USUAL = (
    '{{"timestamp": "{date} {time}", "translation_id": "{id}", "source_language": "{source}", '
    '"target_language": "{target}", "client_name": "{client}", '
    '"event_name": "translation_delivered", "nr_words": {words}, "duration": {duration}}}'
)
_TEMPLATES = {
    "usual": _USUAL,
    # The same lines elsewhere in the file, and with other numbers: see `data`.
    "shuffled": _USUAL,
    "fractions": _USUAL,
    "challenge": _USUAL.replace(', "translation_id"', ',"translation_id"'),
    "reordered": (
        '{{"client_name": "{client}", "duration": {duration}, '
        '"event_name": "translation_delivered", "nr_words": {words}, '
        '"source_language": "{source}", "target_language": "{target}", '
        '"timestamp": "{date} {time}", "translation_id": "{id}"}}'
    ),
    "rfc3339": _USUAL.replace("{date} {time}", "{date}T{time}Z"),
    "compact": _USUAL.replace('": ', '":').replace(", ", ","),
    "extra_keys": _USUAL.replace(
        '"client_name"', '"agent": {{"id": 7, "tags": ["a", "b"]}}, "client_name"'
    ).replace("}}}", '}, "retries": null}}'),
    "spaced": _USUAL.replace("{{", "{{ ").replace('": ', '"\t:  '),
    "escaped": _USUAL.replace("translation_delivered", r"translation\u005fdelivered"),
    "not_ascii": _USUAL.replace("{client}", "Société {client}"),
}
_OTHER_EVENT = '{{"timestamp": "{date} {time}", "event_name": "heartbeat", "host": "{client}"}}'
_BROKEN = (
    _USUAL.removesuffix(', "duration": {duration}}}'),
    _USUAL.replace("{duration}", '"{duration}"'),
    _USUAL.replace("{date} {time}", "{date}"),
    _USUAL.replace("{words}", "{words}.0"),
    "Traceback (most recent call last):",
)


def _all(template: str) -> Render:
    return lambda number, record: (template.format_map(record),)


def _mixed(number: int, record: Record) -> Iterable[str]:
    """Every line another way, so that no two neighbours are alike."""
    return (_MIXED_TEMPLATES[number % len(_MIXED_TEMPLATES)].format_map(record),)


_MIXED_TEMPLATES = tuple(dict.fromkeys(_TEMPLATES.values()))


def _dirty(number: int, record: Record) -> Iterable[str]:
    """The usual lines; one in fifty is followed by another event, one in a hundred by a bad one."""
    yield _USUAL.format_map(record)
    if number % 50 == 0:
        yield _OTHER_EVENT.format_map(record)
    if number % 100 == 1:
        yield _BROKEN[number // 100 % len(_BROKEN)].format_map(record)


def _half_others(number: int, record: Record) -> Iterable[str]:
    """The usual lines, each followed by another event with all of its fields."""
    yield _USUAL.format_map(record)
    yield _USUAL.replace("translation_delivered", "translation_requested").format_map(record)


VARIANTS: dict[str, Render] = {
    **{name: _all(template) for name, template in _TEMPLATES.items()},
    "mixed": _mixed,
    "dirty": _dirty,
    "half_others": _half_others,
}
