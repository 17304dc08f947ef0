"""A Dataflow job is built from a checkout without a network, or the message says what to pass."""

import json
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest
from copies import CHECKOUT
from offline import Checkout

pytest.importorskip("apache_beam.runners.dataflow.dataflow_runner", reason="extra gcp is missing")
pytest.importorskip("google.cloud.dataflow_v1beta3", reason="the extra gcp is not installed")
from apache_beam.options.pipeline_options import PipelineOptions
from fake_dataflow import FakeDataflow, serving

from pipeline.cli.options import OPTIONS, parse_options, settings_of
from pipeline.core.errors import OptionError
from pipeline.runners.staging import check_staged
from pipeline.sinks.sink import RowCounters
from pipeline.transforms.parse_events import ParseEvents

pytestmark = pytest.mark.slow

_CLOUD = [
    *("--runner=DataflowRunner", "--project=my-project", "--region=europe-west1"),
    "--temp_location=gs://my-bucket/temp",
]
_JOB = [
    *(*_CLOUD, "--dry_run=True", "--window_size=10"),
    *("--input_file=gs://my-bucket/log/*.json.gz", "--output_file=gs://my-bucket/rows.json"),
    "--rejected_file=gs://my-bucket/rejected.json",
]
_PACKAGE = CHECKOUT / "pipeline"
_MODULES = sorted(path.relative_to(_PACKAGE) for path in _PACKAGE.rglob("*.py"))
_DRY = "unbabel_cli: warning: dry run: the job was built, and not submitted\n"


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import socket; assert not socket.socket().connect_ex(('192.0.2.1', 80))",
        "import socket; socket.gethostbyname('192.0.2.1')",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')",
        "import grpc; channel = grpc.insecure_channel('192.0.2.1:443'); "
        "grpc.channel_ready_future(channel).result(timeout=5)",
    ],
    ids=["connect", "connect_ex", "resolve", "datagram", "HTTP", "gRPC"],
)
def test_the_guard_refuses_and_reports_connections(package: Checkout, program: str) -> None:
    assert package.run(command=("-c", program)).returncode == 1
    assert "192.0.2.1" in package.connections()


