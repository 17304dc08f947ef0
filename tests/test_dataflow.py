"""A Dataflow job is built from a checkout without a network, or the message says what to pass."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("apache_beam.runners.dataflow.dataflow_runner", reason="extra gcp is missing")
pytest.importorskip("apitools", reason="the extra gcp is not installed")

_CHECKOUT = Path(__file__).parents[1]

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
        shutil.copytree(
            _CHECKOUT / "pipeline",
            self.folder / "pipeline",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        self._guard.mkdir()
        (self._guard / "sitecustomize.py").write_text(_GUARD)

    def add_files_of_the_project(self) -> None:
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(_CHECKOUT / name, self.folder)

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
    assert "remote runner" in message


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
