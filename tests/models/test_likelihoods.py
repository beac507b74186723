"""What a decoder's numbers mean: normalised densities, their means, draws that follow them, and where a blank decoder begins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from support.helpers import Noise, Uniform

from minivae.autodiff import Tensor, backward
from minivae.backend import array_module, generator, to_device, to_numpy
from minivae.models.likelihoods import LIKELIHOODS
from minivae.nn import Parameter
from minivae.ops import mean

FLOOR, VARIANCE = 0.01, 0.37


def likelihood(name: str, xp=np, dtype="float64"):
    return LIKELIHOODS[name](VARIANCE, FLOOR, xp, dtype)


def outputs_of(name: str, n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1.5, (n, d * likelihood(name).outputs_per_feature))


def moments(name: str, outputs: np.ndarray) -> np.ndarray:
    """Return mean and variance of p(x|z) from the decoder's outputs, (n, d) each, as the docstrings state them."""
    if name != "gaussian":
        return outputs, np.full_like(outputs, VARIANCE)
    m, raw = np.split(outputs, 2, axis=1)
    return m, FLOOR + np.exp(raw)  # exp(log f + softplus(raw − log f)) = f + e^raw


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_nll_is_that_of_scipy(name):  # (L.1), (L.2), (L.3), (L.4)
    outputs = outputs_of(name, 11, 5)
    rng = np.random.default_rng(1)
    if name == "bernoulli":
        x = (rng.random((11, 5)) < 0.5).astype(float)
        expected = -stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-outputs))).sum(axis=1)
    else:
        x = rng.standard_normal((11, 5))
        m, variance = moments(name, outputs)
        expected = -stats.norm.logpdf(x, m, np.sqrt(variance)).sum(axis=1)
    np.testing.assert_allclose(likelihood(name).nll(x, Tensor(outputs)).data, expected, rtol=1e-12)


def test_bernoulli_probabilities_add_up_to_one():
    every = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
    logits = np.repeat(outputs_of("bernoulli", 1, 5), len(every), axis=0)
    assert np.exp(-likelihood("bernoulli").nll(every, Tensor(logits)).data).sum() == pytest.approx(1, rel=1e-13)


@pytest.mark.parametrize("name", list(LIKELIHOODS)[1:])
def test_gaussian_densities_integrate_to_one(name):
    grid, step = np.linspace(-40, 40, 40_001, retstep=True)
    outputs = np.repeat(outputs_of(name, 1, 1), grid.size, axis=0)
    density = np.exp(-likelihood(name).nll(grid[:, None], Tensor(outputs)).data)
    assert density.sum() * step == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_have_the_mean_and_variance_that_nll_scores(xp, name):
    n = 40_000
    outputs = np.repeat(outputs_of(name, 1, 5, seed=2), n, axis=0)
    kind = likelihood(name, xp, "float32")
    on_device = to_device(xp, outputs, "float32")
    drawn = kind.draw(xp, on_device, generator(xp, 3, "sample"))
    assert array_module(drawn) is xp
    assert drawn.dtype == np.float32
    assert drawn.shape == (n, 5)
    expected = kind.mean(xp, on_device)
    assert expected.shape == (n, 5)
    m, drawn = to_numpy(expected)[0].astype(np.float64), to_numpy(drawn).astype(np.float64)
    if name == "bernoulli":
        np.testing.assert_allclose(m, 1 / (1 + np.exp(-outputs[0])), rtol=1e-6)
        assert set(np.unique(drawn)) == {0, 1}
        variance = m * (1 - m)
    else:
        mean_of, variance = (array[0] for array in moments(name, outputs))
        np.testing.assert_allclose(m, mean_of, rtol=1e-6)
        assert np.abs(drawn.var(axis=0) / variance - 1).max() < 5 * np.sqrt(2 / n)
    assert np.abs(drawn.mean(axis=0) - m).max() < 5 * np.sqrt(variance.max() / n)
    correlation = np.corrcoef(drawn.T) - np.eye(5)
    assert np.abs(correlation).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("name", list(LIKELIHOODS)[1:])
