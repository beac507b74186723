"""Matrix products by calling cublasLt directly, with the bias and ReLU of a layer computed within the product.

Why not CuPy's own products: during a capture CuPy refuses to touch its cuBLAS handle (its issue 6290), although cuBLAS itself can
be captured.  cublasLt is given its stream and its workspace with each product and allocates nothing, as a capture demands.

Why cublasLt and not cublasGemmEx: its epilogues (the last thing a product does, before it writes its result) add a bias and apply
ReLU.  That saves the pass over memory that would read the result and write it again.

Why not nvmath-python, which offers the same: it brings three packages of NVIDIA's Python bindings with version ranges of their own;
what is needed here is one function in three transpositions.  Eight entry points through ctypes, from the library that CuPy has
already located, are smaller than those adapters, and can be tested on the CPU with a stand-in for the library.

In fp32, ReLU of a NaN is NaN, as in ``ops``.  With TF32 or bf16, ReLU within cublasLt was seen to make it 0 (H200, CUDA 13.0).
A training notices a NaN in a parameter all the same, since it examines these as often as the loss, but not one that arises
within such a product.

Proven on the CPU: the row-major products in all transpositions with each epilogue, the alignments promised to cublasLt, the
constants against its own header.  Run on an H200: the same tests, with products at every alignment, and a capture.

Source: cuBLAS library documentation, section "Using the cuBLASLt API".
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from types import ModuleType
from typing import Any, NamedTuple

from minivae.backend import Array
from minivae.checks import check_choice
from minivae.kernels import library

FLOAT32 = 0  # CUDA_R_32F
COMPUTE = {"fp32": 68, "tf32": 77, "bf16": 75}  # CUBLAS_COMPUTE_32F, _32F_FAST_TF32, _32F_FAST_16BF
EPILOGUE = {"DEFAULT": 1, "RELU": 2, "BIAS": 4}  # CUBLASLT_EPILOGUE_…; the last two may be added
ALIGNMENTS = {f"MIN_ALIGNMENT_{matrix}_BYTES": 5 + i for i, matrix in enumerate("ABCD")}
ATTRIBUTES = {
    "MatmulDesc": {"TRANSA": 3, "TRANSB": 4, "EPILOGUE": 7, "BIAS_POINTER": 8},  # CUBLASLT_MATMUL_DESC_…
    "MatmulPreference": {"MAX_WORKSPACE_BYTES": 1, "REDUCTION_SCHEME_MASK": 3, **ALIGNMENTS},  # CUBLASLT_MATMUL_PREF_…
}
SQUARE = 64  # rows and columns that a block of ``dense.cu`` transposes
ROWS = 2048  # of the product, from which on transposing its second factor beforehand pays off
WORKSPACE = 32 << 20  # bytes, as NVIDIA recommends for Hopper
log = logging.getLogger("minivae")


class Stored(NamedTuple):
    """A matrix as cublasLt finds it in memory, which it reads column by column."""

    rows: int
    columns: int
    lead: int  # floats from one column to the next
    transposed: bool  # whether the product takes its transpose
    alignment: int  # of its address, in bytes


class Cublas:
    """A cublasLt handle.  ``api`` is the loaded library."""

    def __init__(self, xp: ModuleType, api: Any, precision: str) -> None:
        self._xp, self._api = xp, api
        self._compute = COMPUTE[check_choice("MINIVAE_MATMUL", precision, COMPUTE)]
        self._turns = precision == "tf32"
        self._one, self._zero = ctypes.c_float(1), ctypes.c_float(0)
        self._plans: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # one per case, since asking the heuristics takes time
        self._workspaces: dict[int, Array] = {}  # one per stream: products on two streams may run at the same time
        self._handle = self._create("")

    def matmul(self, a: Array, b: Array, out: Array | None = None, bias: Array | None = None, relu: bool = False) -> Array:
        """Return the float32 product of ``a`` (n, k) and ``b`` (k, m), each dense or the transpose of a dense matrix.

        ``bias`` (m,) is added to every row; then, with ``relu``, what is negative becomes 0.
        """
        n, m = len(a), b.shape[1]
        out = self._xp.empty((n, m), dtype=a.dtype) if out is None else out
        if self._turns and n >= ROWS and b.flags.c_contiguous:
            b = self._turned(b)
        # cublasLt reads memory column by column and so sees each of our matrices transposed: it has to compute (a b)ᵀ = bᵀ aᵀ.
        case = (_stored(b), _stored(a), Stored(m, n, m, False, _alignment(out)), relu, 0 if bias is None else _alignment(bias))
        if case not in self._plans:
            self._plans[case] = self._plan(*case)
        operation, left, right, result, algorithm = self._plans[case]
        if bias is not None:
            self._set("MatmulDesc", operation, "BIAS_POINTER", _pointer(bias))
        stream = self._xp.cuda.get_current_stream().ptr
        if stream not in self._workspaces:
            self._workspaces[stream] = self._xp.empty(WORKSPACE, dtype="uint8")
        one, zero, y = ctypes.byref(self._one), ctypes.byref(self._zero), _pointer(out)
        arguments = [operation, one, _pointer(b), left, _pointer(a), right, zero, y, result, y, result, algorithm]
        arguments += [_pointer(self._workspaces[stream]), ctypes.c_size_t(WORKSPACE), ctypes.c_void_p(stream)]
        self._call("Matmul", self._handle, *arguments)
        return out

    def _plan(self, left: Stored, right: Stored, result: Stored, relu: bool, bias_alignment: int) -> tuple[Any, ...]:
        """Return cublasLt's descriptions of the operation and of its matrices, and the algorithm that it recommends for them.

        None of these are ever destroyed: a model has few cases, and their plans are of use as long as the process lives.
        """
        operation, preference = self._create("MatmulDesc", self._compute, FLOAT32), self._create("MatmulPreference")
        epilogue = EPILOGUE["RELU"] * relu + EPILOGUE["BIAS"] * (bias_alignment > 0) or EPILOGUE["DEFAULT"]
        for name, value in (("TRANSA", left.transposed), ("TRANSB", right.transposed), ("EPILOGUE", epilogue)):
            self._set("MatmulDesc", operation, name, ctypes.c_int32(value))
        # The heuristics look only at how well this address is aligned; each product puts in that of its own bias.
        self._set("MatmulDesc", operation, "BIAS_POINTER", ctypes.c_void_p(bias_alignment))
        self._set("MatmulPreference", preference, "MAX_WORKSPACE_BYTES", ctypes.c_size_t(WORKSPACE))
        if relu:  # no sums split over several blocks, which a second kernel would add up
            self._set("MatmulPreference", preference, "REDUCTION_SCHEME_MASK", ctypes.c_uint32(0))
        # Left alone, the heuristics would count on 256 bytes; but a parameter may begin anywhere in the vector of all parameters.
        for name, matrix in zip(ALIGNMENTS, (left, right, result, result), strict=True):
            self._set("MatmulPreference", preference, name, ctypes.c_uint32(matrix.alignment))
        sizes = ((ctypes.c_uint64(x.rows), ctypes.c_uint64(x.columns), ctypes.c_int64(x.lead)) for x in (left, right, result))
        layouts = [self._create("MatrixLayout", FLOAT32, *size) for size in sizes]
        answer, count = (ctypes.c_uint64 * 12)(), ctypes.c_int()  # cublasLtMatmulHeuristicResult_t, which begins with the algorithm
        question = (operation, *layouts, layouts[2], preference, 1, answer, ctypes.byref(count))
        self._call("MatmulAlgoGetHeuristic", self._handle, *question)
        if not count.value:
            raise RuntimeError(f"cublasLt has no algorithm for {left}, {right}, {result} and epilogue {epilogue}")
        return operation, *layouts, answer

    def _turned(self, b: Array) -> Array:
        """Return ``b`` as the transpose of a dense matrix.

        Hopper's tensor cores can read TF32 factors only along the summed axis.  A factor stored the other way is transposed by
        cublasLt tile by tile, again and again.  Transposing it once beforehand costs less than a tenth of a product with 8192 rows,
        whether that sums 256 or 4096 terms, and saved cublasGemmEx a fifth to a third.
        """
        (k, m), columns = b.shape, self._xp.empty((b.shape[1], b.shape[0]), dtype=b.dtype)
        library(self._xp).by_blocks("transpose", -(-k // SQUARE) * -(-m // SQUARE), b, columns, k, m)
        return columns.T

    def _create(self, kind: str, *arguments: Any) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self._call(f"{kind}Create", ctypes.byref(made), *arguments)
        return made

    def _set(self, kind: str, made: ctypes.c_void_p, name: str, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        self._call(f"{kind}SetAttribute", made, ATTRIBUTES[kind][name], ctypes.byref(value), size)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._api, f"cublasLt{name}")(*arguments)
        if status:
            raise RuntimeError(f"cublasLt{name}: status {status}")


def _stored(matrix: Array) -> Stored:
    (n, m), (rows, columns) = matrix.shape, (stride // matrix.itemsize for stride in matrix.strides)
    size = (m, n, max(rows, m), False) if columns == 1 else (n, m, max(columns, n), True)
    return Stored(*size, _alignment(matrix))


def _alignment(array: Array) -> int:
    """Return the largest power of two, up to the 256 that cublasLt knows, by which the address can be divided."""
    return min(array.data.ptr & -array.data.ptr, 256)


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.data.ptr)


@functools.cache
def cublas(xp: ModuleType) -> Cublas:
    """Return the handle for arrays of module ``xp``, one for the process."""
    return Cublas(xp, load_library(), os.environ.get("MINIVAE_MATMUL", "fp32"))


@functools.cache
def usable(xp: ModuleType) -> bool:
    """Tell whether there is a cublasLt to call; if not, the reason is logged."""
    try:
        cublas(xp)
    except (ImportError, OSError, RuntimeError) as error:
        log.warning("matrix products by CuPy, which cannot be captured: %s", f"{type(error).__name__}: {error}".splitlines()[0])
        return False
    return True


def load_library() -> ctypes.CDLL:
    """Return libcublasLt from where CuPy finds it."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return ctypes.CDLL(load_nvidia_dynamic_lib("cublasLt").abs_path)
