"""Registry of live objects that the DoFns of one process share.

Runners pickle DoFns, even for workers that are threads of the same process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar
from uuid import uuid4

_Found = TypeVar("_Found", bound="InProcess")


class InProcess:
    """An object that the DoFns of this process can find while it is open."""

    _open: ClassVar[dict[str, InProcess]] = {}

    @contextmanager
    def opened(self) -> Iterator[str]:
        """Registers it, and yields its name."""
        name = uuid4().hex
        self._open[name] = self
        try:
            yield name
        finally:
            del self._open[name]

    @classmethod
    def find(cls: type[_Found], name: str) -> _Found:
        """The open one of this name.

        Raises:
            LookupError: there is none in this process.
        """
        found = cls._open.get(name)
        if not isinstance(found, cls):
            raise LookupError(f"there is no {cls.__name__} {name} in this process")
        return found


class Few:
    """Limits how often all copies of a DoFn in one process do something."""

    _taken: ClassVar[dict[str, int]] = {}

    def __init__(self, times: int) -> None:
        self._name = uuid4().hex
        self._times = times

    def take(self) -> int:
        """Takes one of the times; returns how many were left before, 0 if none was."""
        taken = self._taken.get(self._name, 0)
        if taken < self._times:
            self._taken[self._name] = taken + 1
        return self._times - taken
