"""Sampling as a differentiable function: the random noise is an argument.

A draw z ~ q(z|x) cannot be differentiated, but a deterministic map of its parameters and of independent noise can.
Because the noise is an argument, these ops are pure and finite differences can check them.
"""

from __future__ import annotations

from minivae.op import Op
from minivae.ops.broadcast import unbroadcast


def reparameterize_forward(xp, mean, log_var, noise):
    """Sample of a diagonal Gaussian from its mean, its log-variance and standard normal noise.

    (R.1)  z = μ + σ ⊙ ε,    σ = exp(½ log σ²),    ε ~ N(0, I)
    (R.2)  ∂z/∂μ = 1         ∂z/∂log σ² = ½ σ ⊙ ε         ∂z/∂ε = σ

    Why: an affine map of a Gaussian is Gaussian with mean μ and standard deviation σ.  Note the ½: exp(log σ²) is the *variance*,
    the standard deviation is its root.  With s = log σ², dσ/ds = d exp(½ s)/ds = ½ exp(½ s) = ½ σ.
    Shapes: any that broadcast; (n, k) each for one sample per example, noise (s, n, k) for s samples.
    Saved: σ ε, σ, and the three shapes.
    Numerics: exp of half the log-variance, not the root of its exponential: twice the range before overflow.
    Source: Kingma & Welling 2014, section 2.4.
    """
    std = xp.exp(0.5 * log_var)
    scaled_noise = std * noise
    return mean + scaled_noise, (scaled_noise, std, mean.shape, log_var.shape, noise.shape)  # (R.1)


def reparameterize_backward(xp, saved, g, needs):
    scaled_noise, std, mean_shape, log_var_shape, noise_shape = saved
    return (
        unbroadcast(g, mean_shape) if needs[0] else None,
        unbroadcast(0.5 * g * scaled_noise, log_var_shape) if needs[1] else None,  # (R.2)
        unbroadcast(g * std, noise_shape) if needs[2] else None,
    )


def reparameterize_variance_forward(xp, mean, raw, noise):
    """Sample of a diagonal Gaussian whose *variance* is the softplus of a raw network output.

    (R.3)  z = μ + √v ⊙ ε,   v = softplus(raw)
           ∂z/∂μ = 1         ∂z/∂raw = ε sigmoid(raw) / (2 √v)         ∂z/∂ε = √v

    Why: softplus makes any real number positive, d√v/dv = 1/(2 √v) and dv/draw = sigmoid(raw).
    Shapes: any that broadcast.  Saved: √v, d√v/draw, the noise and the shapes of mean and raw.
    Numerics: where raw → −∞, v → e^raw underflows and sigmoid/√v becomes 0/0.  Below −40 softplus is e^raw to the last bit of a
    double, so √v = √softplus(r) · e^{½ (raw − r)} with r = max(raw, −40) is exact, and so is sigmoid(r)/softplus(r) = 1.
    Source: the variance form of the reparameterisation trick.
    """
    r = xp.maximum(raw, -40.0)
    u = xp.exp(-xp.abs(r))
    variance = xp.maximum(r, 0) + xp.log1p(u)
    std = xp.sqrt(variance) * xp.exp(0.5 * (raw - r))
    sigmoid = xp.maximum(u, r > 0) / (1 + u)
    slope = 0.5 * std * (sigmoid / variance)
    return mean + std * noise, (std, slope, noise, mean.shape, raw.shape)  # (R.3)


def reparameterize_variance_backward(xp, saved, g, needs):
    std, slope, noise, mean_shape, raw_shape = saved
    return (
        unbroadcast(g, mean_shape) if needs[0] else None,
        unbroadcast(g * noise * slope, raw_shape) if needs[1] else None,
        unbroadcast(g * std, noise.shape) if needs[2] else None,
    )


reparameterize = Op("reparameterize", reparameterize_forward, reparameterize_backward, args=("mean", "log_var", "noise"))
reparameterize_variance = Op(
    "reparameterize_variance",
    reparameterize_variance_forward,
    reparameterize_variance_backward,
    args=("mean", "raw", "noise"),
)
