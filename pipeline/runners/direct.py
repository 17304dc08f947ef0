"""Beam's runners that run a pipeline in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PrismRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner

from pipeline import beam_internals
from pipeline.core.errors import OptionError
from pipeline.runners import prism

_LOCAL = {name.lower().removesuffix("runner") for name in StandardOptions.LOCAL_RUNNERS}


def name_of(options: PipelineOptions) -> str:
    """The name of the runner in small letters, without its package and "Runner"."""
    name = options.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER
    return str(name.rpartition(".")[2].lower().removesuffix("runner"))


def is_here(options: PipelineOptions) -> bool:
    """Whether the runner of the options runs pipelines in this process."""
    return name_of(options) in _LOCAL


def runner_of(options: PipelineOptions) -> PipelineRunner:
    """The runner that the options name, of this process or of a service.

    Raises:
        OptionError: there is none, or it must not be used.
    """
    name = options.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER
    if options.view_as(DirectOptions).direct_running_mode == "multi_processing":
        raise OptionError("--direct_running_mode=multi_processing is not supported: it may hang")
    # Beam's DirectRunner first tries to download another runner, then falls back to this one.
    if name.lower() in ("direct", "directrunner"):
        return FnApiRunner()
    try:
        runner = create_runner(name)
    except ImportError as error:
        raise OptionError(f"--runner={name} is not installed: {error}") from error
    except (ValueError, AttributeError) as error:
        known = (each for each in StandardOptions.KNOWN_RUNNER_NAMES if not _is_for_tests(each))
        raise OptionError(f"--runner={name} is no runner; Beam has {', '.join(known)}") from error
    if type(runner).__name__ == "PrismRunner":
        options.view_as(PrismRunnerOptions).prism_location = prism.locate(options)
    if _is_for_tests(type(runner).__name__):
        raise OptionError(f"--runner={name} is for the tests of Beam itself: leave out the Test")
    return runner


def _is_for_tests(runner: str) -> bool:
    return runner.startswith("Test")


@contextmanager
def bounded(options: PipelineOptions, is_debugging: bool) -> Iterator[PipelineRunner]:
    """The runner of the options, for a bounded input."""
    with beam_internals.whole_elements():
        yield runner_of(options)


@contextmanager
def unbounded(options: PipelineOptions, is_debugging: bool) -> Iterator[PipelineRunner]:
    """Beam's DirectRunner, for the unbounded sources that it supports, such as Pub/Sub."""
    options.view_as(StandardOptions).streaming = True
    yield BundleBasedDirectRunner()
