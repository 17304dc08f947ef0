"""Jobs of Google Cloud Dataflow: what they cannot do without, and where they are to be seen."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlparse

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from pipeline import files
from pipeline.errors import OptionError

_AT_LEAST_ONCE = "streaming_mode_at_least_once"
_LISTED_JOBS = 5


def check_options(options: PipelineOptions, paths: Iterable[tuple[str, str]]) -> None:
    """Refuses what Beam would ask the cloud for, or a worker fail at, minutes later.

    Args:
        options: those of the command line.
        paths: what the workers read and write, each after the option that names it.

    Raises:
        OptionError: a required option is missing, a path is out of the workers' reach, or
            deliveries would count more than once.
    """
    cloud = options.view_as(GoogleCloudOptions)
    required = {
        "project": cloud.project,
        "region": cloud.region,
        # Beam keeps what is temporary in the staging location where it has nothing else.
        "temp_location": cloud.temp_location or cloud.staging_location,
    }
    for name, given in required.items():
        if not given:
            raise OptionError(f"--{name} is required by the DataflowRunner")
    if not _is_local_service(cloud):
        for name in ("temp_location", "staging_location"):
            place = getattr(cloud, name)
            # By Beam's own rule: in place of what fails it, Beam takes a bucket that it makes.
            if place is not None and PipelineOptionsValidator(options, None).validate_gcs_path(
                cloud, name
            ):
                raise OptionError(f"--{name}={place}: name a folder in a bucket, gs://BUCKET/...")
    modes = {
        "dataflow_service_options": cloud.dataflow_service_options or [],
        "experiments": options.view_as(DebugOptions).experiments or [],
    }
    for name, given in modes.items():
        if options.view_as(StandardOptions).streaming and _AT_LEAST_ONCE in given:
            raise OptionError(
                f"--{name}={_AT_LEAST_ONCE} would count a delivery again that is processed again: "
                "leave it out"
            )
    for name, path in paths:
        if files.is_local(path):
            raise OptionError(
                f"--{name}={path} is on this machine, where Dataflow's workers cannot reach it: "
                "name a path in a bucket, gs://BUCKET/..."
            )
        scheme = path.partition("://")[0]
        if scheme != "gs" and not _workers_bring_more(options):
            raise OptionError(
                f"--{name}={path}: Dataflow's workers have nothing for {scheme}://: name a path in "
                "a bucket, gs://BUCKET/..., or bring it with --sdk_container_image or "
                "--requirements_file"
            )
        if name != "input_file" and not options.view_as(StandardOptions).streaming:
            _, _, file = path.partition("://")[2].partition("/")
            if not file or file.endswith("/"):
                raise OptionError(f"--{name}={path} names no file")


def _workers_bring_more(options: PipelineOptions) -> bool:
    image = options.view_as(WorkerOptions).sdk_container_image
    return bool(image or options.view_as(SetupOptions).requirements_file)


def _is_local_service(cloud: GoogleCloudOptions) -> bool:
    # Beam then stages to folders of this machine.
    return urlparse(cloud.dataflow_endpoint or "").hostname == "localhost"


def check_update(options: PipelineOptions) -> None:
    """Sees that the job runs which `--update` is to replace; Beam would ask for it for ever.

    Raises:
        OptionError: there is no such job.
    """
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.update:
        return
    if not options.view_as(StandardOptions).streaming:
        raise OptionError("--update is for streaming jobs: a batch job is run again")
    if options.view_as(TestOptions).dry_run:
        raise OptionError("--update asks the service for the job, and --dry_run asks nobody")
    if not cloud.job_name:
        raise OptionError("--update needs the --job_name of the job that is to be replaced")
    # Only here: what a dry run does not need is not imported.
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient
    from google.cloud.dataflow_v1beta3 import JobState, ListJobsRequest

    request = ListJobsRequest(
        project_id=cloud.project, location=cloud.region, filter=ListJobsRequest.Filter.ACTIVE
    )
    jobs = DataflowApplicationClient(options)._jobs_client.list_jobs(request)
    # Active are also those that wait or are being cancelled; Beam takes these two.
    states = (JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_DRAINING)
    names = sorted({job.name for job in jobs if job.current_state in states})
    if cloud.job_name not in names:
        listed = ", ".join(names[:_LISTED_JOBS]) or "none"
        raise OptionError(
            f"--update: no job named {cloud.job_name} runs in {cloud.region} of {cloud.project} "
            f"(running there: {listed})"
        )


def is_launched_as_template(options: PipelineOptions) -> bool:
    """Whether the job is only described here: the service starts it when this process has ended."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def job_address(options: PipelineOptions, job_id: str) -> str:
    """Where a job is to be seen."""
    cloud = options.view_as(GoogleCloudOptions)
    return (
        f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job_id}"
        f"?project={cloud.project}"
    )
