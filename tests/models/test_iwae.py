"""The importance-weighted autoencoder: its bound, its two gradients, and what more samples are good for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.family import K, X, blank, gradients, objective, parameters
from support.helpers import complaint, plain_kl, plain_network, plain_nll

import minivae as mv
from minivae.autodiff import Tensor, backward
from minivae.checks import InputError
from minivae.models.likelihoods import LIKELIHOODS
from minivae.ops import gaussian_nll, sum_
from minivae.proof.gradcheck import gradcheck

S = 4  # samples


def noise(seed: int = 2, s: int = S, n: int = len(X)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((s, n, K))


def log_weights(model, x: np.ndarray, epsilon: np.ndarray) -> np.ndarray:
    """Return log p(x|z) + log p(z) − log q(z|x), (s, n), by textbook densities in plain NumPy."""
    mean, log_var = np.split(plain_network(model, "encoder", x), 2, axis=1)
    z = mean + np.exp(0.5 * log_var) * epsilon
    outputs = plain_network(model, "decoder", z.reshape(-1, K)).reshape(*z.shape[:2], -1)
    log_prior = -0.5 * (math.log(2 * math.pi) + z**2).sum(axis=-1)
    log_q = -0.5 * (math.log(2 * math.pi) + log_var + (z - mean) ** 2 / np.exp(log_var)).sum(axis=-1)
    return -plain_nll(model, x, outputs) + log_prior - log_q


@pytest.mark.parametrize("likelihood", [name for name in LIKELIHOODS if name != "gaussian"])
@pytest.mark.parametrize("gradient", ["standard", "doubly_reparameterized"])
def test_bound_is_the_logarithm_of_the_mean_weight(likelihood, gradient):
    model = blank(mv.IWAE, likelihood=likelihood, variance=0.3, n_importance_samples=S, gradient=gradient)
    terms = model.terms(X, np.random.default_rng(2))
    expected = np.log(np.exp(log_weights(model, X, noise())).mean(axis=0))
    np.testing.assert_allclose(-terms["negative_bound"].data, expected, rtol=1e-10)
    assert model.loss(terms).item() == pytest.approx(-expected.mean())
    mean, log_var = np.split(plain_network(model, "encoder", X), 2, axis=1)
    np.testing.assert_allclose(terms["kl"].data, plain_kl(mean, log_var), rtol=1e-10)
    z = mean + np.exp(0.5 * log_var) * noise()
    nll = np.mean([plain_nll(model, X, plain_network(model, "decoder", sample)) for sample in z], axis=0)
    np.testing.assert_allclose(terms["reconstruction"].data, nll, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("s", [1, S])
def test_gradient_of_the_objective(likelihood, s):
    model = blank(mv.IWAE, likelihood=likelihood, variance=0.3, variance_floor=0.2, n_importance_samples=s)
    gradcheck(objective(model), parameters(model))


def test_reports():
    model = blank(mv.IWAE, n_importance_samples=S)
    report = model.summarize({"reconstruction": 20.0, "kl": 3.0, "negative_bound": 22.0, "loss": 22.0})
    assert report == {"reconstruction": 20.0, "kl": 3.0, "elbo": -23.0, "iw_bound": -22.0, "loss": 22.0}
    assert {"train_iw_bound", "train_elbo", "kl_per_dimension", "active_units"} <= model.history_.keys()


@pytest.mark.slow
def test_one_sample_is_the_vae_in_the_mean():
    """Over 1500 draws of the noise, value and gradient of the one-sample bound average to those of the VAE with K.1's integral."""
    vae, iwae = blank(mv.VAE), blank(mv.IWAE, n_importance_samples=1)
    np.testing.assert_array_equal(vae.parameters_.values, iwae.parameters_.values)
    rng, draws = np.random.default_rng(0), 1500
    samples = {"value": [], "gradient": []}
    for _ in range(draws):
        pair = []
        for model in (vae, iwae):
            loss = model.loss(model.terms(X[:5], rng))
            backward(loss, leaves=parameters(model).values())
            pair.append((loss.item(), model.parameters_.gradients.copy()))
        samples["value"].append(pair[1][0] - pair[0][0])
        samples["gradient"].append(pair[1][1] - pair[0][1])
    for difference in map(np.array, samples.values()):
        error = difference.std(axis=0) / math.sqrt(draws)
        # 330 gradients at once: the greatest of so many standard normals exceeds 5 once in 5000 seeds
        assert (np.abs(difference.mean(axis=0)) < 5 * error + 1e-12).all()
        assert np.max(error) > 0


@pytest.mark.slow
def test_the_bound_tightens_with_the_samples():
    """ELBO = IW_1 ≤ IW_2 ≤ IW_10 ≤ IW_100, each by more than five standard errors (M.6)."""
    copies = np.repeat(X, 100, axis=0)
    bounds = []
    for s in (1, 2, 10, 100):
        terms = blank(mv.IWAE, n_importance_samples=s).terms(copies, np.random.default_rng(s))
        bounds.append(-terms["negative_bound"].data.reshape(len(X), 100))
        if s == 1:
            elbo = -(terms["reconstruction"].data + terms["kl"].data)
    means = [bound.mean() for bound in bounds]
    errors = [math.sqrt((bound.var(axis=1) / 100).sum()) / len(X) for bound in bounds]
    assert means[0] == pytest.approx(elbo.mean(), abs=5 * errors[0])
    for i in range(3):
        assert means[i + 1] - means[i] > 5 * math.hypot(errors[i], errors[i + 1])


