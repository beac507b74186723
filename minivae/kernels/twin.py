"""What a twin is, and how it checks its arguments.

``covers`` says for which arguments a twin replaces its op.  The others (another dtype, broadcasting, shapes that do not fit) are
left to the op, which handles them or says what is wrong.  Kernels ignore strides, so a cotangent is made dense first.  Only where
rows may lie apart (a slice of the encoder's two heads, a mean's gradient repeated with stride 0) does a kernel take a stride as an
argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae import kernels
from minivae.backend import Array
from minivae.op import Op


@dataclass(frozen=True)
class Twin:
    """An op computed by kernels, and ``covers(xp, *arrays, **options)``, which tells whether it can take these arguments."""

    op: Op
    covers: Callable[..., bool]


def is_float(array: Any) -> bool:
    return getattr(array, "dtype", None) == np.float32 and 0 < array.size < kernels.LARGEST


def is_dense(array: Any) -> bool:
    return is_float(array) and array.flags.c_contiguous


def has_rows(array: Any) -> bool:
    """Tell whether ``array`` is a matrix whose rows are contiguous; there may be gaps between the rows."""
    has_them = is_float(array) and array.ndim == 2 and array.strides[1] == array.itemsize
    return has_them and len(array) * abs(row_stride(array)) < 2 * kernels.LARGEST  # with the gaps, all that an int can count


def row_stride(array: Array) -> int:
    """Return how many floats lie between the starts of two rows: 0 where one row is repeated."""
    return array.strides[0] // array.itemsize


def dense_like(xp, g, like):
    """Return the cotangent as the kernels need it: contiguous, in the dtype of the arguments."""
    return xp.ascontiguousarray(g, dtype=like.dtype)
