"""The ops of the penalties, and the two whose backward is not a derivative on purpose."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest

from minivae import ops
from minivae.autodiff import Tensor
from minivae.checks import GradcheckError, InputError
from minivae.op import Op
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS, absolute, quantize, scale_gradient, sparsity_kl, straight_through
from minivae.proof.gradcheck import gradcheck

A = np.random.default_rng(0).uniform(-1, 1, (5, 7))
G = np.random.default_rng(1).standard_normal((5, 7))


def pulled_back(op: Op, x: np.ndarray, **options) -> np.ndarray:
    leaf = Tensor(x, requires_grad=True)
    op(leaf, **options).backward(G.astype(x.dtype))
    return leaf.grad


def test_every_op_is_listed_either_as_a_derivative_or_as_none():
    defined = {}
    for module in pkgutil.iter_modules(ops.__path__):
        names = vars(importlib.import_module(f"minivae.ops.{module.name}"))
        defined |= {op.name: op for op in names.values() if isinstance(op, Op)}
    assert defined == ALL_OPS | SURROGATE_GRADIENTS
    assert not ALL_OPS.keys() & SURROGATE_GRADIENTS.keys()


def test_the_kink_of_the_absolute_value():
    zero = Tensor(np.array([0.0, -0.0]), requires_grad=True)
    absolute(zero).backward(np.ones(2))
    np.testing.assert_array_equal(zero.grad, [0, 0])


def test_sparsity_averages_over_the_batch_not_over_the_units():
    h = 1 / (1 + np.exp(-A))
    rate = h.mean(axis=0)
    expected = (0.1 * np.log(0.1 / rate) + 0.9 * np.log(0.9 / (1 - rate))).sum()
    assert sparsity_kl(A, target=0.1).item() == pytest.approx(expected, rel=1e-13)
    assert sparsity_kl(np.log(np.full((3, 7), 0.1 / 0.9)), target=0.1).item() == pytest.approx(0, abs=1e-15)


def test_sparsity_of_units_that_are_far_on_and_far_off():
    """Half of the time on, whatever the logits: ½ log(½/0.05) + … of ρ against ½."""
    expected = 0.05 * np.log(0.05 / 0.5) + 0.95 * np.log(0.95 / 0.5)
    assert sparsity_kl(np.array([[1e4], [-1e4]])).item() == pytest.approx(expected, rel=1e-13)


def test_sparsity_near_its_target_has_digits_in_float32():
    """It is a small difference of logarithms of ordinary size: in float32 arithmetic nothing of it would be left."""
    logits = np.float32([[-2.9434]])  # the logit of the target is −2.9444
    rate = 1 / (1 + np.exp(-logits.astype("float64")))
    off = (rate - 0.05) / 0.95
    expected = 0.05 * -np.log1p((rate - 0.05) / 0.05) + 0.95 * -np.log1p(-off)
    np.testing.assert_allclose(sparsity_kl(logits).data, expected.sum(), rtol=4 * np.finfo("float32").eps)


@pytest.mark.parametrize("levels", [2, 3, 4, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quantize_goes_to_the_nearest_level(levels, dtype):
    grid = np.linspace(-1, 1, levels)
    nearest = grid[np.abs(A[..., None] - grid).argmin(axis=-1)]
    out = quantize(A.astype(dtype), levels=levels).data
    assert out.dtype == dtype
    np.testing.assert_allclose(out, nearest, atol=2 * np.finfo(dtype).eps)  # two roundings of numbers up to 2
    np.testing.assert_array_equal(quantize(np.array([-1.0, 1.0]), levels=levels).data, [-1, 1])


def test_the_gradient_passes_straight_through_the_rounding():
    np.testing.assert_array_equal(pulled_back(quantize, A, levels=3), G)
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: quantize(x, levels=3), {"x": A})


@pytest.mark.parametrize("bad", [1, 2.0, 0, "3"])
def test_quantize_refuses(bad):
    with pytest.raises(InputError, match="levels: expected a whole number of at least 2"):
        quantize(A, levels=bad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 1), ()])
def test_scaled_gradient(shape, dtype):
    scale = np.random.default_rng(2).standard_normal(shape).astype(dtype)
    x = A.astype(dtype)
    np.testing.assert_array_equal(scale_gradient(x, scale=scale).data, x)
    gradient = pulled_back(scale_gradient, x, scale=scale)
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, G.astype(dtype) * scale)
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: scale_gradient(x, scale=scale.astype("float64")), {"x": A})


def test_the_scale_may_be_known_later_than_the_result():
    scale, x = np.full((5, 1), np.nan), Tensor(A, requires_grad=True)
    out = scale_gradient(x, scale=scale)
    scale[...] = 3
    out.backward(G)
    np.testing.assert_array_equal(x.grad, 3 * G)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_value_in_place_of_another_gets_none_of_its_gradient(dtype):
    value, x = np.round(A).astype(dtype), A.astype(dtype)
    np.testing.assert_array_equal(straight_through(x, value=value).data, value)
    gradient = pulled_back(straight_through, x, value=value)
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, G.astype(dtype))
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: straight_through(x, value=np.round(A)), {"x": A})
    with pytest.raises(InputError, match="straight_through: value: expected the shape of x"):
        straight_through(x, value=value[:1])
