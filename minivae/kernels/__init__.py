"""CUDA kernels: of the memory-bound ops (``kernels.cu``), of layers (``dense.cu``), of trainings in one launch (``whole.cu``).

Small matrix products in the last two are those of ``product.cu``.  ``twins`` calls the first two with the signatures of the ops,
``whole`` the third.

``autodiff.apply`` asks ``fused`` for the twin of an op.  A twin computes the same equations from the same arguments and saves what
its own backward reads, so the tape sees no difference.  It covers dense float32 arrays on a device.  Anything else, and
everything under MINIVAE_FUSED=0, is computed by the op itself, which runs on any array module.

Four environment variables, each with a safe default:
    MINIVAE_FUSED=0         plain CuPy instead of these kernels, and plain NumPy instead of a compiled Adam (``adam``)
    MINIVAE_GRAPH=0         no replay of captured steps (``graph``)
    MINIVAE_WHOLE=0         no training in one launch (``whole``)
    MINIVAE_MATMUL=tf32     or bf16: faster matrix products with less precise factors (``cublas``); the default is fp32
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minivae.backend import Array
from minivae.op import Op

BLOCK = 128  # threads in a block
WIDE_BLOCK = 512  # threads in a block whose threads work together on one tile or one sum
GRID = 2048  # most blocks in a launch: several for each of a GPU's multiprocessors; each block loops over what is left
MOST_STRIPS = 4096  # most strips of 32 columns in a matrix whose columns are summed
LARGEST = 2**30  # numbers in an array that a kernel reads or writes: its indices are 32-bit
SMALL = 2**27  # ``product.cu`` computes matrix products of up to this many multiplications, cuBLAS the larger ones
LONGEST = 2**20  # most rows or columns in these: it numbers their tiles with fewer than 2^21 numbers
log = logging.getLogger("minivae")


def source(*names: str) -> str:
    """Return the CUDA C of files in this folder, one after the other."""
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


class Library:
    """The kernels, compiled for the device of one array module."""

    def __init__(self, xp: ModuleType) -> None:
        self._module = xp.RawModule(code=source("kernels.cu", "product.cu", "dense.cu"))
        self._kernels: dict[str, Any] = {}
        self["adam"]  # compiles the files now, so that a compile error appears here and not in the middle of a training
        self.multiprocessors = int(xp.cuda.runtime.getDeviceProperties(0)["multiProcessorCount"])
        self.tickets = xp.zeros(MOST_STRIPS, dtype="uint32")  # by which blocks find out which is last; 0 between launches

    def __getitem__(self, name: str) -> Any:
        if name not in self._kernels:
            self._kernels[name] = self._module.get_function(name)
        return self._kernels[name]

    def elementwise(self, name: str, size: int, *args: Any) -> None:
        """Launch a kernel over ``size`` numbers; Python ints become C ints, scalars of other types must be NumPy scalars."""
        launch(self[name], min(-(-size // BLOCK), GRID), BLOCK, args)

    def by_fours(self, name: str, size: int, *args: Any) -> None:
        """Launch a kernel over ``size`` numbers in which each thread takes four neighbouring ones at a time."""
        self.elementwise(name, -(-size // 4), *args)

    def by_fours_of_rows(self, name: str, rows: int, columns: int, *args: Any) -> None:
        """Launch a kernel in which each thread takes four neighbouring numbers of a row at a time."""
        self.elementwise(name, rows * -(-columns // 4), *args)

    def by_rows(self, name: str, rows: int, *args: Any) -> None:
        """Launch a kernel in which each block takes one row at a time."""
        launch(self[name], min(rows, GRID), BLOCK, args)

    def by_blocks(self, name: str, blocks: int, *args: Any) -> None:
        """Launch a kernel with ``blocks`` blocks of ``WIDE_BLOCK`` threads."""
        launch(self[name], blocks, WIDE_BLOCK, args)

    def by_tiles(self, name: str, tiles: int, *args: Any) -> None:
        """Launch a kernel whose blocks share ``tiles`` tiles among them; as many as a device can run at once, if there is work."""
        self.by_blocks(name, min(tiles, self.multiprocessors), *args)


def is_small(n: int, d: int, m: int) -> bool:
    """Tell whether ``dense.cu`` computes the layers of ``n`` rows with ``d`` inputs and ``m`` outputs."""
    return n * d * m <= SMALL and max(n, d, m) <= LONGEST


def launch(kernel: Any, blocks: int, threads: int, args: Sequence[Any]) -> None:
    """Launch a kernel, with a block even if there is nothing to do, since CUDA refuses a launch without any.

    Python ints are converted first, since CuPy would pass them as 64 bits without a check.
    """
    kernel((max(blocks, 1),), (threads,), tuple(np.int32(arg) if type(arg) is int else arg for arg in args))


@functools.cache
def library(xp: ModuleType) -> Library:
    """Return the kernels for arrays of module ``xp``; they are compiled once for the process."""
    return Library(xp)


def usable(xp: ModuleType, size: int = 0) -> bool:
    """Tell whether the kernels serve arrays of module ``xp`` with ``size`` numbers.

    They do on a device, unless MINIVAE_FUSED=0, they fail to compile, or their indices cannot count so many numbers.
    """
    return xp is not np and size < LARGEST and os.environ.get("MINIVAE_FUSED") != "0" and _compiles(xp)


@functools.cache
def _compiles(xp: ModuleType) -> bool:
    try:
        library(xp)
    except Exception as error:  # whatever the reason, plain CuPy computes the same results
        log.warning("no fused kernels: %s", f"{type(error).__name__}: {error}".splitlines()[0])
        return False
    return True


def fused(
    op: Op, xp: ModuleType, inputs: tuple[Any, ...], arrays: Sequence[Array], options: Mapping[str, Any]
) -> tuple[Op, tuple[Any, ...]]:
    """Return the twin of ``op`` if it has one that covers these arguments, else ``op``, together with its inputs.

    ``arrays`` are the data of ``inputs``.  Where the op was given two halves of one matrix, the twin may take that
    matrix instead.
    """
    if not usable(xp):
        return op, inputs
    from minivae.kernels.twins import TWINS, TWINS_OF_HEADS, heads_of  # imported only where there is a device

    twin = TWINS.get(op.name)
    if twin is None or not twin.covers(xp, *arrays, **options):
        return op, inputs
    heads = heads_of(inputs) if op.name in TWINS_OF_HEADS else None
    return (twin.op, inputs) if heads is None else (TWINS_OF_HEADS[op.name], (heads, *inputs[2:]))
