"""Matrix products by calling cuBLAS directly, so that a stream capture can contain them.

Why not CuPy's own products: during a capture CuPy refuses to touch its cuBLAS handle (its issue 6290), although cuBLAS itself can
be captured.  cuBLAS needs to be given its workspace beforehand: otherwise it may allocate memory in the middle of the capture.

Why not nvmath-python: its cublasLt epilogues could add the bias within the product and save one launch per layer.  But it brings
three packages of NVIDIA's Python bindings with version ranges of their own, and a plan object for each shape to be kept; what is
needed here is one function in three transpositions.  Three entry points through ctypes, from the library that CuPy has already
located, are smaller than those adapters, and can be tested on the CPU with a stand-in for the library.

Proven on the CPU: the row-major products in all transpositions, the order stream-then-workspace, the three compute types against
cuBLAS's own header.  Not proven without a device: everything cuBLAS does itself, and what TF32 and bf16 gain.

Source: cuBLAS library documentation, sections on cublasGemmEx, cublasSetStream, cublasSetWorkspace and CUDA graphs.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from types import ModuleType
from typing import Any

from minivae.backend import Array
from minivae.checks import check_choice
from minivae.kernels import library

FLOAT32 = 0  # CUDA_R_32F
DEFAULT_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT
COMPUTE = {"fp32": 68, "tf32": 77, "bf16": 75}  # CUBLAS_COMPUTE_32F, _32F_FAST_TF32, _32F_FAST_16BF
ROWS = 2048  # of the product, from which on transposing its second factor beforehand pays off
WORKSPACE = 32 << 20  # bytes, as NVIDIA recommends for Hopper
log = logging.getLogger("minivae")


class Cublas:
    """A cuBLAS handle, separate from CuPy's.  ``api`` is the loaded library."""

    def __init__(self, xp: ModuleType, api: Any, precision: str) -> None:
        self._xp, self._api = xp, api
        self._compute = COMPUTE[check_choice("MINIVAE_MATMUL", precision, COMPUTE)]
        self._turns = precision == "tf32"
        self._handle = ctypes.c_void_p()
        self._one, self._zero = ctypes.c_float(1), ctypes.c_float(0)
        self._stream: int | None = None
        self._workspaces: dict[int, Array] = {}  # one per stream: products on two streams may run at the same time
        self._check(api.cublasCreate_v2(ctypes.byref(self._handle)))

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """Return the float32 product of ``a`` (n, k) and ``b`` (k, m), each dense or the transpose of a dense matrix."""
        (n, k), m = a.shape, b.shape[1]
        out = self._xp.empty((n, m), dtype=a.dtype) if out is None else out
        self._follow(self._xp.cuda.get_current_stream().ptr)
        if self._turns and n >= ROWS and k >= ROWS and b.flags.c_contiguous:
            b = self._turned(b)
        # cuBLAS reads memory column by column and so sees each of our matrices transposed: it has to compute (a b)ᵀ = bᵀ aᵀ.
        (b_flag, b_lead), (a_flag, a_lead) = _layout(b), _layout(a)
        arguments = [b_flag, a_flag, m, n, k, ctypes.byref(self._one), _pointer(b), FLOAT32, b_lead, _pointer(a), FLOAT32, a_lead]
        arguments += [ctypes.byref(self._zero), _pointer(out), FLOAT32, m, self._compute, DEFAULT_ALGORITHM]
        self._check(self._api.cublasGemmEx(self._handle, *arguments))
        return out

    def _turned(self, b: Array) -> Array:
        """Return ``b`` as the transpose of a dense matrix.

        Hopper's tensor cores can read TF32 factors only along the summed axis.  A factor stored the other way is transposed by
        cuBLAS tile by tile, again and again.  Transposing it once beforehand costs a tenth of the product's time and saves a fifth
        to a third.
        """
        (k, m), columns = b.shape, self._xp.empty((b.shape[1], b.shape[0]), dtype=b.dtype)
        library(self._xp).by_blocks("transpose", -(-k // 32) * -(-m // 32), b, columns, k, m)
        return columns.T

    def _follow(self, stream: int) -> None:
        """Work on ``stream``; setting the stream resets the workspace, so the workspace is set after it."""
        if stream != self._stream:
            if stream not in self._workspaces:
                self._workspaces[stream] = self._xp.empty(WORKSPACE, dtype="uint8")
            self._check(self._api.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream)))
            workspace = _pointer(self._workspaces[stream])
            self._check(self._api.cublasSetWorkspace_v2(self._handle, workspace, ctypes.c_size_t(WORKSPACE)))
            self._stream = stream

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise RuntimeError(f"cuBLAS status {status}")


def _layout(matrix: Array) -> tuple[int, int]:
    """Return cuBLAS's transposition flag and leading dimension: 0 for a matrix dense by rows, 1 for the transpose of one."""
    rows, columns = (stride // matrix.itemsize for stride in matrix.strides)
    return (0, max(rows, matrix.shape[1])) if columns == 1 else (1, max(columns, matrix.shape[0]))


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.data.ptr)


@functools.cache
def cublas(xp: ModuleType) -> Cublas:
    """Return the handle for arrays of module ``xp``, one for the process."""
    return Cublas(xp, load_library(), os.environ.get("MINIVAE_MATMUL", "fp32"))


@functools.cache
def usable(xp: ModuleType) -> bool:
    """Tell whether there is a cuBLAS to call; if not, the reason is logged."""
    try:
        cublas(xp)
    except (ImportError, OSError, RuntimeError) as error:
        log.warning("matrix products by CuPy, which cannot be captured: %s", f"{type(error).__name__}: {error}".splitlines()[0])
        return False
    return True


def load_library() -> ctypes.CDLL:
    """Return libcublas from where CuPy finds it."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
