"""Negative log-likelihoods −log p(x|z) in nats, one value per example: summed over features, never averaged.

They take logits and log-variances, as a network puts them out.  Probabilities would have to be clipped away from 0 and 1.
"""

from __future__ import annotations

import math

from minivae.op import Op
from minivae.ops.broadcast import over_terms, unbroadcast

LOG_2PI = math.log(2 * math.pi)
HALVINGS = 5


def bernoulli_nll_forward(xp, x, logits):
    """Negative log-likelihood of independent Bernoulli pixels, from logits.

    (L.1)  nll_i = Σ_j softplus(ℓ_ij) − x_ij ℓ_ij = Σ_j ([ℓ > 0] − x) ℓ + log(1 + u),   u = e^−|ℓ|
           ∂nll_i/∂ℓ_ij = sigmoid(ℓ_ij) − x_ij        ∂nll_i/∂x_ij = −ℓ_ij

    Why: with p = sigmoid(ℓ), log p = −softplus(−ℓ) = ℓ − softplus(ℓ) and log(1 − p) = −softplus(ℓ), so
    −x log p − (1 − x) log(1 − p) = softplus(ℓ) − x ℓ; and softplus' = sigmoid.  For x between 0 and 1 (grey pixels) it is the
    cross-entropy, whose smallest value is the entropy of the pixels, not 0.
    Shapes: x and logits (…, d), which broadcast; the result (…).  Saved: x, logits and u.
    Numerics: softplus(ℓ) = [ℓ > 0] ℓ + log(1 + u).  Its first part is combined with x ℓ before the two can cancel: [ℓ > 0] − x is
    exact where it matters, both terms are non-negative for x in [0, 1], and the sum keeps its relative precision up to ℓ = ±1e4.
    It is added up in float64: column by column, as in Fortran order, 784 roundings to float32 make ten units in the last place.
    The same u gives the sigmoid as max(u, [ℓ > 0]) / (1 + u): one exponential serves value and gradient.
    Tuned: the logarithms are taken of products, 32 pixels each; NumPy's log1p is by far the slowest of these passes.
    Source: Kingma & Welling 2014, appendix C.1.
    """
    u = xp.exp(-xp.abs(logits))
    terms = ((logits > 0) - x) * logits
    times = terms.shape[-1] // max(1, u.shape[-1])  # 1, or d where one logit serves all pixels
    nll = terms.sum(axis=-1, dtype="float64") + times * _log1p_of_groups(xp, u).sum(axis=-1, dtype="float64")  # (L.1)
    return nll.astype(terms.dtype), (x, logits, u)


def _log1p_of_groups(xp, u):
    """Return fewer numbers along the last axis with the sum of log(1 + u), for u from 0 to 1.

    A pair (a, b) becomes a + b + ab, since (1 + a)(1 + b) = 1 + (a + b + ab).  All terms are positive, so nothing cancels, and a
    product of 32 factors is at most 2³².
    """
    for _ in range(HALVINGS):
        half = u.shape[-1] // 2
        a, b, odd = u[..., :half], u[..., half : 2 * half], u[..., 2 * half :]
        pairs = a + b
        pairs += a * b
        u = xp.concatenate([pairs, odd], axis=-1) if odd.size else pairs
    return xp.log1p(u)


def bernoulli_nll_backward(xp, saved, g, needs):
    x, logits, u = saved
    g = over_terms(xp, g, x.shape, logits.shape)
    dx = unbroadcast(-g * logits, x.shape) if needs[0] else None
    if not needs[1]:
        return dx, None
    residual = xp.maximum(u, logits > 0) / (1 + u) - x
    residual *= g
    return dx, unbroadcast(residual, logits.shape)


def gaussian_nll_forward(xp, x, mean, log_var):
    """Negative log-likelihood of independent Gaussian features, from mean and log-variance.

    (L.2)  nll_i = ½ Σ_j [ log 2π + log s² + (x − m)²/s² ]        s² per example and feature: log_var (n, d), the decoder's own
    (L.3)  one fixed s²: log_var a number; nll = ‖x − m‖²/(2 s²) + (d/2) log 2π s²
    (L.4)  one learned s²: log_var a parameter of shape ()
    (L.5)  "mean squared error + KL" is L.3 with a hidden s²: the constant that is left out is log s².

        ∂nll/∂m = −(x − m)/s²        ∂nll/∂log s² = ½ (1 − (x − m)²/s²)        ∂nll/∂x = (x − m)/s²

    Why: minus the logarithm of the Gaussian density (2π s²)^−½ exp(−(x − m)²/2s²).  With v = log s², d(r² e^−v)/dv = −r² e^−v.
    Setting the mean of ∂nll/∂log s² to zero gives L.4's optimum: s² is the mean squared error.
    Shapes: x, mean and log_var broadcast to (…, d); the result (…).  The gradient of a scalar is summed over all entries.
    Saved: both slopes, (x − m)/s² and ½ (1 − (x − m)²/s²), and the shapes.
    Numerics: the terms have both signs (a density may exceed 1), so they are formed and summed in float64 and rounded once;
    so is the second slope, whose two parts cancel where the residual is as large as s.
    Domain: log_var from −700 to 700; below, 1/s² is no longer a float64.
    Source: Kingma & Welling 2014, appendix C.2.
    """
    log_var = log_var if hasattr(log_var, "dtype") else xp.full((), log_var)  # made on the device, without a copy
    residual = x.astype("float64") - mean
    scaled = residual * xp.exp(-log_var.astype("float64"))
    square = residual * scaled
    terms = square + log_var
    terms += LOG_2PI
    slope = square
    slope *= -0.5
    slope += 0.5
    saved = (scaled.astype(mean.dtype), slope.astype(mean.dtype), (x.shape, mean.shape, log_var.shape))
    return (0.5 * terms.sum(axis=-1)).astype(mean.dtype), saved  # (L.2)


def gaussian_nll_backward(xp, saved, g, needs):
    scaled, slope, (x_shape, mean_shape, log_var_shape) = saved
    g = over_terms(xp, g, x_shape, mean_shape, log_var_shape)
    return (
        unbroadcast(g * scaled, x_shape) if needs[0] else None,
        unbroadcast(-g * scaled, mean_shape) if needs[1] else None,
        unbroadcast(g * slope, log_var_shape) if needs[2] else None,
    )


bernoulli_nll = Op("bernoulli_nll", bernoulli_nll_forward, bernoulli_nll_backward, args=("x", "logits"))
gaussian_nll = Op("gaussian_nll", gaussian_nll_forward, gaussian_nll_backward, args=("x", "mean", "log_var"))
