"""The contractive autoencoder: its penalty is the squared norm of the Jacobian, in every form, and training lowers it."""

from __future__ import annotations

import numpy as np
import pytest
from support.family import D, K, X, blank, parameters

from minivae import ContractiveAutoencoder
from minivae.autodiff import Tensor, backward
from minivae.models.contractive import SLOPES
from minivae.nn import ACTIVATIONS
from minivae.ops import sum_


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize(("activation", "code_activation"), [*zip(ACTIVATIONS, reversed(ACTIVATIONS)), ("tanh", "sigmoid")])
def test_contraction_is_the_squared_norm_of_the_jacobian(depth, activation, code_activation):  # (A.5)
    settings = {"hidden_dims": (11, 5)[:depth], "activation": activation, "code_activation": code_activation}
    model = blank(ContractiveAutoencoder, **settings)
    penalty = model.terms(X, None)["contraction"].data
    assert penalty.shape == (len(X),)

    by_differences, h = np.zeros((len(X), K, D)), 1e-5
    for j in range(D):
        step = h * np.eye(D)[j]
        by_differences[:, :, j] = (model.transform(X + step) - model.transform(X - step)) / (2 * h)
    # Truncation h² f'''/6 and rounding 1e-16/h are both of the order of 1e-11; no unit here is that near its kink.
    np.testing.assert_allclose(penalty, (by_differences**2).sum(axis=(1, 2)), rtol=1e-7)

    by_the_tape = np.zeros((len(X), K, D))
    for i in range(K):
        leaf = Tensor(X, requires_grad=True)
        backward(sum_(model.posterior(leaf)[0][:, i]))
        by_the_tape[:, i] = leaf.grad
    np.testing.assert_allclose(penalty, (by_the_tape**2).sum(axis=(1, 2)), rtol=1e-12)


def test_contraction_of_one_sigmoid_layer_is_the_published_formula():  # (A.5)
    """Rifai et al. 2011, equation 4: Σ_j [h_j (1 − h_j)]² Σ_k W_kj²."""
    model = blank(ContractiveAutoencoder, hidden_dims=())
    h, weight = model.transform(X), parameters(model)["encoder.0.weight"].data
    expected = ((h * (1 - h)) ** 2 @ (weight**2).sum(axis=0)[:, None])[:, 0]
    np.testing.assert_allclose(model.terms(X, None)["contraction"].data, expected, rtol=1e-12)


def test_every_activation_has_its_slope():
    assert set(SLOPES) == set(ACTIVATIONS.values())


@pytest.mark.slow
@pytest.mark.trained
def test_contraction_lowers_the_jacobian_where_nothing_was_trained(digits):
    settings = {"latent_dim": 8, "hidden_dims": (61,), "epochs": 20, "learning_rate": 3e-3, "tied": True, "device": "cpu"}
    norms = {}
    for contraction in (0.0, 1.0):
        model = ContractiveAutoencoder(**settings, contraction=contraction).fit(digits[0])
        norms[contraction] = model.terms(digits[1], None)["contraction"].data.mean()
    assert norms[1.0] < 0.5 * norms[0.0]


def test_the_slope_of_a_rectifier_at_its_kink_is_the_one_that_training_uses():  # (A.5)
    """Units that are exactly 0 are common with zero biases: the penalty must not count them in and training leave them out."""
    for op in (ACTIVATIONS["relu"], ACTIVATIONS["leaky_relu"]):
        at_the_kink = Tensor(np.array([[0.0, -1.0, 2.0]]), requires_grad=True)
        backward(sum_(op(at_the_kink)))
        np.testing.assert_allclose(SLOPES[op](at_the_kink), at_the_kink.grad)
