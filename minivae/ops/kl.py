"""Kullback–Leibler divergences between diagonal Gaussians, in nats, one value per row.

(K.4)  KL(q ‖ p) ≥ 0, and 0 only for q = p: a sum of  h(s) = eˢ − 1 − s  and of squared distances, terms that are never negative

They are computed in float64 for any dtype.  Latents are few, so this costs nothing, and h suffers from cancellation around s = 0,
where a posterior is close to its prior.
"""

from __future__ import annotations

from minivae.op import Op
from minivae.ops.broadcast import over_terms, unbroadcast


def kl_standard_normal_forward(xp, mean, log_var):
    """KL divergence of a diagonal Gaussian from the standard normal, one value per row.

    (K.1)  kl_i = −½ Σ_j [ 1 + log σ²_ij − μ²_ij − σ²_ij ] = ½ Σ_j [ μ²_ij + h(log σ²_ij) ],   h(s) = eˢ − 1 − s
    (K.2)  ∂kl_i/∂μ_ij = μ_ij        ∂kl_i/∂log σ²_ij = ½ (σ²_ij − 1)

    Why: KL(q ‖ p) = E_q[log q − log p].  Per dimension, with z = μ + σ ε:
        log q(z) = −½ (log 2π + log σ² + ε²),    log p(z) = −½ (log 2π + (μ + σ ε)²).
    The expectations E[ε] = 0, E[ε²] = 1 leave ½ (−log σ² − 1 + μ² + σ²).  Its slope in s = log σ² is ½ (eˢ − 1).
    Shapes: mean and log_var broadcast to (…, k), the result (…).  Saved: both arguments.
    Numerics: expm1 for eˢ − 1 here and in K.2; see h below for small s.  Domain: all reals; overflows to inf where e^log_var does.
    Source: Kingma & Welling 2014, appendix B.
    """
    terms = xp.square(mean.astype("float64")) + _h(xp, log_var.astype("float64"))
    return (0.5 * terms.sum(axis=-1)).astype(mean.dtype), (mean, log_var)  # (K.1)


def kl_standard_normal_backward(xp, saved, g, needs):
    mean, log_var = saved
    g = over_terms(xp, g, mean.shape, log_var.shape)
    return (
        unbroadcast(g * mean, mean.shape) if needs[0] else None,
        unbroadcast(0.5 * g * xp.expm1(log_var), log_var.shape) if needs[1] else None,  # (K.2)
    )


def kl_normal_forward(xp, mean, log_var, prior_mean, prior_log_var):
    """KL divergence between two diagonal Gaussians, KL(N(μ, σ²) ‖ N(m, τ²)), one value per row.

    (K.3)  kl_i = ½ Σ_j [ (μ − m)² / τ² + h(log σ² − log τ²) ],   h(s) = eˢ − 1 − s

        ∂kl/∂μ = (μ − m)/τ²                ∂kl/∂log σ² = ½ (σ²/τ² − 1)
        ∂kl/∂m = −(μ − m)/τ²               ∂kl/∂log τ² = ½ (1 − σ²/τ² − (μ − m)²/τ²)

    Why: the divergence does not change when both variables are shifted by m and divided by τ.  That turns the second Gaussian into
    the standard normal and the first into N((μ − m)/τ, σ²/τ²): put this into K.1.  With m = 0 and τ = 1 it is K.1 again.
    Shapes: any that broadcast to (…, k), the result (…).  Saved: the distance over τ², that times the distance,
    the ratio of the variances as a logarithm, and the shapes.
    Numerics: variances enter only as e^{log σ² − log τ²}, which is right as long as the ratio is in range.
    Source: the general Gaussian divergence, e.g. Kullback 1959.
    """
    ratio = log_var.astype("float64") - prior_log_var
    distance = mean.astype("float64") - prior_mean
    pull = distance * xp.exp(-prior_log_var.astype("float64"))
    spread = distance * pull
    saved = (pull, spread, ratio, mean.dtype, (mean.shape, log_var.shape, prior_mean.shape, prior_log_var.shape))
    return (0.5 * (spread + _h(xp, ratio)).sum(axis=-1)).astype(mean.dtype), saved  # (K.3)


def kl_normal_backward(xp, saved, g, needs):
    pull, spread, ratio, dtype, shapes = saved
    g = over_terms(xp, g, *shapes)
    excess = xp.expm1(ratio)  # σ²/τ² − 1
    gradients = (
        lambda: g * pull,
        lambda: 0.5 * g * excess,
        lambda: -g * pull,
        lambda: -0.5 * g * (excess + spread),
    )
    return tuple(
        unbroadcast(gradient(), shape).astype(dtype) if need else None
        for gradient, shape, need in zip(gradients, shapes, needs, strict=True)
    )


def _h(xp, s):
    """Return eˢ − 1 − s to twelve digits, more than float32 shows: from expm1, or where that cancels, from s²/2! + s³/3! + ….

    Above |s| = 1e-3 the subtraction loses three digits of sixteen at most; below, the first dropped term is under 1e-14.
    """
    series = s * s * (1 / 2 + s * (1 / 6 + s * (1 / 24 + s / 120)))
    return xp.where(xp.abs(s) < 1e-3, series, xp.expm1(s) - s)  # (K.4)


kl_standard_normal = Op("kl_standard_normal", kl_standard_normal_forward, kl_standard_normal_backward, args=("mean", "log_var"))
kl_normal = Op("kl_normal", kl_normal_forward, kl_normal_backward, args=("mean", "log_var", "prior_mean", "prior_log_var"))
