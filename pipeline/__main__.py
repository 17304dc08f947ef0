"""The command `unbabel_cli`."""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
from typing import NoReturn


class _Formatter(logging.Formatter):
    """Makes the lines of the log, without the name and password that an address may hold."""

    _CREDENTIALS = re.compile(r"://[^/\s]*@")

    def format(self, record: logging.LogRecord) -> str:
        return self._CREDENTIALS.sub("://***@", super().format(record))


def main() -> NoReturn:
    """Runs the command line of this process, and leaves with its exit code."""
    # Only the package's own messages are for the user; Beam logs even while it is imported.
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("unbabel_cli: %(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.CRITICAL + 1)
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
