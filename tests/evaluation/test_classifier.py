"""Softmax regression: it ends at the optimum that SciPy finds, and gets there by the equations of Adam."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from minivae.evaluation.classifier import fit_classifier
from minivae.nn import MLP

N, K, C = 60, 2, 3
RNG = np.random.default_rng(0)
CLASSES = np.arange(N) % C
ONE_HOT = np.eye(C)[CLASSES]
FEATURES = RNG.standard_normal((N, K)) + 0.5 * ONE_HOT[:, :K]  # the classes overlap


def regression(features, weight_decay=0.0, seed=1):
    """Return the weights (k, c) and biases (c,) before and after training."""
    network = MLP("classifier", (K, C), "identity", "glorot", np.random.default_rng(seed))
    before = [parameter.data.copy() for parameter in network.parameters()]
    fit_classifier(network, features, ONE_HOT, weight_decay)
    return before, [parameter.data for parameter in network.parameters()]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1, 1.0])
def test_any_initial_weights_lead_to_the_optimum_that_scipy_finds(weight_decay):
    """Without weight decay only the probabilities are unique: a constant may be added to the weights of all classes."""

    def loss(parameters):
        weight, bias = parameters[: K * C].reshape(K, C), parameters[K * C :]
        own = special.log_softmax(FEATURES @ weight + bias, axis=1)[np.arange(N), CLASSES]
        return -own.mean() + 0.5 * weight_decay * (weight**2).sum()

    best = optimize.minimize(loss, np.zeros((K + 1) * C), method="BFGS", options={"gtol": 1e-8}).x
    expected = special.softmax(FEATURES @ best[: K * C].reshape(K, C) + best[K * C :], axis=1)
    for seed in (1, 2):
        _, (weight, bias) = regression(FEATURES, weight_decay, seed)
        found = special.softmax(FEATURES @ weight + bias, axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)  # SciPy stops some 3e-8 away
        if weight_decay:
            np.testing.assert_allclose(weight, best[: K * C].reshape(K, C), atol=1e-6)


def test_the_steps_are_those_of_adam_with_a_linearly_falling_learning_rate():
    """The features are so small that 500 steps do not reach the optimum: where they end shows how each step was made."""
    features = 0.01 * FEATURES
    (weight, bias), found = regression(features, 1e-4)
    parameters, m, v = np.vstack([weight, bias[None]]), 0.0, 0.0
    ones = np.hstack([features, np.ones((N, 1))])
    for t in range(500):
        wrong = special.softmax(ones @ parameters, axis=1) - ONE_HOT
        g = ones.T @ wrong / N + 1e-4 * parameters * [[1], [1], [0]]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        unbiased = m / (1 - 0.9 ** (t + 1)), v / (1 - 0.999 ** (t + 1))
        parameters = parameters - 0.05 * (1 - t / 500) * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    np.testing.assert_allclose(np.vstack([found[0], found[1][None]]), parameters, rtol=1e-6, atol=1e-8)
