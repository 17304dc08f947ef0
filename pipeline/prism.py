"""Prism, the runner for unbounded input on one machine: a program that Beam has beside itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.portability.prism_runner import PrismJobServer

from pipeline import beam_threads
from pipeline.errors import OptionError
from pipeline.options import RunOptions

# A bundle that is slow is split by the number of its elements, without that of its timers: of one
# that has both, elements that have been processed are then processed again (apache/beam#35771).
NO_SPLITS = "prism_disable_sdf_split"

_ANNOUNCEMENT = "endpoint="
_DOWNLOAD_SECONDS = 30
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def serving(options: PipelineOptions) -> Iterator[None]:
    """Runs a Prism server on loopback, and sends the pipelines of these options to it.

    The binary is the one that `--prism_location` or `PRISM_BIN` names, or one on the `PATH`;
    otherwise Beam's release of it, which is downloaded once. It ends with this process. The steps
    are run by threads of this process.

    Raises:
        OptionError: there is none to be had.
    """
    command = [locate(options), "-job_port", "0", "-serve_http=false", "-log_kind", "text"]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C is for this process, which then ends the other.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    except OSError as error:
        raise OptionError(f"{command[0]}: cannot be run as Prism: {error.strerror}") from error
    assert process.stdout is not None
    with beam_threads.silenced(options.view_as(RunOptions).debug), _ended(process):
        for line in process.stdout:
            if _ANNOUNCEMENT in line:
                break
        else:
            raise OptionError(f"{command[0]}: is no Prism: it ended without serving")
        # A pipe that nobody empties would stop it.
        threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
        options.view_as(StandardOptions).streaming = True
        options.view_as(DebugOptions).add_experiment(NO_SPLITS)
        portable = options.view_as(PortableOptions)
        portable.job_endpoint = line.partition(_ANNOUNCEMENT)[2].split()[0]
        portable.environment_type = "LOOPBACK"
        # To Beam this is also how long it waits for the end of a run: 300 seconds by default.
        portable.job_server_timeout = None
        yield


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _drain(stream: Iterator[str]) -> None:
    for _ in stream:
        pass


def _end_with_parent() -> None:
    # Elsewhere than on Linux a killed process leaves its Prism behind.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def locate(options: PipelineOptions) -> str:
    """The path of the binary, which Beam downloads where none is named or on the `PATH`.

    Raises:
        OptionError: there is none to be had.
    """
    location = options.view_as(PrismRunnerOptions).prism_location
    local = location or os.environ.get("PRISM_BIN") or shutil.which("prism")
    if local and "://" not in local:
        if not os.path.isfile(local):
            name = "--prism_location" if location else "PRISM_BIN"
            raise OptionError(f"{name}={local}: there is no such file")
        return os.path.abspath(local)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        return str(PrismJobServer.local_bin(PrismJobServer(options).path_to_binary()))
    except (OSError, RuntimeError, ValueError) as error:
        raise OptionError(
            "Prism, which this runs on, could not be downloaded: install it with 'go install "
            "github.com/apache/beam/sdks/v2/go/cmd/prism' or from Beam's release page, and name it "
            f"with --prism_location or PRISM_BIN ({error})"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
