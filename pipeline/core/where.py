"""Which events are taken, by the values of their fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.events import GROUP_FIELDS, Event


@dataclass(frozen=True)
class Where:
    """Takes an event that has one of the given values in each of the given fields.

    Attributes:
        fields: of `GROUP_FIELDS`, each once; without any all events are taken.
        values: those that are taken, for each field.
    """

    fields: tuple[str, ...] = ()
    values: tuple[frozenset[str], ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Iterable[str]]) -> Where:
        """Makes it of values by field.

        Raises:
            ValueError: a field is another one, or has no values.
        """
        for field, its_values in values.items():
            if field not in GROUP_FIELDS:
                raise ValueError(f"where takes {', '.join(GROUP_FIELDS)}, not {field!r}")
            if isinstance(its_values, str) or not [*its_values]:
                raise ValueError(f"where takes a list of values for {field}, not {its_values!r}")
        return cls(tuple(values), tuple(frozenset(each) for each in values.values()))

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Where:
        """Reads texts like `client_name=airliberty`; several of one field are its values.

        Raises:
            ValueError: one is none, or names another field.
        """
        values: dict[str, list[str]] = {}
        for text in texts:
            field, separator, value = text.partition("=")
            if not separator or field not in GROUP_FIELDS:
                raise ValueError(
                    f"takes FIELD=VALUE, where FIELD is {', '.join(GROUP_FIELDS)}, not {text!r}"
                )
            values.setdefault(field, []).append(value)
        return cls.of(values)

    def takes(self, strings: Sequence[str]) -> bool:
        """Whether an event is taken that has these strings in `fields`."""
        return all(each in taken for each, taken in zip(strings, self.values, strict=True))

    def takes_event(self, event: Event) -> bool:
        """Whether an event is taken."""
        return self.takes([getattr(event, field) for field in self.fields])


EVERY_EVENT = Where()
