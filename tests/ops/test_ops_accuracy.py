"""Digits: extreme arguments against mpmath, and losses in float32 to four units in the last place over their whole domain."""

from __future__ import annotations

import functools
import math

import mpmath as mp
import numpy as np
import pytest
from support.op_cases import CASES, DIGITS, on_grid

from minivae.autodiff import Tensor, backward
from minivae.ops import ALL_OPS, logsumexp
from minivae.ops.broadcast import FEW, add_up

ULPS = 4


@functools.cache
def exact_value_and_slopes(name: str, point: tuple[float, ...]) -> tuple[float, list[float]]:
    """Evaluate ``exact`` of a case and its partial derivatives, by a step in the 200th digit of 900."""
    case = CASES[name]
    with mp.workdps(DIGITS):
        x = [mp.mpf(value) for value in point]
        slopes = []
        for i, value in enumerate(x):
            h = (abs(value) or 1) * mp.mpf(10) ** -200
            above, below = (case.exact(*x[:i], value + step, *x[i + 1 :]) for step in (h, -h))
            slopes.append(float((above - below) / (2 * h)))
        return float(case.exact(*x)), slopes


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.extremes])
def test_extremes(name: str, dtype: str) -> None:
    case = CASES[name]
    relative = case.relative64 if dtype == "float64" else 0.0
    absolute = case.slope_error * np.finfo("float64" if case.double else dtype).eps
    for point in case.extremes:
        with np.errstate(over="ignore", under="ignore"):
            arrays = [np.array([value], dtype) for value in point]
            if any(value and not array for value, array in zip(point, arrays, strict=True)):
                continue  # too small for this dtype, and 0 may be another matter
            value, slopes = exact_value_and_slopes(name, tuple(float(array[0]) for array in arrays))
            leaves = [Tensor(array, requires_grad=True) for array in arrays]
            out = ALL_OPS[name](*leaves)
            backward(out, np.ones(out.shape, dtype))
            for got, exact in zip([out.data, *(leaf.grad for leaf in leaves)], [value, *slopes], strict=True):
                what = f"{name}{point} gives {got.item()!r}, exactly {exact!r}"
                rounded = np.array(exact).astype(dtype)
                if np.isfinite(rounded):
                    allowed = ULPS * np.spacing(np.abs(rounded)) + relative * abs(exact) + absolute * (got is not out.data)
                    assert abs(float(got.item()) - exact) <= allowed, what
                else:  # too large for the dtype
                    assert got.item() == rounded, what


def spread(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Draw float32 numbers of either sign whose logarithm to base 10 is uniform."""
    return (10.0 ** rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)).astype("float32")


def either(rng: np.random.Generator, *choices: np.ndarray) -> np.ndarray:
    return np.choose(rng.integers(len(choices), size=choices[0].shape), choices).astype("float32")


DOMAINS = {
    "kl_standard_normal": lambda rng, shape: (
        spread(rng, shape, -45, 18),
        either(rng, spread(rng, shape, -45, 1.9), rng.uniform(-3, 3, shape), rng.uniform(-1e4, 88, shape)),
    ),
    "kl_normal": lambda rng, shape: (
        *(spread(rng, shape, -10, 4), either(rng, spread(rng, shape, -20, 1.9), rng.uniform(-69, 69, shape))),
        *(spread(rng, shape, -10, 4), either(rng, spread(rng, shape, -20, 1.9), rng.uniform(-69, 69, shape))),
    ),
    "bernoulli_nll": lambda rng, shape: (
        either(rng, np.zeros(shape), np.ones(shape), rng.uniform(0, 1, shape), 10.0 ** rng.uniform(-45, 0, shape)),
        either(rng, spread(rng, shape, -45, 4), rng.uniform(-5, 5, shape)),
    ),
    "gaussian_nll": lambda rng, shape: (
        either(rng, spread(rng, shape, -20, 10), rng.standard_normal(shape)),
        either(rng, spread(rng, shape, -20, 10), rng.standard_normal(shape)),
        either(rng, rng.uniform(-700, 700, shape), rng.uniform(-69, 69, shape), rng.standard_normal(shape)),
    ),
}


@functools.cache
def anywhere(name: str) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return arguments of one feature (n, 1) from all over the domain, and the exact losses (n,)."""
    arrays = DOMAINS[name](np.random.default_rng(0), (2000, 1))
    return arrays, on_grid(CASES[name].exact, arrays, {})[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", DOMAINS)
def test_float32_losses_to_four_units_in_the_last_place(name: str) -> None:
    arrays, exact = anywhere(name)
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype("float32")
        got = ALL_OPS[name](*arrays).data
    fits = np.isfinite(rounded)
    assert fits.mean() > 0.5
    np.testing.assert_array_equal(got[~fits], rounded[~fits])
    assert np.all(np.abs(got[fits] - exact[fits]) <= ULPS * np.spacing(np.abs(rounded[fits])))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", DOMAINS)
def test_float32_losses_of_many_features_to_four_units_in_the_last_place(name: str, order: str) -> None:
    """As many features as an image has, summed along memory and across it."""
    rng = np.random.default_rng(0)
    arrays = [np.asarray(2 * rng.standard_normal((5, 784)), "float32", order) for _ in CASES[name].extremes[0]]
    if name == "bernoulli_nll":
        arrays[0] = np.clip(arrays[0], 0, 1)
    exact = np.array([math.fsum(row) for row in on_grid(CASES[name].exact, arrays, {})])
    got = ALL_OPS[name](*arrays).data
    assert np.all(np.abs(got - exact) <= ULPS * np.spacing(np.abs(got)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logsumexp_far_out(dtype: str) -> None:
    inf = math.inf
    finite = [[1e4, 1e4], [-1e4, -1e4], [1e4, -1e4], [0.0, -700.0], [1e-40, -1e-40], [-inf, 3.0]]
    x = Tensor(np.array([*finite, [-inf, -inf], [inf, 0.0]], dtype), requires_grad=True)
    with np.errstate(under="ignore", divide="ignore"):  # log 0 = −inf is the answer to a sum of nothing
        out = logsumexp(x)
        backward(out, np.ones_like(out.data))
    got, slope, x = out.data, x.grad, x.data
    with mp.workdps(50):
        expected = [float(mp.log(mp.fsum(mp.exp(mp.mpf(float(v))) for v in row))) for row in x[:6]]
    np.testing.assert_allclose(got[:6], expected, rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(got[6:], [-inf, inf])
    np.testing.assert_array_equal(slope[6:], [[0.5, 0.5], [1, 0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((700,), None), ((700, 3), 0), ((3, 700), 1), ((700, 2, 3), 0), ((2, 700, 3), 1), ((700, 2, 3), (0, 2)), ((1_000_003, 2), 0)],
)
def test_a_sum_of_any_length_has_the_error_of_few_roundings(shape, axis, keepdims, dtype) -> None:
    """Of equal numbers in float32, one after another, the last sum would be wrong by a per cent."""
    x = (np.full(shape, 0.1) * np.arange(1, 1 + shape[-1])).astype(dtype)
    total = add_up(x, axis, keepdims)
    exact = x.astype("longdouble").sum(axis=axis, keepdims=keepdims)
    assert total.dtype == dtype
    assert total.shape == exact.shape
    bound = FEW * np.finfo("float32").eps if dtype == "float32" else x.size * np.finfo("float64").eps
    assert np.all(np.abs(total - exact) <= bound * exact)
