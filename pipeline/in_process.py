"""What the steps of a pipeline have in common in one process.

Runners send steps as bytes, also to workers that are threads of the same process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar
from uuid import uuid4

_Found = TypeVar("_Found", bound="InProcess")


class InProcess:
    """Can be found from the steps of this process while it is open."""

    _open: ClassVar[dict[str, InProcess]] = {}

    @contextmanager
    def opened(self) -> Iterator[str]:
        """Lets it be found; gives its name."""
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
    """A small number of times that something is done in a process, by all copies of a step."""

    _taken: ClassVar[dict[str, int]] = {}

    def __init__(self, times: int) -> None:
        self._name = uuid4().hex
        self._times = times

    def take(self) -> int:
        """How many times were left, with this one; 0 where it is not to be done any more."""
        taken = self._taken.get(self._name, 0)
        if taken < self._times:
            self._taken[self._name] = taken + 1
        return self._times - taken
