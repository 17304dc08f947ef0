"""One call of the command: from its arguments to its exit code."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.cli.here import run_here
from pipeline.cli.options import OwnOptions, parse_options, run_kind_of, settings_of
from pipeline.cli.signals import AskedToEnd, Signals
from pipeline.core.errors import ExitCode, RunError, one_line
from pipeline.runners import direct

_logger = logging.getLogger("pipeline")


def run(argv: Sequence[str]) -> ExitCode:
    """Runs a command line, and returns its exit code; an error is one line in the log."""
    debug = False
    _set_log_levels(verbose=False, debug=debug)
    signals = Signals()
    try:
        options = parse_options(argv)
        debug = options.view_as(OwnOptions).debug
        _set_log_levels(options.view_as(OwnOptions).verbose, debug)
        with signals.raised():
            _run(options)
    except (Exception, AskedToEnd) as error:
        # The signal first: Beam wraps an exception that is raised while a DoFn runs.
        return signals.exit_code or _tell(error, debug)
    return ExitCode.DONE


def _tell(error: BaseException, debug: bool) -> ExitCode:
    """Logs an error as one line, and returns its exit code."""
    if isinstance(error, BrokenPipeError):
        return ExitCode.PIPE_CLOSED
    if isinstance(error, RunError):
        _logger.error("%s", one_line(str(error)), exc_info=debug)
        return error.exit_code
    first_line = (str(error).splitlines() or [""])[0]
    hint = "" if debug else " (--debug shows where)"
    _logger.error("%s: %s%s", type(error).__name__, one_line(first_line), hint, exc_info=debug)
    return ExitCode.FAILED


def _run(options: PipelineOptions) -> None:
    settings = settings_of(options)
    own = options.view_as(OwnOptions)
    if run_kind_of(settings.source, options).is_job:
        # Imported only for jobs, to save time.
        from pipeline.cli.job import submit

        submit(settings, options, direct.runner_of(options), own.detach, own.debug)
    else:
        run_here(settings, options, own.debug)


def _set_log_levels(verbose: bool, debug: bool) -> None:
    _logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    # Beam and what it calls log every failure themselves, in many lines.
    logging.getLogger().setLevel(logging.WARNING if debug else logging.CRITICAL + 1)
