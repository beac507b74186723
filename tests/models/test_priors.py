"""Priors that are learned: densities that integrate to one and agree with SciPy's, draws from the prior that the bound is about."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats
from support.family import TINY, D, K, X, Y, blank, objective, parameters
from support.helpers import complaint, plain_network, plain_nll, rewritten

import minivae as mv
from minivae.autodiff import Tensor
from minivae.checks import DataFileError, InputError
from minivae.models.likelihoods import LIKELIHOODS
from minivae.models.priors import LearnedMixture, Mixture, Prior, StandardNormal, VampPrior
from minivae.nn import Parameter
from minivae.proof.gradcheck import gradcheck

PRIORS = ("vamp", "mixture")
both = pytest.mark.parametrize("prior", PRIORS)


def mixture_of(model: mv.LearnedPriorVAE) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances of the components, from the parameters in plain NumPy."""
    if model.prior == "mixture":
        return parameters(model)["prior.means"].data, np.exp(parameters(model)["prior.log_vars"].data)
    heads = plain_network(model, "encoder", parameters(model)["prior.pseudo_inputs"].data)
    return heads[:, :K], np.exp(heads[:, K:])


def log_mixture(z: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return log p(z) of points (…, k), component by component, by SciPy."""
    each = [stats.multivariate_normal(m, np.diag(v)).logpdf(z) for m, v in zip(means, variances)]
    return special.logsumexp(each, axis=0) - math.log(len(means))


def test_density_of_a_linear_vamp_prior_is_known():
    """(P.3): an affine encoder takes pseudo-inputs u to N(W u + b, S), so p(z) is a mixture whose every number is given here."""
    rng = np.random.default_rng(0)
    weight, bias, log_var, u = (rng.standard_normal(shape) for shape in ((D, K), K, K, (5, D)))

    def encode(inputs):
        return Tensor(inputs.data @ weight + bias), Tensor(np.tile(log_var, (len(inputs.data), 1)))

    prior = VampPrior(Parameter(u, "u"), encode, K, np, "float64")
    z = 3 * rng.standard_normal((2, 50, K))
    expected = log_mixture(z, u @ weight + bias, np.tile(np.exp(log_var), (5, 1)))
    np.testing.assert_allclose(prior.log_density(Tensor(z), None).data, expected, rtol=1e-12)
    standard = stats.norm.logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(prior.log_ratio(Tensor(z), None).data, expected - standard, rtol=1e-10, atol=1e-10)


@both
def test_density_integrates_to_one(prior):
    """(P.2), by quadrature over the plane: a weight of the components that is left out is seen here."""
    model = blank(mv.LearnedPriorVAE, latent_dim=2, prior=prior, n_components=4)
    grid, width = np.linspace(-12, 12, 301, retstep=True)
    z = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    density = np.exp(model.prior_.log_density(Tensor(z), None).data)
    assert density.sum() * width**2 == pytest.approx(1, abs=1e-6)


def test_kl_by_samples_is_that_of_the_integral_and_may_be_negative_for_a_sample():
    """(P.1) against K.1 for one component that is N(0, I), with an error of samples; and some samples are below 0."""
    rng = np.random.default_rng(0)
    mean, log_var = Tensor(0.7 * rng.standard_normal((6, K))), Tensor(0.5 * rng.standard_normal((6, K)))
    z = Tensor(mean.data + np.exp(log_var.data / 2) * rng.standard_normal((40_000, 6, K)))
    one = LearnedMixture(Parameter(np.zeros((1, K)), "means"), Parameter(np.zeros((1, K)), "log_vars"), np, "float64")
    exact = StandardNormal(K, np, "float64").kl(mean, log_var, z, None).data
    each = stats.norm.logpdf(z.data, mean.data, np.exp(log_var.data / 2)).sum(axis=-1) - stats.norm.logpdf(z.data).sum(axis=-1)
    estimate = one.kl(mean, log_var, z, None).data
    np.testing.assert_allclose(estimate, each.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(one.kl(mean, log_var, Tensor(z.data[0]), None).data, each[0], rtol=1e-9)  # one draw of each
    assert (np.abs(estimate - exact) < 5 * each.std(axis=0) / 200).all()
    assert (each.min(axis=0) < 0).all()
    assert (exact > 0).all()


@pytest.mark.slow
@both
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_terms_and_the_gradient_of_the_objective(prior, likelihood):
    """(P.1): reconstruction + KL is −log p(x, z) + log q(z|x) at each sample."""
    settings = {"prior": prior, "n_components": 4, "likelihood": likelihood, "variance": 0.3, "variance_floor": 0.2}
    model = blank(mv.LearnedPriorVAE, **settings, n_samples=2, beta=3.0)
    terms = model.terms(X, np.random.default_rng(2))
    noise = np.random.default_rng(2).standard_normal((2, len(X), K))
    heads = plain_network(model, "encoder", X)
    mean, std = heads[:, :K], np.exp(heads[:, K:] / 2)
    z = mean + std * noise
    kl = stats.norm.logpdf(z, mean, std).sum(axis=-1) - log_mixture(z, *mixture_of(model))
    nll = [plain_nll(model, X, plain_network(model, "decoder", sample)) for sample in z]
    np.testing.assert_allclose(terms["kl"].data, kl.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(terms["reconstruction"].data, np.mean(nll, axis=0), rtol=1e-9)
    gradcheck(objective(model), parameters(model))


@pytest.mark.slow
@both
def test_bound_and_importance_weights_agree_with_quadrature(prior):
    """With two latents log p(x) = log ∫ p(x|z) p(z) dz is an integral over the plane, with the prior that was trained (M.1)."""
    settings = TINY | {"latent_dim": 2, "hidden_dims": (11,), "epochs": 150, "batch_size": 29, "learning_rate": 0.01}
    model = mv.LearnedPriorVAE(**settings, prior=prior, n_components=3).fit(X)
    grid, width = np.linspace(-10, 10, 241, retstep=True)
    z = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    log_prior, outputs = model.prior_.log_density(Tensor(z), None).data, plain_network(model, "decoder", z)
    x = X[:4]
    exact = special.logsumexp([log_prior - plain_nll(model, row, outputs) for row in x], axis=1) + 2 * math.log(width)
    standard = [stats.norm.logpdf(z).sum(axis=1) - plain_nll(model, row, outputs) for row in x]
    assert np.abs(special.logsumexp(standard, axis=1) + 2 * math.log(width) - exact).max() > 0.005  # the other prior is told apart
    estimate = model.importance_estimate(x, n_samples=5000)
    assert (np.abs(estimate.log_likelihood - exact) < 5 * estimate.standard_error + 1e-3).all()
    assert (model.elbo(x, n_samples=2000) < exact + 0.1).all()  # with an error of 0.03


@both
def test_draws_are_from_the_prior_of_the_model(prior):
    """(P.2), (P.3), (G.1): means and covariance of many draws are the mixture's, which is far from N(0, I)."""
    model = blank(mv.LearnedPriorVAE, prior=prior, n_components=4)
    values = parameters(model)["prior.means" if prior == "mixture" else "prior.pseudo_inputs"].data
    values += 3 * np.random.default_rng(0).standard_normal(values.shape)
    means, variances = mixture_of(model)
    n = 40_000
    z = model.prior_.draw(n, np.random.default_rng(0))
    centre = means.mean(axis=0)
    spread = np.cov(means.T, bias=True) + np.diag(variances.mean(axis=0))  # the law of total variance
    sigma = np.sqrt(np.diag(spread))
    assert np.abs(centre).max() + np.abs(spread - np.eye(K)).max() > 0.5
    assert (np.abs(z.mean(axis=0) - centre) < 5 * sigma / math.sqrt(n)).all()
    assert (np.abs(np.cov(z.T) - spread) < 8 * np.outer(sigma, sigma) / math.sqrt(n)).all()
    shown = model.sample(n, seed=3)
    drawn = model.prior_.draw(n, model._generator("sample", 3))
    np.testing.assert_allclose(shown, model.decode(drawn), rtol=1e-12)


def test_energy_is_of_the_prior_of_the_model():
    """The energy is −log [p(x|z) p(z) / N(z; 0, I)]; a certificate's chains get the last two factors from ``unfold``."""
    model = blank(mv.LearnedPriorVAE, prior="mixture", n_components=4)
    z = 2 * np.random.default_rng(0).standard_normal((2, len(X), K))
    ratio = log_mixture(z, *mixture_of(model)) - stats.norm.logpdf(z).sum(axis=-1)
    nll = np.stack([plain_nll(model, X, plain_network(model, "decoder", sample)) for sample in z])
    np.testing.assert_allclose(model.energy(X, Tensor(z), None, None).data, nll - ratio, rtol=1e-9)
    base = model.prior_.base(6, np.random.default_rng(1))
    np.testing.assert_array_equal(base, model.prior_.draw(6, np.random.default_rng(1)))
    assert base.shape == (6, K)
    there, log_ratio = model.prior_.unfold(Tensor(z))
    np.testing.assert_array_equal(there.data, z)
    np.testing.assert_allclose(log_ratio.data, ratio, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("base", "name", "arguments"),
    [
        (Prior, "log_density", (Tensor(np.zeros((1, K))), None)),
        (Prior, "draw", (1, None)),
        (Mixture, "components", ()),
        (Mixture, "draw", (1, None)),
    ],
)
def test_what_a_new_prior_has_to_define_raises_until_it_does(base, name, arguments):
    with pytest.raises(NotImplementedError):
        getattr(base(K, np, "float64"), name)(*arguments)


def test_a_mixture_begins_with_the_mean_and_the_variance_of_the_standard_normal():
    """Its components lie apart, or they would stay together for ever; each is narrower by as much (law of total variance)."""
    settings = TINY | {"epochs": 1, "batch_size": 29, "learning_rate": 1e-300, "prior": "mixture", "n_components": 3000}
    model = mv.LearnedPriorVAE(**settings).fit(X)
    means, log_vars = (codes.data for codes in model.prior_.components())
    np.testing.assert_array_equal(means, parameters(model)["prior.means"].data)
    error = 5 * means.std() / math.sqrt(means.size)
    assert abs(means.mean()) < error
    assert means.var() + np.exp(log_vars).mean() == pytest.approx(1, abs=2 * error)
    assert np.ptp(log_vars) == 0
    assert 0.05 < means.std() < 0.95


@both
def test_more_components_than_memory_can_hold_are_refused(prior, tmp_path):
    """Here 16 TB, which a setting asks for, or a file."""
    many, path = {"prior": prior, "n_components": 10**11}, tmp_path / "model"
    model = mv.LearnedPriorVAE(**TINY, **many, batch_size=9)
    assert "n_components: expected what fits in the " in complaint(InputError, model.fit, X)
    blank(mv.LearnedPriorVAE, prior=prior, n_components=2).save(path)
    rewritten(path, lambda record: record["params"].update(many))
    assert "array prior." in complaint(DataFileError, mv.load, path, device="cpu")


def test_pseudo_inputs_begin_as_examples_and_are_trained():
    settings = TINY | {"epochs": 1, "batch_size": 29, "n_components": 5}
    still, moved = (mv.LearnedPriorVAE(**settings, learning_rate=rate).fit(X) for rate in (1e-300, 1e-2))
    np.testing.assert_array_equal(parameters(still)["prior.pseudo_inputs"].data, X[np.linspace(0, 28, 5).astype(int)])
    assert np.abs(parameters(moved)["prior.pseudo_inputs"].data - parameters(still)["prior.pseudo_inputs"].data).min() > 1e-4


@pytest.mark.slow
@both
def test_a_certificate_encloses_log_p_under_the_prior(prior):
    """(M.7) between N(0, I) and p(z) p(x|z): with two latents log p(x) is known by quadrature."""
    model = blank(mv.LearnedPriorVAE, latent_dim=2, prior=prior, n_components=3)
    x, bounds = model.certificate(32, n_chains=4, n_steps=40)
    grid, width = np.linspace(-10, 10, 241, retstep=True)
    z = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    log_prior, outputs = model.prior_.log_density(Tensor(z), None).data, plain_network(model, "decoder", z)
    exact = special.logsumexp([log_prior - plain_nll(model, row, outputs) for row in x], axis=1) + 2 * math.log(width)
    assert all(abs(gap.mean()) < 0.1 for gap in (bounds.upper - exact, exact - bounds.lower))


def test_what_a_learned_prior_cannot_have_is_refused():
    message = complaint(InputError, mv.LearnedPriorVAE(free_bits=0.5).fit, X, Y)
    assert message.startswith("free_bits: expected 0 where the prior is learned, got 0.5")
    assert "n_components" in complaint(InputError, mv.LearnedPriorVAE(n_components=0).fit, X)
    assert "vamp, mixture" in complaint(InputError, mv.LearnedPriorVAE(prior="gaussian").fit, X)
