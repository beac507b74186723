"""The certificate of a model: draws from it, and two bounds on log p(x) that enclose what quadrature gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from support.family import X, Y, blank
from support.helpers import complaint, plain_network, plain_nll

import minivae as mv
from minivae.checks import InputError


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_bounds_of_a_conditional_model_enclose_log_p_by_quadrature(likelihood):
    """(M.7), (M.8): with one latent number log p(x|y) is an integral over a line, for each example under its own y."""
    model = blank(mv.ConditionalVAE, Y, latent_dim=1, likelihood=likelihood)
    hot, y = np.eye(5), np.arange(40) % 5
    x, bounds = model.certificate(40, n_chains=4, n_steps=25, seed=1, y=y)
    assert x.shape == (40, X.shape[1])
    grid, width = np.linspace(-8, 8, 401, retstep=True)
    exact = np.empty(40)
    for i in range(40):
        outputs = plain_network(model, "decoder", np.column_stack([grid, np.tile(hot[y[i]], (401, 1))]))
        exact[i] = special.logsumexp(stats.norm.logpdf(grid) - plain_nll(model, x[i], outputs)) + np.log(width)
    for excess in (bounds.lower - exact, exact - bounds.upper):  # none on average, and with four chains of 25 steps a small gap
        assert excess.mean() < 4 * excess.std() / np.sqrt(40)
        assert -0.2 < excess.mean() < 0.1
        assert np.abs(excess).max() < 2
    assert type(bounds.acceptance) is float
    again, same = model.certificate(40, n_chains=4, n_steps=25, seed=1, y=y)
    np.testing.assert_array_equal(again, x)
    np.testing.assert_array_equal(same.upper, bounds.upper)


def test_examples_of_a_certificate_are_drawn_from_the_model():
    """Compared with ``sample``: each pixel, and each pair of neighbours, is white equally often."""
    model, n = blank(mv.VAE), 3000
    x, _ = model.certificate(n, n_chains=1, n_steps=1)
    other = model.sample(n, seed=3, pixels="draw")
    assert set(np.unique(x)) == {0, 1}
    for made, expected in ((x, other), (x[:, 1:] * x[:, :-1], other[:, 1:] * other[:, :-1])):
        assert np.abs(made.mean(axis=0) - expected.mean(axis=0)).max() < 5 * np.sqrt(0.5 / n)


def test_one_example_one_chain_and_one_step_are_enough():
    x, bounds = blank(mv.VAE).certificate(1, n_chains=1, n_steps=1)
    assert x.shape == (1, X.shape[1])
    assert np.isfinite([bounds.lower, bounds.upper]).all()


def test_draws_of_a_prior_beyond_the_range_of_floats_are_refused_as_what_they_are():
    """The message is about z, since no x has been drawn yet."""
    model = blank(mv.LearnedPriorVAE, prior="mixture", n_components=2)
    model.prior_.log_vars.data[...] = 3000
    with np.errstate(over="ignore"):
        assert complaint(InputError, model.certificate, 5).startswith("z: expected finite numbers")
