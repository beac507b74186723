"""One row per op: what it must compute, told by other means than the op's own; where that is hardest; and what it must refuse.

The arguments themselves come from ``minivae.ops.examples``.  ``exact`` takes single mpmath numbers and is read straight off the
definition, at 900 digits, where no rearrangement for the sake of floating point is needed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
from scipy import special, stats

DIGITS = 900
TINY = (5e-324, -5e-324, 1e-310, 1e-40, -1e-40)  # denormal in float64, and in float32
FAR = (0.0, 1.0, -1.0, 30.0, -30.0, 88.0, -88.0, 300.0, -300.0, 1e4, -1e4)
EVERYWHERE = tuple((x,) for x in (*FAR, *TINY))


@dataclass(frozen=True)
class Refusal:
    """Arguments that must raise ``InputError`` with a message that says ``fragment``."""

    fragment: str
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class OpCase:
    """What the tests of every op need to know about this one.

    Attributes
    ----------
    reference : ``reference(*arrays, **options)``, the result to be expected.
    exact : the same for single numbers, in mpmath; None for ops that only move and add numbers.
    extremes : points for ``exact``, all of which the op is to get right, with its gradient.
    slope_error : absolute error allowed in the gradient at those points, in units of the working precision's epsilon: for a slope
        that is a difference of rounded numbers.
    double : the op works in float64 whatever comes in.
    relative64 : relative error allowed in float64, where such an op has no digits in reserve.
    refusals : arguments that do not fit.
    """

    reference: Callable[..., Any]
    exact: Callable[..., Any] | None = None
    extremes: tuple[tuple[float, ...], ...] = ()
    slope_error: float = 0.0
    double: bool = False
    relative64: float = 0.0
    refusals: tuple[Refusal, ...] = ()


def refuse(fragment: str, *shapes: tuple[int, ...], **options: Any) -> Refusal:
    return Refusal(fragment, shapes, options)


def mismatched(*shapes: tuple[int, ...]) -> tuple[Refusal, ...]:
    return (refuse("shapes fit together", *shapes),)


def uneven(name: str) -> tuple[Refusal, ...]:
    """A point, or a vector beside it, of one coordinate where the others have seven; and numbers of rows that do not fit."""
    words = f"{name}: z, u, w: expected points and vectors with the same number of coordinates"
    odd = ([(5, 1) if i == j else (5, 7) for i in range(3)] for j in range(3))
    return (*(refuse(words, *shapes, (5,)) for shapes in odd), *mismatched((5, 7), (5, 7), (3, 7), (5,)))


def elementwise(exact: Callable[..., Any], extremes: Any, **rest: Any) -> OpCase:
    """A row for an op that makes one number of corresponding numbers of its arguments."""
    return OpCase(lambda *arrays, **options: on_grid(exact, arrays, options), exact, tuple(extremes), **rest)


def rowwise(exact: Callable[..., Any], extremes: Any, **rest: Any) -> OpCase:
    """A row for an op that sums such numbers over the last axis."""
    return OpCase(lambda *arrays: on_grid(exact, arrays, {}).sum(axis=-1), exact, tuple(extremes), **rest)


def on_grid(exact: Callable[..., Any], arrays: Any, options: dict[str, Any]) -> np.ndarray:
    arrays = np.broadcast_arrays(*arrays)
    out = np.empty(arrays[0].shape)
    with mp.workdps(60):
        for place in np.ndindex(out.shape):
            out[place] = exact(*(mp.mpf(float(a[place])) for a in arrays), **options)
    return out


# Definitions.


def log_normal(noise: Any, log_var: Any) -> Any:
    """log of the density of N(m, e^log_var) at a distance of ``noise`` standard deviations from m."""
    return -(mp.log(2 * mp.pi) + log_var + noise**2) / 2


def kl_by_quadrature(mean: Any, log_var: Any, prior_mean: Any = 0, prior_log_var: Any = 0) -> Any:
    """E_q[log q(z) − log p(z)] by Gauss–Hermite quadrature with three nodes: exact, since the integrand is quadratic in z."""
    total = mp.mpf(0)
    for node, weight in ((mp.mpf(0), mp.mpf(2) / 3), (mp.sqrt(3), mp.mpf(1) / 6), (-mp.sqrt(3), mp.mpf(1) / 6)):
        from_prior = (mean - prior_mean + mp.exp(log_var / 2) * node) / mp.exp(prior_log_var / 2)
        total += weight * (log_normal(node, log_var) - log_normal(from_prior, prior_log_var))
    return total


def bernoulli_nll(x: Any, logits: Any) -> Any:
    """−log [p^x (1 − p)^(1 − x)] with 1/p = 1 + e^−ℓ and 1/(1 − p) = 1 + e^ℓ."""
    return x * mp.log1p(mp.exp(-logits)) + (1 - x) * mp.log1p(mp.exp(logits))


def gaussian_nll(x: Any, mean: Any, log_var: Any) -> Any:
    return -mp.log(mp.npdf(x, mean, mp.exp(log_var / 2)))


def planar(z: np.ndarray, u: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return z + np.tanh((z * w).sum(axis=-1) + b)[..., None] * u


def planar_log_det(z: np.ndarray, u: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The determinant of the whole Jacobian, row by row, which the op never forms."""
    slope = 1 / np.cosh((z * w).sum(axis=-1) + b) ** 2
    return np.linalg.slogdet(np.eye(u.shape[-1]) + slope[..., None, None] * u[..., :, None] * w[..., None, :])[1]


