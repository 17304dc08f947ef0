"""Beam's threads are silent about the end of a run, and nothing else is changed."""

import threading
from collections.abc import Callable

import grpc
import pytest
from apache_beam.runners.worker import sdk_worker

from pipeline import beam_threads


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
    with beam_threads.silenced(is_debugging=False):
        _run(_raise(grpc.RpcError()))
        _run(_raise(ValueError("Cannot invoke RPC on closed channel!")))
        assert reported == []
        _run(_raise(ZeroDivisionError()))
        assert reported == [ZeroDivisionError]
    assert capsys.readouterr().out == ""


def test_debugging_shows_what_workers_print(capsys: pytest.CaptureFixture[str]) -> None:
    with beam_threads.silenced(is_debugging=True):
        _run(_print_in_worker)
    assert capsys.readouterr().out == "traceback\n"


def test_a_thread_that_fails_after_the_run_says_nothing_and_others_are_as_before(
    reported: list[type[BaseException]], capsys: pytest.CaptureFixture[str]
) -> None:
    end = threading.Event()

    def fail_late() -> None:
        end.wait()
        _raise(RuntimeError())()

    with beam_threads.silenced(is_debugging=False):
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
    with beam_threads.silenced(is_debugging=False):
        _run(lambda: None)
    assert threading.excepthook is before
    assert vars(sdk_worker)["print"] is print
