"""Bidirectional Monte Carlo: it encloses what can be known exactly, and its chains sample what they claim to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from minivae.autodiff import Tensor
from minivae.evaluation.annealing import _hamiltonian_step, bidirectional, schedule
from minivae.ops import dense, gaussian_nll, reshape, sum_

N, K, D, NOISE = 24, 3, 7, 0.1


class Linear:
    """x = z W + noise, whose log p(x) and p(z|x) are known; it makes its own data."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.weight = rng.standard_normal((K, D))
        self.z = rng.standard_normal((N, K))
        self.x = self.z @ self.weight + np.sqrt(NOISE) * rng.standard_normal((N, D))
        covariance = self.weight.T @ self.weight + NOISE * np.eye(D)
        self.log_p = stats.multivariate_normal(np.zeros(D), covariance).logpdf(self.x)

    def nll(self, z: Tensor) -> Tensor:
        means = reshape(dense(reshape(z, shape=(-1, K)), self.weight), shape=(*z.shape[:2], D))
        return gaussian_nll(self.x, means, np.log(NOISE))


def excess(values: np.ndarray) -> float:
    """Return how many standard errors the mean of ``values`` lies above zero."""
    return values.mean() / (values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_log_p_of_a_linear_gaussian_is_enclosed(seed):
    """(M.7), (M.8): with the evidence in closed form, the lower bound is not above it and the upper one not below it."""
    linear = Linear(seed)
    bounds = bidirectional(np, linear.nll, linear.z, 4, 200, np.random.default_rng(seed + 10))
    assert excess(bounds.lower - linear.log_p) < 3
    assert excess(linear.log_p - bounds.upper) < 3
    assert 0 < (bounds.upper - bounds.lower).mean() < 1
    assert 0.4 < bounds.acceptance < 0.9


@pytest.mark.slow
def test_the_gap_closes_as_the_chains_grow():
    linear = Linear(0)
    gaps = []
    for n_steps in (5, 25, 125):
        bounds = bidirectional(np, linear.nll, linear.z, 4, n_steps, np.random.default_rng(1))
        gaps.append((bounds.upper - bounds.lower).mean())
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


def test_a_posterior_draw_that_is_none_gives_no_upper_bound():
    """The bound from above stands on the exact posterior draw: from somewhere else it falls below log p(x)."""
    short = []
    for seed in range(8):
        linear, rng = Linear(seed), np.random.default_rng(seed + 20)
        bounds = bidirectional(np, linear.nll, rng.standard_normal(linear.z.shape), 1, 1, rng)
        short.append(linear.log_p - bounds.upper)
    assert excess(np.concatenate(short)) > 4


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_a_step_leaves_its_distribution_as_it_was(beta):
    """Exact draws from p(z) p(x|z)^β stay such draws, with a step size at which a good part of the moves is refused."""
    linear, rng = Linear(0), np.random.default_rng(3)
    precision = np.eye(K) + beta * linear.weight @ linear.weight.T / NOISE
    mean = beta * linear.x @ linear.weight.T / NOISE @ np.linalg.inv(precision)
    root = np.linalg.cholesky(np.linalg.inv(precision))
    z = mean + rng.standard_normal((1500, N, K)) @ root.T
    moved, share = _hamiltonian_step(np, linear.nll, z, beta, 0.3 / np.sqrt(1 + 60 * beta), rng)
    assert 0.5 < share < 0.999
    whitened = (moved - mean) @ np.linalg.inv(root).T
    assert stats.kstest(whitened[:, 0, :].ravel(), "norm").pvalue > 1e-4  # one example: 4,500 independent numbers
    assert abs((whitened**2).mean() - 1) < 5 * np.sqrt(2 / whitened.size)


def test_temperatures_rise_from_the_prior_to_the_posterior():
    betas = schedule(7)
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (np.diff(betas) > 0).all()
    np.testing.assert_allclose(np.add(betas, betas[::-1]), 1)


@pytest.mark.slow
def test_a_trained_model_certifies_its_own_estimate(vae):
    x, bounds = vae.certificate(n=12, n_chains=4, n_steps=150)
    assert x.shape == (12, 64)
    assert set(np.unique(x)) == {0.0, 1.0}
    estimate = vae.log_likelihood(x, n_samples=500)
    assert excess(bounds.lower - estimate) < 3
    assert excess(estimate - bounds.upper) < 3
    again, same = vae.certificate(n=12, n_chains=4, n_steps=150)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(bounds.upper, same.upper)


class Recorded:
    """A generator that remembers what it drew."""

    def __init__(self) -> None:
        self.rng, self.normals, self.dtypes = np.random.default_rng(4), [], set()

    def standard_normal(self, shape, dtype):
        self.normals.append(self.rng.standard_normal(shape, dtype=dtype))
        return self.normals[-1]

    def random(self, shape, dtype="float64"):
        self.dtypes.add(np.dtype(dtype).name)
        return self.rng.random(shape, dtype=dtype)


def test_with_one_step_the_lower_bound_is_the_log_mean_likelihood_of_prior_draws():
    """(M.7) with T = 1: the weight of a chain is p(x|z₀), z₀ drawn from the prior."""
    linear, rng = Linear(0), Recorded()
    bounds = bidirectional(np, linear.nll, linear.z, 5, 1, rng)
    log_w = -linear.nll(Tensor(rng.normals[2])).data  # the first two draws went into finding the step sizes
    assert np.ptp(log_w, axis=0).min() > 1
    np.testing.assert_allclose(bounds.lower, special.logsumexp(log_w, axis=0) - np.log(5), rtol=1e-12)
    assert type(bounds.acceptance) is float


@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_weights_beyond_the_range_of_floats_are_averaged_over_the_chains(n_steps):
    """(M.7), (M.8): a likelihood that does not depend on z, but on the chain, makes every weight known in advance."""
    log_w = np.array([[900.0, -3000.0, 1000.0, 1.0], [900.0, -2000.0, -1000.0, 2.0], [900.0, -2001.0, 999.0, 3.0]])
    nll = lambda z: sum_(0 * z, axis=-1) - log_w  # noqa: E731
    bounds = bidirectional(np, nll, np.zeros((4, K)), 3, n_steps, np.random.default_rng(0))
    np.testing.assert_allclose(bounds.lower, special.logsumexp(log_w, axis=0) - np.log(3), rtol=1e-12)
    np.testing.assert_allclose(bounds.upper, np.log(3) - special.logsumexp(-log_w, axis=0), rtol=1e-12)


def test_chains_stay_in_the_precision_of_the_model():
    linear, rng = Linear(0), Recorded()
    linear.weight, linear.x = linear.weight.astype("float32"), linear.x.astype("float32")
    bidirectional(np, linear.nll, linear.z.astype("float32"), 2, 2, rng)
    assert {normal.dtype.name for normal in rng.normals} == rng.dtypes == {"float32"}


def test_the_schedule_is_a_logistic_curve_that_is_stretched_to_both_ends():
    curve = stats.logistic.cdf(4 * np.linspace(-1, 1, 12))
    np.testing.assert_allclose(schedule(11), (curve - curve[0]) / (curve[-1] - curve[0]), rtol=1e-12)