@pytest.mark.parametrize(
    "options",
    [
        ["--setup_file=./setup.py"],
        ["--setup_file=./setup.py", "--plan=windows", "--num_shards=3"],
        # From a checkout, its own setup.py is what is meant.
        [],
        ["--sdk_container_image=europe-docker.pkg.dev/my-project/images/unbabel:1"],
        ["--staging_location=gs://my-bucket/staging", "--temp_location="],
        ["--runner=apache_beam.runners.dataflow.dataflow_runner.DataflowRunner"],
    ],
)
def test_a_job_is_built_from_a_checkout_without_a_network(
    checkout: Checkout, options: list[str]
) -> None:
    given = {option.partition("=")[0] for option in options}
    options = [option for option in options if option != "--temp_location="]
    done = checkout.run(*_without(_JOB, *given), *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(_DRY)
    assert "pip" not in done.stderr
    assert done.stdout == ""
    assert checkout.connections() == ""


@pytest.mark.parametrize(
    ("options", "named"),
    [([], "the workers need this package"), (["--setup_file=./setup.py"], "./setup.py")],
)
def test_an_installed_package_says_what_to_pass(
    package: Checkout, options: list[str], named: str
) -> None:
    done = package.run(*_JOB, *options)
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = done.stderr.splitlines()
    assert named in message
    for remedy in ("--setup_file=./setup.py", "--extra_package=", "--sdk_container_image="):
        assert remedy in message
    assert package.connections() == ""


@pytest.mark.parametrize("option", ["input_file", "output_file", "rejected_file", "summary_file"])
def test_a_remote_runner_has_no_standard_streams(package: Checkout, option: str) -> None:
    job = [each for each in _JOB if not each.startswith(f"--{option}=")]
    done = package.run(*job, f"--{option}=-")
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert f"--{option}=-: a remote runner has no standard input or output" in message


@pytest.mark.parametrize("missing", ["project", "region", "temp_location"])
def test_an_option_that_dataflow_needs_is_asked_for_at_once(
    checkout: Checkout, missing: str
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
    *(*_CLOUD, "--window_size=10"),
    "--input_subscription=projects/my-project/subscriptions/events",
    "--rejected_topic=projects/my-project/topics/rejected",
]
_TO_TOPIC = "--output_topic=projects/my-project/topics/rows"


@pytest.mark.parametrize(
    "output", [_TO_TOPIC, "--output_file=gs://my-bucket/rows/", f"{_TO_TOPIC} --runner=dataflow"]
)
def test_a_streaming_job_is_built_from_a_checkout_without_a_network(
    checkout: Checkout, output: str
) -> None:
    job = _without(_STREAMING_JOB, *(["--runner"] if "--runner" in output else []))
    done = checkout.run(*job, *output.split(), "--dry_run=True", "--id_label=id")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(_DRY)
    assert "pip" not in done.stderr
    assert checkout.connections() == ""


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
        (_JOB, ["--update"], "--update is for streaming jobs"),
        (_JOB, ["--temp_location=/tmp"], "--temp_location=/tmp: name a folder in a bucket"),
        # For these Beam would look for a bucket of its own, and make it.
        *(
            (_JOB, [f"--{name}={place}"], f"--{name}={place}: name a folder in a bucket")
            for name in ("temp_location", "staging_location")
            for place in ("gs://my-bucket", "gs://My-Bucket/tmp", "gs://b/tmp", "gs://")
        ),
        (_JOB, ["--output_file=s3://my-bucket/rows.json"], "nothing for s3://"),
        (_JOB, ["--output_file=gs://my-bucket/log/1.json.gz"], "1.json.gz is one of the inputs"),
        (
            _JOB,
            [
                "--output_file=gs://my-bucket/rows",
                "--num_shards=2",
                "--input_file=gs://my-bucket/r*-of-*",
            ],
            "--output_file=gs://my-bucket/rows-00000-of-00002 is one of the inputs",
        ),
        (_JOB, ["--rejected_file=gs://my-bucket/rows.json"], "are both gs://my-bucket/rows.json"),
        (_JOB, ["--summary_file=gs://my-bucket/rows.json"], "are both gs://my-bucket/rows.json"),
        (_JOB, ["--extra_package=none.whl"], "--extra_package=none.whl is no file"),
        (_JOB, ["--extra_package=gs://my-bucket/a.whl"], "gs://my-bucket/a.whl is no file of this"),
        (_JOB, ["--setup_file="], "--setup_file= is no file"),
        (_JOB, ["--extra_package=README.md"], "--extra_package=README.md is none of *.whl"),
        (_JOB, ["--requirements_file=none"], "--requirements_file=none is no file"),
        (_JOB, ["--setup_file=my_setup.py"], "--setup_file=my_setup.py is none of setup.py, "),
        (_JOB, ["--summary_file=/none/s.json"], "--summary_file=/none/s.json: there is no folder"),
        (_JOB, ["--staging_location=tmp"], "--staging_location=tmp: name a folder in a bucket"),
        (_JOB, ["--output_file=gs://my-bucket"], "--output_file=gs://my-bucket names no file"),
        (_JOB, ["--input_file=gs://my-bucket/"], "--input_file=gs://my-bucket/ names no file"),
        (_JOB, ["--input_file=gs://"], "--input_file=gs:// names no bucket"),
        (_JOB, ["--output_file=gs:///rows.json"], "--output_file=gs:///rows.json names no bucket"),
        (_STREAMING_JOB, ["--output_file=gs://My_Bucket/x/"], "gs://My_Bucket/x/ names no bucket"),
        (_JOB, ["--rejected_file=gs://my-bucket/x/"], "gs://my-bucket/x/ names no file"),
        (_JOB, ["--job_name=Daily_Job"], "Daily_Job"),
        (_JOB, ["--job_name="], "--job_name names no job"),
        (_JOB, ["--dry_run=False"], "--dry_run=False: say --dry_run=True, or leave it out"),
        (
            _JOB,
            ["--dataflow_endpoint=http://[::1"],
            "--dataflow_endpoint=http://[::1 is no address",
        ),
        (_JOB, ["--pickle_library=dill"], "dill is not installed"),
        (_JOB, ["--experiments=disable_runner_v2", "--sdk_container_image=i"], "Portable Runner"),
        (_JOB, ["--s3_secret_access_key=x"], "--s3_secret_access_key would be readable"),
        (_JOB, ["--s3_session_token=x"], "--s3_session_token would be readable"),
        (_JOB, ["--summary_file=summary.json", "--detach"], "--summary_file=summary.json"),
        (
            _JOB,
            ["--summary_file=summary.json", "--template_location=gs://my-bucket/job"],
            "--summary_file=summary.json",
        ),
        (_JOB, ["--runner=TestDataflowRunner"], "--runner=TestDataflowRunner"),
        ([*_STREAMING_JOB, _TO_TOPIC], ["--update", "--job_name=x", "--dry_run=True"], "--dry_run"),
        (
            [*_STREAMING_JOB, _TO_TOPIC],
            ["--dataflow_service_options=streaming_mode_at_least_once"],
            "streaming_mode_at_least_once",
        ),
        (
            [*_STREAMING_JOB, _TO_TOPIC],
            ["--experiments=streaming_mode_at_least_once"],
            "--experiments=streaming_mode_at_least_once",
        ),
    ],
)
def test_what_a_job_cannot_have_is_refused_before_it_is_built(
    checkout: Checkout, job: list[str], options: list[str], named: str
) -> None:
    given = {option.partition("=")[0] for option in options}
    job = [each for each in job if each.partition("=")[0] not in given]
    (checkout.folder / "my_setup.py").touch()
    done = checkout.run(*job, *options)
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = done.stderr.splitlines()
    assert named in message
    assert checkout.connections() == ""


