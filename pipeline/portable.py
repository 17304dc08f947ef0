"""Jobs of portable runners: what they cannot do without."""

from __future__ import annotations

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

from pipeline.errors import OptionError

_ANSWER_SECONDS = 10
_IN_THIS_PROCESS = "embed"

# Where the job service is, or a jar of one; without them Beam would download a jar.
_ONE_OF = {
    "PortableRunner": ("job_endpoint",),
    "FlinkRunner": ("job_endpoint", "flink_job_server_jar"),
    "SparkRunner": ("job_endpoint", "spark_job_server_jar"),
}


def check_options(options: PipelineOptions, runner: str) -> None:
    """Refuses a runner, named by its class, whose job service is not known.

    Raises:
        OptionError: it is not.
    """
    wanted = _ONE_OF.get(runner, ())
    given = options.get_all_options()
    if wanted and not any(given[name] for name in wanted):
        names = " or ".join(f"--{name}" for name in wanted)
        raise OptionError(f"--runner={runner} needs its job service: name {names}")


def check_service(options: PipelineOptions) -> None:
    """Asks whether there is a job service; Beam itself would wait for one for five minutes.

    Raises:
        OptionError: nothing answers.
    """
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint in (None, _IN_THIS_PROCESS):
        return
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise OptionError(f"--job_endpoint={endpoint}: no job service answers") from error
