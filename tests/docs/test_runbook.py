"""The commands of docs/dataflow.md do, in their order, what the page says."""

import argparse
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from copies import CHECKOUT
from offline import Checkout

pytest.importorskip("google.cloud.dataflow_v1beta3", reason="the extra gcp is not installed")
from fake_dataflow import FakeDataflow, job_of, serving

from pipeline.cli.run import run
from pipeline.core.errors import ExitCode

pytestmark = pytest.mark.slow

_RUNBOOK = (CHECKOUT / "docs" / "dataflow.md").read_text()
_BLOCKS = re.findall(r"^```bash\n(.*?)^```$", _RUNBOOK, re.DOTALL | re.MULTILINE)
_DIGEST = "europe-west1-docker.pkg.dev/my-project/jobs/unbabel-cli@sha256:0123"
_CHANNEL = "projects/my-project/notificationChannels/17"

_RUN = ("gcloud", "dataflow", "flex-template", "run")
# As the service passes them on to the launcher.
_OPTIONS_OF_FLAGS = {
    "service-account-email": "service_account_email",
    "staging-location": "staging_location",
    "temp-location": "temp_location",
    "max-workers": "max_num_workers",
}
_PLACES = ("--staging_location=", "--temp_location=")

# Notes how it was called, and says what the commands that follow need to hear.
_STAND_IN = f"""#!{sys.executable}
import json, os, sys
call = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
given = sys.stdin.read() if "-" in call else ""
if call[1:3] == ["storage", "cp"] and os.path.isfile(call[3]):
    given = open(call[3]).read()
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([call, given]) + "\\n")
if call[0] == "git" and call[1] == "describe":
    print("v1")
elif call[:2] == ["docker", "inspect"]:
    print("{_DIGEST}")
elif call[1:3] == ["-m", "venv"]:
    os.makedirs(f"{{call[3]}}/bin")
    open(f"{{call[3]}}/bin/activate", "w").close()
elif call[1:4] == ["dataflow", "jobs", "list"]:
    print("job-1")
elif call[1:5] == ["beta", "monitoring", "channels", "create"]:
    print("{_CHANNEL}")
"""


@dataclass(frozen=True)
class _Call:
    """A command that was called: its words, and what it was given on standard input."""

    words: list[str]
    given: str


def _called(folder: Path, commands: Sequence[str]) -> list[_Call]:
    """What commands call in one shell, one after the other."""
    for name in ("gcloud", "docker", "git", "python", "python3"):
        (folder / name).write_text(_STAND_IN)
        (folder / name).chmod(0o755)
    noted = folder / "calls"
    checkout = folder / "checkout"
    checkout.mkdir()
    (checkout / "deploy").symlink_to(CHECKOUT / "deploy")
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=checkout,
        env={
            **os.environ,
            **{"PATH": f"{folder}:/usr/bin:/bin", "TMPDIR": str(folder)},
            "CALLS": str(noted),
        },
        check=True,
        timeout=60,
    )
    return [_Call(*json.loads(line)) for line in noted.read_text().splitlines()]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[_Call]:
    """What all commands of the page have called."""
    return _called(tmp_path_factory.mktemp("stand-ins"), _BLOCKS)


def _calls_of(calls: list[_Call], *words: str) -> list[_Call]:
    return [call for call in calls if tuple(call.words[: len(words)]) == words]


def _launches(calls: list[_Call]) -> dict[str, "_Launch"]:
    found = [_Launch(call.words[4:]) for call in _calls_of(calls, *_RUN)]
    return {launch.name: launch for launch in found}


class _Launch:
    """A launch of a template, as `gcloud` was asked for it."""

    def __init__(self, words: list[str]) -> None:
        parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
        parser.add_argument("job")
        for flag in ("template-file-gcs-location", "region", "parameters", *_OPTIONS_OF_FLAGS):
            parser.add_argument(f"--{flag}", required=True)
        parser.add_argument("--update", action="store_true")
        self._asked = vars(parser.parse_args(words))
        self.is_update = bool(self._asked["update"])
        self.name = self._asked["job"] + (" again" if self.is_update else "")
        self.template = self._asked["template_file_gcs_location"]
        separator, text = ",", self._asked["parameters"]
        if text.startswith("^"):
            _, separator, text = text.split("^", 2)
        self.parameters = dict(each.split("=", 1) for each in text.split(separator))

    @property
    def mode(self) -> str:
        return "streaming" if "input_subscription" in self.parameters else "batch"

    def arguments(self) -> list[str]:
        """What the launcher in the image makes of it."""
        flags = {
            option: self._asked[flag.replace("-", "_")]
            for flag, option in _OPTIONS_OF_FLAGS.items()
        }
        return [
            *(f"--{name}={value}" for name, value in {**self.parameters, **flags}.items()),
            *("--runner=DataflowRunner", "--project=my-project", "--region=europe-west1"),
            f"--job_name={self._asked['job']}",
            *(["--update"] if self.is_update else []),
        ]


