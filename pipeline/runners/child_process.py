"""Processes that end with this one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_PROGRAM = f"""\
import ctypes, os, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {signal.SIGKILL.value})
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    sys.exit(error.strerror)
"""


def ending_with_this_process(command: Sequence[str]) -> list[str]:
    """A command that does the same, and is killed when this process ends, however it ends.

    So on Linux; elsewhere it is the command itself, which outlives a killed process.
    """
    if sys.platform != "linux":
        return [*command]
    # Not a `preexec_fn`: that forks, and a fork of a process that uses gRPC may crash.
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, *command]
