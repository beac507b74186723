"""How well scores separate anomalies from normal examples, and the threshold between them (G.5)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minivae.backend import to_numpy
from minivae.checks import check_real, reject


def auroc(scores: Any, is_anomaly: Any) -> float:
    """Return the area under the ROC curve: how probable it is that an anomaly scores higher than a normal example.

        AUROC = P(s⁺ > s⁻) + ½ P(s⁺ = s⁻) = [Σ ranks of anomalies − n⁺ (n⁺ + 1)/2] / (n⁺ n⁻)

    with ties sharing the mean of their ranks.  1 is perfect, ½ is chance, and below ½ the order is reversed.

    ``scores`` (n,), higher for anomalies, such as ``model.anomaly_score(x)``; ``is_anomaly`` (n,), with both kinds present.

    Source: Hanley & McNeil 1982; the statistic is that of Mann & Whitney 1947.
    """
    scores, truth = _vector("scores", scores), to_numpy(is_anomaly).astype(bool)
    if truth.shape != scores.shape:
        reject("is_anomaly", f"shape {scores.shape}, as the scores", f"shape {truth.shape}")
    n_strange, n_normal = np.count_nonzero(truth), np.count_nonzero(~truth)
    if not n_strange or not n_normal:
        reject("is_anomaly", "both anomalies and normal examples", f"{n_strange} and {n_normal}")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[place][truth].sum() - n_strange * (n_strange + 1) / 2) / (n_strange * n_normal))  # (G.5)


def threshold(normal_scores: Any, false_positive_rate: float) -> float:
    """Return the threshold above which an example is called an anomaly, such that this happens to few normal ones.

    ``normal_scores`` (n,) are of normal examples that the model was not trained on, since examples it was trained on score lower.
    The threshold is the ⌈(n + 1)(1 − rate)⌉-th smallest of them.  A new normal example of the same distribution lies above it with
    a probability of at most ``false_positive_rate``, whatever the distribution; where n is too small to guarantee that, it is ∞.

    Source: split conformal prediction (Vovk, Gammerman & Shafer 2005; Laxhammar 2014).
    """
    scores = np.sort(_vector("normal_scores", normal_scores))
    check_real("false_positive_rate", false_positive_rate, 0, 1)
    rank = math.ceil(round((len(scores) + 1) * (1 - false_positive_rate), 9))  # so that 10 · (1 − 0.7) is 3 in spite of rounding
    if rank > len(scores):
        return math.inf
    return float(scores[rank - 1]) if rank else -math.inf


def _vector(argument: str, scores: Any) -> np.ndarray:
    scores = to_numpy(scores)
    if scores.ndim != 1 or not len(scores):
        reject(argument, "one number for each example, shape (n,)", f"shape {scores.shape}")
    if np.isnan(scores).any():
        reject(argument, "numbers that can be put in order", f"{int(np.isnan(scores).sum())} NaN")
    return scores