def test_gaussian_draws_are_mean_and_noise_times_standard_deviation(name):
    """x = m + σ ε, as z in R.1: given the noise, the draw is known."""
    outputs, noise = outputs_of(name, 11, 5), np.random.default_rng(1).standard_normal((11, 5))
    m, variance = moments(name, outputs)
    np.testing.assert_allclose(likelihood(name).draw(np, outputs, Noise(noise)), m + np.sqrt(variance) * noise, rtol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_outputs_may_have_axes_before_their_own(name):
    """Such as (s, n, …) for several samples of each example."""
    kind, outputs = likelihood(name), np.stack([outputs_of(name, 11, 6, seed) for seed in range(2)])
    np.testing.assert_array_equal(kind.mean(np, outputs), [kind.mean(np, each) for each in outputs])
    assert kind.draw(np, outputs, np.random.default_rng(0)).shape == (2, 11, 6)
    x = np.random.default_rng(1).integers(0, 2, (11, 6)).astype(float)
    np.testing.assert_allclose(kind.nll(x, Tensor(outputs)).data, [kind.nll(x, Tensor(each)).data for each in outputs], rtol=1e-13)


def test_gaussian_variance_has_a_floor_and_is_raw_far_above_it():
    x = np.zeros((1, 1))
    for raw in (-1e4, -40.0, np.log(FLOOR), 0.0, 8.0, 500.0):
        variance = FLOOR + np.exp(raw)
        nll = likelihood("gaussian").nll(x, Tensor(np.array([[0.0, raw]]))).data
        np.testing.assert_allclose(nll, 0.5 * np.log(2 * np.pi * variance), rtol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_blank_decoder_begins_at_the_mean_of_the_data(name):
    kind = likelihood(name)
    data_mean = np.array([0.2, 0.9, 0.5])
    bias = kind.output_bias(data_mean)
    assert bias.shape == (3 * kind.outputs_per_feature,)
    np.testing.assert_allclose(kind.mean(np, bias[None])[0], data_mean, rtol=1e-12)
    if name == "gaussian":  # and at unit variance
        np.testing.assert_allclose(moments(name, bias[None])[1], 1 + FLOOR)


def test_pixels_that_are_always_black_or_white_do_not_ask_for_infinity():
    bias = likelihood("bernoulli").output_bias(np.array([0.0, 1.0]))
    np.testing.assert_allclose(bias, [-np.log(999), np.log(999)])


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_only_the_shared_variance_is_a_parameter(name):
    kind = likelihood(name, dtype="float32")
    assert [(p.name, p.shape, p.dtype) for p in kind.parameters] == (
        [("likelihood.log_var", (), np.float32)] if name == "gaussian_shared" else []
    )
    assert kind.unit_interval == (name == "bernoulli")


def test_shared_variance_is_stationary_at_the_mean_squared_error():
    """L.4: the gradient vanishes exactly where σ² is the mean squared error, and points there from both sides."""
    rng = np.random.default_rng(5)
    x, m = rng.standard_normal((11, 7)), rng.standard_normal((11, 7))
    kind = likelihood("gaussian_shared")
    (log_var,) = kind.parameters
    assert isinstance(log_var, Parameter)
    for offset in (-1.0, 0.0, 1.0):
        log_var.data = np.asarray(np.log(((x - m) ** 2).mean()) + offset)
        backward(mean(kind.nll(x, Tensor(m))))
        expected = 0.5 * 7 * (1 - np.exp(-offset))  # ½ Σ_j (1 − r²/σ²), averaged over rows
        np.testing.assert_allclose(log_var.grad, expected, atol=1e-13)


def test_standard_deviation_stays_above_its_floor_however_low_the_raw_number():
    """Without the absolute value in the exponent a feature that the decoder is sure of would have σ = ∞ and its draws be noise."""
    raw = np.array([-1e4, -800.0, np.log(FLOOR), 0.0, 600.0])
    std = likelihood("gaussian").std(np, np.concatenate([np.zeros(5), raw]))
    np.testing.assert_allclose(std, np.sqrt(FLOOR + np.exp(raw)), rtol=1e-12)


def test_a_pixel_of_probability_zero_is_never_drawn_white():
    """A probability may be exactly 0, and so may a uniform number: the pixel is black all the same."""
    drawn = likelihood("bernoulli").draw(np, np.array([[-800.0, -5.0, 0.0, 800.0]]), Uniform(0.0))
    np.testing.assert_array_equal(drawn, [[0, 1, 1, 1]])