@pytest.mark.parametrize(
    "options", [[], ["--update", "--job_name=live"]], ids=["a new job", "an update"]
)
def test_without_credentials_nothing_is_asked_of_the_cloud(
    options: list[str], checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    # The machine that would lend its own is not asked, either.
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    done = checkout.run(*_STREAMING_JOB, _TO_TOPIC, *options)
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = done.stderr.splitlines()
    assert "no Google credentials: gcloud auth application-default login" in message
    assert checkout.connections() == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--sdk_container_image=image"],
        ["--worker_harness_container_image=image"],
        ["--requirements_file=boto3.txt", "--requirements_cache=skip"],
    ],
)
def test_workers_that_bring_more_may_use_other_buckets(
    checkout: Checkout, options: list[str]
) -> None:
    (checkout.folder / "boto3.txt").write_text("boto3\n")
    job = _without(_JOB, "--input_file", "--output_file")
    files = ("--input_file=s3://my-bucket/log/*", "--output_file=s3://my-bucket/rows.json")
    done = checkout.run(*job, *files, *options)
    assert done.returncode == 0, done.stderr
    assert checkout.connections() == ""


def test_what_cannot_be_packed_is_told_in_one_line(checkout: Checkout) -> None:
    (checkout.folder / "requirements.txt").write_text("anything==1\n")
    pip, about = checkout.folder / "pip", checkout.folder / "pip-99.dist-info"
    pip.mkdir()
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text("print('Looking for it'); raise SystemExit('none of it')")
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pip\nVersion: 99\n")
    done = checkout.run(*_JOB, "--requirements_file=requirements.txt")
    assert done.returncode == 1
    (message,) = done.stderr.splitlines()
    assert message.endswith("what the workers are to install could not be made ready: none of it")


def test_requirements_need_pip_where_they_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    requirements = tmp_path / "requirements.txt"
    requirements.touch()
    asked = f"--requirements_file={requirements}"
    with pytest.raises(OptionError, match="--requirements_cache=skip"):
        check_staged(PipelineOptions([asked]))
    check_staged(PipelineOptions([asked, "--requirements_cache=skip"]))


# ---------------------------------------------------------------------------------------------
# What the service is given


def _without(job: list[str], *names: str) -> list[str]:
    return [each for each in job if each.partition("=")[0] not in names]


_SUBMITTED = _without(_JOB, "--dry_run", "--temp_location")


