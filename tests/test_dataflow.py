"""A Dataflow job is built from a checkout without a network, or the message says what to pass."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from copies import CHECKOUT, copy_package, copy_project_files

pytest.importorskip("apache_beam.runners.dataflow.dataflow_runner", reason="extra gcp is missing")
pytest.importorskip("google.cloud.dataflow_v1beta3", reason="the extra gcp is not installed")
from fake_dataflow import FakeDataflow, job_of, serving

from pipeline.parsing import ParseEvents
from pipeline.writing import WriteRows

# Every Python process of the command imports this first.
_GUARD = r"""
import os, socket

def refuse(what):
    with open(os.environ["CONNECTIONS"], "a") as log:
        log.write(f"{what}\n")
    raise ConnectionRefusedError(what)

def is_local(host):
    return host in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost")

connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

def guarded_connect(self, address):
    if isinstance(address, tuple) and not is_local(address[0]):
        refuse(address)
    return connect(self, address)

def guarded_getaddrinfo(host, *arguments, **options):
    if not is_local(host):
        refuse(host)
    return getaddrinfo(host, *arguments, **options)

socket.socket.connect, socket.getaddrinfo = guarded_connect, guarded_getaddrinfo
"""

_JOB = [
    "--runner=DataflowRunner",
    "--dry_run=True",
    "--project=my-project",
    "--region=europe-west1",
    "--temp_location=gs://my-bucket/temp",
    "--input_file=gs://my-bucket/log/*.json.gz",
    "--output_file=gs://my-bucket/rows.json",
    "--rejected_file=gs://my-bucket/rejected.json",
    "--window_size=10",
]


class _Checkout:
    """A copy of the checkout, or of the package alone, and a guard against connections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self._guard = folder / "guard"
        self._connections = folder / "connections"
        copy_package(self.folder)
        self._guard.mkdir()
        (self._guard / "sitecustomize.py").write_text(_GUARD)

    def add_files_of_the_project(self) -> None:
        copy_project_files(self.folder)

    def run(
        self, *arguments: str, command: tuple[str, ...] = ("-m", "pipeline")
    ) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self._guard), str(self.folder)])
        return subprocess.run(
            [sys.executable, *command, *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "CONNECTIONS": str(self._connections),
                "PIP_NO_INDEX": "1",
            },
            capture_output=True,
            text=True,
            check=False,
            # What waits for a service waits for minutes.
            timeout=60,
        )

    def connections(self) -> str:
        """What the guard has refused."""
        return self._connections.read_text() if self._connections.exists() else ""


@pytest.fixture
def package(tmp_path: Path) -> _Checkout:
    """The package as it is installed, without what a checkout has beside it."""
    return _Checkout(tmp_path)


@pytest.fixture
def checkout(package: _Checkout) -> _Checkout:
    package.add_files_of_the_project()
    return package


def test_the_guard_refuses_and_reports_connections(package: _Checkout) -> None:
    program = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    assert package.run(command=("-c", program)).returncode == 1
    assert "192.0.2.1" in package.connections()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--setup_file=./setup.py"],
        ["--setup_file=./setup.py", "--plan=windows", "--num_shards=3"],
        # From a checkout, its own setup.py is what is meant.
        [],
        ["--sdk_container_image=europe-docker.pkg.dev/my-project/images/unbabel:1"],
    ],
)
def test_a_job_is_built_from_a_checkout_without_a_network(
    checkout: _Checkout, options: list[str]
) -> None:
    done = checkout.run(*_JOB, *options)
    assert done.returncode == 0, done.stderr
    assert "dry run" in done.stderr
    assert done.stdout == ""
    assert checkout.connections() == ""


@pytest.mark.slow
def test_the_job_holds_the_steps_and_brings_the_package(checkout: _Checkout) -> None:
    program = """
import sys
from apache_beam.runners.dataflow import dataflow_runner
submit = dataflow_runner.DataflowRunner.run_pipeline
def run_pipeline(self, pipeline, options):
    result = submit(self, pipeline, options)
    components = self.proto_pipeline.components
    for step in components.transforms.values():
        print("step", step.unique_name)
    for environment in components.environments.values():
        for dependency in environment.dependencies:
            print("brings", dependency.role_payload)
    return result
dataflow_runner.DataflowRunner.run_pipeline = run_pipeline
from pipeline.run import run
sys.exit(run(sys.argv[1:]))
"""
    done = checkout.run(*_JOB, "--setup_file=./setup.py", command=("-c", program))
    assert done.returncode == 0, done.stderr
    steps = {line.removeprefix("step ") for line in done.stdout.splitlines()}
    assert {
        "ReadChunks/Read",
        "ParseEvents/Parse",
        "MovingAverage/Roll",
        "WriteRows/Write",
    } <= steps
    assert {"CleanUp/CleanUp", "WriteDeadLetters/Write"} <= steps
    assert "workflow.tar.gz" in done.stdout
    assert checkout.connections() == ""


