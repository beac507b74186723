"""Two stochastic layers: a linear-Gaussian model of two layers, of which everything is known, and the weights of both."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support.family import D, K, X, Y, blank, objective, parameters
from support.helpers import complaint, plain_network, plain_nll

import minivae as mv
from minivae.checks import InputError
from minivae.proof.gradcheck import gradcheck

SECOND = 2
KINDS = (mv.TwoLayerVAE, mv.TwoLayerIWAE)
SMALL = {"second_latent_dim": SECOND, "second_hidden_dims": (4, 6)}
each_kind = pytest.mark.parametrize("kind", KINDS)


def halves(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations."""
    k = outputs.shape[-1] // 2
    return outputs[..., :k], np.exp(outputs[..., k:] / 2)


def log_weights(model: mv.Model, x: np.ndarray, first_noise: np.ndarray, second_noise: np.ndarray) -> np.ndarray:
    """Return log [p(x|z₁) p(z₁|z₂) p(z₂) / (q(z₁|x) q(z₂|z₁))] (s, n), from all densities written out."""
    rows = []
    for first, second in zip(first_noise, second_noise):
        mean, std = halves(plain_network(model, "encoder", x))
        z1 = mean + std * first
        mean2, std2 = halves(plain_network(model, "prior.encoder", z1))
        z2 = mean2 + std2 * second
        log_q = stats.norm.logpdf(z1, mean, std).sum(axis=1) + stats.norm.logpdf(z2, mean2, std2).sum(axis=1)
        log_p = stats.norm.logpdf(z1, *halves(plain_network(model, "prior.decoder", z2))).sum(axis=1)
        nll = plain_nll(model, x, plain_network(model, "decoder", z1))
        rows.append(log_p + stats.norm.logpdf(z2).sum(axis=1) - nll - log_q)
    return np.stack(rows)


@each_kind
def test_objective_is_made_of_the_weights_of_both_layers(kind):
    """(P.4): the VAE's bound is their mean logarithm, the IWAE's (M.6) the logarithm of their mean."""
    model = blank(kind, **SMALL, **{"n_samples" if kind is mv.TwoLayerVAE else "n_importance_samples": 4})
    rng = np.random.default_rng(2)
    log_w = log_weights(model, X, rng.standard_normal((4, len(X), K)), rng.standard_normal((4, len(X), SECOND)))
    expected = -log_w.mean() if kind is mv.TwoLayerVAE else -np.log(np.exp(log_w).mean(axis=0)).mean()
    assert objective(model)().item() == pytest.approx(expected, rel=1e-10)
    terms = model.terms(X, np.random.default_rng(2))
    np.testing.assert_allclose((terms["reconstruction"] + terms["kl"]).data, -log_w.mean(axis=0), rtol=1e-9)


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("hidden", [(), (5,), (4, 6)])
def test_gradient_of_the_objective(kind, hidden):
    model = blank(kind, **SMALL | {"second_hidden_dims": hidden}, likelihood="gaussian", variance_floor=0.2)
    gradcheck(objective(model), parameters(model))


def linear(kind: type[mv.Model]) -> tuple[mv.Model, stats.rv_continuous]:
    """Return a linear-Gaussian model of two layers, and the distribution of x: z₂ ~ N(0, I), z₁ = A z₂ + a + S ε, x = B z₁ + b + e.

    q(z₁|x) and q(z₂|z₁) have the means of the true posteriors, but are wider, and diagonal.
    """
    model = blank(kind, hidden_dims=(), second_latent_dim=SECOND, second_hidden_dims=(), likelihood="gaussian_fixed", variance=0.5)
    rng, weights = np.random.default_rng(5), {name: parameter.data for name, parameter in parameters(model).items()}
    for value in weights.values():
        value[...] = 0.5 * rng.standard_normal(value.shape)
    weights["prior.decoder.0.weight"][:, K:] = 0  # the variance of p(z₁|z₂) does not depend on z₂
    up, a, noise = weights["prior.decoder.0.weight"][:, :K], *np.split(weights["prior.decoder.0.bias"], 2)
    down, b = weights["decoder.0.weight"], weights["decoder.0.bias"]
    of_z1 = up.T @ up + np.diag(np.exp(noise))
    for name, prior, mean, matrix, spread, of in (
        ("encoder.0", of_z1, a, down, 0.5 * np.eye(D), a @ down + b),
        ("prior.encoder.0", np.eye(SECOND), np.zeros(SECOND), up, np.diag(np.exp(noise)), a),
    ):
        gain = np.linalg.solve(matrix.T @ prior @ matrix + spread, matrix.T @ prior)  # of what is seen, row by row
        wide = np.log(1.5 * np.diag(prior - prior @ matrix @ gain))
        weights[f"{name}.weight"][...] = np.hstack([gain, 0 * gain])
        weights[f"{name}.bias"][...] = np.concatenate([mean - of @ gain, wide])
    return model, stats.multivariate_normal(a @ down + b, down.T @ of_z1 @ down + 0.5 * np.eye(D))


