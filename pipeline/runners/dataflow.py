"""Google Cloud Dataflow: checks of its jobs, and their addresses."""

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
from apache_beam.runners.runner import PipelineResult

from pipeline import beam_internals
from pipeline.core.errors import OptionError, RunError
from pipeline.runners.staging import image_of
from pipeline.storage import files

_AT_LEAST_ONCE = "streaming_mode_at_least_once"
_LISTED_JOBS = 5


class Dataflow:
    """The service. See `Service` for what its methods do.

    `check_options` refuses what would fail minutes later, in the cloud or on a worker: a required
    option is missing, a path is out of the workers' reach, a secret would be readable by others, or
    deliveries would count more than once.
    """

    def check_options(
        self, options: PipelineOptions, on_workers: Iterable[tuple[str, str]]
    ) -> None:
        _check_job(options)
        _check_places(options)
        _check_update(options)
        _check_exactly_once(options)
        _check_secrets(options)
        for name, path in on_workers:
            _check_path(options, name, path)

    def check_service(self, options: PipelineOptions) -> None:
        """Checks that there are credentials, and that the job to be updated runs.

        Without credentials Beam tries for a quarter of an hour, and it waits for ever for a job
        that does not run.
        """
        if options.view_as(TestOptions).dry_run:
            return
        # Imported here: a dry run does not need them.
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

    def is_launched_elsewhere(self, options: PipelineOptions) -> bool:
        """Whether the job is described as a template, which the service starts."""
        return bool(options.view_as(GoogleCloudOptions).template_location)

    def address(self, options: PipelineOptions, result: PipelineResult) -> str:
        cloud = options.view_as(GoogleCloudOptions)
        job_id = result.job_id()
        return (
            f"job {job_id}: https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job_id}"
            f"?project={cloud.project}"
        )


def _check_job(options: PipelineOptions) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    required = {
        "project": cloud.project,
        "region": cloud.region,
        # Without it Beam uses the staging location.
        "temp_location": cloud.temp_location or cloud.staging_location,
    }
    for name, given in required.items():
        if not given:
            raise OptionError(f"--{name} is required by the DataflowRunner")
    if cloud.job_name == "":
        raise OptionError("--job_name names no job")
    # Beam takes any value for yes.
    dry_run = options.view_as(TestOptions).dry_run
    if dry_run not in (False, True, "True"):
        raise OptionError(f"--dry_run={dry_run}: say --dry_run=True, or leave it out")


def _check_places(options: PipelineOptions) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    if _is_local_service(cloud):
        return
    for name in ("temp_location", "staging_location"):
        place = getattr(cloud, name)
        if place is not None and beam_internals.is_no_place_in_a_bucket(options, name):
            raise OptionError(f"--{name}={place}: name a folder in a bucket, gs://BUCKET/...")


def _is_local_service(cloud: GoogleCloudOptions) -> bool:
    """Whether the service runs on this machine: Beam then stages to local folders."""
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
    if scheme == "gs" and not re.fullmatch(beam_internals.GCS_BUCKET, bucket):
        raise OptionError(f"--{name}={path} names no bucket: gs://BUCKET/...")
    is_folder = options.view_as(StandardOptions).streaming
    if not is_folder and (not file or file.endswith("/")):
        raise OptionError(f"--{name}={path} names no file")


def _workers_bring_more(options: PipelineOptions) -> bool:
    return bool(image_of(options) or options.view_as(SetupOptions).requirements_file)


def _running_jobs(options: PipelineOptions) -> list[str]:
    """The names of the jobs that an update can replace, in order."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.dataflow_v1beta3 import JobState, ListJobsRequest

    cloud = options.view_as(GoogleCloudOptions)
    request = ListJobsRequest(
        project_id=cloud.project, location=cloud.region, filter=ListJobsRequest.Filter.ACTIVE
    )
    # Other active jobs wait or are being cancelled; Beam updates only these two.
    states = (JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_DRAINING)
    try:
        jobs = beam_internals.list_dataflow_jobs(options, request)
        return sorted({job.name for job in jobs if job.current_state in states})
    except (GoogleAPIError, GoogleAuthError) as error:
        raise RunError(
            f"--update: the jobs in {cloud.region} of {cloud.project} cannot be listed: {error}"
        ) from error