def _templates(calls: list[_Call]) -> dict[str, dict[str, Any]]:
    return {
        call.words[-1]: json.loads(call.given)
        for call in _calls_of(calls, "gcloud", "storage", "cp", "-")
        if "/templates/" in call.words[-1]
    }


def _day(calls: list[_Call]) -> str:
    (name,) = [name for name in _launches(calls) if name.startswith("day-")]
    return name.removeprefix("day-")


def test_it_launches_a_day_a_day_again_a_stream_and_its_update(calls: list[_Call]) -> None:
    day = _day(calls)
    assert [*_launches(calls)] == [f"day-{day}", "live", f"again-{day}", "live again"]


def test_templates_are_those_that_were_uploaded_with_the_image_by_its_digest(
    calls: list[_Call],
) -> None:
    uploaded = _templates(calls)
    assert [template["image"] for template in uploaded.values()] == [_DIGEST, _DIGEST]
    for launch in _launches(calls).values():
        template = uploaded[launch.template]
        assert launch.parameters["sdk_container_image"] == _DIGEST
        known = {each["name"]: each for each in template["metadata"]["parameters"]}
        assert launch.parameters.keys() <= known.keys()
        required = {name for name, each in known.items() if not each["isOptional"]}
        assert required <= launch.parameters.keys()
        for name, value in launch.parameters.items():
            for regex in known[name].get("regexes", []):
                assert re.search(regex, value), name


def test_a_template_refuses_what_the_command_would_refuse(calls: list[_Call]) -> None:
    batch = _templates(calls)["gs://my-project-deliveries/templates/batch-v1.json"]
    (output,) = [each for each in batch["metadata"]["parameters"] if each["name"] == "output_file"]
    (regex,) = output["regexes"]
    for path in ("rows.json", "gs://bucket", "gs://bucket/", "gs://bucket/rows/"):
        assert not re.search(regex, path)


def _again(calls: list[_Call]) -> dict[str, str]:
    """What the job that makes a day again is asked for."""
    return _launches(calls)[f"again-{_day(calls)}"].parameters


def test_a_day_again_takes_its_neighbours_and_gives_the_rows_of_its_date(
    calls: list[_Call],
) -> None:
    day = date.fromisoformat(_day(calls))
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    asked = _again(calls)
    folders = [path.split("/")[-2] for path in asked["input_file"].split(",")]
    assert folders == [f"{each}" for each in (before, day, after)]
    assert (asked["rows_from"], asked["rows_before"]) == (f"{day}", f"{after}")
    assert asked["output_file"].endswith(f"/rows/{day}.json")


@pytest.mark.parametrize("name", ["day", "live", "again", "live again"])
def test_a_launched_template_describes_its_job(
    name: str, calls: list[_Call], checkout: Checkout, tmp_path: Path
) -> None:
    launches = _launches(calls)
    launch = launches[name if "live" in name else f"{name}-{_day(calls)}"]
    # The service takes the job from the file that the launcher is told to write.
    job_file = tmp_path / "job.json"
    with serving(FakeDataflow(running=["live"])) as service:
        done = checkout.run(
            *(each for each in launch.arguments() if not each.startswith(_PLACES)),
            *service.options(tmp_path),
            f"--template_location={job_file}",
            command=("unbabel_cli.py",),
        )
    assert done.returncode == 0, done.stderr
    assert service.jobs == []
    job = job_of(job_file.read_bytes())
    assert job["type"] == f"JOB_TYPE_{launch.mode.upper()}"
    assert job.get("replaceJobId") == ("id-of-live" if launch.is_update else None)
    assert job["name"] == launch.arguments()[-1 - launch.is_update].partition("=")[2]
    environment = job["environment"]
    sent = environment["sdkPipelineOptions"]["options"]
    for parameter, value in launch.parameters.items():
        told = sent[parameter]
        assert (f"{told:.0f}" if isinstance(told, float) else str(told)) == value
    account = "unbabel-worker@my-project.iam.gserviceaccount.com"
    assert environment["serviceAccountEmail"] == account
    (pool,) = environment["workerPools"]
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 4
    images = [each["containerImage"] for each in pool["sdkHarnessContainerImages"]]
    assert images == [_DIGEST]
    assert checkout.connections() == ""


@pytest.mark.parametrize("name", ["day", "live", "again"])
def test_a_launch_passes_the_checks_of_its_places(
    name: str, calls: list[_Call], checkout: Checkout
) -> None:
    # Beam does not look at buckets where the service is a stand-in.
    launch = _launches(calls)[name if name == "live" else f"{name}-{_day(calls)}"]
    done = checkout.run(*launch.arguments(), "--dry_run=True", command=("unbabel_cli.py",))
    assert done.returncode == 0, done.stderr
    assert checkout.connections() == ""


