"""The log on standard error: the package's own messages, one line each."""

from __future__ import annotations

import logging
import re


class _Formatter(logging.Formatter):
    """Formats the lines of the log, without credentials that a URL may hold."""

    _CREDENTIALS = re.compile(r"://[^/\s]*@")

    def format(self, record: logging.LogRecord) -> str:
        return self._CREDENTIALS.sub("://***@", super().format(record))


def set_up() -> None:
    """Sets up the log. Call it before Beam is imported: the import logs."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("unbabel_cli: %(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.CRITICAL + 1)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())
