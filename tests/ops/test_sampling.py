"""The sampler draws from the distribution it is named after: what no gradient check can see.

The number of draws is fixed and so is the seed; the bounds are those that a right sampler crosses once in a million seeds.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from minivae.backend import standard_normal
from minivae.ops import kl_normal, kl_standard_normal, reparameterize, reparameterize_variance

DRAWS = 200_000
Z = 5.0  # P(|N(0, 1)| > 5) = 6e-7
KOLMOGOROV = 2.7  # P(√n D > 2.7) = 2 e^(−2 · 2.7²) = 9e-7


def draws(mean: float, log_var: float, dtype: str = "float64") -> np.ndarray:
    noise = standard_normal(np.random.default_rng(3), (DRAWS, 1), dtype)
    return reparameterize(np.full(1, mean, dtype), np.full(1, log_var, dtype), noise).data[:, 0]


def assert_is_a_sample_of(z: np.ndarray, mean: float, variance: float) -> None:
    std = math.sqrt(variance)
    assert abs(z.mean() - mean) < Z * std / math.sqrt(len(z))
    assert abs(z.var(ddof=1) / variance - 1) < Z * math.sqrt(2 / (len(z) - 1))
    assert stats.kstest(z, stats.norm(mean, std).cdf).statistic < KOLMOGOROV / math.sqrt(len(z))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("mean", "log_var"), [(0.0, 0.0), (-1.5, 1.2), (0.7, -2.0), (30.0, 4.0)])
def test_reparameterize_draws_from_the_gaussian(mean: float, log_var: float, dtype: str) -> None:
    """(R.1) with σ = exp(½ log σ²), not exp(log σ²)."""
    assert_is_a_sample_of(draws(mean, log_var, dtype).astype("float64"), mean, math.exp(log_var))


@pytest.mark.parametrize(("mean", "raw"), [(0.0, 0.0), (-1.5, 3.0), (0.7, -2.0)])
def test_reparameterize_variance_draws_from_the_gaussian(mean: float, raw: float) -> None:
    """(R.3) with σ² = softplus(raw)."""
    noise = standard_normal(np.random.default_rng(4), (DRAWS, 1), "float64")
    z = reparameterize_variance(np.full(1, mean), np.full(1, raw), noise).data[:, 0]
    assert_is_a_sample_of(z, mean, math.log1p(math.exp(raw)))


def test_a_wrong_sampler_is_seen() -> None:
    """The bounds do what they are for: a σ or a mean that is a hundredth of σ off is too much, and so is another shape."""
    z = draws(0.0, 0.0)
    assert_is_a_sample_of(z, 0.0, 1.0)
    for spoiled in (1.01 * z, z + 0.015, math.sqrt(3) * np.random.default_rng(0).uniform(-1, 1, DRAWS)):
        with pytest.raises(AssertionError):
            assert_is_a_sample_of(spoiled, 0.0, 1.0)


@pytest.mark.parametrize(("mean", "log_var", "prior_mean", "prior_log_var"), [(0.5, -1.0, 0.0, 0.0), (-1.0, 0.8, 0.4, -0.5)])
def test_kl_is_the_mean_of_log_q_minus_log_p(mean: float, log_var: float, prior_mean: float, prior_log_var: float) -> None:
    """(K.1), (K.3), (K.4), with densities that scipy wrote."""
    z = draws(mean, log_var)
    q, p = stats.norm(mean, math.exp(log_var / 2)), stats.norm(prior_mean, math.exp(prior_log_var / 2))
    terms = q.logpdf(z) - p.logpdf(z)
    arguments = [np.array([value]) for value in (mean, log_var, prior_mean, prior_log_var)]
    divergences = [kl_normal(*arguments).item()]
    if prior_mean == prior_log_var == 0:
        divergences.append(kl_standard_normal(*arguments[:2]).item())
    for divergence in divergences:
        assert abs(terms.mean() - divergence) < Z * terms.std() / math.sqrt(DRAWS)


def test_kl_is_never_negative_and_zero_only_between_equals() -> None:
    """(K.4)."""
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        scale = 10.0 ** rng.uniform(-8, 0, (2000, 1))
        mean, log_var, prior_mean, prior_log_var = (scale * rng.standard_normal((4, 2000, 1))).astype(dtype)
        with np.errstate(under="ignore"):
            assert np.all(kl_standard_normal(mean, log_var).data > 0)
            assert np.all(kl_normal(mean, log_var, prior_mean, prior_log_var).data > 0)
        np.testing.assert_array_equal(kl_normal(mean, log_var, mean, log_var).data, 0)
        np.testing.assert_array_equal(kl_standard_normal(0 * mean, 0 * log_var).data, 0)
