"""Small experiments that answer common questions: each trains or measures something within seconds and returns the figures."""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

import numpy as np

from minivae.backend import generator
from minivae.datasets import load
from minivae.evaluation.aggregate import batch_log_density, decompose, log_weights, split
from minivae.models import VAE
from minivae.ops import kl_standard_normal

SETTINGS: dict[str, Any] = {"hidden_dims": (64,), "learning_rate": 3e-3, "epochs": 30, "seed": 0, "device": "cpu"}
LATENTS, SHOWN = 6, 8
BETAS = (0.1, 0.3, 1.0, 2.0, 4.0, 10.0)
SAMPLES = (1, 2, 5, 10, 30, 100, 300, 1000)


class Trained(NamedTuple):
    """The test-set figures of a VAE trained on the digits with weight β, in nats per example."""

    beta: float
    reconstruction: float
    kl: float
    elbo: float
    active: int
    kl_per_dimension: list[float]
    reconstructions: list[list[float]]


@functools.cache
def model(beta: float = 1.0) -> VAE:
    """Return a VAE trained on the digits for thirty epochs.  All callers share it, so none may change it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a code that dies under a large β, which is what this experiment shows
        return VAE(latent_dim=LATENTS, beta=beta, **SETTINGS).fit(load("digits")[0].values)


@functools.cache
def trained(beta: float) -> Trained:
    """Return the figures of ``model(beta)``."""
    vae, test = model(beta), load("digits")[1]
    mean, log_var = vae.encode(test.x)
    per_dimension = kl_standard_normal(mean[..., None], log_var[..., None]).data.mean(axis=0)
    elbo, kl = float(vae.elbo(test.x, n_samples=8).mean()), float(per_dimension.sum())
    active = int((mean.var(axis=0) > 0.01).sum())
    pictures = vae.reconstruct(test.x[:SHOWN]).round(2).tolist()
    return Trained(beta, -elbo - kl, kl, elbo, active, sorted(map(float, per_dimension), reverse=True), pictures)


def originals() -> list[list[float]]:
    """Return the digits that were reconstructed."""
    return load("digits")[1].x[:SHOWN].tolist()


class Reduction(NamedTuple):
    """One way to reduce the two terms, and the β at which a loss of sums has the same minimum."""

    reconstruction: str
    kl: str
    beta: float


def reductions(pixels: int = 64, latents: int = LATENTS, batch: int = 100) -> list[Reduction]:
    """Return six ways in which public code reduces the two terms before adding them."""
    return [
        Reduction("sum over pixels, mean over the batch", "sum over latents, mean over the batch", 1.0),
        Reduction("mean over pixels and batch", "sum over latents, mean over the batch", float(pixels)),
        Reduction("sum over pixels, mean over the batch", "mean over latents and batch", 1 / latents),
        Reduction("mean over pixels and batch", "mean over latents and batch", pixels / latents),
        Reduction("sum over pixels and batch", "sum over latents, mean over the batch", 1 / batch),
        Reduction("sum over pixels, mean over the batch", "sum over latents and batch", float(batch)),
    ]


def bounds(examples: int = 100) -> list[tuple[int, float, float]]:
    """Return (k, mean of the bound of M.6 with k samples, its standard error over the examples)."""
    x = load("digits")[1].x[:examples]
    estimates = ((k, model().log_likelihood(x, n_samples=k, seed=1)) for k in SAMPLES)
    return [(k, float(e.mean()), float(e.std(ddof=1) / np.sqrt(len(e)))) for k, e in estimates]


class Sum(NamedTuple):
    """The result of one way of adding up float32 numbers, and its relative error."""

    how: str
    value: float
    error: float


def sums(n: int = 100_000) -> list[Sum]:
    """Return the sum of the same numbers in float32, added up in different orders and precisions."""
    x = np.random.default_rng(0).standard_normal(n).astype("float32") ** 2
    exact = float(x.sum(dtype="float64"))
    blocks = np.add.reduce(np.add.accumulate(x.reshape(-1, 100), axis=1)[:, -1])  # as the blocks of a GPU do
    ways = {
        "one after the other": np.add.accumulate(x)[-1],
        "from the last to the first": np.add.accumulate(x[::-1])[-1],
        "in blocks of 100, as a grid of threads": blocks,
        "pairwise, as NumPy": x.sum(),
        "TF32: factors of 10 bits, sums in float32": (_tf32(np.sqrt(x)) ** 2).sum(dtype="float32"),
        "in float64, rounded once": np.float32(exact),
    }
    return [Sum(how, float(value), abs(float(value) - exact) / exact) for how, value in ways.items()]


def _tf32(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers rounded to the ten fraction bits that a tensor core reads."""
    bits = x.astype("float32").view("uint32") + 0x1000
    return (bits & np.uint32(0xFFFFE000)).view("float32")


class Sign(NamedTuple):
    """An estimate of a quantity that is never negative: the true value, the estimates' mean and minimum, and the share below 0."""

    name: str
    truth: float
    mean: float
    least: float
    negative: float


def signs(draws: int = 2000, batch: int = 50) -> list[Sign]:
    """Return how often estimates of the KL and of the total correlation are below 0, for the VAE of ``model()``."""
    x = load("digits")[1].x
    mean, log_var = (array.astype("float64") for array in model().encode(x))
    rng = np.random.default_rng(0)
    one = int(np.argmin(kl_standard_normal(mean, log_var).data))
    noise = rng.standard_normal((draws, LATENTS))
    z = mean[one] + np.exp(0.5 * log_var[one]) * noise
    single = 0.5 * (z * z - noise * noise - log_var[one]).sum(axis=1)
    truth = float(kl_standard_normal(mean[one : one + 1], log_var[one : one + 1]).data[0])
    parts = decompose(mean, log_var, generator(np, 0, "evaluate"))
    found = [_sign("KL of one example, one draw of log q(z|x) − log p(z)", truth, single)]
    for estimator in ("weighted", "stratified"):
        values = np.array([_total_correlation(mean, log_var, rng, batch, estimator) for _ in range(200)])
        found.append(_sign(f"total correlation, batch of {batch}, {estimator}", parts.total_correlation.value, values))
    return found


def _total_correlation(mean: np.ndarray, log_var: np.ndarray, rng: Any, n: int, estimator: str) -> float:
    rows = rng.choice(len(mean), n, replace=False)
    mean, log_var, n_data = mean[rows], log_var[rows], len(mean)
    z = mean + np.exp(0.5 * log_var) * rng.standard_normal(mean.shape)
    densities = batch_log_density(z, mean, log_var, log_weights(np, n, n_data, estimator))
    return float(split(z, mean, log_var, *densities)[1].mean())


def _sign(name: str, truth: float, values: np.ndarray) -> Sign:
    return Sign(name, truth, float(values.mean()), float(values.min()), float((values < 0).mean()))
