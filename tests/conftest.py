"""Services to test against, started once, on loopback, ended by their process; and checkouts."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import offline
import pytest

from pipeline import beam_internals
from pipeline.runners.child_process import ending_with_this_process

# Tests of flows that run in no test's own process.
_MEASURED = {"test_live_command", "test_pubsub", "test_dataflow"}

# How long an example takes tells of the machine, not of the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_configure() -> None:
    """Lets the processes that tests start heed SIGHUP, also where nohup runs the tests."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        # What is handled, and not ignored, is not inherited.
        signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores, since many tests wait for other processes."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests for several workers.

    The slow ones come first, so that none of them is left running alone at the end. Those that ask
    for the same processes run in one worker, so that only one starts the processes.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        if "processes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("processes"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was skipped, in one line a reason."""
    reasons = Counter(
        re.sub(r"^Skipped: ", "", report.longrepr[2])
        for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, count in reasons.most_common():
        terminalreporter.line(f"SKIPPED {count}: {reason}", yellow=True)


@pytest.fixture(autouse=True)
def _measure_few_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures the coverage of few of the processes that tests start: it doubles their time."""
    if request.module.__name__ not in _MEASURED:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@contextmanager
def _service(command: Sequence[str], announcement: str) -> Iterator[str]:
    """Runs a service; gives what follows its announcement of where it listens."""
    process = subprocess.Popen(
        ending_with_this_process(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        log = []
        for line in process.stdout:
            log.append(line)
            if announcement in line:
                break
        else:
            raise RuntimeError(f"{command[0]} ended: {''.join(log)}")
        # A pipe that nobody empties would stop the service.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield line.partition(announcement)[2].strip()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def prism_binary() -> str:
    """The path of the program."""
    binary = os.environ.get("PRISM_BIN") or shutil.which("prism")
    if binary is None:
        pytest.skip("no Prism: name its binary in PRISM_BIN, or install Go")
    return binary


@pytest.fixture(scope="session")
def prism_options(prism_binary: str) -> Iterator[list[str]]:
    """The options that send a PortableRunner's pipeline to a Prism server, run by our workers."""
    command = [prism_binary, "-job_port", "0", "-serve_http=false", "-log_kind", "text"]
    with _service(command, "endpoint=") as endpoint:
        to_here = (f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK")
        yield [*to_here, f"--experiments={beam_internals.NO_SPLITS_OF_BUNDLES}"]


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server without any bucket."""
    pytest.importorskip("moto", reason="moto is not installed")
    with _service(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], "Running on "
    ) as address:
        yield address


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[tuple[str, str]]:
    """Where an emulator of Pub/Sub is, and the address that tells what became of its messages."""
    binary = os.environ.get("PUBSUB_EMULATOR")
    if binary is None:
        pytest.skip("no emulator of Pub/Sub: name it in PUBSUB_EMULATOR, or install Go")
    with _service([binary], "pubsub=") as addresses:
        pubsub, _, messages = addresses.partition(" messages=")
        yield pubsub, messages


@pytest.fixture
def package(tmp_path: Path) -> Iterator[offline.Checkout]:
    """The package as it is installed, without what a checkout has beside it, off the network."""
    with offline.refusing(tmp_path) as package:
        yield package


@pytest.fixture
def checkout(package: offline.Checkout) -> offline.Checkout:
    """A checkout, off the network."""
    package.add_files_of_the_project()
    return package
