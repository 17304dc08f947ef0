"""One call of the command: its options, where it runs, and its exit code."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner

from pipeline.batch import build_pipeline as build_pipeline
from pipeline.errors import ExitCode, OptionError, RunError
from pipeline.local import run_here
from pipeline.options import RunOptions, parse_options, settings_of
from pipeline.remote import submit

_logger = logging.getLogger("pipeline")


def run(argv: Sequence[str]) -> ExitCode:
    """Runs a command line, and gives its exit code; what goes wrong is one line in the log."""
    debug = False
    try:
        options = parse_options(argv)
        debug = options.view_as(RunOptions).debug
        _set_log_levels(options.view_as(RunOptions).verbose, debug)
        with _terminable():
            _run(options)
    except RunError as error:
        _logger.error("%s", error, exc_info=debug)
        return error.exit_code
    except BrokenPipeError:
        return ExitCode.PIPE_CLOSED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except _Terminated:
        return ExitCode.TERMINATED
    except Exception as error:  # the last resort, so that no traceback meets the user unasked
        first_line = (str(error).splitlines() or [""])[0]
        hint = "" if debug else " (--debug shows where)"
        _logger.error("%s: %s%s", type(error).__name__, first_line, hint, exc_info=debug)
        return ExitCode.FAILED
    return ExitCode.DONE


def _run(options: PipelineOptions) -> None:
    settings = settings_of(options)
    if options.view_as(StandardOptions).streaming:
        raise OptionError("--streaming: only bounded inputs are read")
    runner = _runner(options)
    if type(runner).__name__ in StandardOptions.LOCAL_RUNNERS:
        run_here(settings, options, runner)
    else:
        submit(settings, options, runner)


def _runner(options: PipelineOptions) -> PipelineRunner:
    name = options.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER
    if options.view_as(DirectOptions).direct_running_mode == "multi_processing":
        raise OptionError("--direct_running_mode=multi_processing is not supported: it may hang")
    # Beam's DirectRunner first tries to download another runner; this is the one it ends with.
    if name.lower() in ("direct", "directrunner"):
        return FnApiRunner()
    try:
        return create_runner(name)
    except ImportError as error:
        raise OptionError(f"--runner={name} is not installed: {error}") from error
    except (ValueError, AttributeError) as error:
        known = ", ".join(StandardOptions.KNOWN_RUNNER_NAMES)
        raise OptionError(f"--runner={name} is no runner; Beam has {known}") from error


class _Terminated(BaseException):
    """The process was asked to end."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Makes a request to end an exception, so that what must be removed is."""

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _set_log_levels(verbose: bool, debug: bool) -> None:
    _logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    # Beam and what it calls tell of every failure themselves, at length.
    logging.getLogger().setLevel(logging.WARNING if debug else logging.CRITICAL + 1)
