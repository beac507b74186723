"""Ops that move numbers without changing them.  Each gradient is the same movement backwards."""

from __future__ import annotations

from minivae.autodiff import Tensor
from minivae.checks import check_int, reject
from minivae.op import Op
from minivae.ops.broadcast import add_up


def concat_forward(xp, *parts, axis=-1):
    """Join arrays along an axis.

    out = [x₁ | x₂ | …]    ∂L/∂x_k = the part of g that came from x_k

    Why: every entry of the result is one entry of one part.  Joining image and label is how a model is conditioned (A.6).
    Shapes: equal but for ``axis``.  Saved: the lengths along the axis.
    Errors: InputError when the other axes differ.
    Source: definition.
    """
    return xp.concatenate(parts, axis=axis), (tuple(part.shape[axis] for part in parts), axis)


def concat_backward(xp, saved, g, needs):
    lengths, axis = saved
    gradients, start = [], 0
    for length, need in zip(lengths, needs, strict=True):
        index = [slice(None)] * g.ndim
        index[axis] = slice(start, start + length)
        gradients.append(g[tuple(index)] if need else None)
        start += length
    return tuple(gradients)


def slice_forward(xp, x, index):
    """A rectangular part of an array: x[index] with ints, slices, ``...`` and None.

    out = x[index]         ∂L/∂x = zeros of x's shape with g at [index]

    Why: an entry that was left out does not influence the result.
    Shapes: any.  Saved: the shape and the index.  The result is a view of x.
    Errors: InputError for an index with arrays: it could name one place twice, and then the gradients there would have to be added;
    IndexError beyond the end, as for Python's own sequences, so that ``for row in tensor`` ends.
    Source: definition.
    """
    if not all(isinstance(i, (int, slice, type(...), type(None))) for i in (index if isinstance(index, tuple) else (index,))):
        reject("slice: index", "ints, slices, ... or None", repr(index))
    return x[index], (x.shape, index)


def slice_backward(xp, saved, g, needs):
    shape, index = saved
    dx = xp.zeros(shape, dtype=g.dtype)
    dx[index] = g
    return (dx,)


def reshape_forward(xp, x, shape):
    """The same numbers in the same order under another shape.

    out = x.reshape(shape)        ∂L/∂x = g.reshape(x.shape)

    Why: a one-to-one renaming of the entries.  Shapes: the same number of entries; one length may be −1.  Saved: the old shape.
    Errors: InputError when the number of entries differs.
    Source: definition.
    """
    return x.reshape(shape), (x.shape,)


def reshape_backward(xp, saved, g, needs):
    (shape,) = saved
    return (g.reshape(shape),)


def repeat_forward(xp, x, repeats, axis=0):
    """Each entry along an axis ``repeats`` times in a row: k samples for every example (M.6).

    out_{i k + s} = x_i for s = 0 … k − 1        ∂L/∂x_i = Σ_s g_{i k + s}

    Why: each entry is used k times, so its k cotangents add up.
    Shapes: the axis grows from n to n k.  Saved: the shape, k and the axis.
    Errors: InputError unless ``repeats`` is a whole number of at least 1.
    Source: the transpose of a copy is a sum.
    """
    check_int("repeat: repeats", repeats, 1)
    return xp.repeat(x, repeats, axis=axis), (x.shape, repeats, axis % x.ndim)


def repeat_backward(xp, saved, g, needs):
    shape, repeats, axis = saved
    grouped = g.reshape(*shape[:axis], shape[axis], repeats, *shape[axis + 1 :])
    return (add_up(grouped, axis + 1),)


concat = Op("concat", concat_forward, concat_backward, args=("parts",))
slice_ = Op("slice", slice_forward, slice_backward, args=("x",))
reshape = Op("reshape", reshape_forward, reshape_backward, args=("x",))
repeat = Op("repeat", repeat_forward, repeat_backward, args=("x",))

Tensor.__getitem__ = lambda x, index: slice_(x, index=index)
