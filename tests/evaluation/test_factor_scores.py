"""MIG by density, the FactorVAE score and SAP: against independent implementations, on codes whose score is known, and in the
situations that public threads ask about: constant factors, labels with holes, a factor without order, samples against means."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats
from support.helpers import complaint

from minivae.checks import InputError
from minivae.evaluation import classifier
from minivae.evaluation.disentanglement import entropy, higgins_score, mutual_information, mutual_information_gap
from minivae.evaluation.factor_scores import (
    density_mutual_information,
    density_mutual_information_gap,
    factor_vae_score,
    sap_score,
)

pytestmark = pytest.mark.slow  # thousands of draws

RNG = np.random.default_rng(0)
SIZES = (3, 4, 5)
FACTORS = np.stack(np.meshgrid(*(np.arange(size) for size in SIZES), indexing="ij"), axis=-1).reshape(-1, 3).repeat(12, axis=0)
N = len(FACTORS)
PERFECT = FACTORS[:, [2, 0, 1]] * [1.0, -3.0, 0.5]
NOISE = RNG.standard_normal((N, 2))
NARROW = np.full((N, 3), 2 * np.log(0.01))
STANDARD = (PERFECT - PERFECT.mean(axis=0)) / PERFECT.std(axis=0)
TURNED = np.stack([STANDARD[:, 0] + STANDARD[:, 1], STANDARD[:, 0] - STANDARD[:, 1], STANDARD[:, 2]], axis=1)  # by 45°
FEW = {"n_votes": 300, "n_points": 32}


# By density -----------------------------------------------------------------------------------------------------------------------


def test_information_of_narrow_posteriors_is_the_entropy_of_what_they_tell():  # (S.1)
    information = density_mutual_information(PERFECT, NARROW, FACTORS, 1000)
    expected = np.zeros((3, 3))
    expected[[1, 2, 0], [0, 1, 2]] = np.log(SIZES)
    np.testing.assert_allclose(information, expected, atol=0.05)
    assert density_mutual_information_gap(PERFECT, NARROW, FACTORS) == pytest.approx(1, abs=0.03)


def test_information_of_wide_posteriors_against_quadrature():  # (S.1)
    """One dimension, two classes, means ±1: I by integrating over z."""
    v = np.arange(200) % 2
    mean, std = np.stack([2.0 * v - 1, 0.0 * v], axis=1), 1.3
    grid = np.linspace(-12, 12, 20_001)
    given = stats.norm.pdf(grid[:, None], [-1, 1], std)
    exact = np.trapezoid((0.5 * given * np.log(given / given.mean(axis=1, keepdims=True))).sum(axis=1), grid)
    found = density_mutual_information(mean, np.full(mean.shape, 2 * np.log(std)), v[:, None], 20_000)
    assert found[:, 0] == pytest.approx([exact, 0.0], abs=0.01)


def test_information_against_a_direct_sum():
    factors = FACTORS[RNG.integers(N, size=N)]  # so that some classes are more frequent
    mean, log_var = RNG.standard_normal((N, 2)) + factors[:, :2], RNG.uniform(-3, 0, (N, 2))
    found = density_mutual_information(mean, log_var, factors, N, seed=7)
    rng = np.random.default_rng(7)
    rows = rng.permutation(N)
    z = mean[rows] + np.exp(0.5 * log_var[rows]) * rng.standard_normal((N, 2))
    for j in range(2):
        p = stats.norm.pdf(z[:, j, None], mean[:, j], np.exp(0.5 * log_var[:, j]))
        for m, v in enumerate(factors.T):
            given = np.array([p[i, v == v[row]].mean() for i, row in enumerate(rows)])
            assert found[j, m] == pytest.approx(np.log(given / p.mean(axis=1)).mean(), rel=1e-10)


def test_information_does_not_depend_on_the_blocks(monkeypatch):
    whole = density_mutual_information(PERFECT, NARROW + 6, FACTORS, 500)
    for cells in (37 * N, 1):  # even where a single draw has more
        monkeypatch.setattr("minivae.evaluation.factor_scores.CELLS", cells)
        np.testing.assert_allclose(density_mutual_information(PERFECT, NARROW + 6, FACTORS, 500), whole, rtol=1e-12, atol=1e-12)


def test_densities_take_no_more_memory_than_the_cells_that_are_meant_for_them(monkeypatch):
    """2000 draws × 720 posteriors are 11 MB at once; ten draws at a time are 0.06 MB, beside some 0.1 MB of codes and classes."""
    monkeypatch.setattr("minivae.evaluation.factor_scores.CELLS", 10 * N)
    tracemalloc.start()
    density_mutual_information(PERFECT, NARROW, FACTORS, 2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_density_knows_that_a_dimension_is_unused_where_bins_of_means_do_not():
    """Samples against means: tiny movements of the mean of a wide posterior are nothing; bins of means take them for knowledge."""
    means = np.hstack([PERFECT, 1e-3 * PERFECT[:, :1]])
    log_var = np.hstack([NARROW, np.zeros((N, 1))])
    assert mutual_information_gap(means, FACTORS) == pytest.approx(2 / 3, abs=1e-9)
    assert density_mutual_information_gap(means, log_var, FACTORS) == pytest.approx(1, abs=0.05)


# FactorVAE and SAP ----------------------------------------------------------------------------------------------------------------


def test_factor_vae_score_of_known_codes():  # (S.2)
    assert factor_vae_score(np.hstack([PERFECT, NOISE]), FACTORS, **FEW) == 1
    assert factor_vae_score(NOISE, FACTORS, **FEW) == pytest.approx(1 / 3, abs=0.15)
    assert factor_vae_score(TURNED, FACTORS, **FEW) == pytest.approx(2 / 3, abs=0.15)
    assert factor_vae_score(np.zeros((N, 2)), FACTORS, **FEW) == pytest.approx(1 / 3)
    one_left = np.hstack([PERFECT[:, :1], NOISE])  # two of three factors are guessed
    assert factor_vae_score(one_left, FACTORS, **FEW) == pytest.approx(2 / 3, abs=0.15)


def test_factor_vae_score_leaves_out_what_hardly_moves():
    """A collapsed dimension has a tiny variance in every vote; divided by its own tiny spread it must not win them by rounding."""
    collapsed = np.hstack([PERFECT, np.full((N, 1), 0.3) + 1e-9 * NOISE[:, :1]])
    assert factor_vae_score(collapsed, FACTORS, **FEW) == 1


def test_factor_vae_score_against_an_independent_implementation():
    codes = np.hstack([PERFECT + 0.7 * RNG.standard_normal((N, 3)), NOISE])
    rng, tables = np.random.default_rng(5), []
    scaled = codes / codes.std(axis=0)
    for rounds in (3000, 3000):
        pairs = []
        for _ in range(rounds):
            k = rng.integers(3)
            rows = np.flatnonzero(FACTORS[:, k] == rng.integers(SIZES[k]))
            pairs.append((np.argmin(np.var(scaled[rng.choice(rows, 32)], axis=0)), k))
        tables.append(pairs)
    rule = {d: np.bincount([k for dd, k in tables[0] if dd == d]).argmax() for d in {d for d, _ in tables[0]}}
    expected = np.mean([rule.get(d) == k for d, k in tables[1]])
    assert factor_vae_score(codes, FACTORS, 3000, 32, test_share=1.0) == pytest.approx(expected, abs=4 * np.sqrt(0.5 / 3000))


@pytest.mark.parametrize("spread", [0.5, 0.51])
def test_a_dimension_is_used_unless_its_spread_is_below_the_least(monkeypatch, spread):
    """The codes 0 and 1 have the standard deviation ½ exactly.  If no dimension is used, the factor can only be guessed."""
    monkeypatch.setattr("minivae.evaluation.factor_scores.LEAST_SPREAD", spread)
    factors = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (10, 1))
    assert factor_vae_score(factors * 1.0, factors, **FEW) == (1 if spread == 0.5 else 0.5)


@pytest.mark.parametrize("score", [higgins_score, factor_vae_score])
def test_at_least_one_point_is_held_out_for_the_score(monkeypatch, score):
    """Half of 20 points are held out, so the score is a multiple of 1/10; a single point is held out itself."""
    monkeypatch.setattr(classifier, "STEPS", 20)
    tenths = {10 * score(NOISE, FACTORS, 20, 8, test_share=0.5, seed=seed) for seed in range(6)}
    assert tenths == {round(tenth) for tenth in tenths}
    assert len(tenths) > 2
    assert {score(NOISE, FACTORS, 1, 8, test_share=0.2, seed=seed) for seed in range(12)} == {0, 1}
    assert type(score(NOISE, FACTORS, 1, 8)) is float


def test_sap_of_known_codes():  # (S.3)
    assert sap_score(PERFECT, FACTORS) == pytest.approx(1)
    assert sap_score(np.hstack([PERFECT, PERFECT]), FACTORS) == pytest.approx(0)
    assert sap_score(NOISE, FACTORS) < 0.02
    assert type(sap_score(NOISE, FACTORS)) is float
    assert sap_score(np.hstack([1e-3 * PERFECT, np.ones((N, 1))]), FACTORS) == pytest.approx(1)  # small codes, and a constant one
    assert sap_score(PERFECT, FACTORS, nominal=(0, 1, 2)) == pytest.approx(1 - np.mean(1 / np.array(SIZES)))


def test_sap_against_independent_implementations():
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn, the reference, is absent")
    codes = np.hstack([PERFECT + RNG.standard_normal((N, 3)), NOISE])
    r2 = np.array([[linear.LinearRegression().fit(z[:, None], v).score(z[:, None], v) for z in codes.T] for v in FACTORS.T])
    top = np.sort(r2, axis=1)
    assert sap_score(codes, FACTORS) == pytest.approx((top[:, -1] - top[:, -2]).mean())
    # Thresholds: a tree on one code, as fine as the bins, weighs classes evenly and does as well, give or take where they lie.
    trees = pytest.importorskip("sklearn.tree", reason="scikit-learn, the reference, is absent")
    scores = []
    for z in codes.T:
        bins = np.digitize(z, np.linspace(z.min(), z.max(), 21)[1:-1])[:, None]
        fit = trees.DecisionTreeClassifier(class_weight="balanced").fit(bins, FACTORS[:, 0])
        scores.append(np.mean([(fit.predict(bins) == c)[FACTORS[:, 0] == c].mean() for c in range(3)]))
    first, second = sorted(scores)[:-3:-1]
    assert sap_score(codes, FACTORS[:, :1], nominal=(0,)) == pytest.approx(first - second)


def test_two_bins_tell_two_clusters_and_a_code_that_never_moves_tells_nothing():
    """A threshold on the first code is always right, one on the second in half of the cases: the gap is ½."""
    codes = np.array([[0.0, 3.0], [0.1, 3.0], [1.0, 3.0], [0.9, 3.0]])
    assert sap_score(codes, np.array([[0], [0], [1], [1]]), nominal=(0,), n_bins=2) == 0.5


# What public threads ask ----------------------------------------------------------------------------------------------------------


SCORES = {
    "MIG": mutual_information_gap,
    "MIG by density": lambda codes, factors: density_mutual_information_gap(codes, np.full(codes.shape, -9.0), factors),
    "Higgins": lambda codes, factors: higgins_score(codes, factors, 200, 16),
    "FactorVAE": lambda codes, factors: factor_vae_score(codes, factors, **FEW),
    "SAP": sap_score,
}
every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)


@every_score
def test_a_constant_factor_is_left_out_and_nothing_else_is_refused(score):
    with_constant = np.insert(FACTORS, 1, 4, axis=1)
    assert score(PERFECT, with_constant) == pytest.approx(score(PERFECT, FACTORS), abs=1e-12)
    assert "factors: expected at least one that varies" in complaint(InputError, score, PERFECT, np.zeros_like(FACTORS))


@every_score
def test_labels_with_holes_are_only_names(score):
    """Classes 0, 5, 10, … score as 0, 1, 2 do: the numbers in between do not occur and are no classes."""
    assert score(PERFECT, 5 * FACTORS) == pytest.approx(score(PERFECT, FACTORS), abs=1e-9)


def test_a_factor_without_order_is_not_to_be_measured_by_a_line():
    """Shape is no latent on an axis: three clusters told perfectly, whose numbers 0, 1, 2 are in another order than the code's."""
    shape = FACTORS[:, 0]
    codes = np.stack([np.array([0.0, 2.0, 1.0])[shape], NOISE[:, 0]], axis=1)
    assert sap_score(codes, shape[:, None]) < 0.5
    assert sap_score(codes, shape[:, None], nominal=(0,)) > 0.4  # of at most 2/3, less what noise seems to tell
    assert mutual_information(codes, shape[:, None])[0, 0] == pytest.approx(entropy(shape[:, None])[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sap_score(PERFECT[:, :1], FACTORS), "codes: expected at least two dimensions"),
        (lambda: sap_score(PERFECT, FACTORS, nominal=(3,)), "nominal: expected"),
        (lambda: sap_score(PERFECT, FACTORS, n_bins=1), "n_bins: expected"),
        (lambda: factor_vae_score(PERFECT, FACTORS, 0), "n_votes: expected"),
        (lambda: factor_vae_score(PERFECT, FACTORS, test_share=0), "test_share: expected"),
        (lambda: density_mutual_information(PERFECT, NARROW[:, :2], FACTORS), "log_var: expected shape"),
        (lambda: density_mutual_information(PERFECT, NARROW, FACTORS, 0), "n_draws: expected"),
        (lambda: density_mutual_information(PERFECT, NARROW, FACTORS.astype(float)), "factors: expected classes"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, words):
    assert words in complaint(InputError, call)
