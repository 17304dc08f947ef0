"""The errors of a run: each has one line that names the place and the remedy.

Each takes a single message: some runners pass an exception on as text, its name and its message.
"""

from __future__ import annotations

import re
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the command: see the contract, clause 6.4."""

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
    """A plan that would take hours, where the other plan takes seconds."""


class TooManyRejectedError(RunError):
    """More rejected lines than allowed."""

    exit_code = ExitCode.REJECTED


_STEP = re.compile(r"(\s*\[while running '[^\n]*'\])+\s*$")


def run_error_in(error: BaseException) -> RunError | None:
    """Finds the `RunError` that made a pipeline fail; None if it was another error.

    Runners add the name of the step to the message, and some pass on only the text.
    """
    if isinstance(error, RunError):
        return type(error)(_STEP.sub("", str(error)))
    for kind in RunError.__subclasses__():
        if found := re.search(rf"\b{kind.__name__}: ([^\n]*)", str(error)):
            return kind(_STEP.sub("", found[1]))
    return None


def one_line(text: str) -> str:
    """Escapes control characters, which a name may hold, so that a message stays one line."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)
