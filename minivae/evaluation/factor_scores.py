"""Three more scores of whether one latent dimension represents one factor; each detects another kind of failure.

Like those of ``disentanglement`` they take the factors (n, f) as classes and range from 0 to 1, where higher is better.  A factor
that is the same in all rows is left out.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from minivae.checks import check_int, check_real, check_repeats, reject
from minivae.evaluation.disentanglement import checked, gap, varying

DRAWS = 2000
CELLS = 2**22  # most densities in memory at a time
LEAST_SPREAD = 0.05  # standard deviation of a code below which a dimension counts as unused


def density_mutual_information_gap(mean: Any, log_var: Any, factors: Any, n_draws: int = DRAWS, seed: int = 0) -> float:
    """Return the mutual information gap from the model's own densities, without bins and without a choice of samples or means.

    (S.1)  MIG = mean over factors v of [I(z_(1); v) − I(z_(2); v)]/H(v),    I(z_j; v) = E[ log q(z_j|v) − log q(z_j) ]
           q(z_j) = (1/N) Σ_n q(z_j|x_n),    q(z_j|v) = the same mean over the examples whose factor is v

    Source: Chen, Li, Grosse & Duvenaud 2018, section 4.1.
    """
    return gap(density_mutual_information(mean, log_var, factors, n_draws, seed), factors)  # (S.1)


def density_mutual_information(mean: Any, log_var: Any, factors: Any, n_draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return I(z_j; v_m) of every latent dimension with every factor, (k, f) in nats, by q(z_j) of all N posteriors (S.1).

    ``mean`` and ``log_var`` (N, k), such as ``model.encode(x)``; z is drawn ``n_draws`` times, from as many different
    rows as possible.  Only these draws are random; where the true value is near 0 they may give a negative estimate.
    """
    mean, factors = checked(mean, factors)
    log_var, _ = checked(log_var, factors, "log_var")
    if log_var.shape != mean.shape:
        reject("log_var", f"shape {mean.shape}, as the means", f"shape {log_var.shape}")
    check_repeats("n_draws", n_draws)
    rng, n = np.random.default_rng(check_int("seed", seed, 0)), len(mean)
    rows = np.concatenate([rng.permutation(n) for _ in range(-(-n_draws // n))])[:n_draws]
    z = mean[rows] + np.exp(0.5 * log_var[rows]) * rng.standard_normal((n_draws, mean.shape[1]))
    members = [v[:, None] == np.unique(v) for v in factors.T]  # (n, c) each
    information = np.zeros((mean.shape[1], factors.shape[1]))
    block = max(1, CELLS // n)
    for start in range(0, n_draws, block):
        part = slice(start, start + block)
        for j in range(mean.shape[1]):
            distances = (z[part, j, None] - mean[:, j]) ** 2 * np.exp(-log_var[:, j])  # (draws, n)
            density = np.exp(-0.5 * (log_var[:, j] + distances))  # of a draw never 0 everywhere: it is near the mean it comes from
            for m, member in enumerate(members):
                own = member[rows[part]]
                given = (density @ member)[own] / member.sum(axis=0)[own.argmax(axis=1)]
                information[j, m] += np.log(given / density.mean(axis=1)).sum()
    return information / n_draws


def factor_vae_score(
    codes: Any, factors: Any, n_votes: int = 1000, n_points: int = 64, test_share: float = 0.5, seed: int = 0
) -> float:
    """Return the FactorVAE score: how often the dimension that varies least tells which factor was held fixed.

    (S.2)  one vote: choose a factor; take ``n_points`` examples that share its class; vote (argmin_j Var[z_j]/Var_all[z_j], factor)
           score = the share of ``test_share`` · ``n_votes`` further votes that the majority of the first ones gets right

    Higgins' score trains a classifier on all dimensions, which may combine several of them into a factor; here a single dimension
    has to represent it.  A dimension whose codes hardly vary (standard deviation below 0.05) is unused and left out: its ratio of
    two variances near 0 could win every vote.

    Source: Kim & Mnih 2018.
    """
    codes, factors = checked(codes, varying(factors))
    for name, value in (("n_votes", n_votes), ("n_points", n_points)):
        check_repeats(name, value)
    check_real("test_share", test_share, 0, open_low=True)
    rng = np.random.default_rng(check_int("seed", seed, 0))
    used = codes.std(axis=0) >= LEAST_SPREAD
    if not used.any():
        return 1 / factors.shape[1]  # no dimension is used, so the factor can only be guessed
    codes = codes[:, used] / codes[:, used].std(axis=0)
    members = [{value: np.flatnonzero(v == value) for value in np.unique(v)} for v in factors.T]
    fixed, stillest = [], []
    for _ in range(n_votes + max(1, round(test_share * n_votes))):
        factor = rng.integers(factors.shape[1])
        same = members[factor][rng.choice(factors[:, factor])]
        fixed.append(factor)
        stillest.append(codes[rng.choice(same, n_points)].var(axis=0).argmin())
    votes = np.zeros((codes.shape[1], factors.shape[1]))
    np.add.at(votes, (stillest[:n_votes], fixed[:n_votes]), 1)
    rule = votes.argmax(axis=1)
    return float((rule[stillest[n_votes:]] == fixed[n_votes:]).mean())  # (S.2)


def sap_score(codes: Any, factors: Any, nominal: Collection[int] = (), n_bins: int = 20) -> float:
    """Return the separated attribute predictability: how much better the best dimension predicts a factor than the second best.

    (S.3)  SAP = mean over factors v of [s_(1)v − s_(2)v]
           s_jv = Cov[z_j, v]²/(Var[z_j] Var[v])                 the R² of a line, where the classes of v have an order
           s_jv = (1/c) Σ_b max_v p(z_j in bin b | v)            the balanced accuracy of thresholds on z_j, where they have none

    The classes of a factor such as shape have no order, so a line through their numbers 0, 1, 2 would be meaningless: name its
    column in ``nominal``.  Thresholds lie between ``n_bins`` bins of equal width; chance then scores 1/c, which cancels in the
    difference.

    Source: Kumar, Sattigeri & Balakrishnan 2018.
    """
    codes, values = checked(codes, factors)
    check_repeats("n_bins", n_bins, 2)
    if codes.shape[1] < 2:
        reject("codes", "at least two dimensions, as a gap lies between two", f"shape {codes.shape}")
    for column in nominal:
        check_int("nominal", column, 0, values.shape[1] - 1)
    kept = [m for m in range(values.shape[1]) if np.ptp(values[:, m])]
    if not kept:
        reject("factors", "at least one that varies", "none")
    scores = [_by_thresholds(codes, values[:, m], n_bins) if m in nominal else _by_line(codes, values[:, m]) for m in kept]
    first, second = np.sort(scores)[:, :-3:-1].T
    return float((first - second).mean())  # (S.3)


def _by_line(codes: np.ndarray, v: np.ndarray) -> np.ndarray:
    centred, v = codes - codes.mean(axis=0), v - v.mean()
    spread = (centred**2).sum(axis=0)
    return (v @ centred) ** 2 / np.where(spread > 0, spread, 1) / (v**2).sum()


def _by_thresholds(codes: np.ndarray, v: np.ndarray, n_bins: int) -> np.ndarray:
    classes = np.unique(v)
    edges = [np.linspace(z.min(), z.max(), n_bins + 1) for z in codes.T]
    shares = [[np.histogram(z[v == c], edge)[0] / (v == c).sum() for c in classes] for z, edge in zip(codes.T, edges, strict=True)]
    return np.max(shares, axis=1).sum(axis=1) / len(classes)