def test_the_call_from_a_checkout_submits_a_job(
    calls: list[_Call], checkout: Checkout, tmp_path: Path
) -> None:
    (call,) = _calls_of(calls, "python", "-m", "pipeline")
    with serving(FakeDataflow()) as service:
        done = checkout.run(
            *(each for each in call.words[3:] if not each.startswith(_PLACES)),
            *service.options(tmp_path),
        )
    assert done.returncode == 0, done.stderr
    (job,) = service.jobs
    assert job["type"] == "JOB_TYPE_BATCH"
    assert checkout.connections() == ""


def test_alerts_name_their_metrics_and_the_jobs_that_are_launched(calls: list[_Call]) -> None:
    policies = _calls_of(calls, "gcloud", "monitoring", "policies", "create")
    flags = [dict(word.split("=", 1) for word in call.words[4:]) for call in policies]
    assert len(flags) > 1
    for policy in flags:
        json.loads(policy["--aggregation"])
        assert policy["--notification-channels"] == _CHANNEL
        assert re.fullmatch(r"> \d+", policy["--if"])
        assert re.fullmatch(r"\d+s", policy["--duration"])
        found = dict(re.findall(r'([\w.]+)="([^"]+)"', policy["--condition-filter"]))
        assert re.fullmatch(r"(dataflow|pubsub)\.googleapis\.com/\w+/\w+", found["metric.type"])
        assert found.get("resource.label.job_name", "live") == "live"
        assert found.get("resource.label.subscription_id", "events") in _topics(calls)


def _topics(calls: list[_Call]) -> set[str]:
    return {call.words[4] for call in _calls_of(calls, "gcloud", "pubsub", "topics", "create")}


def test_every_topic_has_a_subscription_and_every_topic_of_a_launch_is_there(
    calls: list[_Call],
) -> None:
    subscribed = _calls_of(calls, "gcloud", "pubsub", "subscriptions", "create")
    assert {call.words[4] for call in subscribed} == _topics(calls)
    live = _launches(calls)["live"].parameters
    named = {
        value.rpartition("/")[2]
        for name, value in live.items()
        if name.endswith(("_topic", "_subscription"))
    }
    assert named == _topics(calls)


# ---------------------------------------------------------------------------------------------
# A day again

_DAYS = [f"2026-11-{day:02}" for day in range(1, 9)]


def _line(day: str, minute: int, client: str) -> str:
    event = {
        "timestamp": f"{day} {minute // 60:02}:{minute % 60:02}:30",
        "translation_id": "5aa5b2f39f7254a75aa5",
        "source_language": "en",
        "target_language": "fr",
        "client_name": client,
        "event_name": "translation_delivered",
        "nr_words": 30,
        "duration": minute,
    }
    return json.dumps(event) + "\n"


def _rows(folder: Path, days: Sequence[str], *options: str) -> list[str]:
    inputs = ",".join(f"{folder}/{day}.json" for day in days)
    output = folder / "rows.json"
    options = (*options, "--window_size=90", "--group_by=client_name", "--empty_value=null")
    assert run([f"--input_file={inputs}", f"--output_file={output}", *options]) == ExitCode.DONE
    return output.read_text().splitlines()


def _rows_of(day: str, rows: Sequence[str]) -> list[str]:
    return [row for row in rows if row.startswith(f'{{"date": "{day} ')]


def test_a_day_with_its_neighbours_has_the_rows_that_all_days_give_it(
    calls: list[_Call], tmp_path: Path
) -> None:
    chosen = random.Random(7)
    for number, day in enumerate(_DAYS):
        # One client is there on all days, to the last minutes of each, the other now and then.
        lines = [
            _line(day, minute, "usual") for minute in (0, *chosen.sample(range(1440), 30), 1439)
        ]
        if number in (1, 4, 5):
            lines += [_line(day, minute, "rare") for minute in chosen.sample(range(1440), 2)]
        (tmp_path / f"{day}.json").write_text("".join(lines))
    options = [f"--{name}={_again(calls)[name]}" for name in ("until", "max_gap_minutes")]
    in_all = _rows(tmp_path, _DAYS, *options)
    for before, day, after in zip(_DAYS, _DAYS[1:], _DAYS[2:], strict=False):
        expected = _rows_of(day, in_all)
        dates = (f"--rows_from={day}", f"--rows_before={after}")
        found = _rows(tmp_path, [before, day, after], *options, *dates)
        missing = [row for row in expected if row not in found]
        assert found == [row for row in expected if row not in missing]
        # The one before a long silence, of a client each.
        assert len(missing) <= 2
        assert all(row.endswith("null}") for row in missing)
        alone = _rows_of(day, _rows(tmp_path, [day], *options))
        assert not set(expected) - set(missing) <= set(alone)
