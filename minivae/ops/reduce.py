"""Reductions: many numbers to one."""

from __future__ import annotations

import math

from minivae.checks import reject
from minivae.op import Op
from minivae.ops.broadcast import add_up, axes_of


def sum_forward(xp, x, axis=None, keepdims=False):
    """Sum over the given axes, or over all of them.

    out = Σ_i x_i          ∂out/∂x_i = 1

    Why: the sum changes by as much as any of its terms, so every term gets the whole cotangent.
    Shapes: x any; ``axis`` an int, a tuple of ints or None.  Saved: the shape and the axes.
    Numerics: many terms are added in float64 and rounded once, see ``add_up``.  The backward is a view that repeats the
    cotangent with stride zero: no array of the size of x is written.
    Source: the sum rule.
    """
    return add_up(x, axis, keepdims), (x.shape, axis, keepdims)


def sum_backward(xp, saved, g, needs):
    shape, axis, keepdims = saved
    return (xp.broadcast_to(_restore_axes(xp, g, axis, keepdims), shape),)


def mean_forward(xp, x, axis=None, keepdims=False):
    """Arithmetic mean over the given axes, or over all of them.

    out = (1/n) Σ_i x_i    ∂out/∂x_i = 1/n

    Why: it is a sum divided by the number of terms.
    Shapes: as for ``sum``.  Saved: the shape, the axes and n.
    Numerics: in float64, rounded once: a sum may be too large for the dtype where its mean is not.  The cotangent is divided by n
    before it is repeated, while it is small; the repetition is a view.
    Errors: InputError when there is nothing to average.
    Source: the sum rule.
    """
    count = math.prod(x.shape[i] for i in axes_of(x, axis))
    if count == 0:
        reject("mean", "at least one element to average", f"shape {x.shape}, axis {axis}")
    total = x.sum(axis=axis, dtype="float64", keepdims=keepdims)
    return (total / count).astype(x.dtype), (x.shape, axis, keepdims, count)


def mean_backward(xp, saved, g, needs):
    shape, axis, keepdims, count = saved
    return (xp.broadcast_to(_restore_axes(xp, g / count, axis, keepdims), shape),)


def logsumexp_forward(xp, x, axis=-1, keepdims=False):
    """Logarithm of a sum of exponentials along one axis, the sum in M.6.

    out = log Σ_i e^{x_i} = m + log Σ_i e^{x_i − m},  m = max_i x_i        ∂out/∂x_i = e^{x_i − out}

    Why: e^m may be taken out of the sum for any m.  The slope is e^{x_i} / Σ_j e^{x_j}: the softmax, weights that sum to 1.
    Shapes: x any, ``axis`` one int.  Saved: the shifted exponentials, their sum, and the axis.
    Numerics: with m the maximum, the largest term is e⁰ = 1: nothing overflows, and what underflows is below the rounding error.
    The same holds where m is infinite: entries equal to it count as e⁰, all others as 0.  All −inf gives −inf and any +inf gives
    +inf, and the slopes are the limits: equal shares for the largest, which sum to 1.
    Errors: InputError for an empty axis, which has no maximum.
    Source: log-sum-exp; Burda, Grosse & Salakhutdinov 2015 for its use in M.6.
    """
    top = x.max(axis=axis, keepdims=True)
    endless = xp.isinf(top)
    shifted = xp.where(endless, (x == top).astype(x.dtype), xp.exp(x - xp.where(endless, xp.zeros_like(top), top)))
    total = add_up(shifted, axis, keepdims=True)
    out = top + xp.log(total)
    return out if keepdims else out.squeeze(axis), (shifted, total, axis, keepdims)


def logsumexp_backward(xp, saved, g, needs):
    shifted, total, axis, keepdims = saved
    return (_restore_axes(xp, g, axis, keepdims) * (shifted / total),)


def _restore_axes(xp, g, axis, keepdims):
    """Give ``g`` length-1 axes where the reduction took axes away."""
    return g if keepdims or axis is None else xp.expand_dims(g, axis)


sum_ = Op("sum", sum_forward, sum_backward, args=("x",))
mean = Op("mean", mean_forward, mean_backward, args=("x",))
logsumexp = Op("logsumexp", logsumexp_forward, logsumexp_backward, args=("x",))
