"""Broadcasting and its transpose, shared by every op that lets shapes differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.backend import Array


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of an argument of ``shape`` that was broadcast to the shape of ``g``.

    Broadcasting copies one number to many places, y_i = x for all i, so by the chain rule ∂L/∂x = Σ_i ∂L/∂y_i:
    every axis that was added or stretched is summed.
    """
    if g.shape == shape:
        return g
    added = g.ndim - len(shape)
    if added:
        g = g.sum(axis=tuple(range(added)))
    stretched = tuple(axis for axis, length in enumerate(shape) if length == 1 and g.shape[axis] != 1)
    return g.sum(axis=stretched, keepdims=True) if stretched else g


def over_terms(xp: Any, g: Array, *shapes: tuple[int, ...]) -> Array:
    """Return the cotangent (…) of a sum over the last axis as that of its terms, (…, k) for arguments of the given shapes.

    Every term of row i moves the sum by as much as it moves itself, so all of them have the cotangent g_i.  Where all shapes are
    equal a last axis of length 1 says so.  Where they differ it is spread over the k terms, since an argument that stretches along
    the axis that is summed has a part in each of them, and ``unbroadcast`` can only add up what is there.
    """
    g = g[..., None]
    return g if len(set(shapes)) == 1 else xp.broadcast_to(g, np.broadcast_shapes(*shapes))


def shape_of(array: Any) -> tuple[int, ...]:
    """Return the shape of an array; a Python number has the shape ()."""
    return getattr(array, "shape", ())