def test_a_batch_job_waits_for_its_end_and_tells_what_it_counted(
    checkout: Checkout, tmp_path: Path
) -> None:
    counters = {ParseEvents: {"lines": 3, "accepted": 3}, RowCounters: {"rows": 13}}
    dates = {RowCounters: {"dates": [25_764_131, 25_764_144]}}
    with serving(FakeDataflow(counters=counters, distributions=dates)) as service:
        account = "--service_account_email=worker@my-project.iam.gserviceaccount.com"
        workers = ("--max_num_workers=7", "--worker_machine_type=n2-standard-2", account)
        summary = f"--summary_file={tmp_path}/summary.json"
        done = checkout.run(
            *_SUBMITTED, *service.options(tmp_path), "--job_name=daily", summary, *workers
        )
    assert done.returncode == 0, done.stderr
    assert "dataflow/jobs/europe-west1/job-1?project=my-project" in done.stderr
    assert "3 lines: 3 accepted" in done.stderr
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["rows"] == 13
    assert (told["first_row"], told["last_row"]) == ("2018-12-26 18:11:00", "2018-12-26 18:24:00")
    (job,) = service.jobs
    assert (job["name"], job["type"]) == ("daily", "JOB_TYPE_BATCH")
    environment = job["environment"]
    assert environment["serviceAccountEmail"] == account.partition("=")[2]
    (pool,) = environment["workerPools"]
    assert pool["machineType"] == "n2-standard-2"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    assert _staged(pool) == {"workflow.tar.gz"}
    (package,) = (tmp_path / "staging").rglob("workflow.tar.gz")
    with tarfile.open(package) as archive:
        modules = {name.partition("/")[2] for name in archive.getnames() if name.endswith(".py")}
    to_build = {"setup.py", "scripts/backend.py", "scripts/build_kernel.py"}
    assert modules == to_build | {f"pipeline/{path}" for path in _MODULES}
    assert environment["sdkPipelineOptions"]["options"]["save_main_session"] is False
    assert checkout.connections() == ""


@pytest.mark.parametrize(
    ("options", "staged"),
    [
        (["--extra_package=other-1.whl"], {"other-1.whl", "workflow.tar.gz"}),
        (["--extra_package=unbabel_cli-1.whl"], {"unbabel_cli-1.whl"}),
        # By a path that Beam, which changes to its folder, would not find.
        (["--setup_file=setup.py"], {"workflow.tar.gz"}),
        (["--worker_harness_container_image=image"], set()),
    ],
    ids=["another package", "this package", "a relative setup file", "an image by its old name"],
)
def test_the_package_goes_along_unless_it_is_brought(
    options: list[str], staged: set[str], checkout: Checkout, tmp_path: Path
) -> None:
    for name in ("other-1.whl", "unbabel_cli-1.whl"):
        (checkout.folder / name).write_bytes(b"a package")
    with serving(FakeDataflow()) as service:
        done = checkout.run(*_SUBMITTED, *service.options(tmp_path), "--detach", *options)
    assert done.returncode == 0, done.stderr
    (job,) = service.jobs
    (pool,) = job["environment"]["workerPools"]
    assert _staged(pool) - {"extra_packages.txt"} == staged


def _staged(pool: dict[str, Any]) -> set[str]:
    staged = {package["name"] for package in pool.get("packages", ())}
    # Where there is pip, Beam adds what is installed here, for who looks into a failure.
    return staged - {"submission_environment_dependencies.txt"}


_OPTIONS = {
    "batch": [
        *("--input_file=gs://my-bucket/a*.json,gs://my-bucket/b.gz", "--chunk_size=1000"),
        *("--event_name=translation_started", "--window_size=7", "--until=drain"),
        *("--group_by=client_name,source_language", "--max_gap_minutes=9", "--decimals=2"),
        *("--plan=windows", "--output_file=gs://my-bucket/rows.json", "--empty_value=null"),
        *("--num_shards=3", "--max_rows=99", "--rejected_file=gs://my-bucket/rejected.json"),
        *("--max_rejected=0.5%", "--verbose", "--detach", "--measures=mean,p95"),
        *("--where=client_name=a", "--where=client_name=b", "--where=source_language=en"),
        *("--rows_from=2018-12-26", "--rows_before=2018-12-27", "--output_format=csv"),
    ],
    "streaming": [
        *("--event_name=translation_started", "--window_size=7", "--group_by=client_name"),
        *("--max_gap_minutes=9", "--decimals=2", "--empty_value=skip", "--id_label=id"),
        *("--input_subscription=projects/my-project/subscriptions/a", "--max_future_seconds=8"),
        *("--timestamp_attribute=at", "--output_topic=projects/my-project/topics/b"),
        *("--rejected_topic=projects/my-project/topics/c", "--allowed_lateness_seconds=60"),
        *("--late_topic=projects/my-project/topics/d", "--verbose", "--measures=mean,p95"),
        *("--where=client_name=a", "--emit=final"),
    ],
}

_OPTIONS_OF_OTHERS = {
    "batch": {
        *("follow", "stop_after_idle_seconds", "out_of_order_seconds", "state_dir", "late_file"),
        *("input_subscription", "input_topic", "timestamp_attribute", "id_label"),
        *("output_topic", "rejected_topic", "late_topic"),
        *("allowed_lateness_seconds", "max_future_seconds", "emit", "retry_seconds"),
        *("summary_file", "debug"),
    },
    "streaming": {
        *("follow", "stop_after_idle_seconds", "out_of_order_seconds", "state_dir", "late_file"),
        *("input_file", "input_topic", "chunk_size", "until", "plan", "num_shards", "max_rows"),
        *("rows_from", "rows_before", "output_format"),
        *("output_file", "rejected_file", "max_rejected", "summary_file", "detach", "debug"),
        "retry_seconds",
    },
}


