"""The importance-weighted bound: the right sum over the right samples, however it is cut, and an honest standard error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats
from support.helpers import Noise

from minivae.backend import array_module, generator, to_device, to_numpy
from minivae.evaluation import estimators
from minivae.evaluation.estimators import active_units, importance_weighted, kl_per_dimension, log_weights, perplexity

N, K = 5, 3


def posterior(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x (n, 2), mean and log-variance (n, k), the same for nobody."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, 2)), rng.standard_normal((N, K)), rng.normal(-1, 0.7, (N, K))


def nll(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return some −log p(x|z), (s, n): a unit Gaussian around a curved function of z."""
    m = np.stack([np.sin(z).sum(axis=-1), (z * z).sum(axis=-1)], axis=-1)
    return 0.5 * ((x - m) ** 2).sum(axis=-1) + np.log(2 * np.pi)


class Recorded:
    """A generator that remembers what it drew."""

    def __init__(self, seed: int = 0) -> None:
        self.rng, self.draws = np.random.default_rng(seed), []

    def standard_normal(self, shape, dtype):
        self.draws.append(self.rng.standard_normal(shape, dtype=dtype))
        return self.draws[-1]


def test_log_weights_are_the_difference_of_three_log_densities():
    x, mean, log_var = posterior()
    noise = np.random.default_rng(1).standard_normal((7, N, K))
    std = np.exp(log_var / 2)
    z = mean + std * noise
    prior, q = stats.norm.logpdf(z).sum(axis=-1), stats.norm.logpdf(z, mean, std).sum(axis=-1)
    np.testing.assert_allclose(log_weights(np, x, mean, log_var, noise, nll), prior - nll(x, z) - q, rtol=1e-12)


def test_log_weights_of_many_latents_are_added_up_in_double():
    """A thousand terms of float32 lose three digits, which the exponential of their sum multiplies."""
    rng, k = np.random.default_rng(3), 1000
    mean, log_var, noise = (rng.standard_normal(shape).astype("float32") for shape in ((N, k), (N, k), (7, N, k)))
    log_w = log_weights(np, None, mean, log_var, noise, lambda x, z: np.zeros((7, N)))
    z = mean + np.exp(np.float32(0.5) * log_var) * noise
    exact = [[0.5 * math.fsum(row) for row in part] for part in noise * noise + log_var - z * z]
    np.testing.assert_allclose(log_w, exact, rtol=1e-12)


@pytest.mark.parametrize("rows", [1, N, 2 * N, 13 * N, 4096])
@pytest.mark.parametrize("n_samples", [1, 2, 13, 26, 29, 100])
def test_any_chunking_gives_the_direct_sum(monkeypatch, rows, n_samples):
    monkeypatch.setattr(estimators, "DECODER_ROWS", rows)
    x, mean, log_var = posterior()
    rng, decoded = Recorded(), []

    def counting(x, z):
        assert z.shape[0] * N <= max(rows, N)
        decoded.append(z.shape[0])
        return nll(x, z)

    estimate = importance_weighted(np, x, mean, log_var, counting, n_samples, rng)
    assert sum(decoded) == estimate.n_samples == n_samples  # every sample once, and the last, shorter chunk too
    log_w = log_weights(np, x, mean, log_var, np.concatenate(rng.draws), nll)
    assert log_w.shape == (n_samples, N)
    np.testing.assert_allclose(estimate.log_likelihood, special.logsumexp(log_w, axis=0) - np.log(n_samples), rtol=1e-12)
    w = np.exp(log_w - log_w.max(axis=0))
    np.testing.assert_allclose(estimate.effective_sample_size, w.sum(axis=0) ** 2 / (w**2).sum(axis=0), rtol=1e-12)
    if n_samples > 1:
        error = w.std(axis=0, ddof=1) / w.mean(axis=0) / np.sqrt(n_samples)
        np.testing.assert_allclose(estimate.standard_error, error, rtol=1e-9)
    else:
        assert np.isnan(estimate.standard_error).all()  # one number has no spread: nobody may read that as certainty