def gumbel_softmax(logits: np.ndarray, noise: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    return special.softmax((logits + noise) / temperature, axis=-1)


def kl_uniform(logits: np.ndarray) -> np.ndarray:
    """Against the uniform distribution, by SciPy's entropy of one distribution relative to another."""
    p = special.softmax(logits, axis=-1)
    return stats.entropy(p, np.full_like(p, 1 / p.shape[-1]), axis=-1)


TARGET = mp.mpf(0.05)  # of the op when none is given


def sparsity_kl(*column: Any, target: Any = TARGET) -> Any:
    """KL(ρ ‖ ρ̂) of one unit's mean activity, from its logits."""
    on, off = (mp.fsum(1 / (1 + mp.exp(sign * x)) for x in column) / len(column) for sign in (-1, 1))
    return target * mp.log(target / on) + (1 - target) * mp.log((1 - target) / off)


# Ops that move and add numbers, in plain Python.


def dense(x: Any, weight: Any, bias: Any = None, transpose: bool = False) -> list[list[float]]:
    columns = weight.tolist() if transpose else [list(column) for column in zip(*weight.tolist(), strict=True)]
    bias = [0.0] * len(columns) if bias is None else bias.tolist()
    return [[math.fsum([*(a * b for a, b in zip(row, column)), c]) for column, c in zip(columns, bias)] for row in x.tolist()]


def reduced(function: Callable[[list[float]], float]) -> Callable[..., np.ndarray]:
    """Lift a function of a list of numbers to a reduction over axes."""

    def reference(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> np.ndarray:
        axes = {a % x.ndim for a in (range(x.ndim) if axis is None else np.atleast_1d(axis))}
        groups: dict[tuple[int, ...], list[float]] = {}
        for place in np.ndindex(x.shape):
            groups.setdefault(tuple(0 if a in axes else i for a, i in enumerate(place)), []).append(float(x[place]))
        out = np.empty([1 if a in axes else length for a, length in enumerate(x.shape)])
        for place, numbers in groups.items():
            out[place] = function(numbers)
        return out if keepdims else out.squeeze(tuple(axes))

    return reference


def concat(*parts: np.ndarray, axis: int = -1) -> list[Any]:
    if axis == 0:
        return list(itertools.chain.from_iterable(part.tolist() for part in parts))
    return [list(itertools.chain.from_iterable(rows)) for rows in zip(*(part.tolist() for part in parts), strict=True)]


def take(nested: Any, index: tuple[Any, ...]) -> Any:
    """Index nested lists."""
    if not index:
        return nested
    here, *rest = index
    if here is ...:
        depth = np.ndim(nested) - sum(i is not None for i in rest)
        return take(nested, (*(slice(None),) * depth, *rest))
    if here is None:
        return [take(nested, tuple(rest))]
    return [take(part, tuple(rest)) for part in nested[here]] if isinstance(here, slice) else take(nested[here], tuple(rest))


def repeat(x: np.ndarray, repeats: int, axis: int = 0) -> list[Any]:
    if axis == 0:
        return [row for row in x.tolist() for _ in range(repeats)]
    return [[value for value in row for _ in range(repeats)] for row in x.tolist()]


# Distributions of whole batches, point by point.


def log_mixture(z: np.ndarray, mean: np.ndarray, log_var: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """log Σ_m w_im Π_j N(z_ij; μ_mj, σ²_mj), with the density of each normal from mpmath."""
    out = np.empty(z.shape[:-1])
    log_weights = np.broadcast_to(log_weights, (len(z), len(mean)))
    for i, *place in np.ndindex(out.shape):
        density = mp.mpf(0)
        for m in range(len(mean)):
            parts = zip(*(a[(row, *place)].tolist() for a, row in ((z, i), (mean, m), (log_var, m))), strict=True)
            density += mp.exp(log_weights[i, m]) * mp.fprod(mp.npdf(a, b, mp.exp(s / 2)) for a, b, s in map(mpfs, parts))
        out[(i, *place)] = mp.log(density)
    return out


def mpfs(numbers: Any) -> list[Any]:
    return [mp.mpf(number) for number in numbers]


def mmd(x: np.ndarray, y: np.ndarray, kernel: str = "gaussian", scale: float = 1.0) -> float:
    """E k(x, x') + E k(y, y') − 2 E k(x, y) over all pairs of different draws."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        u = math.fsum((p - q) ** 2 for p, q in zip(a.tolist(), b.tolist(), strict=True)) / (2 * scale)
        return math.exp(-u) if kernel == "gaussian" else 1 / (1 + u)

    def average(pairs: Any) -> float:
        values = [k(a, b) for a, b in pairs]
        return math.fsum(values) / max(1, len(values))

    within = [average(itertools.permutations(sample, 2)) for sample in (x, y)]
    return math.fsum(within) - 2 * average(itertools.product(x, y))


PAIRS = tuple(itertools.product((1.0, -3.0, 1e4, -1e4, 1e-40), (1.0, -7.0, 1e4, -1e-4)))
LOG_VARS = (0.0, 1e-12, 9e-4, -1e-3, 0.7, -1.3, math.log(1e-30), math.log(1e30))

CASES: dict[str, OpCase] = {
    "dense": OpCase(
        dense,
        refusals=(
            refuse("dense: weight: expected shape (7, m)", (5, 7), (3, 7), (3,)),
            refuse("dense: x: expected shape (n, d), got shape (2, 5, 7)", (2, 5, 7), (7, 3), (3,)),
            refuse("dense: bias: expected shape (3,)", (5, 7), (7, 3), (1, 3)),
        ),
    ),
    "identity": elementwise(lambda x: x, EVERYWHERE),
    "relu": elementwise(lambda x: max(x, 0), EVERYWHERE[1:]),  # 0 is the kink: see test_the_kinks_of_rectifiers
    "leaky_relu": elementwise(
        lambda x, slope=0.01: x if x > 0 else slope * x,
        EVERYWHERE[1:],
        refusals=(refuse("slope: expected a finite number from 0 to 1, got 1.5", (2,), slope=1.5),),
    ),
    "elu": elementwise(
        lambda x, alpha=1: x if x > 0 else alpha * mp.expm1(x),
        EVERYWHERE,
        refusals=(refuse("alpha: expected a finite number above 0, got 0", (2,), alpha=0),),
    ),
    # The slope 1 − out² is made of the rounded result: it is good to two units of 1, not of itself.
    "tanh": elementwise(mp.tanh, EVERYWHERE, slope_error=2.0),
    "sigmoid": elementwise(lambda x: 1 / (1 + mp.exp(-x)), EVERYWHERE),
    "softplus": elementwise(lambda x: mp.log(1 + mp.exp(x)) if x > -50 else mp.log1p(mp.exp(x)), EVERYWHERE),
    "add": elementwise(lambda x, y: x + y, PAIRS, refusals=mismatched((5, 7), (5, 3))),
    "sub": elementwise(lambda x, y: x - y, PAIRS, refusals=mismatched((5, 7), (5, 3))),
    "mul": elementwise(lambda x, y: x * y, PAIRS, refusals=mismatched((5, 7), (5, 3))),
    "div": elementwise(lambda x, y: x / y, PAIRS, refusals=mismatched((5, 7), (5, 3))),
    "neg": elementwise(lambda x: -x, EVERYWHERE),
    "exp": elementwise(mp.exp, EVERYWHERE),
    "log": elementwise(mp.log, [(x,) for x in (1e-40, 1e-310, 1e-3, 0.5, 1.0, 1 + 2**-20, 1e4, 1e30)]),
    "square": elementwise(lambda x: x**2, EVERYWHERE),
    "sum": OpCase(reduced(math.fsum), refusals=(refuse("out of bounds", (5, 7), axis=2),)),
    "mean": OpCase(
        reduced(lambda numbers: math.fsum(numbers) / len(numbers)),
        refusals=(refuse("at least one element to average", (0, 7), axis=0),),
    ),
    "logsumexp": OpCase(
        lambda x, axis=-1, keepdims=False: reduced(lambda v: float(mp.log(mp.fsum(map(mp.exp, v)))))(x, axis, keepdims),
        refusals=(refuse("logsumexp", (5, 0)),),
    ),
    "concat": OpCase(concat, refusals=mismatched((5, 7), (3, 7))),
    "slice": OpCase(
        lambda x, index: take(x.tolist(), index),
        refusals=(refuse("ints, slices, ... or None, got [0, 0]", (5, 7), index=[0, 0]),),
    ),
    "reshape": OpCase(
        lambda x, shape: [float(x[place]) for place in np.ndindex(x.shape)],
        refusals=(refuse("cannot reshape", (5, 7), shape=(4, 9)),),
    ),
    "repeat": OpCase(repeat, refusals=(refuse("repeats: expected a whole number of at least 1, got 0", (5, 7), repeats=0),)),
    "reparameterize": elementwise(
        lambda mean, log_var, noise: mean + mp.sqrt(mp.exp(log_var)) * noise,
        itertools.product((0.0, 1e4), LOG_VARS, (1.5, -1e-40)),
        refusals=mismatched((5, 7), (5, 3), (5, 7)),
    ),
    "reparameterize_variance": elementwise(
        lambda mean, raw, noise: mean + mp.sqrt(mp.log1p(mp.exp(raw))) * noise,
        itertools.product((0.0, 1e4), (*FAR, -40.0, *TINY), (1.5, -2.0)),
        refusals=mismatched((5, 7), (5, 3), (5, 7)),
    ),
    "kl_standard_normal": rowwise(  # (K.1), (K.2)
        kl_by_quadrature,
        (*itertools.product((0.0, 1e-40, -3.0, 1e4), (*LOG_VARS, -1e4, 80.0)), (2e19, 0.0)),  # whose square is no float32
        relative64=1e-12,  # eˢ − 1 − s by subtraction loses 1/s: three digits at s = 1e-3
        refusals=mismatched((5, 7), (5, 3)),
    ),
    "kl_normal": rowwise(  # (K.3)
        kl_by_quadrature,
        (
            *itertools.product((0.0, 1e4), (0.0, -1e-3, *LOG_VARS[-2:]), (0.0, -3.0), (0.0, 0.7, *LOG_VARS[-2:])),
            (1e-20, -95.0, 0.0, -95.0),  # 1/τ² is no float32, and nor is
            (3e38, 170.0, -3e38, 170.0),  # the distance
        ),
        double=True,
        slope_error=1.0,  # σ²/τ² − 1 and the distance may cancel
        relative64=1e-12,  # as above, and log σ² − log τ² is rounded
        refusals=mismatched((5, 7), (5, 7), (5, 3), (5, 7)),
    ),
    "bernoulli_nll": rowwise(  # (L.1)
        bernoulli_nll,
        itertools.product((0.0, 1e-40, 0.3, 1 - 2**-20, 1.0), (*FAR, *TINY)),
        slope_error=1.0,  # sigmoid(ℓ) − x
        refusals=mismatched((5, 7), (5, 3)),
    ),
    "gaussian_nll": rowwise(  # (L.2), (L.3), (L.4)
        gaussian_nll,
        (*itertools.product((0.0, 1.0, -1e4), (0.0, 0.25, 1e4), (*LOG_VARS, -600.0, 600.0)), (3e38, -3e38, 170.0)),
        double=True,
        slope_error=1.0,  # 1 − (x − m)²/s²
        refusals=mismatched((5, 7), (5, 3), (5, 7)),
    ),
    "log_mixture": OpCase(  # (T.5)
        log_mixture,
        double=True,
        refusals=(
            refuse("shapes fit together", (5, 7), (3, 7), (3, 6), (5, 3)),
            refuse("shapes fit together", (5, 7), (0, 7), (0, 7), (5, 0)),
            refuse("shapes fit together", (5, 7), (3, 7), (3, 7), (5, 4)),
        ),
    ),
    "mmd": OpCase(  # (D.2)
        mmd,
        double=True,
        refusals=(
            refuse("mmd: expected two samples", (5, 7), (3, 6)),
            refuse("of at least one row, got shapes (0, 7) and (3, 7)", (0, 7), (3, 7)),
            refuse("scale: expected a finite number above 0, got 0", (5, 7), (3, 7), scale=0),
            refuse("kernel: expected", (5, 7), (3, 7), kernel="linear"),
        ),
    ),
    "covariance": OpCase(  # (D.4)
        lambda x: np.atleast_2d(np.cov(x, rowvar=False, bias=True)),
        double=True,
        refusals=(refuse("covariance: expected a matrix (n, k) with at least one row", (0, 7)),),
    ),
    "planar": OpCase(planar, refusals=uneven("planar")),  # (F.1)
    "planar_log_det": OpCase(planar_log_det, refusals=uneven("planar_log_det")),  # (F.2)
    "gumbel_softmax": OpCase(  # (Q.2)
        gumbel_softmax,
        double=True,
        refusals=(
            *mismatched((5, 7), (5, 3)),
            refuse("temperature: expected a finite number above 0, got 0", (5, 7), (5, 7), temperature=0),
        ),
    ),
    "kl_uniform": OpCase(kl_uniform, double=True, refusals=(refuse("kl_uniform", (5, 0)),)),  # (Q.3)
    "absolute": elementwise(abs, EVERYWHERE[1:]),  # 0 is the kink: see test_penalty.py
    "sparsity_kl": OpCase(
        lambda logits, **options: sum(float(sparsity_kl(*map(mp.mpf, column), **options)) for column in logits.T.tolist()),
        sparsity_kl,
        EVERYWHERE,
        double=True,
        slope_error=1.0,  # sigmoid(ℓ) − ρ
        refusals=(
            refuse("sparsity_kl: expected at least one example", (0, 7)),
            refuse("target: expected a finite number above 0, got 0", (5, 7), target=0),
            refuse("target below 1, got shape (5, 7), target 1", (5, 7), target=1),
        ),
    ),
}
