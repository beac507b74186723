"""Gradient estimators: unbiased ones whose variance differs by decades, and biased ones that are better than some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.claims.gradient_lab import (
    DRAWS,
    categorical_estimators,
    exact_categorical,
    exact_gaussian,
    figures_of,
    gaussian_estimators,
    repeated,
    twin,
)
from benchmarks.claims.lab import Lab
from benchmarks.claims.pictures import panels, points
from benchmarks.claims.record import Claim, Measured, above, below
from benchmarks.report import COLOURS
from minivae.autodiff import Tensor, backward
from minivae.backend import to_device, to_numpy
from minivae.models import VAE, CategoricalVAE
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


# The laboratory -------------------------------------------------------------------------------------------------------------------

BATCH, ESTIMATES = 8, 2000
FIGURES = ("bias", "resolution", "noise", "error")
# The smallest models whose gradients can be had exactly, with smooth activations for the quadrature.
# Half trained, since near the optimum there is no gradient left to be near to.
ONE_DIMENSION = {"latent_dim": 1, "activation": "tanh", "epochs": 20}
TWO_VARIABLES = {"latent_dim": 2, "n_categories": 4, "activation": "tanh", "epochs": 20}


def estimators(lab: Lab) -> Measured:
    """Measure bias and noise of every estimator against the exact gradient, on one batch."""
    x, rng = lab.test.x[:BATCH].astype("float64"), lab.rng()
    figures: dict[str, float] = {}

    def measure(group, made, at, exact):
        for name, estimator in made.items():
            found = figures_of(repeated(estimator, x, at, ESTIMATES, rng), exact[name] if isinstance(exact, dict) else exact)
            figures.update({f"{group}, {name}: {figure}": value for figure, value in found.items()})

    vae = twin(lab.fit(VAE, **ONE_DIMENSION), VAE)
    at = list(vae.encode(x))
    elbo, weighted = (exact_gaussian(vae, x, at, k) for k in (1, DRAWS))
    made = gaussian_estimators(vae)
    measure("Gaussian", made, at, {name: weighted if name in ("IWAE", "DReG") else elbo for name in made})
    categorical = twin(lab.fit(CategoricalVAE, **TWO_VARIABLES), CategoricalVAE)
    logits = categorical.logits(x).data
    measure("categorical", categorical_estimators(categorical), [logits], exact_categorical(categorical, x, logits))
    for rival, name in RIVALRIES:
        ratio = figures[f"{name}: error"] / figures[f"{rival}: error"]
        figures[f"{name} against {rival}: log₁₀ of the errors"] = float(np.log10(ratio))
    return Measured(figures)


RIVALRIES = (
    ("Gaussian, score function", "Gaussian, reparameterisation"),
    ("Gaussian, IWAE", "Gaussian, DReG"),
    ("categorical, score function", "categorical, straight-through, τ = 1"),
    ("categorical, score function", "categorical, Gumbel-softmax, τ = 0.5"),
)


def table_of_estimators(values):
    """Return the header and the rows of a table with a line for each estimator, averaged over seeds."""
    means = {name: float(np.mean(of_seeds)) for name, of_seeds in values.items()}
    rows = []
    for name in names_of(values):
        group, _, estimator = name.partition(", ")
        rows.append((group, estimator, *(means[f"{name}: {figure}"] for figure in FIGURES)))
    return ("latents", "estimator", "bias", "± of the bias", "noise", "error"), rows


def names_of(values, group=""):
    return [name.removesuffix(": noise") for name in values if name.startswith(group) and name.endswith(": noise")]


def picture_of_estimators(values, shown) -> Figure:
    figure, axes = panels(2, width=5.2, height=3.6)
    for panel, group in zip(axes, ("Gaussian", "categorical")):
        names = names_of(values, group)
        for row, name in enumerate(names):
            bias, resolution, noise, _ = (np.asarray(values[f"{name}: {figure}"]) for figure in FIGURES)
            known = bias > 2 * resolution
            panel.plot(noise, [row] * len(noise), "o", color=COLOURS[0], label="noise" if row == 0 else None)
            panel.plot(bias[known], [row] * known.sum(), "D", color=COLOURS[1])
            panel.plot(2 * resolution[~known], [row] * (~known).sum(), "<", color=COLOURS[1], markerfacecolor="none")
        panel.plot([], [], "D", color=COLOURS[1], label="bias")
        panel.plot([], [], "<", color=COLOURS[1], markerfacecolor="none", label="bias: none seen, less than this")
        panel.set_xscale("log")
        panel.axvline(1, color="#777777", linewidth=0.8, linestyle=":")
        panel.set_yticks(range(len(names)), [name.removeprefix(f"{group}, ") for name in names])
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_xlabel("in units of the length of the exact gradient")
        panel.set_title(
            f"{group} latents, gradient by {'μ and log σ²' if group == 'Gaussian' else 'logits'}", fontsize=10, loc="left"
        )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


CLAIMS = (
    Claim(
        "estimators",
        "Roeder et al. 2017, Tucker et al. 2019, Jang et al. 2017, Mnih & Rezende 2016 (R.1, M.6, Q.2, Q.4)",
        "A right gradient can be useless and a biased one good: what counts is the error of an estimate.",
        estimators,
        {f"{name} against {rival}: log₁₀ of the errors": below(0.0) for rival, name in RIVALRIES},
        picture_of_estimators,
        table_of_estimators,
    ),
    Claim(
        "reparameterisation",
        "all four texts (R.1, R.2)",
        "Gradients through z = μ + σ ε vary less than those of the score function, which does not need the trick.",
        reparameterisation,
        {f"decades of variance by {by}, {rival}": above(0.0) for by in PARAMETERS for rival in RIVALS},
        picture,
    ),
)