@pytest.mark.parametrize(
    ("options", "named"),
    [([], "the workers need this package"), (["--setup_file=./setup.py"], "./setup.py")],
)
def test_an_installed_package_says_what_to_pass(
    package: _Checkout, options: list[str], named: str
) -> None:
    done = package.run(*_JOB, *options)
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = done.stderr.splitlines()
    assert named in message
    for remedy in ("--setup_file=./setup.py", "--extra_package=", "--sdk_container_image="):
        assert remedy in message
    assert package.connections() == ""


@pytest.mark.slow
@pytest.mark.parametrize("option", ["input_file", "output_file", "rejected_file", "summary_file"])
def test_a_remote_runner_has_no_standard_streams(package: _Checkout, option: str) -> None:
    job = [each for each in _JOB if not each.startswith(f"--{option}=")]
    done = package.run(*job, f"--{option}=-")
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert f"--{option}=-: a remote runner has no standard input or output" in message


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["project", "region", "temp_location"])
def test_an_option_that_dataflow_needs_is_asked_for_at_once(
    checkout: _Checkout, missing: str
) -> None:
    job = [each for each in _JOB if not each.startswith(f"--{missing}=")]
    done = checkout.run(*job, "--sdk_container_image=image")
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert f"--{missing}" in message
    assert checkout.connections() == ""


# ---------------------------------------------------------------------------------------------
# Streaming

_STREAMING_JOB = [
    *("--runner=DataflowRunner", "--project=my-project", "--region=europe-west1"),
    *("--temp_location=gs://my-bucket/temp", "--window_size=10"),
    "--input_subscription=projects/my-project/subscriptions/events",
    "--rejected_topic=projects/my-project/topics/rejected",
]
_TO_TOPIC = "--output_topic=projects/my-project/topics/rows"


@pytest.mark.slow
@pytest.mark.parametrize("output", [_TO_TOPIC, "--output_file=gs://my-bucket/rows/"])
def test_a_streaming_job_is_built_from_a_checkout_without_a_network(
    checkout: _Checkout, output: str
) -> None:
    done = checkout.run(*_STREAMING_JOB, output, "--dry_run=True", "--id_label=id")
    assert done.returncode == 0, done.stderr
    assert "dry run" in done.stderr
    assert checkout.connections() == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "options", "named"),
    [
        (_JOB, ["--input_file=/log/events.json"], "--input_file=/log/events.json"),
        (_JOB, ["--output_file=rows.json"], "--output_file=rows.json"),
        (_JOB, ["--rejected_file=rejected.json"], "--rejected_file=rejected.json"),
        (_STREAMING_JOB, ["--output_file=rows/"], "--output_file=rows/"),
        (_STREAMING_JOB, ["--output_file=gs://my-bucket/rows.json"], "gs://my-bucket/rows.json"),
        (_STREAMING_JOB, [], "--output_file=-"),
        (_STREAMING_JOB, [_TO_TOPIC, "--late_file=gs://my-bucket/late"], "--late_topic"),
        ([*_STREAMING_JOB, _TO_TOPIC], ["--update"], "--job_name"),
        (_JOB, ["--update"], "--update"),
        (_JOB, ["--temp_location=/tmp"], "--temp_location=/tmp: name a folder in a bucket"),
        (_JOB, ["--staging_location=tmp"], "--staging_location=tmp: name a folder in a bucket"),
        (_JOB, ["--output_file=gs://my-bucket"], "--output_file=gs://my-bucket names no file"),
        (_JOB, ["--rejected_file=gs://my-bucket/x/"], "gs://my-bucket/x/ names no file"),
        (_JOB, ["--job_name=Daily_Job"], "Daily_Job"),
        ([*_STREAMING_JOB, _TO_TOPIC], ["--update", "--job_name=x", "--dry_run=True"], "--dry_run"),
        (
            [*_STREAMING_JOB, _TO_TOPIC],
            ["--dataflow_service_options=streaming_mode_at_least_once"],
            "streaming_mode_at_least_once",
        ),
    ],
)
def test_what_a_job_cannot_have_is_refused_before_it_is_built(
    checkout: _Checkout, job: list[str], options: list[str], named: str
) -> None:
    given = {option.partition("=")[0] for option in options}
    job = [each for each in job if each.partition("=")[0] not in given]
    done = checkout.run(*job, *options)
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = done.stderr.splitlines()
    assert named in message
    assert checkout.connections() == ""


