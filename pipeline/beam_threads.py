"""Beam's threads in this process, which print tracebacks by themselves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from apache_beam.runners.worker import sdk_worker


@contextlib.contextmanager
def silenced(is_debugging: bool) -> Iterator[None]:
    """Silences the threads that the body starts, in so far as they only tell that the run ends.

    When a runner ends, all of Beam's threads that talk with it fail and would print tracebacks.
    Beam's worker prints the traceback of whatever fails; why a run has failed is reported in one
    line. Threads may fail after the body, so these stay silenced; all others are as before.
    """
    others = set(threading.enumerate())
    late: set[threading.Thread] | None = None
    previous = threading.excepthook
    previous_print = vars(sdk_worker).get("print", print)

    def is_silenced(thread: threading.Thread | None) -> bool:
        return thread not in others if late is None else thread in late

    def report(arguments: threading.ExceptHookArgs) -> None:
        is_end = late is not None or _tells_of_the_end(arguments.exc_value)
        if not (is_end and is_silenced(arguments.thread)):
            previous(arguments)

    def print_unless_silenced(*values: object, **options: Any) -> None:
        if is_debugging or not is_silenced(threading.current_thread()):
            previous_print(*values, **options)

    threading.excepthook = report
    vars(sdk_worker)["print"] = print_unless_silenced
    try:
        yield
    finally:
        late = set(threading.enumerate()) - others
        if not late:
            threading.excepthook = previous
            vars(sdk_worker)["print"] = previous_print


def _tells_of_the_end(error: BaseException | None) -> bool:
    """Whether a thread has lost its connection, or has tried to use one that is closed."""
    return isinstance(error, grpc.RpcError) or (
        isinstance(error, ValueError) and "closed channel" in str(error)
    )
