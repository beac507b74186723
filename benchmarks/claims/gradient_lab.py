"""A laboratory of gradient estimators: many estimates of one gradient on one batch, beside its exact value.

The gradient is by what the encoder says of each example: μ and log σ² of a Gaussian with one dimension, or the logits of two
categorical variables.  The first is integrated exactly by Gauss–Hermite quadrature, the second by enumerating all values of z.  An
estimator gets ``DRAWS`` draws of z, and so as many passes through the decoder, for each estimate.

Estimates are made of copies of the batch, as rows of one large batch: no row knows of another, so each has its own estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minivae.autodiff import Tensor, backward
from minivae.models import IWAE, VAE, CategoricalVAE
from minivae.models.categorical import log_mass, one_hot
from minivae.models.objectives import score_function
from minivae.ops import exp, gaussian_nll, kl_standard_normal, kl_uniform, mean, reparameterize, sum_

DRAWS = 4
NODES = 32  # of the quadrature, for each sample

Estimator = Callable[[np.ndarray, np.random.Generator, list[Tensor]], Tensor]  # (x, rng, parameters of q) → loss of each row
Gradient = np.ndarray  # (n, p): for each example, by all p parameters of its q


def twin(model: Any, kind: type[Any], **settings: Any) -> Any:
    """Return a model of ``kind`` with the weights of ``model``, in float64."""
    shared = {name: value for name, value in model.get_params().items() if name in kind().get_params()}
    other = kind(**shared | settings | {"dtype": "float64", "device": "cpu"})
    other._build(model.n_features_in_)
    other.parameters_.load_state(model.parameters_.state(), np)
    return other


def gradient(losses: Callable[[list[Tensor]], Tensor], at: list[np.ndarray]) -> Gradient:
    """Return the gradient of each row's loss by its row of the parameters ``at``, side by side."""
    leaves = [Tensor(values, requires_grad=True) for values in at]
    backward(sum_(losses(leaves)), leaves=leaves)
    return np.concatenate([leaf.grad.reshape(len(leaf.grad), -1) for leaf in leaves], axis=1)


def repeated(estimator: Estimator, x: np.ndarray, at: list[np.ndarray], estimates: int, rng: np.random.Generator) -> np.ndarray:
    """Return that many independent estimates of the gradient, (estimates, n, p)."""
    rows = [np.repeat(values[None], estimates, axis=0).reshape(-1, *values.shape[1:]) for values in (x, *at)]
    found = gradient(lambda leaves: estimator(rows[0], rng, leaves), rows[1:])
    return found.reshape(estimates, len(x), -1)


def figures_of(estimates: np.ndarray, exact: Gradient) -> dict[str, float]:
    """Return what is wrong with an estimate, in units of the length of the exact gradient of the batch.

    bias        how far the mean estimate is from the exact gradient, less what the noise left in that mean leads to expect
    resolution  that noise: no smaller bias can be seen with so many estimates
    noise       the standard deviation of an estimate
    error       bias and noise together, √(bias² + noise²): at 1, an estimate is as far from the gradient as 0 is
    """
    length = np.square(exact).sum()
    variance = estimates.var(axis=0, ddof=1).sum()
    resolution = variance / len(estimates)
    bias = max(np.square(estimates.mean(axis=0) - exact).sum() - resolution, 0.0)
    squares = {"bias": bias, "resolution": resolution, "noise": variance, "error": bias + variance}
    return {name: float(np.sqrt(square / length)) for name, square in squares.items()}


# A Gaussian posterior -------------------------------------------------------------------------------------------------------------


def gaussian_estimators(model: VAE) -> dict[str, Estimator]:
    """Return the estimators of ∇ −ELBO, and those of ∇ −IW (M.6)."""

    def noise_for(rng: np.random.Generator, leaves: list[Tensor]) -> np.ndarray:
        return rng.standard_normal((DRAWS, *leaves[0].shape))

    def reparameterised(x, rng, leaves):
        z = reparameterize(*leaves, noise_for(rng, leaves))  # (R.1)
        return mean(nll(model, x, z), axis=0) + kl_standard_normal(*leaves)

    def by_score(baseline):
        def estimator(x, rng, leaves):
            z = reparameterize(*(leaf.data for leaf in leaves), noise_for(rng, leaves))
            f = score_function(nll(model, x, z.data), -gaussian_nll(z.data, *leaves), baseline)  # (Q.4)
            return mean(f, axis=0) + kl_standard_normal(*leaves)

        return estimator

    def sticking_the_landing(x, rng, leaves):
        """Roeder et al. 2017: log q(z|x) at the sample with constants in it, so that only the path through z counts."""
        z = reparameterize(*leaves, noise_for(rng, leaves))
        constants = [leaf.data for leaf in leaves]
        return mean(nll(model, x, z) - gaussian_nll(z, *constants) + gaussian_nll(z, np.zeros(1), 0.0), axis=0)

    def importance_weighted(kind):
        iwae = twin(model, IWAE, gradient=kind, n_importance_samples=DRAWS)

        def estimator(x, rng, leaves):
            vars(iwae)["heads"] = lambda x, condition=None: tuple(leaves)
            return iwae.terms(x, rng)["negative_bound"]

        return estimator

    return {
        "reparameterisation": reparameterised,
        "score function": by_score(False),
        "score function, baseline": by_score(True),
        "sticking the landing": sticking_the_landing,
        "IWAE": importance_weighted("standard"),
        "DReG": importance_weighted("doubly_reparameterized"),
    }


