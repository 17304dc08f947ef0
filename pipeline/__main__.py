"""The command `unbabel_cli`."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line of this process, and leaves with its exit code."""
    # Set before Beam is imported, which may log while it is.
    logging.basicConfig(format="unbabel_cli: %(levelname)s: %(message)s", level=logging.ERROR)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())
    from pipeline.run import EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_TERMINATED, run

    code = run(sys.argv[1:])
    if code in (EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_TERMINATED):
        # At once: a step may still be running, and a closed pipe cannot be flushed.
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
