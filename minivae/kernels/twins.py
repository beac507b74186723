"""The twins of some ops: the same two signatures and the same equations, computed by ``kernels.cu``.

``covers`` says for which arguments a twin stands in.  What it refuses (another dtype, broadcasting, shapes that do not fit) is left
to the op, which can do it or can say what is wrong.  Kernels ignore strides, so a cotangent is made dense first; only where rows
may lie apart (a slice of the encoder's two heads, a mean's gradient repeated with stride 0) does a kernel take the stride instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.backend import Array
from minivae.kernels import cublas, library
from minivae.op import Op

LARGEST = 2**30  # numbers in an array: indices are 32-bit


@dataclass(frozen=True)
class Twin:
    """An op made of kernels, and ``covers(xp, *arrays, **options)``: whether it is for these arguments."""

    op: Op
    covers: Callable[..., bool]


def _is_float(array: Any) -> bool:
    return getattr(array, "dtype", None) == np.float32 and 0 < array.size < LARGEST


def _is_dense(array: Any) -> bool:
    return _is_float(array) and array.flags.c_contiguous


def _has_rows(array: Any) -> bool:
    """Tell whether ``array`` is a matrix whose rows have no gaps; between them there may be some."""
    return _is_float(array) and array.ndim == 2 and array.strides[1] == array.itemsize


def _row_stride(array: Array) -> int:
    """Return how many floats lie between the starts of two rows: 0 where one row is repeated."""
    return array.strides[0] // array.itemsize


def _dense_like(xp, g, like):
    """Return the cotangent as the kernels read it: without gaps, in the dtype of the arguments."""
    return xp.ascontiguousarray(g, dtype=like.dtype)


# dense: the products are cuBLAS's; adding the bias and summing its gradient are kernels ----------------------------------------


def _dense_forward(xp, x, weight, bias=None, transpose=False):
    y = cublas.cublas(xp).matmul(x, weight.T if transpose else weight)
    if bias is not None:
        library(xp).elementwise("add_bias", y.size, y, bias, *y.shape)
    return y, (x, weight, transpose)


def _dense_backward(xp, saved, g, needs, into=(None, None, None)):
    x, weight, transpose = saved
    g = _dense_like(xp, g, x)
    product = cublas.cublas(xp).matmul
    dx = product(g, weight if transpose else weight.T) if needs[0] else None
    dw = product(*((g.T, x) if transpose else (x.T, g)), out=into[1]) if needs[1] else None
    db = None
    if len(needs) > 2 and needs[2]:
        n, m = g.shape
        db = xp.empty(m, dtype=g.dtype) if into[2] is None else into[2]
        library(xp).by_rows("column_sum", -(-m // 32), g, db, n, m)  # a block takes 32 columns
    return dx, dw, db


def _dense_covers(xp, x, weight, bias=None, transpose=False):
    if not (_is_dense(x) and _is_dense(weight) and x.ndim == weight.ndim == 2):
        return False
    n_in, n_out = weight.shape[::-1] if transpose else weight.shape
    fits = x.shape[1] == n_in and (bias is None or (_is_dense(bias) and bias.shape == (n_out,)))
    return fits and cublas.usable(xp)


# Activations: the slope is computed from the result, or from x where the result does not tell enough ---------------------------


def _activation(name: str, saves_result: bool) -> Op:
    def forward(xp, x):
        out = xp.empty_like(x)
        library(xp).elementwise(f"{name}_forward", x.size, x, out, x.size)
        return out, (out if saves_result else x,)

    def backward(xp, saved, g, needs):
        dx = xp.empty_like(saved[0])
        library(xp).elementwise(f"{name}_backward", dx.size, saved[0], _dense_like(xp, g, dx), dx, dx.size)
        return (dx,)

    return Op(name, forward, backward, args=("x",))


def _activation_covers(xp, x):
    return _is_dense(x)


# Likelihood -------------------------------------------------------------------------------------------------------------------


def _bernoulli_forward(xp, x, logits):
    d = logits.shape[-1]
    nll, slope = xp.empty(logits.shape[:-1], dtype=logits.dtype), xp.empty_like(logits)
    library(xp).by_rows("bernoulli_nll", nll.size, x, logits, nll, slope, nll.size, x.size // d, d)  # (L.1)
    return nll, (x, logits, slope)


def _bernoulli_backward(xp, saved, g, needs):
    x, logits, slope = saved
    dx = (-g[..., None] * logits).reshape(-1, *x.shape).sum(axis=0) if needs[0] else None
    if not needs[1]:
        return dx, None
    g = g.astype(slope.dtype, copy=False) if g.ndim == 1 else _dense_like(xp, g, slope).reshape(-1)
    d_logits = xp.empty_like(logits)
    library(xp).elementwise("scale_rows", logits.size, g, _row_stride(g), slope, d_logits, g.size, logits.shape[-1])
    return dx, d_logits


def _bernoulli_covers(xp, x, logits):
    """Equal shapes, or one x (…, d) for several samples of logits (s, …, d)."""
    return _is_dense(x) and _is_dense(logits) and x.ndim > 1 and logits.shape[-x.ndim :] == x.shape


# Sampling and divergence ------------------------------------------------------------------------------------------------------


def _rows(mean, log_var):
    return mean, _row_stride(mean), log_var, _row_stride(log_var)


def _sample_forward(xp, mean, log_var, noise):
    z, scaled_noise = xp.empty_like(noise), xp.empty_like(noise)
    library(xp).elementwise("reparameterize", z.size, *_rows(mean, log_var), noise, z, scaled_noise, *z.shape)  # (R.1)
    return z, (log_var, scaled_noise)


def _sample_backward(xp, saved, g, needs):
    log_var, scaled_noise = saved
    d_log_var = None
    if needs[1]:
        d_log_var = xp.empty_like(scaled_noise)
        g_dense = _dense_like(xp, g, scaled_noise)
        library(xp).elementwise("reparameterize_backward", g.size, g_dense, scaled_noise, d_log_var, g.size)  # (R.2)
    return g if needs[0] else None, d_log_var, g * xp.exp(0.5 * log_var) if needs[2] else None


def _sample_covers(xp, mean, log_var, noise):
    return _has_rows(mean) and _has_rows(log_var) and _is_dense(noise) and mean.shape == log_var.shape == noise.shape


def _kl_forward(xp, mean, log_var):
    kl = xp.empty(len(mean), dtype=mean.dtype)
    library(xp).by_rows("kl_standard_normal", len(mean), *_rows(mean, log_var), kl, *mean.shape)  # (K.1)
    return kl, (mean, log_var)


def _kl_backward(xp, saved, g, needs):
    mean, log_var = saved
    gradients = xp.empty(mean.shape, dtype=mean.dtype), xp.empty(mean.shape, dtype=mean.dtype)
    g = g.astype(mean.dtype, copy=False)
    arguments = (g, _row_stride(g), *_rows(mean, log_var), *gradients, *mean.shape)
    library(xp).elementwise("kl_standard_normal_backward", mean.size, *arguments)  # (K.2)
    return tuple(gradient if need else None for gradient, need in zip(gradients, needs, strict=True))


def _kl_covers(xp, mean, log_var):
    return _has_rows(mean) and _has_rows(log_var) and mean.shape == log_var.shape


TWINS: dict[str, Twin] = {
    twin.op.name: twin
    for twin in (
        Twin(Op("dense", _dense_forward, _dense_backward, ("x", "weight", "bias"), writes_into=True), _dense_covers),
        *(Twin(_activation(name, saves_result=True), _activation_covers) for name in ("relu", "tanh")),
        *(Twin(_activation(name, saves_result=False), _activation_covers) for name in ("sigmoid", "softplus")),
        Twin(Op("bernoulli_nll", _bernoulli_forward, _bernoulli_backward, ("x", "logits")), _bernoulli_covers),
        Twin(Op("reparameterize", _sample_forward, _sample_backward, ("mean", "log_var", "noise")), _sample_covers),
        Twin(Op("kl_standard_normal", _kl_forward, _kl_backward, ("mean", "log_var")), _kl_covers),
    )
}
