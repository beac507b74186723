"""Compiles kernels in CUDA C for the CPU (``cuda_on_cpu.h``) and calls them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
COMPILER = shutil.which("g++")
OPTIMISED = ("-O1", "-ffp-contract=off")
C_TYPES = {
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "u32": ctypes.c_uint,
    "long long": ctypes.c_longlong,
    "u64": ctypes.c_ulonglong,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "unsigned char": ctypes.c_ubyte,
}


@dataclass(frozen=True)
class Kernel:
    """One kernel: its name and its parameters, each a C type and whether it is a pointer; and whether its blocks run together."""

    name: str
    parameters: tuple[tuple[str, bool], ...]
    library: ctypes.CDLL | None = None
    together: bool = False

    def check(self, args: tuple[Any, ...]) -> None:
        """Raise TypeError unless the arguments are what the source declares."""
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name}: {len(self.parameters)} arguments expected, got {len(args)}")
        for i, (arg, (c_type, is_pointer)) in enumerate(zip(args, self.parameters, strict=True)):
            dtype = np.dtype(C_TYPES[c_type])
            right = isinstance(arg, np.ndarray) if is_pointer else isinstance(arg, np.generic)
            if not right or arg.dtype != dtype:
                got = f"{type(arg).__name__} {getattr(arg, 'dtype', '')}"
                raise TypeError(f"{self.name}: argument {i} is {c_type}{'*' * is_pointer}, got {got}")

    def __call__(self, grid: int, block: int, *args: Any) -> None:
        self.check(args)
        converted = [
            ctypes.c_void_p(arg.ctypes.data) if is_pointer else C_TYPES[c_type](arg)
            for arg, (c_type, is_pointer) in zip(args, self.parameters, strict=True)
        ]
        getattr(self.library, f"launch_{self.name}")(*map(ctypes.c_uint, (grid, block, self.together)), *converted)


def parse(source: str) -> list[Kernel]:
    """Return the kernels of a source, with its macros expanded."""
    command = [COMPILER, "-E", "-P", "-x", "c++", "-"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    kernels = []
    for name, parameters in re.findall(r'extern "C" __global__ void (?:__launch_bounds__\(.*?, \d+\) )?(\w+)\(([^)]*)\)', text):
        types = [re.sub(r"\bconst\b", "", parameter).rpartition(" ")[0].strip() for parameter in parameters.split(",")]
        kernels.append(Kernel(name, tuple((kind.rstrip("* "), kind.endswith("*")) for kind in types)))
    return kernels


def build(source: str, flags: tuple[str, ...] = OPTIMISED) -> Path:
    """Compile a source into a shared library with one launcher per kernel, and return where it is."""
    if COMPILER is None:
        raise RuntimeError("g++ is not installed")
    folder = _folder() / hashlib.sha256((source + HEADER.read_text() + " ".join(flags)).encode()).hexdigest()[:16]
    library = folder / "kernels.so"
    if not library.exists():
        folder.mkdir(exist_ok=True)
        (folder / "kernels.cu").write_text(source)
        lines = [f'#include "{HEADER}"', '#include "kernels.cu"']
        for kernel in parse(source):
            types = [kind + "*" * is_pointer for kind, is_pointer in kernel.parameters]
            declared = ", ".join(f"{kind} a{i}" for i, kind in enumerate(types))
            passed = ", ".join(f"a{i}" for i in range(len(types)))
            call = f"launch_on_cpu(grid, block, together, [=] {{ {kernel.name}({passed}); }});"
            launch = f"void launch_{kernel.name}(unsigned grid, unsigned block, unsigned together, {declared})"
            lines.append(f'extern "C" {launch} {{ {call} }}')
        (folder / "main.cpp").write_text("\n".join(lines))
        command = [COMPILER, "-std=c++20", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-g", "-fPIC", "-shared", "-pthread", *flags]
        subprocess.run([*command, "main.cpp", "-o", "kernels.so"], cwd=folder, check=True)
    return library


def load(source: str, library: Path) -> dict[str, Kernel]:
    loaded = ctypes.CDLL(str(library))
    return {kernel.name: Kernel(kernel.name, kernel.parameters, loaded) for kernel in parse(source)}


@functools.cache
def compile_kernels(source: str) -> dict[str, Kernel]:
    """Return the kernels of a source, by name, ready to run."""
    return load(source, build(source))


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="minivae-kernels-")
    _folders.append(folder)  # removed when the process ends
    return Path(folder.name)


_folders: list[tempfile.TemporaryDirectory[str]] = []
