"""The parts of the KL against closed forms, quadrature and brute force; and what theory says of estimates from a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from support.helpers import complaint
from support.posteriors import gaussian, lattice, public_threads

from minivae.checks import InputError
from minivae.evaluation import aggregate
from minivae.evaluation.aggregate import batch_log_density, decompose, log_aggregate, log_weights, split

RNG = np.random.default_rng(0)
MEAN, LOG_VAR = RNG.standard_normal((41, 3)), RNG.uniform(-3, 0.5, (41, 3))


def parts_of(found):
    return np.array([part.value for part in found[:3]]), np.array([part.standard_error for part in found[:3]])


def batches(mean, log_var, n, estimator, rounds, seed=0):
    """Return the mean of each part over the rows of each of many batches, (rounds, 3)."""
    rng, found = np.random.default_rng(seed), []
    weights = log_weights(np, n, len(mean), estimator)
    for _ in range(rounds):
        rows = rng.permutation(len(mean))[:n]
        mu, s = mean[rows], log_var[rows]
        z = mu + np.exp(0.5 * s) * rng.standard_normal(mu.shape)
        found.append([part.mean() for part in split(z, mu, s, *batch_log_density(z, mu, s, weights))])
    return np.array(found)


def mean_and_error(values):
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


# Exact ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_parts_of_a_lattice_are_those_of_quadrature(turned):  # (T.1), (T.2)
    known = lattice(turned)
    values, errors = parts_of(decompose(known.mean, known.log_var, np.random.default_rng(2), 20_000))
    assert (np.abs(values - known.parts) < 4 * errors + 1e-9).all(), (values, known.parts, errors)
    assert (errors < 0.02).all()
    assert abs(known.total_correlation) < 1e-6 or turned
    assert known.total_correlation > 0.1 or not turned


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_parts_of_many_posteriors_are_those_of_the_gaussian_that_they_make(correlation):
    """What remains at N = 4000 is the distance between a mixture and its limit: a lumpier q(z)."""
    known = gaussian(4000, correlation)
    values, errors = parts_of(decompose(known.mean, known.log_var, np.random.default_rng(2), 1500))
    np.testing.assert_allclose(values, known.parts, atol=0.04 + 4 * errors.max())


def test_densities_are_those_of_scipy_whatever_the_blocks(monkeypatch):
    z = RNG.standard_normal((17, 3))
    each = stats.norm.logpdf(z[:, None], MEAN, np.exp(0.5 * LOG_VAR))  # (17, 41, 3)
    expected = np.log(np.exp(each.sum(axis=2)).mean(axis=1)), np.log(np.exp(each).mean(axis=1))
    for block in (4096, 41, 7, 1):
        monkeypatch.setattr(aggregate, "POSTERIORS", block)
        for got, exact in zip(log_aggregate(z, MEAN, LOG_VAR), expected, strict=True):
            np.testing.assert_allclose(got, exact, rtol=1e-12)


@pytest.mark.parametrize("n_draws", [1, 2, 41, 100])
def test_every_part_agrees_with_scipy_on_the_same_draws(n_draws):
    """The examples are shuffled, again and again until there are enough of them, and each gives one z = μ + σ ε (R.1)."""
    rng = np.random.default_rng(6)
    index = np.concatenate([np.argsort(rng.random(41)) for _ in range(math.ceil(n_draws / 41))])[:n_draws]
    std = np.exp(0.5 * LOG_VAR)
    z = MEAN[index] + std[index] * rng.standard_normal((n_draws, 3))
    each = stats.norm.logpdf(z[:, None], MEAN, std)  # (draws, 41, 3)
    own, joint = each.sum(axis=2)[np.arange(n_draws), index], np.log(np.exp(each.sum(axis=2)).mean(axis=1))
    product, prior = np.log(np.exp(each).mean(axis=1)).sum(axis=1), stats.norm.logpdf(z).sum(axis=1)
    found = decompose(MEAN, LOG_VAR, np.random.default_rng(6), n_draws)
    for estimate, values in zip(found[:4], (own - joint, joint - product, product - prior, own - prior), strict=True):
        assert estimate.value == pytest.approx(values.mean(), rel=1e-9)
        error = values.std(ddof=1) / math.sqrt(n_draws) if n_draws > 1 else math.nan  # one draw has no spread
        assert estimate.standard_error == pytest.approx(error, rel=1e-9, nan_ok=True)
        assert [type(figure) for figure in estimate] == [float, float], "they go into a JSON file"
    assert type(found.kl) is float


def test_float32_posteriors_are_decomposed_in_float64():
    single = MEAN.astype("float32"), LOG_VAR.astype("float32")
    found = decompose(*single, np.random.default_rng(0), 60)
    assert found == decompose(*(array.astype("float64") for array in single), np.random.default_rng(0), 60)
    assert found.named() == {name: getattr(found, name).value for name in aggregate.PARTS}


def test_all_parts_of_one_standard_normal_are_zero_at_the_origin():
    """(T.1): q(z) is the prior and factorises, so there is no information, no correlation, and no distance from the prior."""
    zeros = np.zeros((1, 2))
    assert np.abs(split(zeros, zeros, zeros, *log_aggregate(zeros, zeros, zeros))).max() < 1e-12


def test_parts_add_up_to_the_mean_divergence_draw_by_draw():
    found = decompose(MEAN, LOG_VAR, np.random.default_rng(3), 41 * 300)
    assert sum(part.value for part in found[:3]) == pytest.approx(found.total.value, abs=1e-10)
    by_hand = 0.5 * (MEAN**2 + np.exp(LOG_VAR) - 1 - LOG_VAR).sum(axis=1).mean()
    assert found.kl == pytest.approx(by_hand)
    assert abs(found.total.value - found.kl) < 4 * found.total.standard_error


@pytest.mark.parametrize(("spread", "least"), [(1e-3, 0.0), (1.0, 0.2), (1e3, 0.999)])
def test_information_is_between_nothing_and_the_logarithm_of_the_number(spread, least):
    found = decompose(spread * MEAN, LOG_VAR, np.random.default_rng(3), 2000).mutual_information
    assert least * math.log(41) - 1e-3 <= found.value <= math.log(41) + 1e-9


def test_identical_posteriors_tell_nothing():
    found = decompose(np.tile(MEAN[:1], (50, 1)), np.tile(LOG_VAR[:1], (50, 1)), np.random.default_rng(3), 200)
    assert found.mutual_information == pytest.approx((0, 0), abs=1e-12)
    assert found.total_correlation == pytest.approx((0, 0), abs=1e-12)


def test_standard_error_is_the_spread_of_repetitions():
    found = [decompose(MEAN, LOG_VAR, np.random.default_rng(seed), 41) for seed in range(300)]
    for part in ("total_correlation", "dimension_wise_kl", "mutual_information"):
        spread = np.std([getattr(one, part).value for one in found])
        claimed = np.mean([getattr(one, part).standard_error for one in found])
        assert 0.5 * claimed < spread < 1.15 * claimed, part  # each example is drawn once, which only steadies the mean


def test_more_draws_than_examples_take_each_in_turn_and_fewer_take_none_twice(monkeypatch):
    seen = []
    monkeypatch.setattr(aggregate, "split", lambda z, mean, *rest: seen.append(mean[:, 0]) or split(z, mean, *rest))
    decompose(MEAN, LOG_VAR, np.random.default_rng(0), 100)
    decompose(MEAN, LOG_VAR, np.random.default_rng(0), 20)
    counts = np.unique(seen[0], return_counts=True)[1]
    assert len(seen[0]) == 100
    assert set(counts) == {2, 3}
    assert len(counts) == 41
    assert len(np.unique(seen[1])) == 20


# From a batch ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 5, 40, 41])
def test_stratified_weights_make_an_unbiased_density(n):  # (T.4)
    """Over all batches that hold a given example, the weighted density at a given z averages to q(z): the density, not its log."""
    z = MEAN[:1] + 0.3
    exact = np.exp(log_aggregate(z, MEAN, LOG_VAR)[0][0])
    others = np.arange(1, 41)
    draws = 1 if n == 41 else 4000
    estimates = []
    for _ in range(draws):
        rows = np.array([0, *RNG.permutation(others)[: n - 1]])
        weights = log_weights(np, n, 41, "stratified")[:1]
        estimates.append(np.exp(batch_log_density(z, MEAN[rows], LOG_VAR[rows], weights)[0][0]))
    error = np.std(estimates) / math.sqrt(draws)
    assert abs(np.mean(estimates) - exact) < 4 * error + 1e-12
    assert np.exp(log_weights(np, n, 41, "stratified")).sum(axis=1) == pytest.approx(1)


def test_weights_are_on_the_diagonal_and_weigh_as_much_as_they_stand_for():
    weights = np.exp(log_weights(np, 4, 10, "stratified"))
    np.testing.assert_allclose(np.diag(weights), 1 / 10)
    np.testing.assert_allclose(weights[~np.eye(4, dtype=bool)], 9 / 10 / 3)
    np.testing.assert_allclose(np.exp(log_weights(np, 4, 10, "weighted")), 1 / 40)  # (T.3)
    np.testing.assert_allclose(np.exp(log_weights(np, 10, 10, "stratified")), 1 / 10)  # the whole data set: exact
    np.testing.assert_allclose(np.exp(log_weights(np, 2, 2, "stratified")), 1 / 2)
    assert np.isfinite(log_weights(np, 1, 10, "stratified")).all()
    assert "estimator: expected one of stratified, weighted" in complaint(InputError, log_weights, np, 4, 10, "plain")


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True])
def test_where_theory_says_so_a_batch_meets_the_exact_parts(turned):
    """A batch of all examples is exact, for 1,000 of them; and posteriors that are all alike leave nothing to bend."""
    known = lattice(turned)
    mean, error = mean_and_error(batches(known.mean, known.log_var, len(known.mean), "stratified", 1000))
    assert (np.abs(mean - known.parts) < 4 * error + 1e-6).all(), (mean, known.parts, error)
    alike = np.zeros((100, 2)), np.full((100, 2), 0.4)
    mean, error = mean_and_error(batches(*alike, 7, "stratified", 1000))
    exact = [0, 0, np.exp(0.4) - 1 - 0.4]
    assert (np.abs(mean - exact) < 4 * error + 1e-9).all()


@pytest.mark.slow
def test_where_theory_says_so_a_batch_is_biased_and_the_sum_never_is():
    known = lattice(True)
    previous = math.inf
    for n in (2, 3, 5):
        values = batches(known.mean, known.log_var, n, "stratified", 1000)
        (information, _, dimension_wise), error = mean_and_error(values)
        excess = information - known.mutual_information
        assert 4 * error[0] < excess < previous  # log of an unbiased estimate is low (Jensen), so I is high; less for more rows
        assert dimension_wise < known.dimension_wise_kl - 3 * error[2]
        total, its_error = mean_and_error(values.sum(axis=1))
        assert abs(total - known.parts.sum()) < 4 * its_error
        previous = excess


@pytest.fixture(scope="module")
def threads():
    mean, log_var = public_threads()
    exact = parts_of(decompose(mean, log_var, np.random.default_rng(0), 2000))[0]
    return mean, log_var, exact


@pytest.mark.slow
def test_the_figures_of_the_public_threads(threads):
    """N = 2000, k = 5, batch 65: exact I 5.6 and TC 0.35; "weighted" gives I 11.5 > log N and TC 32; "stratified" a negative TC."""
    mean, log_var, exact = threads
    assert exact == pytest.approx([5.63, 0.35, 0.0], abs=0.08)
    weighted, error = mean_and_error(batches(mean, log_var, 65, "weighted", 100))
    assert weighted[:2] == pytest.approx([11.5, 32.3], abs=0.1)
    assert weighted[0] > math.log(2000)
    stratified, error = mean_and_error(batches(mean, log_var, 65, "stratified", 300))
    assert stratified == pytest.approx([6.4, -0.22, -0.2], abs=0.08)
    assert stratified[1] < -5 * error[1]


def test_weighted_sampling_is_low_by_up_to_log_n(threads):
    """Each log density is too low by more than stratified sampling, by log N at most; TC has it k − 1 times."""
    mean, log_var, exact = threads
    bias = mean_and_error(batches(mean, log_var, 65, "weighted", 50))[0] - exact
    assert 0 < bias[0] < math.log(2000)
    assert 4 * math.log(2000) < bias[1] < 5 * math.log(2000)
    assert bias.sum() == pytest.approx(0, abs=0.15)


def test_a_number_of_draws_is_asked_for():
    assert "n_draws: expected" in complaint(InputError, decompose, MEAN, LOG_VAR, RNG, 0)
