"""Mean delivery times over sliding windows: an Apache Beam pipeline, and its transforms.

lines | ParseEvents() | MovingAverage(window_minutes=10)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.core.durations import DurationSum as DurationSum
    from pipeline.core.durations import MeanDuration as MeanDuration
    from pipeline.core.durations import MinuteSums as MinuteSums
    from pipeline.core.events import DeadLetter as DeadLetter
    from pipeline.core.events import Event as Event
    from pipeline.core.rows import Row as Row
    from pipeline.parsing.chunks import Chunk as Chunk
    from pipeline.transforms.combine_fns import MeanDurationCombineFn as MeanDurationCombineFn
    from pipeline.transforms.combine_fns import MeasuresCombineFn as MeasuresCombineFn
    from pipeline.transforms.moving_average import MovingAverage as MovingAverage
    from pipeline.transforms.parse_events import ParsedEvents as ParsedEvents
    from pipeline.transforms.parse_events import ParseEvents as ParseEvents

__version__ = "0.1.0"

_MODULES = {
    "Chunk": "parsing.chunks",
    "DeadLetter": "core.events",
    "DurationSum": "core.durations",
    "Event": "core.events",
    "MeanDuration": "core.durations",
    "MeanDurationCombineFn": "transforms.combine_fns",
    "MeasuresCombineFn": "transforms.combine_fns",
    "MinuteSums": "core.durations",
    "MovingAverage": "transforms.moving_average",
    "ParseEvents": "transforms.parse_events",
    "ParsedEvents": "transforms.parse_events",
    "Row": "core.rows",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    # Imported when asked for: the command line must set up its log before Beam is imported.
    if name in _MODULES:
        return getattr(import_module(f"pipeline.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