@each_kind
def test_log_likelihood_of_a_linear_model_is_the_exact_one(kind):
    """(P.4), (M.6): z₁ and z₂ integrated out by hand, x is Gaussian; the estimate rises towards it with the samples."""
    model, exact = linear(kind)
    x = exact.rvs(12, random_state=0)
    estimate = model.importance_estimate(x, n_samples=20_000)
    assert (np.abs(estimate.log_likelihood - exact.logpdf(x)) < 5 * estimate.standard_error).all()
    assert estimate.standard_error.max() < 0.05
    x = exact.rvs(500, random_state=1)
    gaps = [(exact.logpdf(x) - model.log_likelihood(x, n_samples=n)).mean() for n in (1, 10, 100)]
    assert gaps[0] > 5 * gaps[1] > 10 * gaps[2] > -0.1
    assert (exact.logpdf(x) - model.elbo(x, n_samples=100)).mean() == pytest.approx(gaps[0], abs=0.2)


@each_kind
def test_draws_are_z2_then_z1_then_x(kind):
    """(G.1): moments of x are the exact ones; a prior N(0, I) of z₁ would have others."""
    model, exact = linear(kind)
    n = 60_000
    x = model.sample(n, seed=0, pixels="draw")
    sigma = np.sqrt(np.diag(exact.cov))
    assert (np.abs(x.mean(axis=0) - exact.mean) < 5 * sigma / np.sqrt(n)).all()
    assert (np.abs(np.cov(x.T) - exact.cov) < 8 * np.outer(sigma, sigma) / np.sqrt(n)).all()


@pytest.mark.slow
def test_a_certificate_encloses_the_exact_log_likelihood():
    """(M.7): the chains move z₂ and the noise of z₁, which are standard normal."""
    model, exact = linear(mv.TwoLayerVAE)
    x, bounds = model.certificate(64, n_chains=4, n_steps=60)
    assert all(abs(gap.mean()) < 0.3 for gap in (bounds.upper - exact.logpdf(x), exact.logpdf(x) - bounds.lower))


@each_kind
def test_a_row_has_the_same_scores_in_any_batch(kind):
    model = blank(kind, **SMALL)
    np.testing.assert_allclose(model.log_likelihood(X, 7)[3:5], model.log_likelihood(X[3:5], 7), rtol=1e-12)
    np.testing.assert_allclose(model.elbo(X, 7)[3:5], model.elbo(X[3:5], 7), rtol=1e-12)


def test_more_samples_in_training_bring_a_tighter_bound():
    """Burda et al.: the IWAE's bound of five samples is above the VAE's, for the same weights and noise."""
    vae, iwae = (blank(kind, **SMALL) for kind in KINDS)
    iwae.parameters_.values[...] = vae.parameters_.values
    assert iwae.log_likelihood(X, 200).mean() == pytest.approx(vae.log_likelihood(X, 200).mean(), rel=1e-12)
    assert objective(iwae)().item() < objective(vae)().item()


@each_kind
def test_active_units_of_the_second_layer(kind):
    """A unit of z₂ that its encoder never moves is not active."""
    model = blank(kind, **SMALL)
    weight = parameters(model)["prior.encoder.2.weight"].data
    weight *= 100
    assert model.evaluate(model._rows(X))[1]["second_active_units"] == SECOND
    weight[:, 0] = 0
    assert model.evaluate(model._rows(X))[1]["second_active_units"] == SECOND - 1
    assert model.fit(X).history_["second_active_units"][-1] in range(SECOND + 1)


def test_what_two_layers_cannot_have_is_refused():
    message = complaint(InputError, mv.TwoLayerVAE(free_bits=0.5).fit, X, Y)
    assert message.startswith("free_bits: expected 0 where the prior has latents of its own, got 0.5")
    message = complaint(InputError, mv.TwoLayerIWAE(gradient="doubly_reparameterized").fit, X, Y)
    assert message.startswith("gradient: expected standard where there are two layers")
    assert "second_latent_dim" in complaint(InputError, mv.TwoLayerVAE(second_latent_dim=0).fit, X)
    assert "second_hidden_dims" in complaint(InputError, mv.TwoLayerVAE(second_hidden_dims=(0,)).fit, X)