def nll(model: Any, x: np.ndarray, z: Any) -> Tensor:
    return model.likelihood_.nll(x, model.decoder(z, None))


def at_nodes(model: VAE, x: np.ndarray, at: list[np.ndarray], nodes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log w = log p(x|z) + log p(z) − log q(z|x) at each node of the quadrature, (m, n), its gradient (m, n, 2), and the
    logarithms of the nodes' probabilities (m,)."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    noise = np.repeat(points, len(x))[:, None]

    def log_w(leaves: list[Tensor]) -> Tensor:
        z = reparameterize(*leaves, noise)
        return gaussian_nll(z, *leaves) - gaussian_nll(z, np.zeros(1), 0.0) - nll(model, np.tile(x, (nodes, 1)), z)

    rows = [np.tile(values, (nodes, 1)) for values in at]
    values = log_w([Tensor(row) for row in rows]).data.reshape(nodes, len(x))
    return values, gradient(log_w, rows).reshape(nodes, len(x), 2), np.log(weights / weights.sum())


def exact_gaussian(model: VAE, x: np.ndarray, at: list[np.ndarray], k: int, nodes: int = NODES) -> Gradient:
    """Return the exact gradient of −IW_k (M.6), which for k = 1 is −ELBO, for a latent space of one dimension.

    −∇ E[log (1/k) Σ_i w_i] = −E[Σ_i w̃_i ∇log w_i] = −k E[w̃_1 ∇log w_1] with w̃_1 = w_1 / Σ_i w_i, since all samples are alike.
    """
    log_w, slopes, log_p = at_nodes(model, x, at, nodes)
    w = np.exp(log_w - log_w.max(axis=0))
    sums, probabilities = np.zeros((1, len(x))), np.ones(1)  # of w over the other samples, for all their combinations of nodes
    for _ in range(k - 1):
        sums = (sums[:, None] + w).reshape(-1, len(x))
        probabilities = np.outer(probabilities, np.exp(log_p)).ravel()
    share = np.stack([(probabilities[:, None] * one / (one + sums)).sum(axis=0) for one in w])  # E[w̃_1] given the first node
    return -k * (np.exp(log_p)[:, None, None] * share[..., None] * slopes).sum(axis=0)


# Categorical variables ------------------------------------------------------------------------------------------------------------


def categorical_estimators(model: CategoricalVAE) -> dict[str, Estimator]:
    """Return the estimators of ∇ −ELBO."""

    def of_model(gradient_kind: str, temperature: float) -> Estimator:
        settings = {"temperature": temperature, "final_temperature": temperature}
        other = twin(model, CategoricalVAE, gradient=gradient_kind, n_samples=DRAWS, **settings)

        def estimator(x, rng, leaves):
            vars(other)["logits"] = lambda x, condition=None: leaves[0]
            terms = other.terms(x, rng)
            return terms["reconstruction"] + terms["kl"]

        return estimator

    def without_baseline(x, rng, leaves):
        z = one_hot(np, leaves[0].data + rng.gumbel(size=(DRAWS, *leaves[0].shape)))  # (Q.1)
        f = score_function(model._nll(x, z, None), log_mass(z, leaves[0]), baseline=False)  # (Q.4)
        return mean(f, axis=0) + sum_(kl_uniform(leaves[0]), axis=-1)

    relaxed = {f"Gumbel-softmax, τ = {tau:g}": of_model("gumbel_softmax", tau) for tau in (1.0, 0.5, 0.1)}
    straight = {f"straight-through, τ = {tau:g}": of_model("straight_through", tau) for tau in (1.0, 0.5)}
    scores = {"score function": without_baseline, "score function, baseline": of_model("score_function", 1.0)}
    return scores | relaxed | straight


def every_code(model: CategoricalVAE) -> np.ndarray:
    """Return all values that z can have, (K^latent_dim, latent_dim, K)."""
    places = np.indices((model.n_categories,) * model.latent_dim).reshape(model.latent_dim, -1).T
    return np.eye(model.n_categories)[places]


def exact_categorical(model: CategoricalVAE, x: np.ndarray, logits: np.ndarray) -> Gradient:
    """Return the exact gradient of −ELBO: E_q[−log p(x|z)] is a sum over all z, and the tape differentiates it."""
    z = np.repeat(every_code(model)[:, None], len(x), axis=1)

    def losses(leaves: list[Tensor]) -> Tensor:
        expected = sum_(exp(log_mass(z, leaves[0])) * model._nll(x, z, None), axis=0)
        return expected + sum_(kl_uniform(leaves[0]), axis=-1)

    return gradient(losses, [logits])
