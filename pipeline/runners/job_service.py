"""The job services of portable runners (Flink, Spark, Prism): checks of their jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.runner import PipelineResult

from pipeline.core.errors import OptionError

_ANSWER_SECONDS = 10
_IN_THIS_PROCESS = "embed"

# The options that name the job service; without them Beam would download one.
_ONE_OF = {
    "PortableRunner": ("job_endpoint",),
    "FlinkRunner": ("job_endpoint", "flink_job_server_jar"),
    "SparkRunner": ("job_endpoint", "spark_job_server_jar"),
}


@dataclass(frozen=True)
class JobService:
    """A portable runner's service. See `Service` for what its methods do.

    Attributes:
        runner: the name of the runner's class.
    """

    runner: str

    def check_options(
        self, options: PipelineOptions, on_workers: Iterable[tuple[str, str]]
    ) -> None:
        """Refuses a runner whose job service is not known."""
        wanted = _ONE_OF.get(self.runner, ())
        given = options.get_all_options()
        if wanted and not any(given[name] for name in wanted):
            names = " or ".join(f"--{name}" for name in wanted)
            raise OptionError(f"--runner={self.runner} needs its job service: name {names}")

    def check_service(self, options: PipelineOptions) -> None:
        """Checks that the service answers: Beam itself would wait for five minutes."""
        endpoint = options.view_as(PortableOptions).job_endpoint
        if endpoint in (None, _IN_THIS_PROCESS):
            return
        with grpc.insecure_channel(endpoint) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
            except grpc.FutureTimeoutError as error:
                raise OptionError(f"--job_endpoint={endpoint}: no job service answers") from error

    def is_launched_elsewhere(self, options: PipelineOptions) -> bool:
        return False

    def address(self, options: PipelineOptions, result: PipelineResult) -> None:
        return None
