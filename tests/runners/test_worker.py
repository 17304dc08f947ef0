"""A worker that has only Beam gets everything else from what is submitted, as a service's would.

It is started by the entry point of Beam's own containers, which installs the package that comes
with the job, and what that package declares.
"""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uv
from copies import CHECKOUT, copy_package, copy_project_files
from examples import CHALLENGE_EVENTS, CHALLENGE_ROWS

pytestmark = [pytest.mark.slow, pytest.mark.boot]

_TIMEOUT_SECONDS = 300


@pytest.fixture(scope="session")
def boot() -> str:
    """The program that starts workers in Beam's containers."""
    binary = os.environ.get("BEAM_BOOT")
    if binary is None:
        pytest.skip("no entry point of Beam's containers: name it in BEAM_BOOT, or install Go")
    return binary


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python that has Beam, and setuptools as Beam's containers do, in the versions of the lock.

    Each test has its own: workers install into it.
    """
    folder = tmp_path / "bare"
    subprocess.run(
        [uv.find_uv_bin(), "venv", "--quiet", "--seed", "--python", sys.executable, folder],
        check=True,
    )
    lock = (CHECKOUT / "requirements-test.lock").read_text()
    python = folder / "bin" / "python"
    packages = re.findall(r"^(?:apache-beam|setuptools)==\S+", lock, re.MULTILINE)
    assert len(packages) == 2
    install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, *packages], check=True)
    return python


@pytest.fixture
def pool(bare_python: Path, boot: str, tmp_path: Path) -> Iterator[str]:
    """The address of a pool of workers, each started by the entry point."""
    scratch = tmp_path / "pool"
    scratch.mkdir()
    entry_point = scratch / "boot.sh"
    entry_point.write_text(f'#!/bin/sh\nexec "{boot}" --semi_persist_dir="{scratch}" "$@"\n')
    entry_point.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        (scratch / "log").open("wb") as log,
        subprocess.Popen(
            [
                *(bare_python, "-I", "-m", "apache_beam.runners.worker.worker_pool_main"),
                *(f"--service_port={port}", f"--container_executable={entry_point}"),
            ],
            cwd=scratch,
            # Nothing of this environment: what is found here must have come with the job.
            env={
                "PATH": f"{bare_python.parent}:/usr/bin:/bin",
                "HOME": str(scratch),
                "TMPDIR": str(scratch),
                "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1",
            },
            stdout=log,
            stderr=log,
        ) as process,
    ):
        pause = threading.Event()
        while not _answers(port):
            assert process.poll() is None, (scratch / "log").read_text()
            pause.wait(0.05)
        yield f"localhost:{port}"
        process.terminate()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _submit(checkout: Path, pool: str, *options: str) -> subprocess.CompletedProcess[str]:
    (checkout / "events.json").write_bytes(CHALLENGE_EVENTS)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pipeline", "--runner=PortableRunner", "--job_endpoint=embed"),
            *("--environment_type=EXTERNAL", f"--environment_config={pool}", "--window_size=10"),
            *(f"--input_file={checkout}/events.json", f"--output_file={checkout}/rows.json"),
            *options,
        ],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the package and what it is built from."""
    copy = tmp_path / "checkout"
    copy_package(copy)
    copy_project_files(copy)
    return copy


def test_its_rows_are_those_of_a_local_run(checkout: Path, pool: str) -> None:
    done = _submit(checkout, pool)
    assert done.returncode == 0, done.stderr
    assert (checkout / "rows.json").read_bytes() == CHALLENGE_ROWS


def test_a_dependency_that_is_not_declared_is_missed(checkout: Path, pool: str) -> None:
    metadata = checkout / "pyproject.toml"
    declared = metadata.read_text()
    metadata.write_text(re.sub(r'^    "pydantic>=.*\n', "", declared, flags=re.MULTILINE))
    assert metadata.read_text() != declared
    done = _submit(checkout, pool, "--debug")
    assert done.returncode == 1
    assert "No module named 'pydantic'" in done.stderr
    assert not (checkout / "rows.json").exists()
