"""The command `unbabel_cli`.

Little is imported before `main`, as only that makes signals end the process quietly.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from pipeline.cli.signals import leave_at_once_when_asked
from pipeline.core.errors import ExitCode

_QUIET_CODES = (
    *(ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HUNG_UP),
    ExitCode.PIPE_CLOSED,
)


def main() -> NoReturn:
    """Runs the command line of this process, and leaves with its exit code."""
    leave_at_once_when_asked()
    _occupy_closed_descriptors()
    import gc

    from pipeline.cli import log

    log.set_up()
    # What is imported stays to the end: to look for garbage among it takes a tenth of the start.
    gc.disable()
    from pipeline.cli.run import run

    gc.freeze()
    gc.enable()
    code = run(sys.argv[1:])
    if code in _QUIET_CODES:
        # At once: a step may still be running, and a closed pipe cannot be flushed.
        os._exit(code)
    sys.exit(code)


def _occupy_closed_descriptors() -> None:
    """Opens the null device in place of closed standard streams.

    Otherwise the next file that is opened gets such a number, and stray prints go into it.
    A closed log is no failure; `sys.stdin` and `sys.stdout` stay None where they are closed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  open to the end


if __name__ == "__main__":
    main()
