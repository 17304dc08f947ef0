"""The compiled kernel: the shared library of this machine, if it can be used."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pipeline.parsing import kernel

FOLDER = Path(__file__).with_name("native")
HASHES = "SHA256SUMS"

Walk = Callable[..., None]
"""`kernel.walk` for numpy's arrays. It does not hold the GIL."""

_SYSTEMS = {"linux": ("linux", "so"), "darwin": ("macos", "dylib")}
_PROCESSORS = {"AMD64": "x86_64"}


def load(folder: Path = FOLDER) -> Walk:
    """Loads the library of this machine.

    Raises:
        OSError: there is none, or it cannot be loaded.
        ValueError: it is damaged, or made from another version of the kernel.
    """
    name = library_name(sys.platform, platform.machine())
    hashes = {}
    for line in (folder / HASHES).read_text("ascii").splitlines():
        digest, _, file = line.partition("  ")
        hashes[file] = digest
    path = folder / name
    for each in (Path(kernel.__file__), path):
        if hashlib.sha256(each.read_bytes()).hexdigest() != hashes.get(each.name):
            raise ValueError(f"{each} is not as it was when {folder / HASHES} was made")
    function = ctypes.CDLL(str(path)).walk
    function.argtypes = [ctypes.c_void_p] * 10
    function.restype = None

    def walk(*arrays: npt.NDArray[Any]) -> None:
        function(*[array.ctypes.data for array in arrays])

    return walk


def library_name(system: str, processor: str) -> str:
    """The name of the library for a system (`sys.platform`) and a processor."""
    name, suffix = _SYSTEMS.get(system, (system, "so"))
    return f"{name}-{_PROCESSORS.get(processor, processor)}.{suffix}"
