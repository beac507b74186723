"""Penalties that models add to a loss (A.2), and gradients that are deliberately not derivatives (A.7, Q.1, estimators of M.6)."""

from __future__ import annotations

import math

from minivae.checks import check_int, check_real, reject
from minivae.op import Op


def absolute_forward(xp, x):
    """Absolute value, elementwise: the L1 penalties (A.2, A.3).

    out = |x|              ∂out/∂x = sign x

    Why: x on one side of 0 and −x on the other.  At the kink any slope in [−1, 1] is a subgradient; we take 0, so a number that
    has reached zero stays there.
    Shapes: any.  Saved: x.
    Source: Tibshirani 1996 for its use as a penalty.
    """
    return xp.abs(x), (x,)


def absolute_backward(xp, saved, g, needs):
    (x,) = saved
    return (g * xp.sign(x),)


def sparsity_kl_forward(xp, logits, target=0.05):
    """Divergence of the units' mean activity from a small target, for sigmoid units h = sigmoid(ℓ), from logits: one number.

    (A.2)  out = Σ_j KL(ρ ‖ ρ̂_j) = Σ_j ρ log(ρ/ρ̂_j) + (1 − ρ) log((1 − ρ)/(1 − ρ̂_j)),    ρ̂_j = (1/n) Σ_i h_ij

        ∂out/∂ℓ_ij = h_ij (1 − h_ij) [ (1 − ρ) / Σ_i (1 − h_ij)  −  ρ / Σ_i h_ij ]

    Why: a unit should be on for the share ρ of the examples, so each unit j is averaged over the *batch*.  Then
    ∂out/∂ρ̂ = (1 − ρ)/(1 − ρ̂) − ρ/ρ̂, ∂ρ̂_j/∂h_ij = 1/n, and the sigmoid's slope is h (1 − h).
    Shapes: logits (n, k), the result ().  Saved: log h, log (1 − h), log Σ h, log Σ (1 − h), ρ, dtype.
    Numerics: log h = min(ℓ, 0) − log(1 + e^−|ℓ|), and log(1 − h) the same at −ℓ, have full precision for any ℓ.  The
    means are log-sum-exps of these and the slope is exponentials of their differences: 1 − h is never formed from an h that has
    rounded to 1.  In float64, since logarithms of similar size are subtracted.
    Errors: InputError without an example to average, and unless 0 < ρ < 1.
    Source: Ng 2011, "Sparse autoencoder", CS294A lecture notes.
    """
    check_real("sparsity_kl: target", target, 0, 1, open_low=True)
    if target == 1 or not len(logits):
        reject("sparsity_kl", "at least one example and a target below 1", f"shape {logits.shape}, target {target}")
    x = logits.astype("float64")
    log1p_u = xp.log1p(xp.exp(-xp.abs(x)))
    log_on, log_off = xp.minimum(x, 0) - log1p_u, xp.minimum(-x, 0) - log1p_u
    sum_on, sum_off = _logsumexp_rows(xp, log_on), _logsumexp_rows(xp, log_off)
    log_n = math.log(len(logits))
    on = target * (math.log(target) - (sum_on - log_n))
    off = (1 - target) * (math.log1p(-target) - (sum_off - log_n))
    return (on + off).sum().astype(logits.dtype), (log_on, log_off, sum_on, sum_off, target, logits.dtype)  # (A.2)


def sparsity_kl_backward(xp, saved, g, needs):
    log_on, log_off, sum_on, sum_off, target, dtype = saved
    rise = (1 - target) * xp.exp(log_off - sum_off) * xp.exp(log_on)
    fall = target * xp.exp(log_on - sum_on) * xp.exp(log_off)
    return ((g * (rise - fall)).astype(dtype),)


def _logsumexp_rows(xp, x):
    top = x.max(axis=0)
    return top + xp.log(xp.exp(x - top).sum(axis=0))


def quantize_forward(xp, x, levels):
    """Rounding to the nearest of L evenly spaced levels from −1 to 1, with the straight-through gradient: not a derivative.

    (A.7)  out = Δ round((x + 1)/Δ) − 1,   Δ = 2/(L − 1)        backward: ∂L/∂x := ∂L/∂out

    Why: the derivative of a staircase is zero wherever it exists, and nothing could be learned through it.  So the backward is, on
    purpose, that of the identity: the rounding is treated as an offset out − x that does not depend on x.  Finite differences must
    disagree; what can be checked is the derivative of an objective in which these offsets are held fixed.
    Shapes: any.  Saved: nothing.  Domain: [−1, 1], the range of a tanh; the grid continues beyond it.
    Numerics: a tie goes to the level with the even number.
    Errors: InputError unless ``levels`` is a whole number of at least 2.
    Source: Bengio, Léonard & Courville 2013; van den Oord, Vinyals & Kavukcuoglu 2017.
    """
    step = 2 / (check_int("quantize: levels", levels, 2) - 1)
    return step * xp.round((x + 1) / step) - 1, ()  # (A.7)


def quantize_backward(xp, saved, g, needs):
    return (g,)


def scale_gradient_forward(xp, x, scale):
    """The identity, whose cotangent is multiplied by given numbers: not a derivative.

    out = x                backward: ∂L/∂x := scale ⊙ ∂L/∂out

    Why: some gradient estimators weigh what flows into the samples z differently from what flows into the decoder (M.6, see
    ``minivae.models.iwae``), and this op stands between the two.  Finite differences must disagree with it, by exactly that factor.
    Shapes: ``scale`` an array that broadcasts to the shape of x.  Saved: the scale.  It is read only when backward runs,
    so it may be filled in after forward, once the numbers that it depends on are known.
    Source: Tucker, Lawson, Gu & Maddison 2019, for its use.
    """
    return x, (scale,)


def scale_gradient_backward(xp, saved, g, needs):
    (scale,) = saved
    return (g * scale,)


def straight_through_forward(xp, x, value):
    """A given value in place of x, with the gradient passed straight to x: not a derivative.

    out = value            backward: ∂L/∂x := ∂L/∂out

    Why: value stands for a step that nothing could be learned through, such as the nearest code of a codebook (Q.5) or the most
    probable category (Q.1), whose derivative by x is zero.  The backward treats value − x as an offset that does not depend on x.
    Finite differences must disagree: to them x has no influence.
    Shapes: ``value`` an array of the shape of x.  Saved: nothing.
    Errors: InputError for another shape.
    Source: Bengio, Léonard & Courville 2013; van den Oord, Vinyals & Kavukcuoglu 2017.
    """
    if value.shape != x.shape:
        reject("straight_through: value", f"the shape of x, {x.shape}", value.shape)
    return value, ()


def straight_through_backward(xp, saved, g, needs):
    return (g,)


absolute = Op("absolute", absolute_forward, absolute_backward, args=("x",))
sparsity_kl = Op("sparsity_kl", sparsity_kl_forward, sparsity_kl_backward, args=("logits",))
quantize = Op("quantize", quantize_forward, quantize_backward, args=("x",))
scale_gradient = Op("scale_gradient", scale_gradient_forward, scale_gradient_backward, args=("x",))
straight_through = Op("straight_through", straight_through_forward, straight_through_backward, args=("x",))
