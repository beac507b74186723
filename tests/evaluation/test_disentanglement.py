"""Scores of disentanglement on codes whose score is known: perfect, rotated, doubled, random, and unused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import InputError
from minivae.evaluation import disentanglement
from minivae.evaluation.disentanglement import entropy, higgins_score, mutual_information, mutual_information_gap

RNG = np.random.default_rng(0)
SIZES = (3, 4, 5)
FACTORS = np.stack(np.meshgrid(*(np.arange(size) for size in SIZES), indexing="ij"), axis=-1).reshape(-1, 3).repeat(30, axis=0)
PERFECT = FACTORS[:, [2, 0, 1]] * [1.0, -3.0, 0.1]
NOISE = RNG.standard_normal((len(FACTORS), 4))
BIAS = 19 * 4 / (2 * len(FACTORS))  # of the mutual information of independent things, in 20 bins and 5 classes


def test_entropy_of_even_classes_is_the_logarithm_of_their_number():
    np.testing.assert_allclose(entropy(FACTORS), np.log(SIZES), rtol=1e-12)
    assert entropy(np.array([[0], [0], [0], [1]]))[0] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))


def test_mutual_information_against_an_independent_implementation():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn, the reference, is absent")
    codes = np.hstack([PERFECT + 0.5 * NOISE[:, :3], NOISE])
    information = mutual_information(codes, FACTORS, n_bins=11)
    assert information.shape == (7, 3)
    for j, z in enumerate(codes.T):
        bins = np.digitize(z, np.linspace(z.min(), z.max(), 12)[1:-1])
        for m, v in enumerate(FACTORS.T):
            assert information[j, m] == pytest.approx(metrics.mutual_info_score(bins, v), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("n_bins", [2, 3, 20, 200])
def test_mutual_information_has_its_bounds(n_bins):
    information = mutual_information(np.hstack([PERFECT, PERFECT @ RNG.standard_normal((3, 3)), NOISE]), FACTORS, n_bins)
    assert (information >= 0).all()
    assert (information <= np.minimum(entropy(FACTORS), np.log(n_bins)) + 1e-12).all()


def test_mutual_information_of_known_pairs():
    information = mutual_information(np.hstack([PERFECT, NOISE, np.zeros((len(FACTORS), 1))]), FACTORS)
    expected = np.zeros((8, 3))
    expected[[1, 2, 0], [0, 1, 2]] = np.log(SIZES)
    np.testing.assert_allclose(information[[0, 1, 2, 7]], expected[[0, 1, 2, 7]], atol=1e-12)  # the factors are all combinations
    assert (information[3:7] < 2 * BIAS).all()
    shifted = mutual_information(5 - 7 * PERFECT, FACTORS)  # where a code is, and which way it runs, is of no matter
    np.testing.assert_allclose(shifted, information[:3], atol=1e-12)


def test_gap_of_codes_whose_gap_is_known():  # (G.7)
    assert mutual_information_gap(PERFECT, FACTORS) == pytest.approx(1)
    assert mutual_information_gap(np.hstack([NOISE, PERFECT]), FACTORS) == pytest.approx(1, abs=2 * BIAS)
    assert mutual_information_gap(np.hstack([PERFECT, 2 * PERFECT]), FACTORS) == pytest.approx(0)  # two tell the same
    assert mutual_information_gap(NOISE, FACTORS) < 2 * BIAS
    half = PERFECT.copy()
    half[:, 1] = NOISE[:, 0]  # the first factor, of three, is lost
    assert mutual_information_gap(half, FACTORS) == pytest.approx(2 / 3, abs=2 * BIAS)
    turn = np.linalg.qr(RNG.standard_normal((3, 3)))[0]
    standard = (PERFECT - PERFECT.mean(axis=0)) / PERFECT.std(axis=0)
    assert mutual_information_gap(standard @ turn, FACTORS) < 0.5


def test_samples_show_that_a_dimension_is_unused_where_means_do_not():
    """Bins stretch with the code: tiny movements that follow a factor look like knowledge, until the posterior's noise is added."""
    means = np.hstack([PERFECT, 1e-3 * PERFECT[:, :1]])
    assert mutual_information_gap(means, FACTORS) == pytest.approx(2 / 3, abs=1e-9)
    samples = means + np.array([0.01, 0.01, 0.001, 1.0]) * NOISE
    assert mutual_information_gap(samples, FACTORS) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_higgins_score_of_codes_whose_score_is_known():  # (G.7)
    options = {"n_points": 400, "n_pairs": 32}
    assert higgins_score(np.hstack([PERFECT, NOISE[:, :1]]), FACTORS, **options) == 1
    guessing = higgins_score(NOISE, FACTORS, **options, test_share=1.0)
    assert guessing == pytest.approx(1 / 3, abs=5 * np.sqrt(2 / 9 / 400))
    assert higgins_score(np.zeros((len(FACTORS), 2)), FACTORS, **options) < 0.6  # nothing to tell them apart by
    one_left = np.hstack([PERFECT[:, :1], NOISE])  # so two factors of three cannot be told apart: right are 1/3 + ½ · 2/3
    assert higgins_score(one_left, FACTORS, **options, test_share=1.0) == pytest.approx(2 / 3, abs=5 * np.sqrt(2 / 9 / 400))


def test_a_dimension_that_never_moves_does_no_harm_to_higgins_score():
    """A constant code cannot be divided by its spread; the other dimensions still tell the factors."""
    codes = np.hstack([PERFECT, np.full((len(FACTORS), 1), 7.0)])
    assert higgins_score(codes, FACTORS, n_points=80, n_pairs=16) == 1


