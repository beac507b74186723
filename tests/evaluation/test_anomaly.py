"""Telling the strange from the normal: the area under the ROC curve by its definition, and a threshold that keeps its promise."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from support.helpers import complaint

from minivae.checks import InputError
from minivae.evaluation.anomaly import auroc, threshold

RNG = np.random.default_rng(0)


def test_auroc_is_the_share_of_pairs_in_the_right_order():  # (G.5)
    scores = RNG.integers(0, 12, 53).astype("float32")  # so few values that many are tied
    strange = RNG.random(53) < 0.3
    gaps = scores[strange][:, None] - scores[~strange][None]
    assert auroc(scores, strange) == pytest.approx((gaps > 0).mean() + 0.5 * (gaps == 0).mean(), rel=1e-12)


@pytest.mark.parametrize(("scores", "expected"), [([1, 2, 3, 4], 1), ([4, 3, 2, 1], 0), ([5, 5, 5, 5], 0.5), ([1, 4, 2, 3], 0.5)])
def test_auroc_of_known_orders(scores, expected):
    assert auroc(np.array(scores), np.array([0, 0, 1, 1])) == expected
    assert auroc(np.exp(scores), np.array([False, False, True, True])) == expected, "only the order counts"


def test_infinite_scores_have_their_place():
    assert auroc(np.array([-math.inf, 0.0, math.inf]), np.array([0, 0, 1])) == 1.0


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (200, 0.05), (33, 0.2)])
def test_threshold_keeps_its_promise_for_new_examples(n, rate):  # (G.5)
    """On average over calibration sets; the share above is a mean of 4000 × 50 draws, correlated within each 50."""
    draws = RNG.standard_normal((4000, n + 50))
    above = [(row[n:] > threshold(row[:n], rate)).mean() for row in draws]
    error = np.std(above) / math.sqrt(len(above))
    assert rate - 1 / (n + 1) - 4 * error < np.mean(above) < rate + 4 * error


def test_threshold_is_one_of_the_scores_or_infinite():
    scores = np.array([3.0, 1.0, 2.0, 4.0])
    assert threshold(scores, 0.2) == 4.0
    assert threshold(scores, 0.4) == 3.0
    assert threshold(scores, 0.19) == math.inf, "four scores cannot promise less than a fifth"
    assert threshold(scores, 1.0) == -math.inf


@pytest.mark.parametrize("rate", ["0.05", "0.1", "0.3", "0.35", "0.7", "0.9"])
def test_the_rank_of_the_threshold_is_that_of_exact_arithmetic(rate):
    """10 · (1 − 0.7) is 3, but 3.0000000000000004 in floats, of which the ceiling would be 4."""
    for n in range(1, 300):
        rank = math.ceil((n + 1) * (1 - Fraction(rate)))
        assert threshold(np.arange(1, n + 1), float(rate)) == (rank if rank <= n else math.inf)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: auroc(np.ones(3), np.ones(2)), "is_anomaly: expected shape (3,), as the scores, got shape (2,)"),
        (lambda: auroc(np.ones(3), np.ones(3)), "both anomalies and normal examples, got 3 and 0"),
        (lambda: auroc(np.ones(3), np.zeros(3)), "both anomalies and normal examples, got 0 and 3"),
        (lambda: auroc(np.ones((3, 1)), np.ones(3)), "scores: expected one number for each example"),
        (lambda: auroc(np.array([1.0, math.nan]), np.array([0, 1])), "1 NaN"),
        (lambda: threshold(np.ones(0), 0.1), "normal_scores: expected one number for each example"),
        (lambda: threshold(np.ones(3), 1.5), "false_positive_rate: expected a finite number from 0 to 1, got 1.5"),
    ],
)
def test_what_cannot_be_ranked_is_refused(call, words):
    assert words in complaint(InputError, call)


def test_scores_may_be_a_column_of_python_numbers():
    """As a data frame of mixed columns gives them: an array of objects."""
    scores = np.array([0.1, 0.4, 3, 0.2], dtype=object)
    assert auroc(scores, np.array([0, 0, 1, 0])) == 1.0
    assert threshold(scores, 0.4) == 0.4
    assert type(auroc(scores, np.array([0, 0, 1, 0]))) is type(threshold(scores, 0.4)) is float
