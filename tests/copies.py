"""Copies of what the project is built from, for tests that build it or change it."""

import shutil
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def copy_package(folder: Path) -> None:
    """Copies the package alone, as it is installed."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "pipeline", folder / "pipeline", ignore=ignored)


def copy_project_files(folder: Path) -> None:
    """Copies what a checkout has beside the package, to build it and to call it."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "unbabel_cli.py"):
        shutil.copy(CHECKOUT / name, folder)
