"""Compiles pipeline/parsing/kernel.py to one small shared library for each usual machine.

Usage: python scripts/build_kernel.py. It needs what scripts/kernel-tools.lock lists. The libraries
need nothing, neither Python nor a C library, and are the same whatever machine makes them: numba
translates the kernel to LLVM's language, LLVM compiles it for each machine, Zig links it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import types as python
from pathlib import Path
from typing import Any

# Before numba is imported: what it emits must not depend on the processor at hand.
os.environ["NUMBA_CPU_NAME"] = "generic"
os.environ["NUMBA_CPU_FEATURES"] = ""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCE = CHECKOUT / "pipeline" / "parsing" / "kernel.py"
FOLDER = SOURCE.parent / "native"

# The name of a library, what LLVM compiles for, its processor, and what Zig links for.
TARGETS = [
    ("linux-x86_64.so", "x86_64-unknown-linux-gnu", "x86-64", "x86_64-linux-gnu"),
    ("linux-aarch64.so", "aarch64-unknown-linux-gnu", "generic", "aarch64-linux-gnu"),
    ("macos-x86_64.dylib", "x86_64-apple-macosx11.0.0", "x86-64", "x86_64-macos"),
    ("macos-arm64.dylib", "arm64-apple-macosx11.0.0", "apple-m1", "aarch64-macos"),
]
ENTRY = "walk"


def load_kernel() -> Any:
    """Imports the kernel as a module of its own, whose functions can be replaced."""
    spec = importlib.util.spec_from_file_location("compiled_kernel", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


kernel = load_kernel()
_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_BYTES = ir.VectorType(_BYTE, kernel.WIDTH)
_TEXT, _INT = types.CPointer(types.uint8), types.int64


def _load(builder: Any, pointer: Any, at: Any, type_: ir.Type) -> Any:
    pointer = builder.gep(pointer, [at], source_etype=_BYTE)
    return builder.load(builder.bitcast(pointer, type_.as_pointer()), align=1, typ=type_)


def _all(byte: int) -> ir.Constant:
    return ir.Constant(_BYTES, [ir.Constant(_BYTE, byte)] * kernel.WIDTH)


def _first(builder: Any, flags: Any) -> Any:
    """The number of the first flag that is set; `WIDTH` if none is."""
    bits = builder.bitcast(flags, ir.IntType(kernel.WIDTH))
    return builder.zext(builder.cttz(bits, ir.Constant(ir.IntType(1), 0)), _WORD)


@intrinsic
def word(typing: Any, text: Any, at: Any) -> Any:
    """Makes one load of it."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, *args, _WORD)

    return types.int64(_TEXT, _INT), build


@intrinsic
def plain_size(typing: Any, text: Any, at: Any) -> Any:
    """Makes vector comparisons of it."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        text = _load(builder, *args, _BYTES)
        special = builder.icmp_signed("<", text, _all(kernel.SPACE))  # non-ASCII is negative
        for byte in kernel.QUOTE, kernel.BACKSLASH:
            special = builder.or_(special, builder.icmp_unsigned("==", text, _all(byte)))
        return _first(builder, special)

    return types.int64(_TEXT, _INT), build


@intrinsic
def digits_size(typing: Any, text: Any, at: Any) -> Any:
    """Makes a vector comparison of it."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        above_zero = builder.sub(_load(builder, *args, _BYTES), _all(kernel.ZERO))
        return _first(builder, builder.icmp_unsigned(">", above_zero, _all(9)))

    return types.int64(_TEXT, _INT), build


@intrinsic
def equal_size(typing: Any, text: Any, at: Any, other: Any, other_at: Any) -> Any:
    """Makes a vector comparison of it."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        text, at, other, other_at = args
        texts = _load(builder, text, at, _BYTES), _load(builder, other, other_at, _BYTES)
        return _first(builder, builder.icmp_unsigned("!=", *texts))

    return types.int64(_TEXT, _INT, _TEXT, _INT), build


def translate() -> str:
    """The kernel in LLVM's language."""
    walk = kernel.walk
    for name, value in list(vars(kernel).items()):
        if isinstance(value, python.FunctionType):
            setattr(kernel, name, njit(error_model="numpy", boundscheck=False)(value))
    for primitive in word, plain_size, digits_size, equal_size:
        setattr(kernel, primitive._name, primitive)
    assert {*kernel.PRIMITIVES} == {"word", "plain_size", "digits_size", "equal_size"}
    text, ints = types.CPointer(types.uint8), types.CPointer(types.int64)
    assembly: str = cfunc(types.void(text, text, *[ints] * 8))(walk).inspect_llvm()
    return assembly


def compile_for(assembly: str, triple: str, processor: str) -> bytes:
    """An object file, of which only the entry can be called.

    So LLVM sees that nothing raises, and drops all that would need Python or numba.
    """
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=processor, opt=2, reloc="pic", codemodel="default"
    )
    module = llvm.parse_assembly(assembly)
    module.triple = triple
    module.data_layout = str(machine.target_data)
    for each in (*module.functions, *module.global_variables):
        if each.name.startswith("cfunc."):
            each.name = ENTRY
        elif not each.is_declaration:
            each.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    needed = [each.name for each in module.functions if each.is_declaration]
    needed = [name for name in needed if not name.startswith("llvm.")]
    if needed:
        raise RuntimeError(f"the kernel needs {needed}")
    image: bytes = machine.emit_object(module)
    return image


def link(image: bytes, target: str, library: Path) -> None:
    """Makes a shared library of an object file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.o")
        path.write_bytes(image)
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-shared", "-s"]
        if "linux" in target:
            command += ["-nostdlib", "-Wl,-z,defs"]
        command += ["-o", str(library), str(path)]
        caches = {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
        subprocess.run(command, check=True, env={**os.environ, **caches})


def main() -> None:
    """Makes all libraries, and a list of their hashes with that of what they were made from."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    assembly = translate()
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        hashes = {SOURCE.name: hashlib.sha256(SOURCE.read_bytes()).hexdigest()}
        for name, triple, processor, target in TARGETS:
            library = Path(folder, name)
            link(compile_for(assembly, triple, processor), target, library)
            hashes[name] = hashlib.sha256(library.read_bytes()).hexdigest()
        lines = [f"{digest}  {name}\n" for name, digest in hashes.items()]
        Path(folder, "SHA256SUMS").write_text("".join(lines))
        # Whoever else builds them at this time makes the same.
        for name in (*hashes, "SHA256SUMS"):
            if name != SOURCE.name:
                os.replace(Path(folder, name), FOLDER / name)


if __name__ == "__main__":
    main()
