"""What a format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.core.measures import Measure, measures_named
from pipeline.core.rows import EmptyValue, Row, SortedRows
from pipeline.core.shards import RevisedRows

Write = Callable[[bytes], int]


@dataclass(frozen=True)
class RowShape:
    """What rows have, and how they say that there is nothing.

    Attributes:
        group_by: the fields that the values of a series belong to.
        measures: by name, in the order of their keys.
        has_window_size: whether rows tell the size of their windows: there are several.
        has_revision: whether rows of unbounded input tell how often they were given before.
        empty_value: what stands for the value of an empty window.
    """

    group_by: tuple[str, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=lambda: measures_named(["mean"]))
    has_window_size: bool = False
    has_revision: bool = True
    empty_value: EmptyValue = "0"

    def keys(self) -> list[str]:
        """The keys of a row, in order."""
        size = ["window_size"] if self.has_window_size else []
        return ["date", *size, *self.group_by, *(each.key for each in self.measures.values())]


class RowFormat(Protocol):
    """Writes rows as bytes."""

    def __init__(self, shape: RowShape) -> None: ...

    def writing(self, write: Write) -> AbstractContextManager[Callable[[SortedRows], object]]:
        """For as long as the context lasts, writes rows, and what goes before and after them.

        Raises:
            OutputError: a value cannot be written in this format.
        """


class LineFormat(RowFormat, Protocol):
    """A format that can be written one line at a time."""

    def revised_line(self, row: Row) -> bytes:
        """A row with its revision, as a line without its end."""

    def revised_lines(self, rows: RevisedRows) -> bytes:
        """At least one row, each as by `revised_line`; without the last line's end."""