# ---------------------------------------------------------------------------------------------
# What the service is given


def _to(service: FakeDataflow, folder: Path) -> list[str]:
    """Options that submit to a fake service, and stage files in folders of this machine."""
    # Beam does not make them, and tries again and again.
    staging, temp = folder / "staging", folder / "temp"
    staging.mkdir()
    temp.mkdir()
    return [
        *(f"--dataflow_endpoint={service.endpoint}", "--no_auth"),
        *(f"--staging_location={staging}", f"--temp_location={temp}"),
    ]


def _without(job: list[str], *names: str) -> list[str]:
    return [each for each in job if each.partition("=")[0] not in names]


@pytest.mark.slow
def test_a_batch_job_waits_for_its_end_and_tells_what_it_counted(
    checkout: _Checkout, tmp_path: Path
) -> None:
    counters = {ParseEvents: {"lines": 3, "accepted": 3}, WriteRows: {"rows": 13}}
    with serving(FakeDataflow(counters=counters)) as service:
        call = _without(_JOB, "--dry_run", "--temp_location")
        account = "--service_account_email=worker@my-project.iam.gserviceaccount.com"
        workers = ("--max_num_workers=7", "--worker_machine_type=n2-standard-2", account)
        summary = f"--summary_file={tmp_path}/summary.json"
        done = checkout.run(*call, *_to(service, tmp_path), "--job_name=daily", summary, *workers)
    assert done.returncode == 0, done.stderr
    assert "dataflow/jobs/europe-west1/job-1?project=my-project" in done.stderr
    assert "3 lines: 3 accepted" in done.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["rows"] == 13
    (job,) = service.jobs
    assert (job["name"], job["type"]) == ("daily", "JOB_TYPE_BATCH")
    environment = job["environment"]
    assert environment["serviceAccountEmail"] == account.partition("=")[2]
    (pool,) = environment["workerPools"]
    assert pool["machineType"] == "n2-standard-2"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    staged = {package["name"] for package in pool["packages"]}
    # Where there is pip, Beam adds what is installed here, for who looks into a failure.
    assert staged - {"submission_environment_dependencies.txt"} == {"workflow.tar.gz"}
    options = environment["sdkPipelineOptions"]["options"]
    assert options["input_file"] == "gs://my-bucket/log/*.json.gz"
    assert (options["window_size"], options["save_main_session"]) == (10, False)
    assert checkout.connections() == ""


@pytest.mark.slow
def test_a_batch_job_is_left_to_the_service_when_detached(
    checkout: _Checkout, tmp_path: Path
) -> None:
    with serving(FakeDataflow()) as service:
        call = _without(_JOB, "--dry_run", "--temp_location")
        done = checkout.run(*call, *_to(service, tmp_path), "--detach")
    assert done.returncode == 0, done.stderr
    assert "dataflow/jobs/europe-west1/job-1?project=my-project" in done.stderr
    assert [method for method, _ in service.requests] == ["POST"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "error", "told"),
    [
        (
            "FAILED",
            "Traceback (most recent call last):\n  File x\n"
            "pipeline.errors.InputError: gs://a/*.gz matches no files [while running 'Parse']\n",
            ": gs://a/*.gz matches no files",
        ),
        ("FAILED", "Workflow failed. Causes: no quota", ": Workflow failed. Causes: no quota"),
        ("CANCELLED", None, ""),
    ],
    ids=["an error of ours", "one of the service", "cancelled"],
)
def test_a_job_that_is_not_done_is_one_line_and_the_exit_code_1(
    state: str, error: str | None, told: str, checkout: _Checkout, tmp_path: Path
) -> None:
    with serving(FakeDataflow(state=f"JOB_STATE_{state}", error=error)) as service:
        call = _without(_JOB, "--dry_run", "--temp_location")
        done = checkout.run(*call, *_to(service, tmp_path))
    assert done.returncode == 1
    message = f"unbabel_cli: error: the job ended in state {state}{told}"
    assert done.stderr.splitlines()[-1] == message


