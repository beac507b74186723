"""Densities of mixtures of diagonal Gaussians: the aggregate posterior (T.2) is one, and so is a prior with learned means."""

from __future__ import annotations

import math
from collections.abc import Iterator

from minivae.checks import reject
from minivae.op import Op
from minivae.ops.broadcast import unbroadcast

LOG_2PI = math.log(2 * math.pi)
BLOCK = 2**17  # most pairs of numbers in memory at a time, so that memory does not grow with n · m · k


def log_mixture_forward(xp, z, mean, log_var, log_weights):
    """Log density of a mixture of m diagonal Gaussians at n points, each with weights of its own, one value per point.

    (T.5)  out_i = log Σ_m exp(log w_im + ℓ_im),   ℓ_im = −½ Σ_j [ log 2π + log σ²_mj + (z_ij − μ_mj)²/σ²_mj ]

        r_im = exp(log w_im + ℓ_im − out_i), the share of component m in the density at point i;  Σ_m r_im = 1
        ∂out_i/∂z_ij = −Σ_m r_im (z_ij − μ_mj)/σ²_mj            ∂out_i/∂log w_im = r_im
        ∂out_i/∂μ_mj = r_im (z_ij − μ_mj)/σ²_mj                 ∂out_i/∂log σ²_mj = ½ r_im [ (z_ij − μ_mj)²/σ²_mj − 1 ]

    Why: the slope of a log-sum-exp in its terms is the softmax r, and each term is a Gaussian log density with the slopes of L.2.
    Shapes: z (n, …, k), mean and log_var (m, …, k), log_weights broadcasts to (n, m); the result (n, …).  The axes between are
    separate densities: z[..., None] with mean[..., None] and log_var[..., None] gives the k marginals, (n, k).
    Saved: the arguments and the result.
    Numerics: in float64, as differences and not as an expanded square, whose terms cancel where σ is small.  The n × m × k numbers
    are made in blocks of rows, forwards and again backwards.  A weight of 0 is log w = −inf.
    Errors: InputError for shapes that do not fit together and for no component.
    Source: Chen, Li, Grosse & Duvenaud 2018 for its use on a minibatch; Tomczak & Welling 2018 as a prior.
    """
    if not len(mean) or z.ndim < 2 or mean.shape != log_var.shape or z.shape[1:] != mean.shape[1:]:
        got = f"z {z.shape}, mean {mean.shape}, log_var {log_var.shape}"
        reject("log_mixture", "arguments whose shapes fit together, z (n, …, k), mean and log_var (m, …, k)", got)
    weights = xp.broadcast_to(log_weights, (len(z), len(mean)))
    out = xp.empty(z.shape[:-1])
    for rows in _blocks(z.shape, len(mean)):
        _, _, terms = _terms(xp, z[rows], mean, log_var, weights[rows])
        top = _finite(xp, terms.max(axis=1))
        out[rows] = top + xp.log(xp.exp(terms - top[:, None]).sum(axis=1))  # (T.5)
    return out.astype(z.dtype), (z, mean, log_var, log_weights, out)


def log_mixture_backward(xp, saved, g, needs):
    z, mean, log_var, log_weights, out = saved
    weights = xp.broadcast_to(log_weights, (len(z), len(mean)))
    dz, dmean, dlog_var, dweights = (xp.zeros(shape) for shape in (z.shape, mean.shape, mean.shape, weights.shape))
    for rows in _blocks(z.shape, len(mean)):
        distance, pull, terms = _terms(xp, z[rows], mean, log_var, weights[rows])
        share = xp.exp(terms - _finite(xp, out[rows])[:, None]) * g[rows][:, None]
        pull *= share[..., None]
        dz[rows] = -pull.sum(axis=1)
        dmean += pull.sum(axis=0)
        if needs[2]:
            dlog_var += 0.5 * ((pull * distance).sum(axis=0) - share.sum(axis=0)[..., None])
        dweights[rows] = share.sum(axis=tuple(range(2, share.ndim)))
    gradients = (dz, dmean, dlog_var, unbroadcast(dweights, log_weights.shape))
    return tuple(gradient.astype(z.dtype) if need else None for gradient, need in zip(gradients, needs, strict=True))


def _terms(xp, z, mean, log_var, weights):
    """Return z − μ and (z − μ)/σ², both (r, m, …, k), and log w + ℓ, (r, m, …), for a block of r rows."""
    distance = z[:, None].astype("float64") - mean
    pull = distance * xp.exp(-log_var.astype("float64"))
    norm = log_var.sum(axis=-1, dtype="float64") + LOG_2PI * log_var.shape[-1]
    logs = -0.5 * ((distance * pull).sum(axis=-1) + norm)
    return distance, pull, weights.reshape(*weights.shape, *(1,) * (z.ndim - 2)) + logs


def _finite(xp, x):
    return xp.where(xp.isfinite(x), x, xp.zeros_like(x))


def _blocks(shape: tuple[int, ...], m: int) -> Iterator[slice]:
    """Yield slices that cover the first axis of ``shape``, of as many rows as a block has room for."""
    rows = max(1, BLOCK // max(1, m * math.prod(shape[1:])))
    return (slice(start, start + rows) for start in range(0, shape[0], rows))


log_mixture = Op("log_mixture", log_mixture_forward, log_mixture_backward, args=("z", "mean", "log_var", "log_weights"))
