"""The VQ-VAE: the nearest vectors, k-means by moving averages, who gets which gradient, and how much of the codebook is in use."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats
from scipy.cluster.vq import kmeans2, vq
from support.family import X, blank, gradients, objective
from support.helpers import Uniform, complaint, plain_network, plain_nll

import minivae as mv
from minivae.checks import InputError
from minivae.models.codebook import Codebook
from minivae.ops import mean

D, K = 2, 5
SMALL = {"latent_dim": 3, "code_dim": D, "n_codes": K}


def plain_codes(model: mv.VQVAE, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the encoder's outputs as vectors (n · latent_dim, D), and for each the number of the nearest of the codebook."""
    z = plain_network(model, "encoder", x).reshape(-1, model.code_dim)
    return z, vq(z, model.codebook_.vectors.data)[0]


def test_the_code_is_the_nearest_of_the_codebook():
    """(Q.5), (A.7)"""
    model = blank(mv.VQVAE, **SMALL)
    _, nearest = plain_codes(model, X)
    assert len(set(nearest)) > 2
    e = model.codebook_.vectors.data
    np.testing.assert_array_equal(model.transform(X), e[nearest].reshape(len(X), -1))
    np.testing.assert_array_equal(model.reconstruct(X), model.decode(e[nearest].reshape(len(X), -1)))


@pytest.mark.parametrize("codebook", ["gradient", "moving_average"])
def test_who_gets_the_gradient_of_which_term(codebook):
    """(Q.6): the codebook only that of its own term, the encoder those of the other two, each as if the others were numbers."""
    model = blank(mv.VQVAE, **SMALL, codebook=codebook)
    z, nearest = plain_codes(model, X)
    e, terms = model.codebook_.vectors.data, model.terms(X, None)
    squares = np.square(z - e[nearest]).sum(axis=1).reshape(len(X), -1).sum(axis=1)
    np.testing.assert_allclose(terms["commitment"].data, squares, rtol=1e-10)
    for name, term in terms.items():
        found = gradients(model, mean(term))
        expected = np.zeros_like(e)
        if name == "codebook":
            np.add.at(expected, nearest, 2 * (e[nearest] - z) / len(X))
        np.testing.assert_allclose(found["codebook.vectors"], expected, atol=1e-12)
        assert (np.abs(found["encoder.0.weight"]).max() > 1e-6) == (name != "codebook")
        assert (np.abs(found["decoder.0.weight"]).max() > 1e-6) == (name == "reconstruction")
        assert not found["codebook.counts"].any()
    assert ("codebook" in terms) == (codebook == "gradient")


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def follow(codebook: Codebook, z: np.ndarray, decay: float) -> None:
    codebook.seen = codebook.nearest(np, z), z
    codebook.follow(np, decay)


def test_without_a_memory_the_moving_average_is_a_step_of_k_means():
    """(Q.7), against SciPy's k-means from the same vectors."""
    codebook, z = Codebook(rng_of(0), K, D), rng_of(1).standard_normal((200, D))
    for _ in range(4):
        expected, _ = kmeans2(z, codebook.vectors.data, iter=1, minit="matrix")
        follow(codebook, z, decay=0.0)
        np.testing.assert_allclose(codebook.vectors.data, expected, rtol=1e-10)


def test_moving_averages_are_of_sums_and_of_counts():
    """(Q.7) as the paper writes it: both averages, and their ratio."""
    codebook, decay = Codebook(rng_of(0), K, D), 0.9
    counts, sums = np.zeros(K), np.zeros((K, D))
    for seed in range(1, 30):
        z = rng_of(seed).standard_normal((40, D))
        nearest = vq(z, codebook.vectors.data)[0]
        before = codebook.vectors.data.copy()
        follow(codebook, z, decay)
        counts = decay * counts + (1 - decay) * np.bincount(nearest, minlength=K) / 40
        for k in range(K):
            sums[k] = decay * sums[k] + (1 - decay) * z[nearest == k].sum(axis=0) / 40
        alive = counts > 0
        np.testing.assert_allclose(codebook.vectors.data[alive], sums[alive] / counts[alive, None], rtol=1e-9)
        np.testing.assert_array_equal(codebook.vectors.data[~alive], before[~alive])
        np.testing.assert_allclose(codebook.counts.data, counts, rtol=1e-12)


def test_a_vector_that_nothing_chooses_stays_where_it_is():
    """In float32 its running count has no digits left after some hundred steps, and a ratio of such numbers would be its place."""
    codebook = Codebook(rng_of(0), 2, D)
    codebook.vectors.data, codebook.counts.data = np.float32([[0, 0], [50, 50]]), np.float32([0.5, 0.5])
    z = rng_of(1).standard_normal((8, D)).astype("float32")
    for _ in range(1200):
        follow(codebook, z, decay=0.9)
    np.testing.assert_array_equal(codebook.vectors.data[1], [50, 50])
    np.testing.assert_allclose(codebook.vectors.data[0], z.mean(axis=0), rtol=1e-4)
    assert codebook.counts.data[1] < 1e-40


