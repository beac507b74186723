"""The experiments of the book: they show what their pages say they show, whatever the last digits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from minivae.study import experiments

pytestmark = pytest.mark.slow  # trainings


def test_a_reduction_is_a_beta():
    """The β that each of the six amounts to, from the reductions themselves on random terms."""
    rng = np.random.default_rng(0)
    pixels, latents = rng.random((100, 64)), rng.random((100, 6))
    ways = {"sum": lambda x: x.sum(), "mean": lambda x: x.mean(), "once": lambda x: x.sum(axis=1).mean()}

    def reduced(words: str, x: np.ndarray) -> float:
        both = "and batch" in words
        return float(ways[words.split()[0] if both else "once"](x))

    for it in experiments.reductions():
        ratio = reduced(it.kl, latents) / ways["once"](latents) / (reduced(it.reconstruction, pixels) / ways["once"](pixels))
        assert it.beta == pytest.approx(ratio)


def test_a_large_beta_collapses_the_code_and_a_small_one_costs_the_bound():
    small, one, large = (experiments.trained(beta) for beta in (0.1, 1.0, 10.0))
    assert large.active == 0
    assert large.kl < 0.05
    assert small.reconstruction < one.reconstruction < large.reconstruction
    assert small.kl > one.kl > large.kl
    assert one.elbo > max(small.elbo, large.elbo)


def test_bounds_rise_with_the_samples():
    values = [value for _, value, _ in experiments.bounds()]
    assert values[-1] > values[0] + 0.05
    assert all(b > a - 0.1 for a, b in itertools.pairwise(values))


def test_orders_of_a_sum_differ_within_float32():
    found = {it.how: it.error for it in experiments.sums()}
    assert found["one after the other"] > 10 * found["in float64, rounded once"]
    assert max(found.values()) < 1e-4


def test_divergences_are_not_negative_and_estimates_may_be():
    single, weighted, stratified = experiments.signs()
    assert min(single.truth, weighted.truth) > 0
    assert single.negative > 0.01
    assert single.mean == pytest.approx(single.truth, abs=0.3)
    assert stratified.least < 0
    assert weighted.mean > 10 * weighted.truth
