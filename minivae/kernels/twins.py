"""The twins of some ops: forward and backward with the same signatures and equations, computed by ``kernels.cu``."""

from __future__ import annotations

import math

from minivae.kernels import library
from minivae.kernels.layers import LAYER_TWINS
from minivae.kernels.twin import Twin, dense_like, has_rows, is_dense, row_stride
from minivae.op import Op

# Activations: the slope is computed from the result, or from x where the result does not determine it ---------------------------


def _activation(name: str, saves_result: bool) -> Op:
    def forward(xp, x):
        out = xp.empty_like(x)
        library(xp).by_fours(f"{name}_forward", x.size, x, out, x.size)
        return out, (out if saves_result else x,)

    def backward(xp, saved, g, needs):
        dx = xp.empty_like(saved[0])
        library(xp).by_fours(f"{name}_backward", dx.size, saved[0], dense_like(xp, g, dx), dx, dx.size)
        return (dx,)

    return Op(name, forward, backward, args=("x",))


def _activation_covers(xp, x):
    return is_dense(x)


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
    g = g.astype(slope.dtype, copy=False) if g.ndim == 1 else dense_like(xp, g, slope).reshape(-1)
    d_logits = xp.empty_like(logits)
    library(xp).by_fours("scale_rows", logits.size, g, row_stride(g), slope, d_logits, g.size, logits.shape[-1])
    return dx, d_logits


def _bernoulli_covers(xp, x, logits):
    """Tell whether the shapes are equal, or one x (…, d) is scored against several samples of logits (s, …, d)."""
    return is_dense(x) and is_dense(logits) and x.ndim > 1 and logits.shape[-x.ndim :] == x.shape


# Sampling and divergence ------------------------------------------------------------------------------------------------------


def _rows(mean, log_var):
    return mean, row_stride(mean), log_var, row_stride(log_var)


def _sample_forward(xp, mean, log_var, noise):
    z, scaled_noise = xp.empty_like(noise), xp.empty_like(noise)
    library(xp).by_fours_of_rows("reparameterize", *z.shape, *_rows(mean, log_var), noise, z, scaled_noise, *z.shape)  # (R.1)
    return z, (log_var, scaled_noise)


def _sample_backward(xp, saved, g, needs):
    log_var, scaled_noise = saved
    d_log_var = None
    if needs[1]:
        d_log_var = xp.empty_like(scaled_noise)
        g_dense = dense_like(xp, g, scaled_noise)
        library(xp).by_fours("reparameterize_backward", g.size, g_dense, scaled_noise, d_log_var, g.size)  # (R.2)
    return g if needs[0] else None, d_log_var, g * xp.exp(0.5 * log_var) if needs[2] else None


def _sample_covers(xp, mean, log_var, noise):
    return has_rows(mean) and has_rows(log_var) and is_dense(noise) and mean.shape == log_var.shape == noise.shape


def _kl_forward(xp, mean, log_var):
    kl = xp.empty(len(mean), dtype=mean.dtype)
    library(xp).by_rows("kl_standard_normal", len(mean), *_rows(mean, log_var), kl, *mean.shape)  # (K.1)
    return kl, (mean, log_var)


def _kl_backward(xp, saved, g, needs):
    mean, log_var = saved
    gradients = xp.empty(mean.shape, dtype=mean.dtype), xp.empty(mean.shape, dtype=mean.dtype)
    _kl_gradients(xp, mean, log_var, g, gradients)
    return tuple(gradient if need else None for gradient, need in zip(gradients, needs, strict=True))


def _kl_gradients(xp, mean, log_var, g, out):
    g = g.astype(mean.dtype, copy=False)
    arguments = (g, row_stride(g), *_rows(mean, log_var), *out, row_stride(out[0]), *mean.shape)
    library(xp).by_fours_of_rows("kl_standard_normal_backward", *mean.shape, *arguments)  # (K.2)


def _kl_covers(xp, mean, log_var):
    return has_rows(mean) and has_rows(log_var) and mean.shape == log_var.shape


