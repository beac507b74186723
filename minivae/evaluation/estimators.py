"""Bounds on log p(x), and how much each latent dimension is used.  For evaluation only, not for training.

Everything is in nats and in float64.  Every example has its own noise.  Work is done in chunks, so memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from minivae.backend import Array, array_module, standard_normal
from minivae.ops import kl_standard_normal

DECODER_ROWS = 4096  # latent vectors that are decoded at a time
ACTIVE_VARIANCE = 0.01


class ImportanceEstimate(NamedTuple):
    """An importance-weighted estimate of log p(x) and how far to trust it, each an array with one entry per example.

    Attributes
    ----------
    log_likelihood : log of the mean weight, in nats.
    standard_error : of that logarithm, from the spread of the weights (delta method); NaN for a single sample, which has no spread.
        A q(z|x) narrower than the posterior may never draw the largest weights: then both figures are too good.
    effective_sample_size : (Σ w)² / Σ w², from 1 (one sample has all the weight) to ``n_samples`` (q is the posterior).
    n_samples : number of samples drawn for each example.
    """

    log_likelihood: Array
    standard_error: Array
    effective_sample_size: Array
    n_samples: int


def log_weights(xp: ModuleType, x: Array, mean: Array, log_var: Array, noise: Array, nll: Callable[[Array, Array], Array]) -> Array:
    """Return log w = log p(x|z) + log p(z) − log q(z|x) for z = μ + σ ε, shape (s, n) for noise of shape (s, n, k).

    With z = μ + σ ε, log q(z|x) = −½ Σ_j (log 2π + log σ² + ε²) and log p(z) = −½ Σ_j (log 2π + z²): their 2π cancel.
    ``nll(x, z)`` gives −log p(x|z) of shape (s, n).
    """
    z = mean + xp.exp(0.5 * log_var) * noise  # (R.1)
    prior_to_posterior = 0.5 * (noise * noise + log_var - z * z).sum(axis=-1, dtype="float64")
    return prior_to_posterior - nll(x, z)  # (M.2)


def importance_weighted(
    xp: ModuleType,
    x: Array,
    mean: Array,
    log_var: Array,
    nll: Callable[[Array, Array], Array],
    n_samples: int,
    rng: Any,
) -> ImportanceEstimate:
    """Estimate log p(x) for each row from ``n_samples`` draws of q(z|x).

    (M.6)  log p(x) ≈ log (1/k) Σ_i w_i,   w_i = p(x|z_i) p(z_i) / q(z_i|x),   z_i ~ q(z|x)

    Why: E_q[w] = ∫ q · p(x, z)/q dz = p(x).  The logarithm is concave, so by Jensen's inequality the estimate is too low on
    average, but less so with more samples; one sample gives the ELBO.

    The sum is streamed: a running maximum, the sums of e^(log w − maximum) and of their squares, rescaled when the maximum rises.
    So nothing overflows, and memory does not grow with ``n_samples``.

    Parameters
    ----------
    x : (n, d); mean, log_var : (n, k), the posterior of each row.
    nll : ``nll(x, z)``, −log p(x|z) in nats, (s, n) for z of shape (s, n, k).
    """

    def draw(s: int) -> Array:
        return log_weights(xp, x, mean, log_var, standard_normal(rng, (s, *mean.shape), mean.dtype), nll)

    return mean_weight(xp, len(mean), draw, n_samples)


def mean_weight(xp: ModuleType, n: int, draw: Callable[[int], Array], n_samples: int) -> ImportanceEstimate:
    """Return the estimate of log p(x) of ``n`` rows; ``draw(s)`` gives log w (s, n) of s new samples for each."""
    per_chunk = max(1, DECODER_ROWS // n)
    top = xp.full(n, -xp.inf)
    total, squares = xp.zeros(n), xp.zeros(n)
    for start in range(0, n_samples, per_chunk):
        log_w = draw(min(per_chunk, n_samples - start))
        log_w = xp.where(xp.isnan(log_w), -xp.inf, log_w)  # beyond the range of floats: no weight, and the mean is none too high
        new_top = xp.maximum(top, log_w.max(axis=0))
        shift = xp.where(xp.isfinite(new_top), new_top, 0.0)
        shrink, w = xp.exp(top - shift), xp.exp(log_w - shift)
        total = total * shrink + w.sum(axis=0)
        squares = squares * shrink**2 + (w * w).sum(axis=0)
        top = new_top
    mean_w = total / n_samples  # (M.1)
    variance = xp.maximum(squares / n_samples - mean_w**2, 0) / (n_samples - 1 or xp.nan)  # of the mean weight
    return ImportanceEstimate(top + xp.log(mean_w), xp.sqrt(variance) / mean_w, total**2 / squares, n_samples)  # (M.6)


def kl_per_dimension(mean: Array, log_var: Array) -> Array:
    """Return the mean over examples of KL(q(z_j|x) ‖ N(0, 1)) for each latent dimension j, (k,), in nats (K.1)."""
    return kl_standard_normal(mean[..., None], log_var[..., None]).data.mean(axis=0, dtype="float64")


def active_units(mean: Array) -> int:
    """Return how many latent dimensions are active: the variance of the posterior mean (n, k) over examples exceeds 0.01.

    Where each dimension is a vector, (n, k, m), the variances of its entries are added up.

    Source: Burda, Grosse & Salakhutdinov 2015, section 5.
    """
    variance = mean.var(axis=0, dtype="float64").reshape(mean.shape[1], -1).sum(axis=1)
    return int((variance > ACTIVE_VARIANCE).sum())


def perplexity(p: Array) -> Array:
    """Return exp of the entropy of probabilities (…, K), (…): how many equally probable values would be as uncertain.

    (Q.8)  exp(−Σ_k p_k log p_k),  from 1 (always the same) to K (all equally often)
    """
    xp = array_module(p)
    return xp.exp(-(p * xp.log(xp.maximum(p, 1e-300))).sum(axis=-1))  # (Q.8)
