"""How far each latent dimension represents a single factor of the data, where the factors are known.

Both scores take codes (n, k), such as ``model.transform(x)``, and the factors (n, f) that generated the same rows, as classes
0, 1, 2, …, such as ``Dataset.factors``.  They range from 0 to 1, and higher is better; information is in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.backend import to_numpy
from minivae.checks import check_int, check_matrix, check_real, check_repeats, check_values, reject
from minivae.evaluation.classifier import fit_classifier
from minivae.nn import MLP


def mutual_information_gap(codes: Any, factors: Any, n_bins: int = 20) -> float:
    """Return the mutual information gap, averaged over the factors.

    (G.7)  MIG = mean over factors v of [I(z_(1); v) − I(z_(2); v)] / H(v)

    where z_(1) and z_(2) are the two dimensions with the most information about v.  It is 1 when one dimension determines v and no
    other says anything about it, and 0 when two dimensions say equally much, as after a rotation of the latent space.

    Codes are cut into ``n_bins``, see ``mutual_information``.  This ignores how noisy a code is: a dimension that a VAE does
    not use has a posterior mean that hardly varies, but its tiny variations can still depend on v.  With samples μ + σ ε instead of
    means, such a dimension is only noise.

    Source: Chen, Li, Grosse & Duvenaud 2018; with binned codes as Locatello et al. 2019.
    """
    return gap(mutual_information(codes, factors, n_bins), factors)  # (G.7)


def gap(information: np.ndarray, factors: Any) -> float:
    """Return the mean over the factors that vary of the gap in mutual information (k, f) over the factor's entropy (G.7)."""
    if len(information) < 2:
        reject("codes", "at least two dimensions, since the gap is between two", f"only {len(information)}")
    uncertain = entropy(factors)
    varies = np.flatnonzero(uncertain > 0)
    if not len(varies):
        reject("factors", "at least one that varies", "none")
    first, second = np.sort(information[:, varies], axis=0)[:-3:-1]
    return float(((first - second) / uncertain[varies]).mean())


def mutual_information(codes: Any, factors: Any, n_bins: int = 20) -> np.ndarray:
    """Return I(z_j; v_m) of every latent dimension with every factor, (k, f) in nats.

        I(z; v) = Σ_bv p(b, v) log [p(b, v) / (p(b) p(v))],    0 ≤ I(z; v) ≤ min(H(v), log n_bins)

    with b the bin of z_j, one of ``n_bins`` of equal width from its smallest to its largest value.  In a finite sample, independent
    variables look dependent: I is too high by about (bins − 1)(classes − 1)/2n.
    """
    codes, factors = checked(codes, factors)
    check_repeats("n_bins", n_bins, 2)
    low, high = codes.min(axis=0), codes.max(axis=0)
    share = (codes - low) / np.where(high > low, high - low, 1)
    bins = np.minimum((n_bins * share).astype(int), n_bins - 1)
    return np.array([[_mutual_information(b, v) for v in factors.T] for b in bins.T])


def entropy(factors: Any) -> np.ndarray:
    """Return H(v_m) = −Σ_v p(v) log p(v) of each factor's classes as they occur, (f,) in nats."""
    return np.array([_mutual_information(v, v) for v in _numbered(to_numpy(factors)).T])  # I(v; v) = H(v)


def _mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    counts = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(counts, (a, b), 1)
    joint = counts / len(a)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    occurs = joint > 0
    return max(0.0, (joint[occurs] * np.log(joint[occurs] / independent[occurs])).sum())  # below 0 only by rounding


def higgins_score(
    codes: Any, factors: Any, n_points: int = 1000, n_pairs: int = 64, test_share: float = 0.2, seed: int = 0
) -> float:
    """Return Higgins' score: how often a linear classifier finds out which factor was held fixed.

    One point: choose a factor; draw ``n_pairs`` pairs of examples that share its class and are otherwise independent; average
    |z₁ − z₂| over the pairs.  If one dimension represents the chosen factor, its average is small, which reveals the factor.
    A softmax regression learns this from ``n_points`` points, each dimension divided by its standard deviation over the data; the
    score is its accuracy on a further ``test_share`` · ``n_points``.  Chance is 1 / number of factors; many codes come close to 1.

    Source: Higgins et al. 2017.
    """
    codes, factors = checked(codes, varying(factors))
    for name, value in (("n_points", n_points), ("n_pairs", n_pairs)):
        check_repeats(name, value)
    check_real("test_share", test_share, 0, open_low=True)
    rng = np.random.default_rng(check_int("seed", seed, 0))
    n_factors = factors.shape[1]
    spread = codes.std(axis=0)
    codes = codes / np.where(spread > 0, spread, 1)
    members = [[np.flatnonzero(v == value) for value in range(v.max() + 1)] for v in factors.T]
    fixed = rng.integers(n_factors, size=n_points + max(1, round(test_share * n_points)))
    points = np.empty((len(fixed), codes.shape[1]))
    for i, factor in enumerate(fixed):
        first = rng.integers(len(codes), size=n_pairs)
        second = [rng.choice(members[factor][value]) for value in factors[first, factor]]
        points[i] = np.abs(codes[first] - codes[second]).mean(axis=0)
    targets = np.eye(n_factors)[fixed]
    classifier = MLP("classifier", (codes.shape[1], n_factors), "identity", "glorot", rng)
    fit_classifier(classifier, points[:n_points], targets[:n_points])
    guesses = classifier(points[n_points:]).data.argmax(axis=1)
    return float((guesses == fixed[n_points:]).mean())  # (G.7)


def varying(factors: Any) -> np.ndarray:
    """Return the factors that are not the same in all rows: to hold one fixed that never moves is to hold none."""
    factors = to_numpy(factors)
    check_matrix("factors", factors)
    kept = factors[:, np.ptp(factors, axis=0) > 0]
    if not kept.shape[1]:
        reject("factors", "at least one that varies", "none")
    return kept


def checked(codes: Any, factors: Any, argument: str = "codes") -> tuple[np.ndarray, np.ndarray]:
    """Return codes (n, k) in float64 and factors (n, f) as arrays of NumPy, or refuse them."""
    codes, factors = to_numpy(codes), to_numpy(factors)
    check_matrix(argument, codes)
    check_values(argument, codes)
    check_matrix("factors", factors)
    if factors.dtype.kind not in "iu" or factors.min() < 0:
        reject("factors", "classes 0, 1, 2, … as whole numbers", f"dtype {factors.dtype}, least {factors.min()}")
    if len(factors) != len(codes):
        reject("factors", f"{len(codes)} rows, one for each code", len(factors))
    return codes.astype(np.float64), _numbered(factors)


def _numbered(factors: np.ndarray) -> np.ndarray:
    """Return the classes of each factor renumbered from 0, so that large class numbers take no memory."""
    return np.stack([np.unique(v, return_inverse=True)[1] for v in factors.T], axis=1)