def test_each_datum_has_noise_of_its_own():
    rng = Recorded()
    x, mean, log_var = (np.repeat(array[:1], N, axis=0) for array in posterior())
    estimate = importance_weighted(np, x, mean, log_var, nll, 50, rng)
    assert len(np.unique(estimate.log_likelihood)) == N
    (noise,) = rng.draws
    assert noise.shape == (50, N, K)
    assert len(np.unique(noise)) == noise.size


def test_streaming_keeps_the_precision_of_a_float64_sum(xp):
    x, mean, log_var = (to_device(xp, array, "float32") for array in posterior())

    def constant(x, z):
        return xp.full(z.shape[:2], 87.0, dtype="float32")

    # With q the prior, every weight is p(x|z) = e^−87: the mean is exact, whatever float32 has to say about the sum.
    estimate = importance_weighted(xp, x, 0 * mean, 0 * log_var, constant, 3001, generator(xp, 0, "evaluate"))
    for array in estimate[:3]:
        assert array_module(array) is xp
        assert array.dtype == np.float64
    np.testing.assert_allclose(to_numpy(estimate.log_likelihood), -87, rtol=1e-14)
    np.testing.assert_allclose(to_numpy(estimate.standard_error), 0, atol=1e-8)  # the root of a cancelled 1e-16
    np.testing.assert_allclose(to_numpy(estimate.effective_sample_size), 3001, rtol=1e-12)


@pytest.mark.parametrize("offset", [-1e5, -800.0, 0.0, 800.0, 1e5])
def test_extreme_log_weights_neither_overflow_nor_vanish(monkeypatch, offset):
    monkeypatch.setattr(estimators, "DECODER_ROWS", 3 * N)
    x, mean, log_var = posterior()
    plain = importance_weighted(np, x, mean, log_var, nll, 31, Recorded())
    moved = importance_weighted(np, x, mean, log_var, lambda x, z: nll(x, z) - offset, 31, Recorded())
    np.testing.assert_allclose(moved.log_likelihood, plain.log_likelihood + offset, rtol=1e-13)
    np.testing.assert_allclose(moved.standard_error, plain.standard_error, rtol=1e-7)
    np.testing.assert_allclose(moved.effective_sample_size, plain.effective_sample_size, rtol=1e-7)


@pytest.mark.parametrize("order", ["rising", "falling"])
def test_weights_of_all_magnitudes(monkeypatch, order):
    """Log weights 0, 700, 1400 … in chunks of one: the largest alone counts, wherever in the stream it comes."""
    monkeypatch.setattr(estimators, "DECODER_ROWS", 1)
    levels = np.arange(9) * 700.0
    levels = iter(levels if order == "rising" else levels[::-1])
    x, mean, log_var = posterior()
    zeros = Noise(*[np.zeros(K)] * 9)
    estimate = importance_weighted(np, x, 0 * mean, 0 * log_var, lambda x, z: np.full((1, N), -next(levels)), 9, zeros)
    np.testing.assert_allclose(estimate.log_likelihood, 5600 - np.log(9), rtol=1e-15)
    np.testing.assert_allclose(estimate.effective_sample_size, 1)
    np.testing.assert_allclose(estimate.standard_error, 1)  # one in nine: √((1/9 − 1/81)/8) over 1/9


def test_effective_sample_size_lies_between_one_and_the_number_of_samples():
    x, mean, log_var = posterior()
    for scale in (0.0, 1.0, 30.0, 1000.0):
        estimate = importance_weighted(np, x, mean, log_var, lambda x, z, scale=scale: scale * nll(x, z), 200, Recorded())
        assert (estimate.effective_sample_size >= 1 - 1e-12).all()
        assert (estimate.effective_sample_size <= 200 + 1e-9).all()


@pytest.mark.slow
def test_standard_error_is_what_repetition_shows():
    """4000 estimates of one number: their spread is the standard error that each of them claims."""
    n, k = 4000, 2
    x, mean, log_var = np.zeros((n, 2)), np.full((n, k), 0.4), np.full((n, k), -0.8)
    estimate = importance_weighted(np, x, mean, log_var, nll, 400, np.random.default_rng(3))
    spread = estimate.log_likelihood.std()
    # the spread of 4000 numbers is known to 1/√8000 = 1.1 %; the delta method drops terms of order error²
    assert spread < 0.1
    assert np.sqrt((estimate.standard_error**2).mean()) / spread == pytest.approx(1, abs=0.05)
    wide = importance_weighted(np, x, mean, log_var, nll, 100, np.random.default_rng(4))
    assert wide.log_likelihood.std() / spread == pytest.approx(2, abs=0.15)  # a quarter of the samples, twice the error


