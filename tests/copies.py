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
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder)
    shutil.copy(CHECKOUT / "unbabel_cli.py", folder)
    (folder / "scripts").mkdir()
    for name in ("backend.py", "build_kernel.py", "kernel-tools.in"):
        shutil.copy(CHECKOUT / "scripts" / name, folder / "scripts")