def by_hand(model, x: np.ndarray, epsilon: np.ndarray, power: int) -> dict[str, np.ndarray]:
    """Return −Σ_i w̃_i^power (∂ log w_i/∂z_i) ∇z_i for the encoder and −Σ_i w̃_i ∇ log w_i for the decoder, averaged over the batch.

    With q's parameters held fixed in log q, from one backward pass through the decoder and one through the encoder.
    """
    log_w = log_weights(model, x, epsilon)
    normalised = np.exp(log_w) / np.exp(log_w).sum(axis=0)
    mean, log_var = model.posterior(x)
    std = np.exp(0.5 * log_var.data)
    z = Tensor(mean.data + std * epsilon, requires_grad=True)
    zero = np.zeros_like(mean.data)
    log_w = (
        gaussian_nll(z, mean.data, log_var.data) - gaussian_nll(z, zero, zero) - model.likelihood_.nll(x, model.decoder(z, None))
    )
    decoder = gradients(model, sum_(normalised * log_w))
    backward(log_w, np.ones(log_w.shape), leaves=[z])
    into_z = normalised[..., None] ** power * z.grad
    encoder = gradients(model, sum_(into_z * mean) + sum_(into_z * (0.5 * std * epsilon) * log_var))  # ∇z by R.2
    return {name: -(encoder if name.startswith("encoder") else decoder)[name] / len(x) for name in encoder}


def test_doubly_reparameterized_gradient_is_the_published_estimator():
    model = blank(mv.IWAE, n_importance_samples=S, gradient="doubly_reparameterized")
    expected = by_hand(model, X, noise(), power=2)
    for name, gradient in gradients(model, objective(model)()).items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-9, atol=1e-13, err_msg=name)
        assert np.abs(gradient).max() > 1e-6, name


def test_both_gradients_have_the_same_decoder_part_and_another_encoder_part():
    standard, doubly = (blank(mv.IWAE, n_importance_samples=S, gradient=g) for g in ("standard", "doubly_reparameterized"))
    one, other = (gradients(model, objective(model)()) for model in (standard, doubly))
    for name in one:
        if name.startswith("decoder"):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-10, err_msg=name)
        else:
            assert np.abs(one[name] - other[name]).max() > 0.01 * np.abs(one[name]).max(), name


@pytest.mark.slow
def test_both_gradients_agree_in_the_mean_and_the_new_one_varies_less():
    draws, x = 1500, X[:5]
    samples = {}
    for gradient in ("standard", "doubly_reparameterized"):
        model = blank(mv.IWAE, n_importance_samples=8, gradient=gradient)
        rng = np.random.default_rng(7)
        encoder = slice(sum(p.data.size for name, p in parameters(model).items() if name.startswith("encoder")))
        rows = []
        for _ in range(draws):
            backward(model.loss(model.terms(x, rng)), leaves=parameters(model).values())
            rows.append(model.parameters_.gradients[encoder].copy())
        samples[gradient] = np.array(rows)
    standard, doubly = samples.values()
    difference = standard - doubly  # the noise is the same in both
    error = difference.std(axis=0) / math.sqrt(draws)
    assert (np.abs(difference.mean(axis=0)) < 5 * error + 1e-12).all()
    assert doubly.var(axis=0).sum() < 0.5 * standard.var(axis=0).sum()
    # The check above can fail: with weights that are not squared the means are apart.
    unsquared = np.concatenate([by_hand(model, x, noise(9, 8, 5), power=1)[n].ravel() for n in parameters(model) if "encoder" in n])
    assert np.abs(unsquared - standard.mean(axis=0)).max() > 5 * error.max()


@pytest.mark.slow
@pytest.mark.trained
@pytest.mark.parametrize("gradient", ["standard", "doubly_reparameterized"])
def test_training_on_the_tighter_bound_gives_the_better_model(digits, gradient):
    """After as many steps from the same weights: log p(x) on the test set, of one sample in training against ten."""
    settings = {"latent_dim": 8, "hidden_dims": (31,), "epochs": 30, "learning_rate": 3e-3, "binarize": "fixed", "device": "cpu"}
    one, many = (mv.IWAE(**settings, n_importance_samples=s, gradient=gradient).fit(digits[0]) for s in (1, 10))
    assert many.log_likelihood(digits[1]).mean() > one.log_likelihood(digits[1]).mean() + 0.2
    assert many.history_["train_iw_bound"][-1] > many.history_["train_elbo"][-1] + 0.5


def test_float32_weights_stay_normal_numbers():
    """A variance of 10⁻⁴ makes log w ≈ −10⁴: the weights are formed after the maximum is taken off."""
    for gradient in ("standard", "doubly_reparameterized"):
        model = blank(
            mv.IWAE, n_importance_samples=S, gradient=gradient, dtype="float32", likelihood="gaussian_fixed", variance=1e-4
        )
        for name, value in gradients(model, objective(model, X.astype("float32"))()).items():
            assert np.isfinite(value).all(), name


@pytest.mark.parametrize(("name", "value"), [("n_importance_samples", 0), ("n_importance_samples", 2.5), ("gradient", "twice")])
def test_settings_that_cannot_be_used_are_refused(name, value):
    assert f"{name}: expected" in complaint(InputError, mv.IWAE(**{name: value}).fit, X)