def test_bound_rises_with_the_samples_and_starts_at_the_elbo():
    n = 20_000
    x, mean, log_var = np.full((n, 2), 0.7), np.full((n, K), 0.5), np.full((n, K), -0.5)
    rungs = [importance_weighted(np, x, mean, log_var, nll, k, np.random.default_rng(k)).log_likelihood for k in (1, 5, 50)]
    noise = np.random.default_rng(9).standard_normal((1, n, K))
    elbo = log_weights(np, x, mean, log_var, noise, nll)[0]
    means = [rung.mean() for rung in (elbo, *rungs)]
    errors = [rung.std() / np.sqrt(n) for rung in (elbo, *rungs)]
    assert abs(means[1] - means[0]) < 4 * np.hypot(errors[0], errors[1])
    for low, high in ((1, 2), (2, 3)):
        assert means[high] - means[low] > 4 * np.hypot(errors[low], errors[high])


def test_kl_per_dimension_adds_up_to_the_kl():
    _, mean, log_var = posterior()
    per_dimension = kl_per_dimension(mean, log_var)
    expected = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).mean(axis=0)
    np.testing.assert_allclose(per_dimension, expected, rtol=1e-12)
    assert per_dimension.shape == (K,)
    assert kl_per_dimension(mean.astype(np.float32), log_var.astype(np.float32)).dtype == np.float64


def test_active_units_count_the_dimensions_whose_posterior_mean_moves(xp):
    rng = np.random.default_rng(5)
    deviations = np.array([0.0, 0.09, 0.11, 1.0, 0.0])  # the threshold is a variance of 0.01
    mean = rng.standard_normal((2000, 5))
    mean = (mean - mean.mean(axis=0)) / mean.std(axis=0) * deviations + np.array([3.0, 0, 0, 0, 0])
    assert active_units(to_device(xp, mean, "float32")) == 2
    assert type(active_units(mean)) is int


def test_a_variance_at_the_threshold_is_not_above_it(monkeypatch):
    """ "Exceeds": a dimension exactly at Burda's threshold is not counted, or the same code would give one more active unit."""
    monkeypatch.setattr(estimators, "ACTIVE_VARIANCE", 0.25)
    at, above = np.array([[-0.5], [0.5]]), np.array([[-0.51], [0.51]])
    assert (active_units(at), active_units(above), active_units(np.hstack([at, above]))) == (0, 1, 1)


def test_active_units_of_float32_means_far_from_the_origin():
    """A float32 sum over 60,000 rows near 1001 is about 6e7, where neighbouring floats are 4 apart."""
    mean = np.float32(1001) + np.tile([[-0.09, -0.11], [0.09, 0.11]], (30_000, 1)).astype("float32")
    assert active_units(mean) == 1


def test_variances_of_a_vector_dimension_are_added_up():
    """One entry with a variance of 0.006 is below the bound of 0.01; two of them, 0.012, are above it."""
    move = np.sqrt(0.006) * np.array([-1.0, 1.0])[:, None, None]
    assert active_units(np.broadcast_to(move, (2, 3, 1))) == 0
    assert active_units(np.broadcast_to(move, (2, 3, 2))) == 3


def test_perplexity_is_the_exponential_of_the_entropy_of_each_row():  # (Q.8)
    p = np.random.default_rng(0).dirichlet(np.full(7, 0.3), (2, 4))
    p[0, 0] = np.eye(7)[3]  # always the same value; the others never
    p[0, 1] = 1 / 7
    np.testing.assert_allclose(perplexity(p), np.exp(stats.entropy(p, axis=-1)), rtol=1e-12)
    np.testing.assert_allclose(perplexity(p)[0, :2], [1, 7], rtol=1e-12)
