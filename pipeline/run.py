"""A run: from the command line to files, an account of it, and an exit code."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.runners import PipelineRunner, create_runner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState

from pipeline import errors, files, progress
from pipeline.errors import InputError, OutputError, RunError, TooManyRejectedError
from pipeline.events import JSON_ARRAY
from pipeline.local import Destination, check_destinations, spool_inputs
from pipeline.moving_average import MovingAverageBlocks
from pipeline.options import (
    STANDARD_STREAM,
    OptionError,
    RunOptions,
    Settings,
    parse_options,
    settings_of,
)
from pipeline.parsing import ParseEvents
from pipeline.reading import FindInputs, Input, ReadChunks, find_inputs
from pipeline.rows import RowFormat
from pipeline.summary import AddUp, Report, Summary
from pipeline.writing import CleanUp, Output, WriteDeadLetters, WriteRows

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REJECTED = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
EXIT_TERMINATED = 143

_logger = logging.getLogger("pipeline")


def build_pipeline(
    pipeline: beam.Pipeline,
    settings: Settings,
    inputs: tuple[Input, ...],
    rows: Output,
    rejected: Output | None = None,
) -> None:
    """Adds the whole batch flow to a pipeline: files to rows, dead letters and an account."""
    parsed = (
        pipeline
        | "Inputs" >> beam.Create([inputs], reshuffle=False)
        | "FindInputs" >> FindInputs()
        | "ReadChunks" >> ReadChunks(settings.chunk_size)
        | "ParseEvents" >> ParseEvents(settings.event_name, settings.group_by)
    )
    tally = parsed.tally | "AddUp" >> AddUp()
    _ = tally | "Report" >> Report(show_rejected=rejected is None)
    written = [
        parsed
        | "MovingAverage" >> MovingAverageBlocks(settings.rows, settings.plan)
        | "WriteRows"
        >> WriteRows(
            rows,
            RowFormat(settings.group_by, settings.empty_value),
            tally,
            settings.max_rejected,
            settings.max_rows,
        )
    ]
    if rejected is not None:
        written.append(parsed.rejected | "WriteDeadLetters" >> WriteDeadLetters(rejected))
    if not files.is_local(rows.scratch):
        _ = tally | "CleanUp" >> CleanUp(rows.scratch, settings.max_rejected, written)


def run(argv: Sequence[str]) -> int:
    """Runs a command line, and gives its exit code; what goes wrong is one line in the log."""
    try:
        options = parse_options(argv)
    except OptionError as error:
        _logger.error("%s", error)
        return EXIT_USAGE
    run_options = options.view_as(RunOptions)
    _set_log_levels(run_options.verbose, run_options.debug)
    try:
        with _terminable():
            return _run(options)
    except (OptionError, InputError, OutputError) as error:
        _logger.error("%s", error, exc_info=run_options.debug)
        return EXIT_USAGE
    except RunError as error:
        _logger.error("%s", error, exc_info=run_options.debug)
        return EXIT_FAILED
    except BrokenPipeError:
        return EXIT_PIPE_CLOSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except _Terminated:
        return EXIT_TERMINATED
    except Exception as error:  # the last resort, so that no traceback meets the user unasked
        message = (str(error).splitlines() or [""])[0]
        hint = "" if run_options.debug else " (--debug shows where)"
        _logger.error(
            "failed: %s: %s%s", type(error).__name__, message, hint, exc_info=run_options.debug
        )
        return EXIT_FAILED


def _run(options: PipelineOptions) -> int:
    settings = settings_of(options)
    if options.view_as(StandardOptions).streaming:
        raise OptionError("--streaming: only bounded inputs are read")
    runner = _runner(options)
    if type(runner).__name__ in StandardOptions.LOCAL_RUNNERS:
        return _run_here(settings, options, runner)
    return _submit(settings, options, runner)


def _run_here(settings: Settings, options: PipelineOptions, runner: PipelineRunner) -> int:
    """Runs in this process: inputs and outputs may be local files, streams and pipes."""
    run_id = uuid4().hex[:12]
    with _scratch_folder() as scratch:
        inputs = spool_inputs(settings.patterns, scratch)
        found = [info for info, _ in find_inputs(inputs)]
        _logger.info("%d input files of %d bytes", len(found), sum(info.size for info in found))
        asked = {
            "output_file": settings.output_file,
            "rejected_file": settings.rejected_file,
            "summary_file": settings.summary_file,
        }
        to = {
            option: Destination.of(option, path, scratch)
            for option, path in asked.items()
            if path is not None
        }
        check_destinations([*to.values()], settings.patterns, [info.path for info in found])
        outputs = {
            "output_file": Output(to["output_file"].path, scratch, run_id, settings.num_shards)
        }
        if "rejected_file" in to:
            outputs["rejected_file"] = Output(to["rejected_file"].path, scratch, run_id)

        pipeline = beam.Pipeline(runner, options)
        build_pipeline(
            pipeline, settings, inputs, outputs["output_file"], outputs.get("rejected_file")
        )
        started = time.monotonic()
        _logger.info("running on %s", type(runner).__name__)
        try:
            with progress.shown(sum(info.size for info in found)):
                result = pipeline.run()
                result.wait_until_finish()
        except BaseException as error:
            for output in outputs.values():
                for path in output.temporary_paths():
                    files.remove(path)
            raise (_run_error(error) or error) from error
        summary = Summary.of(result.metrics(), time.monotonic() - started)

        allowed = settings.max_rejected.allows(summary.rejected, summary.non_blank)
        if "summary_file" in to:
            with files.replacing(to["summary_file"].path, run_id) as stream:
                stream.write(summary.to_json().encode() + b"\n")
        for option in ("rejected_file", "summary_file", *(["output_file"] if allowed else [])):
            if option in to:
                to[option].publish()
    for line in summary.text().splitlines():
        print(line, file=sys.stderr)
    if summary.non_blank and summary.accepted == 0 and allowed:
        _logger.warning("no event is named %s (--event_name)", settings.event_name)
    if not allowed:
        _logger.error("%s", _refusal(summary))
        return EXIT_REJECTED
    return 0


def _refusal(summary: Summary) -> str:
    message = (
        f"{summary.rejected:,} of {summary.non_blank:,} lines were rejected, more than "
        "--max_rejected allows; no rows were written"
    )
    if summary.rejected == summary.non_blank:
        message = (
            "every line was rejected, so this is most likely the wrong file; "
            "no rows were written (--max_rejected=100% allows it)"
        )
        if JSON_ARRAY.type in summary.reasons:
            message += f"; it looks like {JSON_ARRAY.message}"
    return message


def _submit(settings: Settings, options: PipelineOptions, runner: PipelineRunner) -> int:
    """Submits the pipeline to a service, and waits for its end."""
    paths = [*settings.patterns, settings.output_file]
    paths += [path for path in (settings.rejected_file, settings.summary_file) if path]
    for path in paths:
        if path == STANDARD_STREAM:
            raise OptionError("a remote runner has no standard input or output: name files")
    _let_workers_install_this(options)
    run_id = uuid4().hex[:12]
    scratch = files.temporary_name(settings.output_file, run_id)
    rows = Output(settings.output_file, scratch, run_id, settings.num_shards)
    rejected = settings.rejected_file and Output(settings.rejected_file, scratch, run_id)
    pipeline = beam.Pipeline(runner, options)
    inputs = tuple(Input(pattern) for pattern in settings.patterns)
    build_pipeline(pipeline, settings, inputs, rows, rejected or None)
    started = time.monotonic()
    result = pipeline.run()
    if options.view_as(TestOptions).dry_run:
        _logger.warning("dry run: the job was built, and not submitted")
        return 0
    if options.view_as(RunOptions).detach:
        return 0
    if result.wait_until_finish() != PipelineState.DONE:
        raise RunError(f"the job ended in state {result.state}")
    summary = Summary.of(result.metrics(), time.monotonic() - started)
    if settings.summary_file:
        with files.replacing(settings.summary_file, run_id) as stream:
            stream.write(summary.to_json().encode() + b"\n")
    print(summary.text(), file=sys.stderr)
    return 0


def _runner(options: PipelineOptions) -> PipelineRunner:
    name = options.view_as(StandardOptions).runner or StandardOptions.DEFAULT_RUNNER
    if options.view_as(DirectOptions).direct_running_mode == "multi_processing":
        raise OptionError("--direct_running_mode=multi_processing is not supported: Beam may hang")
    # Beam's DirectRunner first tries to download another runner; this is the one it ends with.
    if name.lower() in ("direct", "directrunner"):
        return FnApiRunner()
    try:
        return create_runner(name)
    except ImportError as error:
        raise OptionError(
            f"--runner={name} is not installed: pip install 'unbabel-cli[gcp]' brings Dataflow's"
        ) from error
    except (ValueError, AttributeError) as error:
        known = ", ".join(StandardOptions.KNOWN_RUNNER_NAMES)
        raise OptionError(f"--runner={name} is no runner; Beam has {known}") from error


def _let_workers_install_this(options: PipelineOptions) -> None:
    """Names the package's own setup.py, if it runs from a checkout and nothing else is named."""
    setup = options.view_as(SetupOptions)
    remedy = (
        "--setup_file=./setup.py from a checkout, --extra_package=WHEEL "
        "or --sdk_container_image=IMAGE with the package installed"
    )
    if setup.setup_file and not os.path.exists(setup.setup_file):
        raise OptionError(f"--setup_file={setup.setup_file} does not exist; pass {remedy}")
    given = (
        setup.setup_file,
        setup.extra_packages,
        options.view_as(WorkerOptions).sdk_container_image,
    )
    if not any(given):
        checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        setup_file = os.path.join(checkout, "setup.py")
        if not os.path.exists(setup_file):
            raise OptionError(f"the workers need this package too: pass {remedy}")
        setup.setup_file = setup_file


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


@contextmanager
def _scratch_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="unbabel_cli-")
    try:
        yield folder
    finally:
        # After an interruption a step may still be writing there.
        shutil.rmtree(folder, ignore_errors=True)


_RUNNING = re.compile(r"(\s*\[while running '[^\n]*'\])+\s*$")


def _run_error(error: BaseException) -> RunError | None:
    """The error of ours that made a run fail, if it was one; some runners only keep its text."""
    text = str(error)
    if isinstance(error, RunError):
        return type(error)(_RUNNING.sub("", text))
    for kind in (InputError, OutputError, errors.TooManyRowsError, TooManyRejectedError):
        found = re.search(rf"\b{kind.__name__}: ([^\n]*)", text)
        if found:
            return kind(_RUNNING.sub("", found[1]))
    return None


def _set_log_levels(verbose: bool, debug: bool) -> None:
    _logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    # Beam tells of every failure itself, at length.
    logging.getLogger("apache_beam").setLevel(logging.WARNING if debug else logging.CRITICAL + 1)
