"""What a source is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import apache_beam as beam

from pipeline.core.options import Given, Option, RunKind
from pipeline.sources.timed_tail import TimedTail


class Runners(NamedTuple):
    """The runners that can run a source, where these are not all.

    Attributes:
        names: as Beam has them, without "Runner" and in small letters.
        message: which they are, for whoever asks for another.
    """

    names: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Opened:
    """A source that is ready to be read in this process.

    Attributes:
        lines: the transform that takes a pipeline and gives `Chunk`s; or what only this process can
            read, as it knows how far event time is.
        sizes: the files that there are already, by path, in bytes.
    """

    lines: beam.PTransform | TimedTail
    sizes: Mapping[str, int] = field(default_factory=dict)


class Source(Protocol):
    """What a run reads: plain data, made of options.

    Attributes:
        TITLE: what the help calls its options.
        HERE, AS_JOB: the kinds of run that it makes in this process, and as the job of a service.
        RUNNERS: the runners that can run it; None for all.
        LAUNCHER: the name of the launcher that runs it in this process.
        INPUTS: the options that name an input of this kind.
        SWITCH: the option that asks for this kind of source, where others have the same `INPUTS`.
        OPTIONS: the options that this kind of source reads.
        patterns: the paths and globs that it reads; no output may be among them.
    """

    TITLE: ClassVar[str]
    HERE: ClassVar[RunKind]
    AS_JOB: ClassVar[RunKind]
    RUNNERS: ClassVar[Runners | None]
    LAUNCHER: ClassVar[str]
    INPUTS: ClassVar[tuple[str, ...]]
    SWITCH: ClassVar[str | None]
    OPTIONS: ClassVar[tuple[Option, ...]]

    @property
    def patterns(self) -> tuple[str, ...]: ...

    @classmethod
    def of(cls, given: Given) -> Source:
        """The source that the options ask for.

        Raises:
            OptionError: they ask for one that cannot be.
        """

    def opened_here(self, scratch: str) -> AbstractContextManager[Opened]:
        """Makes it ready to be read in this process, for as long as the context lasts.

        Args:
            scratch: a folder that lasts as long as the run.

        Raises:
            InputError, OptionError: it cannot be read.
        """

    def read_in_job(self) -> beam.PTransform:
        """The transform that takes a pipeline and gives `Chunk`s on the workers of a service."""
