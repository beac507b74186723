"""The laboratory of gradient estimators: its exact gradients, its estimators, and its figures."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special
from support.family import X, blank

import minivae as mv
from benchmarks.claims import gradient_lab as lab

ROWS = X[:4]


@pytest.fixture(scope="module")
def gaussian():
    model = blank(mv.VAE, latent_dim=1)
    return model, list(model.encode(ROWS))


@pytest.fixture(scope="module")
def categorical():
    model = blank(mv.CategoricalVAE, latent_dim=2, n_categories=3)
    return model, model.logits(ROWS).data


def bound_of_samples(model, at, k: int, nodes: int) -> np.ndarray:
    """Return IW_k of each row (M.6), by a sum over all combinations of nodes."""
    log_w, _, log_p = lab.at_nodes(model, ROWS, at, nodes)
    combinations = np.array(list(itertools.product(range(nodes), repeat=k)))
    values = special.logsumexp(log_w[combinations], axis=1) - math.log(k)
    return np.exp(log_p[combinations].sum(axis=1)) @ values


@pytest.mark.parametrize("k", [1, 2, 3])
def test_exact_gradient_of_a_bound_is_its_slope(gaussian, k):
    """Against differences of the bound itself, integrated at the same nodes."""
    model, at = gaussian
    exact, step = lab.exact_gaussian(model, ROWS, at, k, nodes=12), 1e-5
    for column in range(2):
        ends = []
        for sign in (1, -1):
            moved = [values + sign * step * (place == column) for place, values in enumerate(at)]
            ends.append(-bound_of_samples(model, moved, k, 12))
        np.testing.assert_allclose(exact[:, column], (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("k", [1, 2])
def test_more_nodes_change_nothing(gaussian, k):
    model, at = gaussian
    few, many = (lab.exact_gaussian(model, ROWS, at, k, nodes) for nodes in (lab.NODES, 2 * lab.NODES))
    assert np.linalg.norm(few - many) < 1e-4 * np.linalg.norm(many)


def test_exact_gradient_by_logits_is_the_slope_of_the_enumerated_bound(categorical):
    model, logits = categorical
    every = lab.every_code(model)
    outputs = [model.decode(np.repeat(z.reshape(1, -1), len(ROWS), axis=0)) for z in every]
    nll = np.stack([-(ROWS * np.log(p) + (1 - ROWS) * np.log1p(-p)).sum(axis=1) for p in outputs])

    def loss(logits):
        log_q = np.einsum("snk,ink->si", every, special.log_softmax(logits, axis=-1))
        return (np.exp(log_q) * (nll + log_q + 2 * math.log(3))).sum(axis=0)

    exact, step = lab.exact_categorical(model, ROWS, logits).reshape(logits.shape), 1e-5
    for place in np.ndindex(logits.shape[1:]):
        moved = np.zeros(logits.shape[1:])
        moved[place] = step
        slope = (loss(logits + moved) - loss(logits - moved)) / (2 * step)
        np.testing.assert_allclose(exact[(slice(None), *place)], slope, rtol=1e-6, atol=1e-8)


def mean_square_score(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the mean of the squared errors of the mean estimate, each over its variance: 1 without a bias."""
    spread = found.std(axis=0, ddof=1)
    seen = spread > 0
    errors = (found.mean(axis=0) - exact)[seen] / (spread[seen] / math.sqrt(len(found)))
    return float(np.square(errors).mean())


@pytest.mark.slow
def test_which_estimators_are_right_on_average(gaussian, categorical):
    """Those with a relaxation have a bias that a few thousand estimates show; all others have none."""
    model, at = gaussian
    bounds = {1: lab.exact_gaussian(model, ROWS, at, 1), lab.DRAWS: lab.exact_gaussian(model, ROWS, at, lab.DRAWS)}
    for name, estimator in lab.gaussian_estimators(model).items():
        found = lab.repeated(estimator, ROWS, at, 8000, np.random.default_rng(1))
        exact = bounds[lab.DRAWS if name in ("IWAE", "DReG") else 1]
        assert mean_square_score(found, exact) < 4, name  # the mean of 8 squares exceeds this with a probability of 1e-4
    model, logits = categorical
    exact = lab.exact_categorical(model, ROWS, logits)
    for name, estimator in lab.categorical_estimators(model).items():
        if name.endswith("τ = 0.1"):  # whose bias takes more estimates to see
            continue
        found = lab.repeated(estimator, ROWS, [logits], 8000, np.random.default_rng(1))
        assert (mean_square_score(found, exact) < 3.2) == ("τ" not in name), name  # of 24, 16 of them independent


def test_figures_tell_bias_from_noise():
    rng, exact = np.random.default_rng(0), np.full((2, 2), 3.0)  # of length 6
    estimates = exact + np.array([0.6, 0, 0, 0]).reshape(2, 2) + 1.5 * rng.standard_normal((20_000, 2, 2))
    figures = lab.figures_of(estimates, exact)
    assert figures["noise"] == pytest.approx(0.5, rel=0.03)
    assert figures["bias"] == pytest.approx(0.1, abs=0.02)
    assert figures["resolution"] == pytest.approx(0.5 / math.sqrt(20_000), rel=0.03)
    assert figures["error"] == pytest.approx(math.hypot(figures["bias"], figures["noise"]), rel=1e-12)
    assert lab.figures_of(exact + np.array([[[1.0]], [[-1.0]]]), exact)["bias"] == 0  # below what the noise explains