@pytest.mark.slow
def test_a_streaming_job_is_left_to_the_service(checkout: _Checkout, tmp_path: Path) -> None:
    with serving(FakeDataflow()) as service:
        job = _without([*_STREAMING_JOB, _TO_TOPIC], "--temp_location")
        image = "--sdk_container_image=europe-docker.pkg.dev/my-project/images/unbabel:1"
        done = checkout.run(*job, *_to(service, tmp_path), image)
    assert done.returncode == 0, done.stderr
    assert "dataflow/jobs/europe-west1/job-1?project=my-project" in done.stderr
    (job,) = service.jobs
    assert job["type"] == "JOB_TYPE_STREAMING"
    assert "enable_streaming_engine" in job["environment"]["experiments"]
    (pool,) = job["environment"]["workerPools"]
    images = [each["containerImage"] for each in pool["sdkHarnessContainerImages"]]
    assert images == ["europe-docker.pkg.dev/my-project/images/unbabel:1"]
    assert not any(method == "GET" for method, _ in service.requests)
    assert checkout.connections() == ""


@pytest.mark.slow
def test_an_update_replaces_the_job_of_its_name(checkout: _Checkout, tmp_path: Path) -> None:
    job = _without([*_STREAMING_JOB, _TO_TOPIC, "--update", "--job_name=live"], "--temp_location")
    with serving(FakeDataflow(running=["other", "live"])) as service:
        done = checkout.run(*job, *_to(service, tmp_path))
    assert done.returncode == 0, done.stderr
    (submitted,) = service.jobs
    assert (submitted["name"], submitted["replaceJobId"]) == ("live", "id-of-live")


@pytest.mark.slow
def test_an_update_of_what_does_not_run_is_refused(checkout: _Checkout, tmp_path: Path) -> None:
    job = _without([*_STREAMING_JOB, _TO_TOPIC, "--update", "--job_name=live"], "--temp_location")
    with serving(FakeDataflow(running=["other"], queued=["live"])) as service:
        done = checkout.run(*job, *_to(service, tmp_path))
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert "no job named live runs in europe-west1 of my-project (running there: other)" in message
    assert service.jobs == []


# ---------------------------------------------------------------------------------------------
# The launches that deploy/README.md tells

_RUNBOOK = (CHECKOUT / "deploy" / "README.md").read_text()
_VARIABLES = {
    "PROJECT": "my-project",
    "REGION": "europe-west1",
    "BUCKET": "my-bucket",
    "IMAGE": "europe-west1-docker.pkg.dev/my-project/jobs/unbabel-cli:1",
}
_RUN = re.compile(
    r'^gcloud dataflow flex-template run (\S+) (.*)"--parameters=(\S+)"$', re.MULTILINE
)
_LAUNCHES = [
    pytest.param(name, others, parameters, id=name + (" --update" * ("--update" in others)))
    for name, others, parameters in _RUN.findall(_RUNBOOK)
]


def _filled(text: str) -> str:
    return re.sub(r"\$(\w+)", lambda found: _VARIABLES[found[1]], text)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "others", "parameters"), _LAUNCHES)
def test_a_launched_template_describes_its_job(
    name: str, others: str, parameters: str, checkout: _Checkout, tmp_path: Path
) -> None:
    # What the launcher in the image calls; the service then takes the job from the file.
    job_file = tmp_path / "job.json"
    is_update = "--update" in others
    with serving(FakeDataflow(running=[name])) as service:
        done = checkout.run(
            *(f"--{each}" for each in _filled(parameters).split(",")),
            *("--runner=DataflowRunner", "--project=my-project", "--region=europe-west1"),
            *(f"--job_name={name}", f"--template_location={job_file}"),
            *(["--update"] if is_update else []),
            *_to(service, tmp_path),
            command=("unbabel_cli.py",),
        )
    assert done.returncode == 0, done.stderr
    assert service.jobs == []
    job = job_of(job_file.read_bytes())
    is_streaming = "input_subscription" in parameters
    assert job["type"] == ("JOB_TYPE_STREAMING" if is_streaming else "JOB_TYPE_BATCH")
    assert job.get("replaceJobId") == (f"id-of-{name}" if is_update else None)
    (pool,) = job["environment"]["workerPools"]
    images = [each["containerImage"] for each in pool["sdkHarnessContainerImages"]]
    assert images == [_VARIABLES["IMAGE"]]
    assert checkout.connections() == ""


@pytest.mark.slow
def test_the_call_of_the_runbook_submits_a_job(checkout: _Checkout, tmp_path: Path) -> None:
    (call,) = re.findall(r"^python (-m pipeline --runner.*)$", _RUNBOOK, re.MULTILINE)
    arguments = shlex.split(_filled(call))
    with serving(FakeDataflow()) as service:
        done = checkout.run(
            *_without(arguments[2:], "--temp_location"),
            *_to(service, tmp_path),
            command=("-m", "pipeline"),
        )
    assert done.returncode == 0, done.stderr
    (job,) = service.jobs
    assert job["type"] == "JOB_TYPE_BATCH"
    assert checkout.connections() == ""
