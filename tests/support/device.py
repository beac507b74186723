"""Where tests run: the array modules and devices behind the fixtures that ``conftest`` shares.

numpy    the CPU.
strict   ``strict_cupy``, which refuses what CuPy refuses: for mistakes that a machine without a GPU would not show.
cupy     the real one, where there is a device; elsewhere the skip gives the probe's reason.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from minivae import backend, kernels
from minivae.backend import probe_cuda
from minivae.kernels import cublas
from support import cublas_on_cpu, cuda_on_cpu, strict_cupy


def module_or_skip(name: str) -> ModuleType:
    """Return the array module behind a name above."""
    if name in ("numpy", "strict"):
        return {"numpy": np, "strict": strict_cupy}[name]
    available, reason = probe_cuda()
    module = importlib.import_module("cupy") if available else None
    if module in (None, strict_cupy):
        pytest.skip(reason or "the stand-in is CuPy in this run, and is tested by its own name")
    return module


def needs_compiler() -> None:
    if cuda_on_cpu.COMPILER is None:
        pytest.skip("g++ is not installed, so the kernels cannot be compiled for the CPU")


def install(monkeypatch, with_kernels: bool, threads: int = 32) -> None:
    """Make ``device="cuda"`` the strict stand-in, with or without ``kernels.cu`` in blocks of so many threads."""
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    monkeypatch.setattr(backend, "probe_cuda", lambda: (True, "strict stand-in"))
    if not with_kernels:
        monkeypatch.setenv("MINIVAE_FUSED", "0")
        return
    needs_compiler()
    monkeypatch.delenv("MINIVAE_FUSED", raising=False)
    monkeypatch.setattr(kernels, "BLOCK", threads)
    monkeypatch.setattr(kernels, "WIDE_BLOCK", threads)
    monkeypatch.setattr(cublas, "load_library", cublas_on_cpu.FakeCublas)


def forget_cublas() -> None:
    cublas.cublas.cache_clear()
    cublas.usable.cache_clear()


@pytest.fixture(autouse=True)
def auto_device(monkeypatch) -> Iterator[None]:
    """With MINIVAE_TEST_AUTO=strict the strict stand-in is what ``device="auto"`` finds, in every test, as a GPU would be.

    So code that mixes the two libraries is found on any machine.
    """
    if os.environ.get("MINIVAE_TEST_AUTO") == "strict":
        install(monkeypatch, with_kernels=False)
        yield
        probe_cuda.cache_clear()  # whoever knows it by its own name has asked the stand-in, which is no longer there
    else:
        yield


@pytest.fixture(params=["numpy", "strict", "cupy"])
def xp(request, monkeypatch) -> ModuleType:
    """The array module: NumPy, the strict stand-in without kernels, and CuPy where there is a device."""
    if request.param == "strict":
        monkeypatch.setenv("MINIVAE_FUSED", "0")
    return module_or_skip(request.param)


@pytest.fixture(params=["strict", "cupy"])
def fused(request, monkeypatch) -> Iterator[ModuleType]:
    """The array module of ``device="cuda"`` with kernels: the stand-in, which runs them on the CPU, or CuPy."""
    module = module_or_skip(request.param)
    if request.param == "strict":
        install(monkeypatch, with_kernels=True)
    forget_cublas()
    yield module
    forget_cublas()


@pytest.fixture(params=[False, True], ids=["plain", "kernels"])
def strict_device(request, monkeypatch) -> Iterator[ModuleType]:
    """The strict stand-in as ``device="cuda"``, without and with kernels: what counts and can be looked into."""
    install(monkeypatch, with_kernels=request.param)
    forget_cublas()
    yield strict_cupy
    forget_cublas()


@pytest.fixture(params=["cpu", "strict", "cuda"])
def device(request, monkeypatch) -> str:
    """The device of a model: the CPU, the strict stand-in under the name "cuda", and the GPU where there is one."""
    if request.param == "strict":
        install(monkeypatch, with_kernels=False)
        return "cuda"
    module_or_skip({"cpu": "numpy", "cuda": "cupy"}[request.param])
    return request.param