def test_training_follows_the_averages_and_leaves_them_to_no_optimiser():
    steps = []

    def watch(trainer):
        steps.append((trainer.model.codebook_.vectors.data.copy(), trainer.model.codebook_.counts.data.copy()))

    settings = {**SMALL, "hidden_dims": (4,), "epochs": 1, "batch_size": len(X), "dtype": "float64", "device": "cpu"}
    start = []
    model = mv.VQVAE(**settings, decay=0.5).fit(X, on_start=lambda t: start.append(plain_codes(t.model, X)), on_step=watch)
    (z, nearest), (vectors, counts) = start[0], steps[0]
    np.testing.assert_allclose(counts, 0.5 * np.bincount(nearest, minlength=K) / len(z), rtol=1e-12)
    for k in set(nearest):  # the averages are empty at first, so their ratio is the mean of the first batch
        np.testing.assert_allclose(vectors[k], z[nearest == k].mean(axis=0), rtol=1e-9)
    assert model.codebook_.seen is None


def test_bound_is_below_log_likelihood_by_enumeration():
    """With a single code log p(x) is the average over K vectors, all equally probable a priori."""
    model = blank(mv.VQVAE, latent_dim=1, code_dim=D, n_codes=K)
    e = model.codebook_.vectors.data
    outputs = plain_network(model, "decoder", e)
    log_p = np.stack([-plain_nll(model, X, np.repeat(row[None], len(X), axis=0)) for row in outputs])
    bound = log_p[plain_codes(model, X)[1], np.arange(len(X))] - math.log(K)
    for found in (model.elbo(X), model.log_likelihood(X), model.score_samples(X)):
        np.testing.assert_allclose(found, bound, rtol=1e-9)
    assert (bound < special.logsumexp(log_p, axis=0) - math.log(K)).all()
    terms, _ = model.evaluate(model._rows(X))
    assert model.summarize(terms)["bound"] == pytest.approx(bound.mean(), rel=1e-9)
    pictures = model.likelihood_.mean(np, outputs)
    counts = [np.isclose(model.sample(2000, seed=3), picture).all(axis=1).sum() for picture in pictures]
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_prior_chooses_from_the_first_vector_to_the_last(dtype):
    """Even for the uniform number nearest to 1, whose product with the number of vectors could round to one too many."""
    model = blank(mv.VQVAE, **SMALL, dtype=dtype)
    for number, chosen in ((0.0, 0), (0.3, 1), (np.nextafter(np.array(1, dtype), np.array(0, dtype)), K - 1)):
        z = model.draw_prior(2, Uniform(number))
        np.testing.assert_array_equal(z, np.tile(model.codebook_.vectors.data[chosen], (2, model.latent_dim)))


@pytest.mark.parametrize("scale", [1.0, 1e30])
def test_an_estimate_without_draws_has_no_error(scale):
    """z is a function of x, so all weights are equal, also where a row is so far out that they are 0."""
    model = blank(mv.VQVAE, **SMALL, likelihood="gaussian_fixed", dtype="float32")
    x = X.astype("float32")
    x[3] *= scale
    estimate = model.importance_estimate(x, 7)
    few = X[4:]
    nll = plain_nll(model, few, plain_network(model, "decoder", model.transform(few)))
    np.testing.assert_allclose(model.elbo(few), -nll - 3 * math.log(K), rtol=1e-5)
    np.testing.assert_array_equal(estimate.log_likelihood, model.elbo(x))
    assert np.isneginf(estimate.log_likelihood[3]) == (scale > 1)
    np.testing.assert_array_equal(estimate.standard_error, np.zeros(len(X)))
    np.testing.assert_array_equal(estimate.effective_sample_size, np.full(len(X), 7))
    assert estimate.n_samples == 7


def test_perplexity_is_of_all_codes_of_the_data_set():
    """(Q.8)"""
    model = blank(mv.VQVAE, **SMALL)
    _, nearest = plain_codes(model, X)
    _, code = model.evaluate(model._rows(X))
    assert code["perplexity"] == pytest.approx(math.exp(stats.entropy(np.bincount(nearest))), rel=1e-10)
    assert 1 < code["perplexity"] < K


def test_the_loss_is_the_weighted_sum():
    """(Q.6)"""
    model = blank(mv.VQVAE, **SMALL, codebook="gradient", commitment=0.7, l2=0.1)
    terms = model.terms(X, None)
    weights = {"reconstruction": 1, "codebook": 1, "commitment": 0.7, "l2": 0.1}
    expected = sum(terms[name].data.mean() * c for name, c in weights.items())
    assert objective(model)().item() == pytest.approx(expected, rel=1e-12)


def test_what_cannot_be_is_refused():
    assert "decay: expected a number below 1" in complaint(InputError, mv.VQVAE(decay=1.0).fit, X)
    assert "commitment" in complaint(InputError, mv.VQVAE(commitment=-1.0).fit, X)
