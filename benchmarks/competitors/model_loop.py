"""The pipeline's own model on every line, and nothing else: what validation costs in pydantic."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from pipeline.events import Event


def main(files: str) -> None:
    """Validates the lines of a file."""
    with Path(files).open("rb") as file:
        for line in file:
            with suppress(ValidationError):
                Event.model_validate_json(line)


if __name__ == "__main__":
    main(sys.argv[1])