# The same two ops on the matrix whose halves are mean and log_var: its gradient is written as one matrix, while the gradients of
# two halves would have to be joined again --------------------------------------------------------------------------------------


def _halves(heads):
    k = heads.shape[1] // 2
    return heads[:, :k], heads[:, k:]


def _sample_of_heads(xp, heads, noise):
    mean, log_var = _halves(heads)
    z, (_, scaled_noise) = _sample_forward(xp, mean, log_var, noise)
    return z, (heads.shape, scaled_noise)


def _sample_of_heads_backward(xp, saved, g, needs):
    shape, scaled_noise = saved
    d_heads, g = xp.empty(shape, dtype=scaled_noise.dtype), dense_like(xp, g, scaled_noise)
    library(xp).by_fours_of_rows("reparameterize_backward_heads", *g.shape, g, scaled_noise, d_heads, *g.shape)  # (R.2)
    return d_heads, None


def _kl_of_heads(xp, heads):
    return _kl_forward(xp, *_halves(heads))[0], (heads,)


def _kl_of_heads_backward(xp, saved, g, needs):
    (heads,) = saved
    d_heads = xp.empty(heads.shape, dtype=heads.dtype)
    mean, log_var = _halves(heads)
    _kl_gradients(xp, mean, log_var, g, _halves(d_heads))
    return (d_heads,)


def heads_of(inputs):
    """Return the tensor whose left and right half are the first two of ``inputs``, or None if there is none.

    It also returns None if any other input requires a gradient.
    """
    left, right, *others = inputs
    nodes = [tensor.node for tensor in (left, right) if getattr(tensor, "node", None)]
    if len(nodes) < 2 or any(getattr(other, "requires_grad", False) for other in others):
        return None
    if any(node.op.name != "slice" or node.inputs[0] is not nodes[0].inputs[0] for node in nodes):
        return None
    heads, k, everything = nodes[0].inputs[0], left.shape[-1], slice(None)
    indices = [node.saved[1] for node in nodes]
    halves = heads.shape == (len(left.data), 2 * k) and heads.data.flags.c_contiguous
    return heads if halves and indices == [(everything, slice(None, k)), (everything, slice(k, None))] else None


TWINS_OF_HEADS: dict[str, Op] = {
    "reparameterize": Op("reparameterize", _sample_of_heads, _sample_of_heads_backward, ("heads", "noise")),
    "kl_standard_normal": Op("kl_standard_normal", _kl_of_heads, _kl_of_heads_backward, ("heads",)),
}


# The mean of all -------------------------------------------------------------------------------------------------------------


def _mean_forward(xp, x, axis=None, keepdims=False):
    out = xp.empty((), dtype=x.dtype)
    library(xp).by_blocks("mean", 1, x, out, x.size)
    return out, (x.shape,)


def _mean_backward(xp, saved, g, needs):
    (shape,) = saved
    return (xp.broadcast_to(g / math.prod(shape), shape),)


def _mean_covers(xp, x, axis=None, keepdims=False):
    """Tell whether one block can add up all numbers: for a large array, one block alone would be slow."""
    return is_dense(x) and axis is None and not keepdims and x.size <= 2**14


TWINS: dict[str, Twin] = {
    twin.op.name: twin
    for twin in (
        *LAYER_TWINS,
        Twin(Op("mean", _mean_forward, _mean_backward, ("x",)), _mean_covers),
        *(Twin(_activation(name, saves_result=True), _activation_covers) for name in ("relu", "tanh")),
        *(Twin(_activation(name, saves_result=False), _activation_covers) for name in ("sigmoid", "softplus")),
        Twin(Op("bernoulli_nll", _bernoulli_forward, _bernoulli_backward, ("x", "logits")), _bernoulli_covers),
        Twin(Op("reparameterize", _sample_forward, _sample_backward, ("mean", "log_var", "noise")), _sample_covers),
        Twin(Op("kl_standard_normal", _kl_forward, _kl_backward, ("mean", "log_var")), _kl_covers),
    )
}
