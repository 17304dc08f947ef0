"""What the package uses of Beam that Beam does not promise to keep.

Each function says why it is needed. All were seen to work with Beam 2.72 to 2.77; the tests of this
module fail where a new version of Beam differs. Nothing else in the package touches a private name
of Beam's.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from apache_beam.io.filesystem import FileSystem
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import sdk_worker

GCS_BUCKET: str = PipelineOptionsValidator.GCS_BUCKET
"""The pattern of a bucket's name: Beam's own, since another name fails only on a worker."""

NO_SPLITS_OF_BUNDLES = "prism_disable_sdf_split"
"""An experiment of Prism's. Prism splits a slow bundle by the number of its elements, without that
of its timers. Of a bundle that has both, elements are then processed twice (apache/beam#35771)."""


def parser_of_all_options() -> argparse.ArgumentParser:
    """A parser of all options that Beam knows: Beam itself only warns of others."""
    parsers: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    (parser,) = parsers
    return parser


def is_no_place_in_a_bucket(options: PipelineOptions, name: str) -> bool:
    """Whether a location fails Beam's own rule: in its place Beam takes a bucket that it makes."""
    cloud = options.view_as(GoogleCloudOptions)
    return bool(PipelineOptionsValidator(options, None).validate_gcs_path(cloud, name))


def put_empty_s3_object(filesystem: FileSystem, path: str) -> None:
    """Creates an object without any bytes.

    Beam's writer uploads parts, and S3 takes no upload without any.
    """
    from apache_beam.io.aws import s3io

    bucket, key = s3io.parse_s3_path(path)
    client = s3io.S3IO(options=filesystem._options).client.client
    client.put_object(Bucket=bucket, Key=key, Body=b"")


def download_prism(options: PipelineOptions) -> str:
    """The path of the Prism binary of this version of Beam, downloaded once.

    Beam's own runner would also start it, and leave it behind when a signal ends this process.

    Raises:
        OSError, RuntimeError, ValueError: it cannot be had.
    """
    from apache_beam.runners.portability.prism_runner import PrismJobServer

    return str(PrismJobServer.local_bin(PrismJobServer(options).path_to_binary()))


def list_dataflow_jobs(options: PipelineOptions, request: object) -> Iterable[Any]:
    """The jobs of a project, asked for with the credentials and the endpoint of the options.

    Beam's client for this has no public name for it, and updates a job that is not there for ever.
    """
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient

    jobs: Iterable[Any] = DataflowApplicationClient(options)._jobs_client.list_jobs(request)
    return jobs


@contextlib.contextmanager
def silenced_threads(is_debugging: bool) -> Iterator[None]:
    """Silences the threads that the body starts, as far as they only report the end of the run.

    When a runner ends, all of Beam's threads that talk to it fail and would print tracebacks.
    Beam's worker prints the traceback of every failure, although the reason of a failed run is
    reported in one line. Threads may fail after the body, so they stay silenced; all others are as
    before.
    """
    others = set(threading.enumerate())
    late: set[threading.Thread] | None = None
    previous = threading.excepthook
    previous_print = vars(sdk_worker).get("print", print)

    def is_silenced(thread: threading.Thread | None) -> bool:
        return thread not in others if late is None else thread in late

    def report(arguments: threading.ExceptHookArgs) -> None:
        is_end = late is not None or _reports_the_end(arguments.exc_value)
        if not (is_end and is_silenced(arguments.thread)):
            previous(arguments)

    def print_unless_silenced(*values: object, **options: Any) -> None:
        if is_debugging or not is_silenced(threading.current_thread()):
            previous_print(*values, **options)

    threading.excepthook = report
    vars(sdk_worker)["print"] = print_unless_silenced
    try:
        yield
    finally:
        late = set(threading.enumerate()) - others
        if not late:
            threading.excepthook = previous
            vars(sdk_worker)["print"] = previous_print


@contextlib.contextmanager
def whole_elements() -> Iterator[None]:
    """Keeps workers that are threads of FnApiRunner from handing on parts of elements.

    Once a second they hand on what they have by then, also from the middle of an element whose
    coder is Python, as another thread does it; the runner takes the part for a whole one. So they
    hand on by size only.
    """
    previous = worker_handlers.DATA_BUFFER_TIME_LIMIT_MS
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = -1
    try:
        yield
    finally:
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = previous


def _reports_the_end(error: BaseException | None) -> bool:
    """Whether a thread has lost its connection, or has used one that is closed."""
    return isinstance(error, grpc.RpcError) or (
        isinstance(error, ValueError) and "closed channel" in str(error)
    )
