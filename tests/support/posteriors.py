"""Simulated posteriors whose parts (T.1) are known: by closed form, or by quadrature in one dimension."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

STD = 0.3
TURN = np.array([[math.cos(0.6), -math.sin(0.6)], [math.sin(0.6), math.cos(0.6)]])


class Simulated(NamedTuple):
    """Means and log-variances (N, k) of N posteriors, and their true parts in nats."""

    mean: np.ndarray
    log_var: np.ndarray
    mutual_information: float
    total_correlation: float
    dimension_wise_kl: float

    @property
    def parts(self) -> np.ndarray:
        return np.array(self[2:])


def mixture_integrals(means: np.ndarray, std: float = STD) -> tuple[float, float]:
    """Return H(q) and E_q[−log p] of q = the mean of N(m, std²) over ``means``, p = N(0, 1), by the trapezoidal rule."""
    grid = np.linspace(means.min() - 10 * std, means.max() + 10 * std, 40_001)
    q = np.exp(-0.5 * ((grid[:, None] - means) / std) ** 2).mean(axis=1) / (std * math.sqrt(2 * math.pi))
    logs = np.log(np.maximum(q, 1e-300))
    return -np.trapezoid(q * logs, grid), np.trapezoid(q * 0.5 * (math.log(2 * math.pi) + grid**2), grid)


def lattice(turned: bool) -> Simulated:
    """Posteriors whose means are all combinations of a few numbers in each dimension: q(z) is a product, and TC is 0.

    Turned, with one width in all directions, q(z) keeps its entropy, and that of its marginals grows.
    """
    axes = (np.array([-1.3, -0.4, 0.1, 1.1]), np.array([-0.9, -0.2, 0.6]))
    mean = np.array(list(itertools.product(*axes)))
    joint = sum(mixture_integrals(axis)[0] for axis in axes)
    mean = mean @ TURN.T if turned else mean
    each = np.array([mixture_integrals(column) for column in mean.T])
    own = len(axes) * 0.5 * math.log(2 * math.pi * math.e * STD**2)
    log_var = np.full(mean.shape, 2 * math.log(STD))
    return Simulated(mean, log_var, joint - own, each[:, 0].sum() - joint, (each[:, 1] - each[:, 0]).sum())


def gaussian(n: int, correlation: float, std: float = 0.6, k: int = 3) -> Simulated:
    """Posteriors with means drawn so that q(z) → N(0, C), C with ones and ``correlation``, as n grows: the parts of the limit."""
    c = np.full((k, k), correlation) + (1 - correlation) * np.eye(k)
    factor = np.linalg.cholesky(c - std**2 * np.eye(k))
    mean = np.random.default_rng(1).standard_normal((n, k)) @ factor.T
    log_det = np.linalg.slogdet(c)[1]
    return Simulated(mean, np.full(mean.shape, 2 * math.log(std)), 0.5 * log_det - k * math.log(std), -0.5 * log_det, 0.0)


def public_threads(n: int = 2000, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return means and log-variances as in the threads about a negative TC: q(z) → N(0, I), posteriors of a width of 0.3."""
    mean = math.sqrt(1 - STD**2) * np.random.default_rng(0).standard_normal((n, k))
    return mean, np.full(mean.shape, 2 * math.log(STD))
