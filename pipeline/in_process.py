"""Objects that the steps of a pipeline find by name, where it runs in the process that made them.

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
