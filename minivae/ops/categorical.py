"""A latent variable with K categories: a sample of it that gradients can pass, and its divergence from the uniform distribution.

The encoder gives K logits ℓ, and the probabilities are π = softmax(ℓ).  A value of the variable is a one-hot vector z of K numbers.

(Q.1)  z = one-hot(argmax_c ℓ_c + g_c),   g_c = −log(−log u_c),   u_c uniform on (0, 1),   has   P(z_c = 1) = π_c

Why: g_c is a Gumbel variable, with P(g_c < t) = exp(−e^{−t}).  Category c wins with the value t if all others stay below it, which
has the probability  Π_j exp(−e^{ℓ_j − t}) = exp(−S e^{−t})  with S = Σ_j e^{ℓ_j}.  Integrated over the density of c's value,
∫ e^{ℓ_c − t} exp(−S e^{−t}) dt = e^{ℓ_c} / S = π_c.
"""

from __future__ import annotations

import math

from minivae.checks import check_real
from minivae.op import Op
from minivae.ops.broadcast import unbroadcast


def gumbel_softmax_forward(xp, logits, noise, temperature=1.0):
    """Relaxed sample of a categorical variable from its logits and Gumbel noise: positive numbers that sum to 1.

    (Q.2)  z = softmax((ℓ + g) / τ)

        ∂L/∂ℓ = ∂L/∂g = z ⊙ (G − Σ_c z_c G_c) / τ     with G = ∂L/∂z

    Why: the argmax in Q.1 has a derivative of zero.  The softmax has a useful one, and tends to that argmax as τ → 0; but its
    gradients then grow like 1/τ, and at any τ > 0 it is a sample of another distribution: less noise is paid for with a bias.
    With a = (ℓ + g)/τ,  ∂z_c/∂a_j = z_c (δ_cj − z_j), and G is summed over c.
    Shapes: logits and noise broadcast to (…, K), the result the same.  Saved: z in float64, τ, the dtype and the two shapes.
    Numerics: the largest exponent is subtracted first, so nothing overflows.  In float64, since a small τ magnifies the rounding of
    ℓ + g; categories are few.
    Errors: InputError unless τ is above 0.
    Source: Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017.
    """
    check_real("gumbel_softmax: temperature", temperature, 0, open_low=True)
    scaled = (logits.astype("float64") + noise) / temperature
    grown = xp.exp(scaled - scaled.max(axis=-1, keepdims=True))
    z = grown / grown.sum(axis=-1, keepdims=True)  # (Q.2)
    return z.astype(logits.dtype), (z, temperature, logits.dtype, logits.shape, noise.shape)


def gumbel_softmax_backward(xp, saved, g, needs):
    z, temperature, dtype, logits_shape, noise_shape = saved
    slope = z * (g - (z * g).sum(axis=-1, keepdims=True)) / temperature
    return (
        unbroadcast(slope, logits_shape).astype(dtype) if needs[0] else None,
        unbroadcast(slope, noise_shape).astype(dtype) if needs[1] else None,
    )


def kl_uniform_forward(xp, logits):
    """KL divergence of a categorical distribution from the uniform one, from logits: one value per distribution.

    (Q.3)  kl = Σ_c π_c (log π_c + log K) = log K − H(π),   π = softmax(ℓ)

        ∂kl/∂ℓ_c = π_c (log π_c + log K − kl)

    Why: KL(q ‖ p) = E_q[log q − log p], and here log p = −log K for every category, so the expectation is a sum of K terms: exact,
    without a sample.  It is 0 for equal logits and log K for a category that is certain.  For the slope, the derivative by π_c is
    log π_c + log K + 1 and ∂π_c/∂ℓ_j = π_c (δ_cj − π_j); the 1 drops out because the π_c sum to 1.
    Shapes: logits (…, K), the result (…).  Saved: π, log π + log K and the divergence, in float64.
    Numerics: log π = ℓ − log Σ e^ℓ never takes the logarithm of a probability that has rounded to 0.  In float64, since the terms
    cancel where π is almost uniform.
    Source: Jang, Gu & Poole 2017.
    """
    shifted = logits.astype("float64") - logits.max(axis=-1, keepdims=True)
    log_p = shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    excess, p = log_p + math.log(logits.shape[-1]), xp.exp(log_p)
    kl = (p * excess).sum(axis=-1)  # (Q.3)
    return kl.astype(logits.dtype), (p, excess, kl, logits.dtype)


def kl_uniform_backward(xp, saved, g, needs):
    p, excess, kl, dtype = saved
    return ((g[..., None] * p * (excess - kl[..., None])).astype(dtype),)


gumbel_softmax = Op("gumbel_softmax", gumbel_softmax_forward, gumbel_softmax_backward, args=("logits", "noise"))
kl_uniform = Op("kl_uniform", kl_uniform_forward, kl_uniform_backward, args=("logits",))