@pytest.mark.parametrize("mode", _OPTIONS)
def test_the_options_of_a_job_say_what_its_call_said(
    mode: str, checkout: Checkout, tmp_path: Path
) -> None:
    call = _OPTIONS[mode]
    with serving(FakeDataflow()) as service:
        done = checkout.run(*_without(_CLOUD, "--temp_location"), *call, *service.options(tmp_path))
    assert done.returncode == 0, done.stderr
    (job,) = service.jobs
    options = job["environment"]["sdkPipelineOptions"]["options"]
    # A number in this message is a double.
    whole = {
        name: int(value)
        for name, value in options.items()
        if isinstance(value, float) and value.is_integer()
    }
    sent = PipelineOptions.from_dictionary(options | whole | {"runner": "DataflowRunner"})
    said = parse_options([*call, "--runner=DataflowRunner"])
    assert settings_of(sent) == settings_of(said)
    others = _OPTIONS_OF_OTHERS[mode]
    for name in OPTIONS:
        value = said.get_all_options()[name]
        assert sent.get_all_options()[name] == value
        assert (value == PipelineOptions([]).get_all_options()[name]) == (name in others), name


@pytest.mark.clause("6.6")
def test_a_batch_job_is_left_to_the_service_when_detached(
    checkout: Checkout, tmp_path: Path
) -> None:
    with serving(FakeDataflow()) as service:
        done = checkout.run(*_SUBMITTED, *service.options(tmp_path), "--detach")
    assert done.returncode == 0, done.stderr
    assert "dataflow/jobs/europe-west1/job-1?project=my-project" in done.stderr
    assert [method for method, _ in service.requests] == ["POST"]


def test_who_stops_waiting_leaves_the_job_to_the_service(
    checkout: Checkout, tmp_path: Path
) -> None:
    with (
        serving(FakeDataflow(state="JOB_STATE_RUNNING")) as service,
        checkout.start(*_SUBMITTED, *service.options(tmp_path)) as waiting,
    ):
        try:
            assert any(line.startswith("job job-1: ") for line in waiting.stderr)
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(timeout=60) == 130
        finally:
            waiting.kill()
        assert waiting.stderr.read() == ""
    assert {method for method, _ in service.requests} <= {"POST", "GET"}


@pytest.mark.parametrize(
    ("state", "error", "told"),
    [
        (
            "FAILED",
            "Traceback (most recent call last):\n  File x\n"
            "pipeline.core.errors.InputError: gs://a/*.gz matches no files "
            "[while running 'Parse']\n",
            ": gs://a/*.gz matches no files",
        ),
        ("FAILED", "Workflow failed. Causes: no quota", ": Workflow failed. Causes: no quota"),
        ("CANCELLED", None, ""),
        ("DRAINED", None, ""),
    ],
    ids=["an error of ours", "one of the service", "cancelled", "drained"],
)
def test_a_job_that_is_not_done_is_one_line_and_the_exit_code_1(
    state: str, error: str | None, told: str, checkout: Checkout, tmp_path: Path
) -> None:
    with serving(FakeDataflow(state=f"JOB_STATE_{state}", error=error)) as service:
        done = checkout.run(*_SUBMITTED, *service.options(tmp_path))
    assert done.returncode == 1
    message = f"unbabel_cli: error: the job ended in state {state}{told}"
    assert done.stderr.splitlines()[-1] == message


def test_a_job_that_is_refused_for_its_rejected_lines_has_a_summary(
    checkout: Checkout, tmp_path: Path
) -> None:
    service = FakeDataflow(
        state="JOB_STATE_FAILED",
        error="pipeline.core.errors.TooManyRejectedError: 2 of 5 lines were rejected",
        counters={ParseEvents: {"lines": 5, "accepted": 3, "rejected": 2}},
    )
    summary = tmp_path / "summary.json"
    with serving(service):
        options = (*_SUBMITTED, *service.options(tmp_path), "--max_rejected=0")
        done = checkout.run(*options, f"--summary_file={summary}")
    assert done.returncode == 1
    assert "5 lines: 3 accepted, 2 rejected" in done.stderr
    message = "unbabel_cli: error: the job ended in state FAILED: 2 of 5 lines were rejected"
    assert done.stderr.splitlines()[-1] == message
    assert json.loads(summary.read_bytes())["rejected"] == 2


