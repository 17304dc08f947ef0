"""What can go wrong with a run, each with one line that names the place and the remedy.

All take a single message: a runner that passes an exception on as text keeps its name and message.
"""

from __future__ import annotations

import re
from enum import IntEnum


class ExitCode(IntEnum):
    """How the command ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REJECTED = 3
    HUNG_UP = 129
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


class RunError(Exception):
    """A run that ends without a result."""

    exit_code = ExitCode.FAILED


class OptionError(RunError):
    """A command line that is wrong."""

    exit_code = ExitCode.USAGE


class InputError(RunError):
    """An input that cannot be found or read, or that is cut off."""

    exit_code = ExitCode.USAGE


class OutputError(RunError):
    """An output that cannot be written."""

    exit_code = ExitCode.USAGE


class TooManyRowsError(RunError):
    """A result of more rows than allowed."""


class TooManyWindowsError(RunError):
    """A plan that would take hours where another one takes seconds."""


class TooManyRejectedError(RunError):
    """More rejected lines than allowed."""

    exit_code = ExitCode.REJECTED


_STEP = re.compile(r"(\s*\[while running '[^\n]*'\])+\s*$")


def run_error_in(error: BaseException) -> RunError | None:
    """The error of ours that made a pipeline fail, if it was one.

    Runners add the name of the step to its message, and some only pass its text on.
    """
    if isinstance(error, RunError):
        return type(error)(_STEP.sub("", str(error)))
    for kind in RunError.__subclasses__():
        if found := re.search(rf"\b{kind.__name__}: ([^\n]*)", str(error)):
            return kind(_STEP.sub("", found[1]))
    return None


def one_line(text: str) -> str:
    """Text with its control characters escaped: a name may hold any, and a message is one line."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)
