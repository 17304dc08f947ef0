"""One call of the command: its options, where it runs, and its exit code."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PrismRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner

from pipeline.errors import ExitCode, OptionError, RunError, one_line
from pipeline.local import run_here
from pipeline.options import (
    FollowSettings,
    PubSubSettings,
    RunOptions,
    parse_options,
    runner_name,
    settings_of,
)
from pipeline.signals import AskedToEnd, Signals

_logger = logging.getLogger("pipeline")


def run(argv: Sequence[str]) -> ExitCode:
    """Runs a command line, and gives its exit code; what goes wrong is one line in the log."""
    debug = False
    _set_log_levels(verbose=False, debug=debug)
    signals = Signals()
    try:
        options = parse_options(argv)
        debug = options.view_as(RunOptions).debug
        _set_log_levels(options.view_as(RunOptions).verbose, debug)
        with signals.raised():
            _run(options)
    except (Exception, AskedToEnd) as error:
        # Asked first: Beam wraps what is raised while a step runs.
        return signals.exit_code or _tell(error, debug)
    return ExitCode.DONE


def _tell(error: BaseException, debug: bool) -> ExitCode:
    """Logs an error as one line, and gives the exit code that it means."""
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
    # What a batch run does not need is not imported.
    if isinstance(settings, FollowSettings):
        _check_runner(options, "--follow runs on Prism in this process", ("prism",))
        from pipeline.live import follow

        follow(settings, options)
    elif isinstance(settings, PubSubSettings):
        where = "Pub/Sub is read on the DirectRunner and the DataflowRunner"
        _check_runner(options, where, ("dataflow",))
        _subscribe(settings, options)
    elif options.view_as(StandardOptions).streaming:
        raise OptionError(
            "--streaming reads input without end: say --follow, --input_subscription or "
            "--input_topic"
        )
    else:
        runner = _runner(options)
        if type(runner).__name__ in StandardOptions.LOCAL_RUNNERS:
            run_here(settings, options, runner)
        else:
            from pipeline.remote import submit

            submit(settings, options, runner)


def _subscribe(settings: PubSubSettings, options: PipelineOptions) -> None:
    try:
        importlib.import_module("google.cloud.pubsub")
    except ImportError as error:
        raise OptionError("Pub/Sub needs the extra gcp: pip install 'unbabel-cli[gcp]'") from error
    if runner_name(options) == "dataflow":
        from pipeline.remote import submit_streaming

        submit_streaming(settings, options, _runner(options))
    else:
        from pipeline.subscribed import subscribe

        subscribe(settings, options)


def _check_runner(options: PipelineOptions, where: str, others: tuple[str, ...]) -> None:
    if runner_name(options) not in ("direct", *others):
        raise OptionError(f"{where}, not on --runner={options.view_as(StandardOptions).runner}")


def _runner(options: PipelineOptions) -> PipelineRunner:
    name = options.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER
    if options.view_as(DirectOptions).direct_running_mode == "multi_processing":
        raise OptionError("--direct_running_mode=multi_processing is not supported: it may hang")
    # Beam's DirectRunner first tries to download another runner; this is the one it ends with.
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
        from pipeline import prism

        options.view_as(PrismRunnerOptions).prism_location = prism.locate(options)
    if _is_for_tests(type(runner).__name__):
        raise OptionError(f"--runner={name} is for the tests of Beam itself: leave out the Test")
    return runner


def _is_for_tests(runner: str) -> bool:
    return runner.startswith("Test")


def _set_log_levels(verbose: bool, debug: bool) -> None:
    _logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    # Beam and what it calls tell of every failure themselves, at length.
    logging.getLogger().setLevel(logging.WARNING if debug else logging.CRITICAL + 1)
