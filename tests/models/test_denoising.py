"""The denoising autoencoder: how inputs are spoiled, what is encoded and what is scored, and that training restores them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from support.family import D, X, blank
from support.helpers import Uniform, plain_network, plain_nll

from minivae import DenoisingAutoencoder


def test_corruptions_have_the_moments_they_claim():
    x = np.full((400, D), 0.4)
    n = x.size
    gaussian = blank(DenoisingAutoencoder, corruption="gaussian", amount=0.5).corrupt(x) - 0.4
    assert abs(gaussian.mean()) < 5 * 0.5 / math.sqrt(n)
    assert gaussian.std() == pytest.approx(0.5, rel=5 / math.sqrt(2 * n))
    five_sigma = 5 * math.sqrt(0.3 * 0.7 / n)
    masked = blank(DenoisingAutoencoder, corruption="masking", amount=0.3).corrupt(x)
    assert set(np.unique(masked)) == {0, 0.4}
    assert (masked == 0).mean() == pytest.approx(0.3, abs=five_sigma)
    spoiled = blank(DenoisingAutoencoder, corruption="salt_and_pepper", amount=0.3).corrupt(x)
    assert set(np.unique(spoiled)) == {0, 0.4, 1}
    assert (spoiled == 0).mean() == pytest.approx(0.15, abs=five_sigma)
    assert (spoiled == 1).mean() == pytest.approx(0.15, abs=five_sigma)
    whole = blank(DenoisingAutoencoder, corruption="masking", amount=1.0).corrupt(x)
    assert not whole.any()


def test_the_corrupted_input_is_encoded_and_the_clean_one_is_scored():  # (A.4)
    model = blank(DenoisingAutoencoder, corruption="gaussian", amount=0.5)
    spoiled = X + 0.5 * np.random.default_rng(2).standard_normal(X.shape)
    outputs = plain_network(model, "decoder", plain_network(model, "encoder", spoiled))
    terms = model.terms(X, np.random.default_rng(2))
    np.testing.assert_allclose(terms["reconstruction"].data, plain_nll(model, X, outputs), rtol=1e-12)
    clean = plain_network(model, "decoder", plain_network(model, "encoder", X))
    np.testing.assert_allclose(model.score_samples(X), -plain_nll(model, X, clean), rtol=1e-12)


def test_corruption_is_drawn_anew_unless_seeded():
    model = blank(DenoisingAutoencoder)
    rng = np.random.default_rng(0)
    first, second = (model.terms(X, rng)["reconstruction"].data for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(model.corrupt(X, seed=5), model.corrupt(X, seed=5))
    assert (model.corrupt(X, seed=5) != model.corrupt(X, seed=6)).any()


@pytest.mark.slow
@pytest.mark.trained
@pytest.mark.parametrize("corruption", ["gaussian", "masking", "salt_and_pepper"])
def test_denoising_restores_what_a_plain_autoencoder_does_not(digits, corruption):  # (A.4)
    settings = {"latent_dim": 16, "hidden_dims": (61,), "epochs": 40, "learning_rate": 3e-3, "device": "cpu"}
    denoising, plain = (
        DenoisingAutoencoder(**settings, corruption=corruption, amount=amount).fit(digits[0]) for amount in (0.4, 0.0)
    )
    spoiled = denoising.corrupt(digits[1])
    error = {model: ((model.reconstruct(spoiled) - digits[1]) ** 2).sum(axis=1).mean() for model in (denoising, plain)}
    assert error[denoising] < 0.8 * error[plain]
    assert error[denoising] < 0.6 * ((spoiled - digits[1]) ** 2).sum(axis=1).mean()


def test_amounts_at_their_limits_are_taken():
    for corruption, amount in itertools.product(("masking", "salt_and_pepper"), (0.0, 1.0)):
        blank(DenoisingAutoencoder, corruption=corruption, amount=amount)
    blank(DenoisingAutoencoder, corruption="gaussian", amount=1.5)


def test_features_are_hit_below_the_amount_and_kept_from_it_on():  # (A.4)
    """Uniform numbers can be 0 and are never 1: at the edges an amount of 0 must spare all, and one of 1 must hit all."""
    x, u = np.full((1, 4), 0.5), Uniform(0.0, 0.25, 0.4375, 0.5)
    for amount, masked, spoiled in (
        (0.5, [0, 0, 0, 0.5], [1, 0, 0, 0.5]),  # of those that are hit, the lower half turns white
        (0.0, [0.5] * 4, [0.5] * 4),
        (1.0, [0] * 4, [1, 1, 1, 0]),
    ):
        for corruption, expected in (("masking", masked), ("salt_and_pepper", spoiled)):
            model = DenoisingAutoencoder(corruption=corruption, amount=amount)
            np.testing.assert_array_equal(model.encoder_input(x, u), [expected])
