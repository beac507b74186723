"""The text of the kernels: compilers for the device take it, and sanitizers find no race and no index out of bounds in it."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import cuda_on_cpu, kernel_calls
from support.device import needs_compiler

from minivae.kernels import source

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU

TEXT = source("kernels.cu", "product.cu", "dense.cu", "whole.cu")
NAMES = re.findall(r"KERNEL (?:__launch_bounds__\(.*?\) )?(\w+)\(", TEXT)


# ---- Compiled for sm_90 ---------------------------------------------------------------------------------------------------------


def test_nvcc_compiles_the_kernels_without_spilling_registers(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    (tmp_path / "kernels.cu").write_text(TEXT, encoding="utf-8")
    command = [nvcc, "-cubin", "-arch=sm_90", "-Xptxas", "-v", "-Werror", "all-warnings", "-o", str(tmp_path / "kernels.cubin")]
    report = subprocess.run([*command, str(tmp_path / "kernels.cu")], capture_output=True, text=True, check=True).stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) >= len(NAMES)
    assert set(spills) == {("0", "0")}, report


def test_nvrtc_compiles_the_kernels_as_cupy_would():
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        nvrtc = ctypes.CDLL(load_nvidia_dynamic_lib("nvrtc").abs_path)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"NVRTC is not installed: {error}".splitlines()[0])
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), TEXT.encode(), b"kernels.cu", 0, None, None) == 0
    options = (ctypes.c_char_p * 2)(b"--gpu-architecture=sm_90", b"-std=c++17")
    status = nvrtc.nvrtcCompileProgram(program, 2, options)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()


# ---- Races and bounds -----------------------------------------------------------------------------------------------------------


def sanitized(kind: str, source: str, *names: str) -> subprocess.CompletedProcess[str]:
    """Call the kernels of these names in ``source``, or all, under a sanitizer: "thread" or "address"."""
    needs_compiler()
    name = {"thread": "libtsan.so", "address": "libasan.so"}[kind]
    runtime = subprocess.run([cuda_on_cpu.COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    if not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip(f"{name} is not installed")
    library = cuda_on_cpu.build(source, ("-O0", f"-fsanitize={kind}"))
    environment = {"LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}
    command = [sys.executable, "-m", kernel_calls.__name__, str(library), str(library.with_name("kernels.cu")), *names]
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(kernel_calls.__file__).parents[1])}
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["thread", "address"])
def test_no_kernel_races_or_leaves_its_arrays(kind):
    done = sanitized(kind, TEXT)
    assert done.returncode == 0, done.stderr


def without(text: str, following: str) -> tuple[str, int]:
    """Return the kernels without the barrier in the line before ``following``, and the number of that line."""
    barrier = r"\n +(?:__syncthreads\(\)|wait_for_all_blocks\(arrived, meetings\));"
    pattern = re.compile(barrier + r"[^\n]*(?=\n" + re.escape(following) + ")")
    assert len(pattern.findall(text)) == 1
    return pattern.sub("\n", text), text[: pattern.search(text).start()].count("\n") + 2


BARRIERS = {  # the kernel that one is missing in, and what follows it
    "before a sum over warps": ("bernoulli_nll", "    double total"),
    "after it": ("bernoulli_nll", "    return total"),
    "after one thread's work": ("adam", "    Adam rule = *(Adam*)shared"),
    "of all blocks after a layer": ("train", "            if (l != code) continue"),
    "of all blocks after a step": ("train", "    }\n\n    double parts[3]"),
}


@pytest.mark.parametrize(("kernel", "following"), BARRIERS.values(), ids=BARRIERS)
def test_a_missing_barrier_is_found(kernel, following):
    mutant, line = without(TEXT, following)
    done = sanitized("thread", mutant, kernel)
    assert done.returncode != 0
    assert "data race" in done.stderr
    places = [int(place) for place in re.findall(r"kernels\.cu:(\d+)", done.stderr)]
    assert any(abs(place - line) <= 6 for place in places), f"a race around line {line}, found at {places}"


@pytest.mark.parametrize("kernel", ["adam", "counter_normal"])
def test_a_block_that_does_not_wait_to_be_the_last_is_found(kernel):
    """It would advance a counter that other blocks have still to read."""
    right = "last = atomicAdd(done, 1) == gridDim.x - 1"
    assert TEXT.count(right) == 1
    done = sanitized("thread", TEXT.replace(right, "last = blockIdx.x == gridDim.x - 1"), kernel)
    assert done.returncode != 0
    assert "data race" in done.stderr
    assert kernel in done.stderr


OUT_OF_BOUNDS = {
    "one number after the result": ("*out = (float)(sum / n)", "out[1] = (float)(sum / n)", "WRITE of size 4", "mean"),
    "16 bytes beyond a row": (
        "load_wide(row + min(line, from.columns - 4))",
        "load_wide(row + line)",
        "READ of size",
        "load_terms",
    ),
}


@pytest.mark.parametrize(("right", "wrong", "what", "where"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_an_index_out_of_bounds_is_found(right, wrong, what, where):
    assert TEXT.count(right) == 1
    done = sanitized("address", TEXT.replace(right, wrong))
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert what in done.stderr
    assert where in done.stderr


def test_the_sanitizers_see_every_kernel():
    needs_compiler()
    for kernel in cuda_on_cpu.parse(TEXT):
        for sizes in kernel_calls.ALL_SIZES:
            kernel.check(kernel_calls.arguments(kernel.name, sizes)[1])
