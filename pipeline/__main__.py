"""The command `unbabel_cli`."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line of this process, and leaves with its exit code."""
    # Only the package's own messages are for the user; Beam logs even while it is imported.
    logging.basicConfig(
        format="unbabel_cli: %(levelname)s: %(message)s", level=logging.CRITICAL + 1
    )
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())
    # What is imported stays to the end: to look for garbage among it takes a tenth of the start.
    gc.disable()
    from pipeline.errors import ExitCode
    from pipeline.run import run

    gc.freeze()
    gc.enable()
    code = run(sys.argv[1:])
    if code in (ExitCode.INTERRUPTED, ExitCode.PIPE_CLOSED, ExitCode.TERMINATED):
        # At once: a step may still be running, and a closed pipe cannot be flushed.
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
