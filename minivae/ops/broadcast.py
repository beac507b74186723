"""Broadcasting and its transpose, shared by every op that lets shapes differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minivae.backend import Array

FEW = 256  # a float32 sum of so many numbers loses at most two digits


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of an argument of ``shape`` that was broadcast to the shape of ``g``.

    Broadcasting copies one number to many places, y_i = x for all i, so by the chain rule ∂L/∂x = Σ_i ∂L/∂y_i:
    every axis that was added or stretched is summed.
    """
    if g.shape == shape:
        return g
    added = g.ndim - len(shape)
    if added:
        g = add_up(g, tuple(range(added)))
    stretched = tuple(axis for axis, length in enumerate(shape) if length == 1 and g.shape[axis] != 1)
    return add_up(g, stretched, keepdims=True) if stretched else g


def axes_of(x: Array, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the axes of a reduction, None being all of them, as numbers from 0."""
    return tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)


def add_up(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """Return the sum over ``axis``, or over all axes, in the dtype of x, with the error of ``FEW`` roundings at any length.

    NumPy adds pairwise along the last axis, but one number after another along any other axis: a float32 sum over 2·10⁶ rows is
    wrong by a per cent.  Many terms are therefore added in float64.  Along the first axis this is slow, so there only the sums of
    ``FEW`` rows each are added in float64.
    """
    axes = axes_of(x, axis)
    terms = math.prod(x.shape[i] for i in axes)
    if x.dtype == np.float64 or (x.dtype == np.float32 and terms <= FEW):
        return x.sum(axis=axis, keepdims=keepdims)
    if x.dtype == np.float32 and x.ndim > 1 and axes == (0,):
        whole = len(x) // FEW * FEW
        groups = x[:whole].reshape(-1, FEW, *x.shape[1:]).sum(axis=1)
        total = groups.sum(axis=0, dtype="float64", keepdims=keepdims) + x[whole:].sum(axis=0, keepdims=keepdims)
    else:
        total = x.sum(axis=axis, dtype="float64", keepdims=keepdims)
    return total.astype(x.dtype)


def over_terms(xp: Any, g: Array, *shapes: tuple[int, ...]) -> Array:
    """Return the cotangent of the terms, (…, k), from the cotangent (…) of their sum over the last axis.

    The sum of row i changes by as much as any of its terms, so all of them have the cotangent g_i.  Where the arguments have equal
    shapes, a last axis of length 1 is enough.  Where they differ, g_i is repeated for each of the k terms, because an argument that
    is broadcast along the summed axis takes part in all of them, and ``unbroadcast`` can only add up what is there.
    """
    g = g[..., None]
    return g if len(set(shapes)) == 1 else xp.broadcast_to(g, np.broadcast_shapes(*shapes))


def shape_of(array: Any) -> tuple[int, ...]:
    """Return the shape of an array; a Python number has the shape ()."""
    return getattr(array, "shape", ())
