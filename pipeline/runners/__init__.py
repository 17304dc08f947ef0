"""Where a pipeline runs: one module for each kind of runner.

Here belongs how a runner is found, started, checked and watched. What the pipeline does is the
affair of the folders above; which run is asked for, of `pipeline.cli`.

`direct` and `prism` are launchers: they run pipelines in this process, and give a runner for as
long as a context lasts. `job_service` and `dataflow` are services, which run jobs; `staging` brings
the package to their workers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner

from pipeline.runners import direct, prism
from pipeline.runners.dataflow import Dataflow
from pipeline.runners.job_service import JobService
from pipeline.runners.service import Service as Service

Launcher: TypeAlias = Callable[
    [PipelineOptions, bool], AbstractContextManager[PipelineRunner | str]
]
"""Takes the options, and whether Beam's own logs are wanted. Gives a runner."""

LAUNCHERS: dict[str, Launcher] = {
    "direct": direct.bounded,
    "direct_streaming": direct.unbounded,
    "prism": prism.serving,
}
"""The launchers, by the names that sources have for them."""


def service_of(runner: PipelineRunner) -> Service:
    """The service that a runner submits jobs to."""
    name = type(runner).__name__
    return Dataflow() if name == "DataflowRunner" else JobService(name)
