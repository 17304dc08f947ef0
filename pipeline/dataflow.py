"""Jobs of Google Cloud Dataflow: what they cannot do without, and where they are to be seen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlparse

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    S3Options,
    SetupOptions,
    StandardOptions,
    TestOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from pipeline import files
from pipeline.errors import OptionError, RunError
from pipeline.staging import image_of

_AT_LEAST_ONCE = "streaming_mode_at_least_once"
_LISTED_JOBS = 5


def check_options(options: PipelineOptions, paths: Iterable[tuple[str, str]]) -> None:
    """Refuses what Beam would ask the cloud for, or a worker fail at, minutes later.

    Args:
        options: those of the command line.
        paths: what the workers read and write, each after the option that names it.

    Raises:
        OptionError: a required option is missing, a path is out of the workers' reach, a secret
            would be readable by others, or deliveries would count more than once.
    """
    _check_job(options)
    _check_places(options)
    _check_update(options)
    _check_exactly_once(options)
    _check_secrets(options)
    for name, path in paths:
        _check_path(options, name, path)


def _check_job(options: PipelineOptions) -> None:
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
    if cloud.job_name == "":
        raise OptionError("--job_name names no job")
    # To Beam any value means yes.
    dry_run = options.view_as(TestOptions).dry_run
    if dry_run not in (False, True, "True"):
        raise OptionError(f"--dry_run={dry_run}: say --dry_run=True, or leave it out")


def _check_places(options: PipelineOptions) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    if _is_local_service(cloud):
        return
    for name in ("temp_location", "staging_location"):
        place = getattr(cloud, name)
        # By Beam's own rule: in place of what fails it, Beam takes a bucket that it makes.
        if place is not None and PipelineOptionsValidator(options, None).validate_gcs_path(
            cloud, name
        ):
            raise OptionError(f"--{name}={place}: name a folder in a bucket, gs://BUCKET/...")


def _is_local_service(cloud: GoogleCloudOptions) -> bool:
    """Whether the service is a stand-in: Beam then stages to folders of this machine."""
    endpoint = cloud.dataflow_endpoint or ""
    try:
        return urlparse(endpoint).hostname == "localhost"
    except ValueError as error:
        raise OptionError(f"--dataflow_endpoint={endpoint} is no address: {error}") from error


def _check_update(options: PipelineOptions) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.update:
        return
    if not options.view_as(StandardOptions).streaming:
        raise OptionError("--update is for streaming jobs: a batch job is run again")
    if options.view_as(TestOptions).dry_run:
        raise OptionError("--update asks the service for the job, and --dry_run asks nobody")
    if not cloud.job_name:
        raise OptionError("--update needs the --job_name of the job that is to be replaced")


def _check_exactly_once(options: PipelineOptions) -> None:
    modes = {
        "dataflow_service_options": options.view_as(GoogleCloudOptions).dataflow_service_options,
        "experiments": options.view_as(DebugOptions).experiments,
    }
    for name, given in modes.items():
        if options.view_as(StandardOptions).streaming and _AT_LEAST_ONCE in (given or ()):
            raise OptionError(
                f"--{name}={_AT_LEAST_ONCE} would count a delivery again that is processed again: "
                "leave it out"
            )


def _check_secrets(options: PipelineOptions) -> None:
    for name in ("s3_secret_access_key", "s3_session_token"):
        if getattr(options.view_as(S3Options), name) is not None:
            raise OptionError(
                f"--{name} would be readable to all who can see the job: let the image of "
                "--sdk_container_image bring the credentials"
            )


def _check_path(options: PipelineOptions, name: str, path: str) -> None:
    if files.is_local(path):
        raise OptionError(
            f"--{name}={path} is on this machine, where Dataflow's workers cannot reach it: "
            "name a path in a bucket, gs://BUCKET/..."
        )
    scheme, _, place = path.partition("://")
    if scheme != "gs" and not _workers_bring_more(options):
        raise OptionError(
            f"--{name}={path}: Dataflow's workers have nothing for {scheme}://: name a path in "
            "a bucket, gs://BUCKET/..., or bring it with --sdk_container_image or "
            "--requirements_file"
        )
    bucket, _, file = place.partition("/")
    if scheme == "gs" and not re.fullmatch(PipelineOptionsValidator.GCS_BUCKET, bucket):
        raise OptionError(f"--{name}={path} names no bucket: gs://BUCKET/...")
    is_folder = options.view_as(StandardOptions).streaming
    if not is_folder and (not file or file.endswith("/")):
        raise OptionError(f"--{name}={path} names no file")


def _workers_bring_more(options: PipelineOptions) -> bool:
    return bool(image_of(options) or options.view_as(SetupOptions).requirements_file)


def check_service(options: PipelineOptions) -> None:
    """Sees that the service can be asked, and that the job runs which `--update` is to replace.

    Without credentials Beam tries for a quarter of an hour to go on without them, and a job that
    does not run it awaits for ever.

    Raises:
        OptionError: there are no credentials, or no such job.
        RunError: the service does not tell its jobs.
    """
    if options.view_as(TestOptions).dry_run:
        return
    # Only here: what a dry run does not need is not imported.
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.no_auth:
        try:
            google.auth.default(scopes=cloud.gcp_oauth_scopes)
        except DefaultCredentialsError as error:
            raise OptionError(
                f"no Google credentials: gcloud auth application-default login ({error})"
            ) from error
    if cloud.update:
        names = _running_jobs(options)
        if cloud.job_name not in names:
            listed = ", ".join(names[:_LISTED_JOBS]) or "none"
            raise OptionError(
                f"--update: no job named {cloud.job_name} runs in {cloud.region} of "
                f"{cloud.project} (running there: {listed})"
            )


def _running_jobs(options: PipelineOptions) -> list[str]:
    """The names of the jobs that an update can replace, in order."""
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.dataflow_v1beta3 import JobState, ListJobsRequest

    cloud = options.view_as(GoogleCloudOptions)
    request = ListJobsRequest(
        project_id=cloud.project, location=cloud.region, filter=ListJobsRequest.Filter.ACTIVE
    )
    # Active are also those that wait or are being cancelled; Beam takes these two.
    states = (JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_DRAINING)
    try:
        jobs = DataflowApplicationClient(options)._jobs_client.list_jobs(request)
        return sorted({job.name for job in jobs if job.current_state in states})
    except (GoogleAPIError, GoogleAuthError) as error:
        raise RunError(
            f"--update: the jobs in {cloud.region} of {cloud.project} cannot be listed: {error}"
        ) from error


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
