"""The categorical VAE: draws, bound, log p(x) and gradients against what enumerating all categories gives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats
from support.family import X, blank, objective
from support.helpers import Uniform, complaint, plain_network, plain_nll

import minivae as mv
from minivae.autodiff import Tensor, backward
from minivae.backend import standard_gumbel
from minivae.checks import InputError
from minivae.models.categorical import log_mass, one_hot
from minivae.models.objectives import score_function
from minivae.ops import exp, kl_uniform, mean, sum_

N, K = 2, 3
EVERY = np.eye(K)[list(itertools.product(range(K), repeat=N))]  # (9, N, K): all values that z can have
SMALL = {"latent_dim": N, "n_categories": K}


def plain_logits(model: mv.CategoricalVAE, x: np.ndarray) -> np.ndarray:
    return plain_network(model, "encoder", x).reshape(len(x), model.latent_dim, model.n_categories)


def enumerated(model: mv.CategoricalVAE, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log q(z|x) and log p(x|z) of every z, (9, n) each, from the networks in plain NumPy."""
    log_q = np.einsum("snk,ink->si", EVERY, special.log_softmax(plain_logits(model, x), axis=-1))
    outputs = plain_network(model, "decoder", EVERY.reshape(len(EVERY), -1))
    return log_q, np.stack([-plain_nll(model, x, np.repeat(row[None], len(x), axis=0)) for row in outputs])


