"""What is used of Beam's private parts works as it did: a new version of Beam may change it."""

import re
import threading
import time
from collections.abc import Callable, Iterable

import apache_beam as beam
import grpc
import pytest
import requests
from apache_beam.coders import Coder, registry
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import prism_runner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import sdk_worker
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipeline import beam_internals


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restores what a test that fails leaves changed."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setitem(vars(sdk_worker), "print", print)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """What threads have raised, as far as it was reported."""
    reported: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda each: reported.append(each.exc_type))
    return reported


def _print_in_worker() -> None:
    vars(sdk_worker)["print"]("traceback")


def _raise(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        _print_in_worker()
        raise error

    return fail


def _run(target: Callable[[], None]) -> None:
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()


def test_threads_that_lose_their_connection_say_nothing(
    reported: list[type[BaseException]], capsys: pytest.CaptureFixture[str]
) -> None:
    with beam_internals.silenced_threads(is_debugging=False):
        _run(_raise(grpc.RpcError()))
        _run(_raise(ValueError("Cannot invoke RPC on closed channel!")))
        assert reported == []
        _run(_raise(ZeroDivisionError()))
        assert reported == [ZeroDivisionError]
    assert capsys.readouterr().out == ""


def test_debugging_shows_what_workers_print(capsys: pytest.CaptureFixture[str]) -> None:
    with beam_internals.silenced_threads(is_debugging=True):
        _run(_print_in_worker)
    assert capsys.readouterr().out == "traceback\n"


def test_a_thread_that_fails_after_the_run_says_nothing_and_others_are_as_before(
    reported: list[type[BaseException]], capsys: pytest.CaptureFixture[str]
) -> None:
    end = threading.Event()

    def fail_late() -> None:
        end.wait()
        _raise(RuntimeError())()

    with beam_internals.silenced_threads(is_debugging=False):
        late = threading.Thread(target=fail_late)
        late.start()
    _run(_raise(grpc.RpcError()))
    assert reported == [grpc.RpcError]
    assert capsys.readouterr().out == "traceback\n"
    end.set()
    late.join()
    assert reported == [grpc.RpcError]
    assert capsys.readouterr().out == ""


def test_nothing_is_left_changed_when_all_threads_have_ended() -> None:
    before = threading.excepthook
    with beam_internals.silenced_threads(is_debugging=False):
        _run(lambda: None)
    assert threading.excepthook is before
    assert vars(sdk_worker)["print"] is print


# ---------------------------------------------------------------------------------------------
# The others, as far as they can be tried without a service


def test_a_parser_knows_the_options_of_beam_and_of_its_runners() -> None:
    parser = beam_internals.parser_of_all_options()
    known, unknown = parser.parse_known_args(["--runner=x", "--project=y", "--no_such_option=z"])
    assert (known.runner, known.project) == ("x", "y")
    assert unknown == ["--no_such_option=z"]


@pytest.mark.parametrize(
    ("name", "is_bucket"), [("my-bucket_1.x", True), ("My bucket", False), ("", False)]
)
def test_the_name_of_a_bucket_follows_beams_rule(name: str, is_bucket: bool) -> None:
    assert bool(re.fullmatch(beam_internals.GCS_BUCKET, name)) == is_bucket


@pytest.mark.parametrize(("place", "is_none"), [("gs://bucket/temp", False), ("/tmp/x", True)])
def test_a_place_in_a_bucket_follows_beams_rule(place: str, is_none: bool) -> None:
    options = PipelineOptions([f"--temp_location={place}"])
    assert beam_internals.is_no_place_in_a_bucket(options, "temp_location") == is_none


def test_prism_is_beams_release_for_this_version(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    server = prism_runner.PrismJobServer
    monkeypatch.setattr(server, "local_bin", lambda url, *_: asked.append(url) or "prism")
    assert beam_internals.download_prism(PipelineOptions([])) == "prism"
    assert beam.__version__ in asked[0]


def test_the_client_of_dataflow_asks_for_the_jobs_of_a_project() -> None:
    pytest.importorskip("google.cloud.dataflow_v1beta3", reason="the extra gcp is not installed")
    flags = ["--project=my-project", "--region=europe-west1", "--temp_location=gs://bucket/temp"]
    options = PipelineOptions([*flags, "--no_auth", "--dataflow_endpoint=http://localhost:1"])
    from google.cloud.dataflow_v1beta3 import ListJobsRequest

    request = ListJobsRequest(project_id="my-project", location="europe-west1")
    with pytest.raises(requests.ConnectionError, match="my-project/locations/europe-west1/jobs"):
        list(beam_internals.list_dataflow_jobs(options, request))


class _Part:
    """An element whose encoding takes long, and lets other threads go on."""


class _SlowCoder(Coder):
    def encode(self, value: object) -> bytes:
        time.sleep(0.002)
        return b"part"

    def decode(self, encoded: bytes) -> _Part:
        assert encoded == b"part"
        return _Part()

    def is_deterministic(self) -> bool:
        return True


def _keyed(number: int) -> tuple[int, _Part]:
    return number % 7, _Part()


def _size(element: tuple[int, Iterable[_Part]]) -> int:
    return len([*element[1]])


@pytest.mark.slow
def test_workers_that_are_threads_hand_on_whole_elements() -> None:
    registry.register_coder(_Part, _SlowCoder)
    options = PipelineOptions(["--direct_num_workers=2", "--direct_running_mode=multi_threading"])
    with beam_internals.whole_elements(), TestPipeline(FnApiRunner(), options=options) as p:
        keyed = beam.Map(_keyed).with_output_types(tuple[int, _Part])
        sizes = p | beam.Create(range(2_000)) | keyed | beam.GroupByKey() | beam.Map(_size)
        assert_that(sizes | beam.CombineGlobally(sum), equal_to([2_000]))
