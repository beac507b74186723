"""The claim behind the reparameterisation: of two unbiased gradients of E_q[−log p(x|z)], it has by far the smaller variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.claims.lab import Lab
from benchmarks.claims.pictures import panels, points
from benchmarks.claims.record import Claim, Measured, above
from minivae.autodiff import Tensor, backward
from minivae.backend import to_device, to_numpy
from minivae.models import VAE
from minivae.ops import sum_

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES, EXAMPLES = 200, 20
PARAMETERS, RIVALS = ("μ", "log σ²"), ("score function", "with baseline")


def estimates(model: VAE, x: np.ndarray, noise: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return estimator → its estimates of the gradients of E_q[f(z)], f = −log p(x|z), by μ and by log σ²: each (s, n, k).

    reparameterised   z = μ + σ ε:   ∇_μ = ∇f(z)            ∇_log σ² = ½ σ ε ∇f(z)            (R.2)
    score function    f ∇ log q(z):  ∇_μ = f(z) ε / σ       ∇_log σ² = ½ f(z) (ε² − 1)
    with baseline     the score function, with f − the mean of f over the other samples in place of f
    """
    mean, log_var = model.encode(x)
    std = np.exp(0.5 * log_var)
    z = Tensor(to_device(model.xp_, mean + std * noise), requires_grad=True)  # (R.1)
    f = model.likelihood_.nll(to_device(model.xp_, x), model.decoder(z, None))
    backward(sum_(f))
    slope = to_numpy(z.grad)
    value = to_numpy(f.data)[..., None]
    others = (value.sum(axis=0) - value) / (len(value) - 1)
    return {
        "reparameterised": (slope, 0.5 * std * noise * slope),
        "score function": (value * noise / std, 0.5 * value * (noise**2 - 1)),
        "with baseline": ((value - others) * noise / std, 0.5 * (value - others) * (noise**2 - 1)),
    }


def reparameterisation(lab: Lab) -> Measured:
    model, x = lab.fit(VAE), lab.test.x[:EXAMPLES]
    noise = lab.rng().standard_normal((SAMPLES, len(x), model.latent_dim), dtype="float32")
    figures = {}
    for name, gradients in estimates(model, x, noise).items():
        for by, g in zip(PARAMETERS, gradients):
            figures[f"log₁₀ variance by {by}, {name}"] = float(np.log10(g.var(axis=0, ddof=1, dtype="float64").mean()))
    for by in PARAMETERS:
        for rival in RIVALS:
            gap = figures[f"log₁₀ variance by {by}, {rival}"] - figures[f"log₁₀ variance by {by}, reparameterised"]
            figures[f"decades of variance by {by}, {rival}"] = gap
    return Measured(figures)


def picture(values, shown) -> Figure:
    figure, axes = panels(2)
    for panel, by in zip(axes, PARAMETERS):
        prefix = f"log₁₀ variance by {by}, "
        points(panel, values, {name: name.removeprefix(prefix) for name in values if name.startswith(prefix)}, f"Gradient by {by}")
        panel.set_xlabel("log₁₀ of the variance of one sample's gradient")
    return figure


CLAIMS = (
    Claim(
        "reparameterisation",
        "all four texts (R.1, R.2)",
        "Gradients through z = μ + σ ε vary less than those of the score function, which does not need the trick.",
        reparameterisation,
        {f"decades of variance by {by}, {rival}": above(0.0) for by in PARAMETERS for rival in RIVALS},
        picture,
    ),
)
