"""Prism, Beam's runner for unbounded input on one machine: a program of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import grpc
from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
)

from pipeline import beam_internals
from pipeline.core.errors import OptionError, RunError
from pipeline.runners.child_process import ending_with_this_process

_ANNOUNCEMENT = "endpoint="
_DOWNLOAD_SECONDS = 30


@contextlib.contextmanager
def serving(options: PipelineOptions, is_debugging: bool) -> Iterator[str]:
    """Runs a Prism server on loopback; gives the runner that sends pipelines to it.

    The binary is that of `--prism_location`, of `PRISM_BIN`, or one on the `PATH`; otherwise Beam's
    release, which is downloaded once. The server ends with this process. Threads of this process
    run the DoFns.

    Raises:
        OptionError: there is no such binary.
        RunError: Prism has ended before the body.
    """
    command = [locate(options), "-job_port", "0", "-serve_http=false", "-log_kind", "text"]
    process = subprocess.Popen(
        ending_with_this_process(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Ctrl-C must reach only this process, which ends the other.
        start_new_session=True,
    )
    assert process.stdout is not None
    with beam_internals.silenced_threads(is_debugging), _ended(process):
        line = ""
        for line in process.stdout:
            if _ANNOUNCEMENT in line:
                break
        else:
            raise OptionError(f"{command[0]}: is no Prism: it ended with: {line.strip()}")
        # A full pipe would block it.
        threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
        options.view_as(StandardOptions).streaming = True
        options.view_as(DebugOptions).add_experiment(beam_internals.NO_SPLITS_OF_BUNDLES)
        portable = options.view_as(PortableOptions)
        portable.job_endpoint = line.partition(_ANNOUNCEMENT)[2].split()[0]
        portable.environment_type = "LOOPBACK"
        # Beam uses it also as the time limit of a run: 300 seconds by default.
        portable.job_server_timeout = None
        try:
            yield "PortableRunner"
        except grpc.RpcError as error:
            raise RunError(f"Prism has ended before the run: {error.details()}") from error


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


def locate(options: PipelineOptions) -> str:
    """The path of the binary, which Beam downloads where none is named or on the `PATH`.

    Raises:
        OptionError: there is no such binary.
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
        return beam_internals.download_prism(options)
    except (OSError, RuntimeError, ValueError) as error:
        raise OptionError(
            "Prism, which this runs on, could not be downloaded: install it with 'go install "
            "github.com/apache/beam/sdks/v2/go/cmd/prism' or from Beam's release page, and name it "
            f"with --prism_location or PRISM_BIN ({error})"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
