"""Builds the package: setuptools, after the compiled parser was made where it is missing.

Where it cannot be made, the package is complete without it, and slow. An sdist holds the libraries,
so that those who install it need no tools.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  the hooks that stay as they are

_SCRIPTS = Path(__file__).parent
_PARSING = _SCRIPTS.parent / "pipeline" / "parsing"
_MACHINES = {"x86_64", "aarch64", "arm64"}


def is_built() -> bool:
    """Whether the libraries are there, as they were made from the kernel."""
    try:
        lines = (_PARSING / "native" / "SHA256SUMS").read_text("ascii").splitlines()
        for digest, file in (line.split("  ") for line in lines):
            path = _PARSING / "native" / file if file != "kernel.py" else _PARSING / file
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                return False
    except OSError:
        return False
    return True


def tools() -> list[str]:
    """What has to be installed to build: the compiler, where it is needed and can be had."""
    if is_built() or not _has_wheels() or _is_environment_of_command():
        return []
    lines = (_SCRIPTS / "kernel-tools.in").read_text("ascii").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _has_wheels() -> bool:
    is_supported = sys.platform == "darwin" or platform.libc_ver()[0] == "glibc"
    is_known = platform.machine() in _MACHINES and sys.implementation.name == "cpython"
    return is_supported and is_known and sys.version_info < (3, 15)


def _is_environment_of_command() -> bool:
    # Without isolation, as Beam builds for its workers, what is missing would end the build.
    return importlib.util.find_spec("apache_beam") is not None


def ensure_kernel() -> None:
    """Makes the libraries, if they are missing."""
    if is_built():
        return
    made = subprocess.run([sys.executable, _SCRIPTS / "build_kernel.py"], check=False)
    if made.returncode:
        print("warning: there is no compiled parser in this package", file=sys.stderr)


def _with_tools(hook: Callable[..., list[str]]) -> Callable[..., list[str]]:
    return lambda config_settings=None: [*hook(config_settings), *tools()]


def _with_kernel(hook: Callable[..., str]) -> Callable[..., str]:
    def build(*arguments: Any, **named: Any) -> str:
        ensure_kernel()
        return hook(*arguments, **named)

    return build


get_requires_for_build_wheel = _with_tools(build_meta.get_requires_for_build_wheel)
get_requires_for_build_sdist = _with_tools(build_meta.get_requires_for_build_sdist)
get_requires_for_build_editable = _with_tools(build_meta.get_requires_for_build_editable)
build_wheel = _with_kernel(build_meta.build_wheel)
build_sdist = _with_kernel(build_meta.build_sdist)
build_editable = _with_kernel(build_meta.build_editable)