@pytest.mark.slow
def test_higgins_score_depends_on_the_seed_alone():
    assert higgins_score(NOISE, FACTORS, 50, 8, seed=3) == higgins_score(NOISE, FACTORS, 50, 8, seed=3)
    assert len({higgins_score(NOISE, FACTORS, 50, 8, test_share=1.0, seed=seed) for seed in range(4)}) > 1
    scaled = NOISE * [1, 1e3, 1e-3, 7]  # codes are measured by their own spread
    assert higgins_score(scaled, FACTORS, 50, 8) == higgins_score(NOISE, FACTORS, 50, 8)


@pytest.mark.slow
def test_scores_of_the_sprites():
    """The factors of all 9600 images, as codes, are perfect; and pass through the data set's split."""
    train, _ = mv.datasets.load("sprites")
    codes = train.factors.astype(np.float32)
    assert mutual_information_gap(codes, train.factors) > 0.99
    assert higgins_score(codes, train.factors, n_points=300) == 1
    np.testing.assert_allclose(entropy(train.factors), np.log(train.factor_sizes), rtol=1e-3)


@pytest.mark.parametrize("score", [mutual_information_gap, higgins_score])
def test_what_cannot_be_scored_is_refused(score):
    assert "codes: expected shape (n, d)" in complaint(InputError, score, NOISE[:, 0], FACTORS)
    assert "codes: expected finite numbers" in complaint(InputError, score, NOISE * np.inf, FACTORS)
    assert "factors: expected classes 0, 1, 2, … as whole numbers" in complaint(InputError, score, NOISE, FACTORS.astype(float))
    assert "factors: expected classes" in complaint(InputError, score, NOISE, FACTORS - 1)
    assert f"factors: expected {len(NOISE)} rows" in complaint(InputError, score, NOISE, FACTORS[:-1])
    assert "factors: expected shape (n, d)" in complaint(InputError, score, NOISE, FACTORS[:, 0])
    assert "factors: expected at least one example" in complaint(InputError, score, NOISE, FACTORS[:0])
    if score is mutual_information_gap:
        assert "codes: expected at least two dimensions" in complaint(InputError, score, NOISE[:, :1], FACTORS)
        assert "n_bins: expected" in complaint(InputError, score, NOISE, FACTORS, 1)


def test_two_dimensions_have_a_gap_between_them():
    assert mutual_information_gap(PERFECT[:, :2], FACTORS[:, [2, 0]]) == pytest.approx(1)
    assert type(mutual_information_gap(PERFECT, FACTORS)) is float
    two_classes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # factors of less than a nat count too
    assert mutual_information_gap(two_classes * 1.0, two_classes) == pytest.approx(1)


@pytest.mark.slow
def test_a_point_of_higgins_score_is_a_mean_of_distances_in_standard_deviations(monkeypatch):
    """What the classifier gets to see, whatever the number of pairs: 2/√π where codes are independent, 0 where they are fixed."""
    seen = {}

    def watch(network, features, one_hot, weight_decay=0.0):
        seen.update(features=features, fixed=one_hot.argmax(axis=1))

    monkeypatch.setattr(disentanglement, "fit_classifier", watch)
    codes = np.hstack([FACTORS[:, :1], 7.0 * NOISE[:, :1]])
    for n_pairs in (8, 512):
        higgins_score(codes, FACTORS, n_points=300, n_pairs=n_pairs)
        points, fixed = seen["features"], seen["fixed"]
        assert (points[fixed == 0, 0] == 0).all()
        assert (points[fixed != 0, 0] > 0).all()
        # |z − z'| of two standard normals has mean 2/√π and variance 2 − 4/π
        error = math.sqrt((2 - 4 / math.pi) / n_pairs / len(points))
        assert points[:, 1].mean() == pytest.approx(2 / math.sqrt(math.pi), abs=5 * error + 0.02)  # of 1800 codes, not of all


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint64"])
def test_the_names_of_classes_do_not_matter(dtype: str) -> None:
    """256 classes fit in 8 bits, but 256 itself does not; and a class 10⁶ must not take the room of all below."""
    rng = np.random.default_rng(0)
    n_classes = 128 if dtype == "int8" else 256
    factors = np.stack([rng.permutation(np.arange(1024) % n_classes), rng.integers(0, 2, 1024)], axis=1)
    codes = factors + rng.normal(0, 0.1, factors.shape)
    expected = mutual_information_gap(codes, factors)
    named = factors.astype(dtype)
    named[:, 1] *= 100
    assert mutual_information_gap(codes, named) == expected
    assert mutual_information_gap(codes, factors * np.array([1, 10**6])) == expected
    assert higgins_score(codes, factors * np.array([1, 10**6]), n_points=50) == higgins_score(codes, factors, n_points=50)
    np.testing.assert_array_equal(entropy(named), entropy(factors))


def test_codes_of_small_whole_numbers_are_numbers():
    """The width of the range from −100 to 100 does not fit into 8 bits."""
    codes = np.round(PERFECT * [50.0, 33.0, 500.0]) - [100, -99, 100]
    assert (codes.min(), codes.max(), np.ptp(codes, axis=0).max()) == (-100, 100, 200)
    np.testing.assert_array_equal(mutual_information(codes.astype("int8"), FACTORS), mutual_information(codes, FACTORS))
