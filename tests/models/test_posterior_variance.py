"""An encoder that puts out a variance (R.3) instead of its logarithm (R.1): another way to the same Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
from support.family import K, X, Y, blank, objective
from support.helpers import complaint

import minivae as mv
from minivae.autodiff import Tensor, backward
from minivae.checks import InputError
from minivae.models import MODELS
from minivae.models.vae import Variational, log_softplus

LOG_VAR = np.array([-2.0, 0.3, 1.1])  # σ² of each latent dimension, whatever x is


def with_variance(kind, **settings):
    """Return a model whose encoder gives every example the variances of ``LOG_VAR``, in the form that its setting asks for."""
    model = blank(kind, Y, **settings)
    last = model.encoder_.layers[-1]
    last.weight.data[:, K : 2 * K] = 0
    last.bias.data[K : 2 * K] = LOG_VAR if model.posterior_variance == "exp" else np.log(np.expm1(np.exp(LOG_VAR)))
    return model


KINDS = [kind for kind in MODELS.values() if issubclass(kind, Variational)]
every_gaussian = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@every_gaussian
def test_the_same_variances_give_the_same_model(kind):
    """(R.3): nothing but the way to σ² differs, so with the same σ² every loss, bound and picture is the same."""
    logarithm, variance = (with_variance(kind, posterior_variance=form) for form in ("exp", "softplus"))
    np.testing.assert_allclose(variance.encode(X, Y)[1], np.tile(LOG_VAR, (len(X), 1)), rtol=1e-14)
    assert objective(variance, y=Y)().data == pytest.approx(objective(logarithm, y=Y)().data, rel=1e-12)
    for use in (kind.elbo, kind.score_samples):
        np.testing.assert_allclose(use(variance, X, y=Y), use(logarithm, X, y=Y), rtol=1e-12)
    draws = [model.reconstruct(X, 1.0, seed=3, y=Y) for model in (variance, logarithm)]
    np.testing.assert_allclose(*draws, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_logarithm_neither_underflows_nor_loses_digits(dtype):
    raw = np.array([-1e4, -104.0, -41.0, -40.0, -39.0, -5.0, -1e-3, 0.0, 2.0, 50.0, 1e4], dtype)
    expected = [float(r) if r < -40 else np.log(np.logaddexp(0, np.longdouble(r))) for r in raw]
    mine = Tensor(raw, requires_grad=True)
    out = log_softplus(mine)
    np.testing.assert_allclose(out.data, np.array(expected, dtype), rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
    backward(out, np.ones_like(raw))
    slope = [1.0 if r < -40 else 1 / (1 + np.exp(-np.float64(r))) / np.logaddexp(0, np.float64(r)) for r in raw]
    off_kink = raw != -40  # where both halves of the slope are 1, and a rectifier may choose
    np.testing.assert_allclose(mine.grad[off_kink], np.array(slope)[off_kink], rtol=1e-6)


def test_an_example_far_out_has_a_bound():
    """An encoder's outputs for it may be anywhere: −1e6 as a raw variance is no reason for an infinite KL."""
    model = with_variance(mv.VAE, posterior_variance="softplus", likelihood="gaussian_fixed")
    model.encoder_.layers[-1].bias.data[K:] = -1e6
    elbo = model.elbo(X)
    np.testing.assert_allclose(model.encode(X)[1], -1e6)
    assert np.isfinite(elbo).all()


def test_it_is_chosen_by_name():
    message = complaint(InputError, mv.VAE(posterior_variance="log").fit, X)
    assert "posterior_variance: expected one of exp, softplus, got 'log'" in message


@pytest.mark.slow
@pytest.mark.trained
def test_it_learns_as_well(digits):
    """Two ways to the same family of posteriors: after a training the bounds are within half a nat of one another."""
    settings = {"latent_dim": 6, "hidden_dims": (61,), "epochs": 20, "learning_rate": 3e-3, "device": "cpu"}
    forms = ("exp", "softplus")
    ends = [
        mv.VAE(**settings, posterior_variance=form).fit(digits[0], x_test=digits[1]).history_["test_elbo"][-1] for form in forms
    ]
    assert abs(ends[0] - ends[1]) < 0.5
