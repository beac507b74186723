"""Broadcasting and its transpose, shared by every op that lets shapes differ."""

from __future__ import annotations

from typing import Any

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


def shape_of(array: Any) -> tuple[int, ...]:
    """Return the shape of an array; a Python number has the shape ()."""
    return getattr(array, "shape", ())
