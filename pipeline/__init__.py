"""Mean delivery times over sliding windows: an Apache Beam pipeline, and its transforms.

lines | ParseEvents() | MovingAverage(window_minutes=10)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.chunks import Chunk as Chunk
    from pipeline.durations import DurationSum as DurationSum
    from pipeline.durations import MeanDuration as MeanDuration
    from pipeline.durations import MinuteSums as MinuteSums
    from pipeline.events import DeadLetter as DeadLetter
    from pipeline.events import Event as Event
    from pipeline.moving_average import MeanDurationCombineFn as MeanDurationCombineFn
    from pipeline.moving_average import MovingAverage as MovingAverage
    from pipeline.parsing import ParsedEvents as ParsedEvents
    from pipeline.parsing import ParseEvents as ParseEvents
    from pipeline.rows import Row as Row

__version__ = "0.1.0"

_MODULES = {
    "Chunk": "chunks",
    "DeadLetter": "events",
    "DurationSum": "durations",
    "Event": "events",
    "MeanDuration": "durations",
    "MeanDurationCombineFn": "moving_average",
    "MinuteSums": "durations",
    "MovingAverage": "moving_average",
    "ParseEvents": "parsing",
    "ParsedEvents": "parsing",
    "Row": "rows",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    # Imported when asked for: the command line must set up its log before Beam is imported.
    if name in _MODULES:
        return getattr(import_module(f"pipeline.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
