"""CUDA kernels: ``kernels.cu`` holds the memory-bound ops, this file loads it, ``twins`` calls it with the signatures of the ops.

``autodiff.apply`` asks ``fused`` for the twin of an op.  A twin computes the same equations from the same arguments and saves what
its own backward reads, so the tape sees no difference.  It covers dense float32 arrays on a device.  Everything else, and
everything under MINIVAE_FUSED=0, uses the op itself, which runs on any array module.

Three environment variables, each with a safe default:
    MINIVAE_FUSED=0         plain CuPy instead of these kernels
    MINIVAE_GRAPH=0         no replay of captured steps (``graph``)
    MINIVAE_MATMUL=tf32     or bf16: less exact factors for faster matrix products (``cublas``); fp32 unless set
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

SOURCE = Path(__file__).with_name("kernels.cu")
BLOCK = 128  # threads in a block
GRID = 2048  # blocks at most: several for each of a GPU's multiprocessors, and then the loop over what is left
log = logging.getLogger("minivae")


class Library:
    """The kernels, compiled for the device of one array module."""

    def __init__(self, xp: ModuleType) -> None:
        self._module = xp.RawModule(code=SOURCE.read_text(encoding="utf-8"))
        self._kernels: dict[str, Any] = {}
        self["adam"]  # compiles the file now, so that what is wrong with it shows now

    def __getitem__(self, name: str) -> Any:
        if name not in self._kernels:
            self._kernels[name] = self._module.get_function(name)
        return self._kernels[name]

    def elementwise(self, name: str, size: int, *args: Any) -> None:
        """Launch a kernel that covers ``size`` numbers; Python ints become C ints, and scalars of other types come as NumPy's."""
        self._launch(name, -(-size // BLOCK), args)

    def by_rows(self, name: str, rows: int, *args: Any) -> None:
        """Launch a kernel of which a block takes a row at a time."""
        self._launch(name, rows, args)

    def _launch(self, name: str, blocks: int, args: Sequence[Any]) -> None:
        # CuPy passes a Python int as 64 bits and checks nothing.
        self[name]((min(blocks, GRID),), (BLOCK,), tuple(np.int32(arg) if type(arg) is int else arg for arg in args))


@functools.cache
def library(xp: ModuleType) -> Library:
    """Return the kernels for arrays of module ``xp``; they are compiled once for the process."""
    return Library(xp)


def usable(xp: ModuleType) -> bool:
    """Tell whether arrays of module ``xp`` have kernels: on a device, unless MINIVAE_FUSED=0 or they do not compile there."""
    return xp is not np and os.environ.get("MINIVAE_FUSED") != "0" and _compiles(xp)


@functools.cache
def _compiles(xp: ModuleType) -> bool:
    try:
        library(xp)
    except Exception as error:  # whatever is missing, plain CuPy computes the same
        log.warning("no fused kernels: %s", f"{type(error).__name__}: {error}".splitlines()[0])
        return False
    return True


def fused(op: Op, xp: ModuleType, arrays: Sequence[Array], options: Mapping[str, Any]) -> Op:
    """Return the twin of ``op`` if it has one that covers these arguments, else ``op``."""
    if not usable(xp):
        return op
    from minivae.kernels.twins import TWINS  # only where there is a device

    twin = TWINS.get(op.name)
    return twin.op if twin and twin.covers(xp, *arrays, **options) else op
