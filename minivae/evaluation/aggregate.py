"""The parts of a VAE's KL: what z says about x, how its dimensions depend on each other, and how far each is from the prior.

The aggregate posterior is the distribution of z when x is any of the N examples, each as likely as the others:

(T.2)  q(z) = (1/N) Σ_n q(z|x_n),    q(z_j) = (1/N) Σ_n q(z_j|x_n)

(T.1)  (1/N) Σ_n KL(q(z|x_n) ‖ p(z)) = I(x; z) + KL(q(z) ‖ Π_j q(z_j)) + Σ_j KL(q(z_j) ‖ p(z_j))
       the mutual information I, from 0 to log N; the total correlation; the dimension-wise KL: none of them is negative

Why: the KL is the expectation, over n and z ~ q(z|x_n), of  log q(z|x_n) − log p(z).  Add and subtract log q(z) and log Π_j q(z_j):

    [log q(z|x_n) − log q(z)] + [log q(z) − Σ_j log q(z_j)] + [Σ_j log q(z_j) − Σ_j log p(z_j)]

The expectation of each bracket is a KL divergence (for the first, between the joint distribution of n and z and the product of
their marginals), so none is negative, provided p(z) = Π_j p(z_j), as for N(0, I).  Since q(z) ≥ q(z|x_n)/N, the first is at most
log N.

Source: Hoffman & Johnson 2016; Chen, Li, Grosse & Duvenaud 2018.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from minivae.autodiff import no_grad
from minivae.backend import Array, array_module, standard_normal
from minivae.checks import check_choice, check_repeats
from minivae.ops import gaussian_nll, kl_standard_normal, log_mixture

POSTERIORS = 4096  # most posteriors that are compared with at a time
PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl")
ESTIMATORS = ("stratified", "weighted")


class Estimate(NamedTuple):
    """A mean over draws of z, and its standard error, in nats; NaN for a single draw, which has no spread."""

    value: float
    standard_error: float


class Decomposition(NamedTuple):
    """The three parts of T.1, and the mean KL that they add up to.

    Attributes
    ----------
    mutual_information, total_correlation, dimension_wise_kl : the parts.
    total : their sum, draw by draw, so its error is not the sum of theirs.
    kl : (1/N) Σ_n KL(q(z|x_n) ‖ p(z)) by K.1, without draws.
    """

    mutual_information: Estimate
    total_correlation: Estimate
    dimension_wise_kl: Estimate
    total: Estimate
    kl: float

    def named(self) -> dict[str, float]:
        """Return name → value of the three parts."""
        return {name: getattr(self, name).value for name in PARTS}


def decompose(mean: Array, log_var: Array, rng: Any, n_draws: int = 1000) -> Decomposition:
    """Return the parts of the KL of N posteriors N(μ_n, σ²_n), with the exact q(z) of all N (T.2), estimated over draws of z.

    Time grows with N · ``n_draws`` · k.  Memory does not, because the posteriors are compared block by block.

    Parameters
    ----------
    mean, log_var : (N, k).
    rng : for the choice of examples and the noise; a generator of the arrays' module.
    n_draws : number of draws of z, each from a different example as far as there are enough.
    """
    check_repeats("n_draws", n_draws)
    xp, n = array_module(mean), len(mean)
    rounds = [xp.argsort(rng.random((n,))) for _ in range(-(-n_draws // n))]  # each a random order of all examples
    index = xp.concatenate(rounds)[:n_draws]
    mean, log_var = mean.astype("float64"), log_var.astype("float64")
    z = mean[index] + xp.exp(0.5 * log_var[index]) * standard_normal(rng, (n_draws, mean.shape[1]), "float64")  # (R.1)
    information, correlation, rest = split(z, mean[index], log_var[index], *log_aggregate(z, mean, log_var))

    def estimate(values: Array) -> Estimate:
        return Estimate(float(values.mean()), float(values.std()) / math.sqrt(n_draws - 1 or math.nan))

    with no_grad():
        kl = float(kl_standard_normal(mean, log_var).data.mean())
    total = estimate(information + correlation + rest)
    return Decomposition(estimate(information), estimate(correlation), estimate(rest), total, kl)


def split(z: Array, mean: Array, log_var: Array, log_q: Array, log_q_each: Array) -> tuple[Array, Array, Array]:
    """Return the three brackets of T.1 at n draws z (n, k), each of the posterior with ``mean`` and ``log_var`` in its row: (n,).

    ``log_q`` (n,) and ``log_q_each`` (n, k) are log q(z) and log q(z_j), exact (``log_aggregate``) or estimated.
    """
    with no_grad():
        own, prior = (-gaussian_nll(z, *parameters).data for parameters in ((mean, log_var), (0 * z, 0.0)))
    product = log_q_each.sum(axis=1)
    return own - log_q, log_q - product, product - prior  # (T.1)


def log_aggregate(z: Array, mean: Array, log_var: Array) -> tuple[Array, Array]:
    """Return log q(z) (n,) and log q(z_j) (n, k) at points z (n, k), by all N posteriors (T.2)."""
    xp, size = array_module(z), len(mean)
    log_weight = xp.full(1, -math.log(size))
    log_q, log_q_each = xp.full(len(z), -xp.inf), xp.full(z.shape, -xp.inf)
    for start in range(0, size, POSTERIORS):
        part = slice(start, start + POSTERIORS)
        joint, each = batch_log_density(z, mean[part], log_var[part], log_weight)
        log_q, log_q_each = xp.logaddexp(log_q, joint), xp.logaddexp(log_q_each, each)  # (T.2)
    return log_q, log_q_each


def batch_log_density(z: Array, mean: Array, log_var: Array, log_weights: Array) -> tuple[Array, Array]:
    """Return log Σ_m w_im q(z_i|x_m) (n,) and log Σ_m w_im q(z_ij|x_m) (n, k) from posteriors (m, k) and log weights (n, m)."""
    with no_grad():
        joint = log_mixture(z, mean, log_var, log_weights).data
        return joint, log_mixture(z[..., None], mean[..., None], log_var[..., None], log_weights).data


def log_weights(xp: Any, n: int, n_data: int, estimator: str) -> Array:
    """Return the logarithms of the weights (n, n) with which a batch of n out of N = ``n_data`` examples represents all of them.

    (T.3)  weighted      log q(z_i) ≈ log Σ_m q(z_i|x_m)/(n N)
    (T.4)  stratified    log q(z_i) ≈ log [ q(z_i|x_i)/N + Σ_{m≠i} q(z_i|x_m) (N − 1)/(N (n − 1)) ]

    z_i is drawn from q(z|x_i), so example i is certainly in the batch, and any other one with probability (n − 1)/(N − 1).  T.4
    weighs them accordingly: i with its own share 1/N, every other by the number of examples that it represents.  The argument of
    the logarithm is then an unbiased estimate of q(z_i), and exact for n = N.  Because the logarithm is concave, log q(z) and log
    q(z_j) are too low on average, by half the relative variance of that estimate or so (Jensen).  The joint one has a larger error,
    since its estimate is far more often small.  I is then too high, the dimension-wise KL too low, and the total correlation, a
    difference, may be too high or too low, even negative.

    T.3 lowers log q by up to log N in addition: it is a lower bound (Chen et al., appendix C.1), not an estimate.  In a total
    correlation this log N is counted once for the joint and k times, with the opposite sign, for the marginals.

    Chen et al. write T.4 (their C.2) with one of the other examples taking the remainder.  By symmetry, even weights have the same
    mean and less variance.
    """
    check_choice("estimator", estimator, ESTIMATORS)
    if estimator == "weighted":
        return xp.full((n, n), -math.log(n * n_data))  # (T.3)
    other = math.log(max(1, n_data - 1) / (n_data * max(1, n - 1)))
    return xp.where(xp.eye(n, dtype=bool), -math.log(n_data), other)  # (T.4)