@pytest.mark.parametrize(
    ("state", "refused", "told"),
    [
        ("RUNNING", "/job-1", "the job could not be watched, and may still run: 403 "),
        ("RUNNING", "/job-1/messages", "the job could not be watched, and may still run: 403 "),
        (
            "DONE",
            "/job-1/metrics",
            "the job has ended, and what it counted could not be read: 403 ",
        ),
    ],
    ids=["its state", "its messages", "its counters"],
)
def test_a_job_that_may_not_be_watched_is_one_line_and_the_exit_code_1(
    state: str, refused: str, told: str, checkout: Checkout, tmp_path: Path
) -> None:
    service = FakeDataflow(state=f"JOB_STATE_{state}", refused=[refused])
    with serving(service):
        image = "--sdk_container_image=image"
        done = checkout.run(*_SUBMITTED, *service.options(tmp_path), image)
    assert done.returncode == 1
    _, message = done.stderr.splitlines()
    assert message.startswith(f"unbabel_cli: error: {told}")
    assert message.endswith("you may not see this")


def test_a_streaming_job_is_left_to_the_service(checkout: Checkout, tmp_path: Path) -> None:
    with serving(FakeDataflow()) as service:
        job = _without([*_STREAMING_JOB, _TO_TOPIC], "--temp_location")
        image = "--sdk_container_image=europe-docker.pkg.dev/my-project/images/unbabel:1"
        account = "--service_account_email=worker@my-project.iam.gserviceaccount.com"
        workers = ("--max_num_workers=4", "--worker_machine_type=n2-standard-2", account)
        asked = ("--experiments=enable_recommendations", image, *workers)
        done = checkout.run(*job, *service.options(tmp_path), *asked)
    assert done.returncode == 0, done.stderr
    assert "dataflow/jobs/europe-west1/job-1?project=my-project" in done.stderr
    (job,) = service.jobs
    assert job["type"] == "JOB_TYPE_STREAMING"
    environment = job["environment"]
    assert environment["sdkPipelineOptions"]["options"]["streaming"] is True
    assert {
        *("enable_streaming_engine", "use_runner_v2", "enable_recommendations"),
    } <= set(environment["experiments"])
    assert environment["serviceAccountEmail"] == account.partition("=")[2]
    (pool,) = environment["workerPools"]
    assert pool["machineType"] == "n2-standard-2"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 4
    images = [each["containerImage"] for each in pool["sdkHarnessContainerImages"]]
    assert images == ["europe-docker.pkg.dev/my-project/images/unbabel:1"]
    # The package is in the image.
    assert _staged(pool) == set()
    assert not any(method == "GET" for method, _ in service.requests)
    assert checkout.connections() == ""


_UPDATE = _without([*_STREAMING_JOB, _TO_TOPIC, "--update", "--job_name=live"], "--temp_location")


@pytest.mark.parametrize("state", ["running", "draining"])
def test_an_update_replaces_the_job_of_its_name(
    state: str, checkout: Checkout, tmp_path: Path
) -> None:
    with serving(FakeDataflow(**{state: ["other", "live"]})) as service:
        done = checkout.run(*_UPDATE, *service.options(tmp_path))
    assert done.returncode == 0, done.stderr
    (submitted,) = service.jobs
    assert (submitted["name"], submitted["replaceJobId"]) == ("live", "id-of-live")


@pytest.mark.parametrize(
    ("service", "code", "told"),
    [
        (
            FakeDataflow(running=["other"], queued=["live"]),
            2,
            "no job named live runs in europe-west1 of my-project (running there: other)",
        ),
        (
            FakeDataflow(running=["live"], refused=[""]),
            1,
            "--update: the jobs in europe-west1 of my-project cannot be listed: 403",
        ),
    ],
    ids=["no such job runs", "the jobs may not be listed"],
)
def test_an_update_of_what_is_not_seen_to_run_is_refused(
    service: FakeDataflow, code: int, told: str, checkout: Checkout, tmp_path: Path
) -> None:
    with serving(service):
        done = checkout.run(*_UPDATE, *service.options(tmp_path))
    assert done.returncode == code
    (message,) = done.stderr.splitlines()
    assert told in message
    assert service.jobs == []