@pytest.mark.parametrize("noise", ["generator", "counter"])
def test_the_largest_of_logits_and_gumbel_noise_is_a_draw(noise):
    """(Q.1), by a χ² test of half a million draws."""
    model = blank(mv.CategoricalVAE, noise=noise)
    logits = np.array([2.0, -1.0, 0.0, 0.7])
    drawn = one_hot(np, logits + standard_gumbel(model._generator("sample", 0), (500_000, 4), "float64"))
    assert stats.chisquare(drawn.sum(axis=0), 500_000 * special.softmax(logits)).pvalue > 1e-4
    np.testing.assert_array_equal(drawn.sum(axis=1), 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gumbel_noise_has_no_infinity_in_it(dtype):
    found = standard_gumbel(Uniform(0.0), (3, 2), dtype)
    assert np.isfinite(found).all()
    assert found.dtype == dtype
    g = standard_gumbel(np.random.default_rng(0), (100_000,), dtype)
    assert g.mean() == pytest.approx(np.euler_gamma, abs=4 * math.pi / math.sqrt(6e5))


def test_kl_is_that_of_the_enumeration():
    """(Q.3): Σ_z q(z|x) log [q(z|x) / p(z)] over all nine z, and its range."""
    model = blank(mv.CategoricalVAE, **SMALL)
    log_q, _ = enumerated(model, X)
    expected = (np.exp(log_q) * (log_q + N * math.log(K))).sum(axis=0)
    np.testing.assert_allclose(model.terms(X, np.random.default_rng(0))["kl"].data, expected, rtol=1e-10)
    assert kl_uniform(np.zeros((1, 5))).item() == pytest.approx(0, abs=1e-15)
    assert kl_uniform(np.array([[0.0, 800.0]])).item() == pytest.approx(math.log(2))


@pytest.mark.slow
def test_bound_and_log_likelihood_are_those_of_the_enumeration():
    """log p(x) is a sum of nine terms, the bound an average of nine: what is estimated by draws has to agree with both."""
    model = blank(mv.CategoricalVAE, **SMALL)
    log_q, log_p = enumerated(model, X)
    exact = special.logsumexp(log_p, axis=0) - N * math.log(K)
    q = np.exp(log_q)
    bound = (q * (log_p - N * math.log(K) - log_q)).sum(axis=0)
    spread = np.sqrt((q * log_p**2).sum(axis=0) - (q * log_p).sum(axis=0) ** 2)
    assert (np.abs(model.elbo(X, n_samples=4000) - bound) < 4.5 * spread / math.sqrt(4000) + 1e-12).all()
    estimate = model.importance_estimate(X, n_samples=4000)
    assert (np.abs(estimate.log_likelihood - exact) < 4.5 * estimate.standard_error + 1e-6).all()
    assert (bound < exact).all()
    one = model.importance_estimate(X, n_samples=1)
    assert np.isnan(one.standard_error).all()


def test_figures_of_one_draw_are_those_of_one_of_the_nine_codes():
    """(M.3), (M.6): with a single sample only one thing is unknown, which of the nine z was drawn."""
    model = blank(mv.CategoricalVAE, **SMALL)
    log_q, log_p = enumerated(model, X)
    kl = (np.exp(log_q) * (log_q + N * math.log(K))).sum(axis=0)
    for found, each in (
        (model.elbo(X), log_p - kl),
        (model.log_likelihood(X, 1), log_p - N * math.log(K) - log_q),
        (model.log_likelihood(X, 1, seed=7), log_p - N * math.log(K) - log_q),
    ):
        assert np.isclose(found, each, rtol=1e-10).any(axis=0).all()
    # The first draw of a row is the same for both.
    drawn = (
        np.abs(value(X) - each).argmin(axis=0)
        for value, each in ((model.elbo, log_p - kl), (lambda x: model.log_likelihood(x, 1), log_p - N * math.log(K) - log_q))
    )
    np.testing.assert_array_equal(*drawn)
    two = np.stack([(first + second) / 2 - kl for first, second in itertools.product(log_p, log_p)])
    assert np.isclose(model.elbo(X, 2), two, rtol=1e-10).any(axis=0).all()


def test_the_bound_of_each_row_is_the_figure_of_the_history():
    """For as many samples as in training, and the same draws."""
    model = blank(mv.CategoricalVAE, **SMALL, n_samples=2)
    terms, _ = model.evaluate(model._rows(X))
    assert model.elbo(X, 2).mean() == pytest.approx(model.summarize(terms)["elbo"], rel=1e-12)


def exact_loss(model: mv.CategoricalVAE) -> Tensor:
    """Return the loss with the expectation over z as a sum, on the tape: its gradient is the exact one."""
    logits = model.logits(X)
    z = np.repeat(EVERY[:, None], len(X), axis=1)
    expected = sum_(exp(log_mass(z, logits)) * model._nll(X, z, None), axis=0)
    return mean(expected + sum_(kl_uniform(logits), axis=-1))


@pytest.mark.slow
@pytest.mark.parametrize(("gradient", "n_samples"), [("score_function", 2), ("score_function", 1), ("straight_through", 1)])
def test_which_gradients_are_right_on_average(gradient, n_samples):
    """(Q.4): the score function's mean is the exact gradient, with and without a baseline; straight-through's is not."""
    model = blank(mv.CategoricalVAE, **SMALL, gradient=gradient, n_samples=n_samples)
    logits = Tensor(plain_logits(model, X), requires_grad=True)  # rows are independent, so the errors of their gradients are too
    vars(model)["logits"] = lambda x, condition=None: logits
    backward(exact_loss(model))
    exact, found = logits.grad, []
    for seed in range(1500):
        backward(objective(model, seed=seed)())
        found.append(logits.grad)
    error = np.std(found, axis=0) / math.sqrt(len(found))
    square = np.square((np.mean(found, axis=0) - exact) / error).mean()
    # Without a bias the mean of 174 squares of standard normal numbers, 116 of them independent: 1 ± 0.13.
    assert (square < 1.8) == (gradient == "score_function"), square


@pytest.mark.parametrize("s", [2, 4])
def test_the_weight_of_the_score_is_a_constant(s):
    """(Q.4): the slope of values by itself is 1, and that of log q is f less the mean of the others, or of the one other."""
    f, log_q = (Tensor(np.random.default_rng(i).standard_normal((s, 3)), requires_grad=True) for i in range(2))
    for baseline, weight in ((True, f.data - (f.data.sum(axis=0) - f.data) / (s - 1)), (False, f.data)):
        out = score_function(f, log_q, baseline)
        np.testing.assert_array_equal(out.data, f.data)
        backward(sum_(out))
        np.testing.assert_allclose(f.grad, 1, rtol=1e-13)
        np.testing.assert_allclose(log_q.grad, weight, rtol=1e-13)
    single = score_function(Tensor(f.data[:1], requires_grad=True), log_q := Tensor(log_q.data[:1], requires_grad=True))
    backward(sum_(single))
    np.testing.assert_array_equal(log_q.grad, f.data[:1])


def test_straight_through_trains_on_what_it_is_tested_on():
    """Its training terms are of one-hot z; those of the relaxation are not, and test figures always are."""
    straight, relaxed = (blank(mv.CategoricalVAE, **SMALL, gradient=name) for name in ("straight_through", "gumbel_softmax"))
    rng = np.random.default_rng
    for model, same in ((straight, True), (relaxed, False)):
        training, test = (terms(X, rng(0))["reconstruction"].data for terms in (model.terms, model.terms_of_test))
        assert np.allclose(training, test, rtol=1e-12) == same
        log_p = enumerated(model, X)[1]
        assert np.isclose(test, -log_p, rtol=1e-10).any(axis=0).all()


@pytest.mark.parametrize("gradient", ["gumbel_softmax", "straight_through", "score_function"])
def test_training_uses_relaxed_or_hard_codes_as_the_gradient_needs(gradient):
    """(Q.1) or (Q.2), for each of two samples; the weight of the KL rises to β during the warm-up."""
    schedule = {"temperature": 0.7, "final_temperature": 0.7, "beta": 3.0, "warm_up_epochs": 4}
    model = blank(mv.CategoricalVAE, **SMALL, **schedule, gradient=gradient, n_samples=2)
    terms = model.terms(X, np.random.default_rng(2))
    gumbel = standard_gumbel(np.random.default_rng(2), (2, len(X), N * K), "float64").reshape(2, len(X), N, K)
    scores = plain_logits(model, X) + gumbel
    z = special.softmax(scores / 0.7, axis=-1) if gradient == "gumbel_softmax" else np.eye(K)[scores.argmax(axis=-1)]
    nll = [plain_nll(model, X, plain_network(model, "decoder", each.reshape(len(X), -1))) for each in z]
    np.testing.assert_allclose(terms["reconstruction"].data, np.mean(nll, axis=0), rtol=1e-10)
    for epochs, weight in ((1, 0.75), (4, 3.0), (9, 3.0)):
        expected = (terms["reconstruction"].data + weight * terms["kl"].data).mean()
        assert model.loss(terms, epochs).item() == pytest.approx(expected, rel=1e-12)


def test_the_variance_of_a_category_that_is_all_but_certain_keeps_its_digits():
    """p (1 − p) for p within 1e-9 of 1, in float32, where p itself is 1."""
    model = blank(mv.CategoricalVAE, **SMALL, dtype="float32", hidden_dims=())
    encoder = model.encoder_.layers[0]
    encoder.weight.data[...], encoder.bias.data[...] = 0, np.tile([20, 0, -1], N)
    p = special.softmax([20.0, 0, -1])
    rest = np.array([p[1] + p[2], 1, 1])
    np.testing.assert_allclose(model.encode(X.astype("float32"))[1][0], np.tile(np.log(p) + np.log(rest), N), rtol=1e-5)


def test_temperature_falls_by_the_same_factor_from_epoch_to_epoch():
    seen = []
    schedule = {"temperature": 2.0, "final_temperature": 0.25, "annealing_epochs": 3}
    model = mv.CategoricalVAE(**SMALL, **schedule, epochs=5, batch_size=10, hidden_dims=(4,), device="cpu")
    model.fit(X, on_step=lambda trainer: seen.append(model.temperature_now()))
    np.testing.assert_allclose(seen, np.repeat([2.0, 1.0, 0.5, 0.25, 0.25], 3))
    assert mv.CategoricalVAE(annealing_epochs=0, final_temperature=0.3).temperature_now() == 0.3


def test_uses_of_a_code_of_categories():
    model = blank(mv.CategoricalVAE, **SMALL)
    logits = plain_logits(model, X)
    p = special.softmax(logits, axis=-1).reshape(len(X), -1)
    probable = np.eye(K)[logits.argmax(axis=-1)].reshape(len(X), -1)
    np.testing.assert_allclose(model.transform(X), p, rtol=1e-10)
    np.testing.assert_allclose(model.encode(X)[1], np.log(p * (1 - p)), rtol=1e-8)
    np.testing.assert_array_equal(model.reconstruct(X), model.decode(probable))
    gumbel = standard_gumbel(model._generator("sample", 4), p.shape, "float64").reshape(logits.shape)
    nearby = one_hot(np, logits + 0.7 * gumbel).reshape(len(X), -1)
    np.testing.assert_array_equal(model.reconstruct(X, 0.7, seed=4), model.decode(nearby))
    drawn = model.reconstruct(np.repeat(X[:1], 3000, axis=0), temperature=1.0)
    shares = [np.isclose(drawn, picture).all(axis=1).mean() for picture in model.decode(EVERY.reshape(9, -1))]
    np.testing.assert_allclose(shares, np.exp(enumerated(model, X[:1])[0][:, 0]), atol=4.5 * 0.5 / math.sqrt(3000))
    samples, pictures = model.sample(4000), model.decode(EVERY.reshape(9, -1))
    counts = [np.isclose(samples, picture).all(axis=1).sum() for picture in pictures]
    assert stats.chisquare(counts).pvalue > 1e-4
    assert list(model.get_feature_names_out()) == [f"categoricalvae{j}" for j in range(N * K)]


def test_perplexity_counts_values_in_use():
    """(Q.8)"""
    model = blank(mv.CategoricalVAE, **SMALL)
    used = special.softmax(plain_logits(model, X), axis=-1).mean(axis=0)
    _, code = model.evaluate(model._rows(X))
    assert code["perplexity"] == pytest.approx(np.exp(stats.entropy(used, axis=-1)).mean(), rel=1e-10)


def test_float32_importance_weights_keep_their_spread():
    """(M.6): with a decoder that ignores z, w ∝ 1 / q(z|x).  Here they differ by 1e-3, which no float32 has beside −log p(x|z)."""
    model = blank(mv.CategoricalVAE, **SMALL, dtype="float32", hidden_dims=(), likelihood="gaussian_fixed", variance=1e-4)
    encoder, decoder = model.encoder_.layers[0], model.decoder_.layers[0]
    encoder.weight.data[...], decoder.weight.data[...] = 0, 0
    encoder.bias.data[...] = 1e-4 * np.arange(N * K)
    q = np.exp(np.einsum("snk,nk->s", EVERY, special.log_softmax(1e-4 * np.arange(N * K).reshape(N, K), axis=-1)))
    spread = math.sqrt((1 / q).sum() / len(q) ** 2 - 1)  # E[w²] / E[w]² = Σ_z q (1 / q)² / K^2N, less 1
    estimate = model.importance_estimate(X[:5].astype("float32"), 4000)
    assert (estimate.log_likelihood < -1000).all()
    np.testing.assert_allclose(estimate.standard_error, spread / math.sqrt(4000), rtol=0.1)


def test_what_cannot_be_is_refused():
    for settings, words in (
        ({"temperature": 0}, "temperature: expected a finite number above 0"),
        ({"n_categories": 1}, "n_categories: expected a whole number of at least 2"),
        ({"final_temperature": 0}, "final_temperature: expected a finite number above 0"),
        ({"gradient": "gumbel"}, "gradient: expected one of gumbel_softmax"),
    ):
        assert words in complaint(InputError, mv.CategoricalVAE(**settings).fit, X)
    mv.CategoricalVAE(beta=0, warm_up_epochs=0, annealing_epochs=0).check_settings()  # these may be 0
