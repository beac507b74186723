"""Tensors: what an op takes, as a tensor, an array or a number, and what it makes of them; what does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest
from support.helpers import RNG, leaf

from minivae.autodiff import Tensor
from minivae.checks import DeviceError, InputError, WrongGradientError
from minivae.op import Op
from minivae.ops import add, concat, dense, exp, mul, sum_

OPERATORS = {
    "t + t": (lambda x, y: x + y, lambda x, y: (1, 1)),
    "t - t": (lambda x, y: x - y, lambda x, y: (1, -1)),
    "t * t": (lambda x, y: x * y, lambda x, y: (y, x)),
    "t / t": (lambda x, y: x / y, lambda x, y: (1 / y, -x / y**2)),
    "t + 3": (lambda x, y: (x + 3) + y * 0, lambda x, y: (1, 0)),
    "3 + t": (lambda x, y: (3 + x) + y * 0, lambda x, y: (1, 0)),
    "t - 3": (lambda x, y: (x - 3) + y * 0, lambda x, y: (1, 0)),
    "3 - t": (lambda x, y: (3 - x) + y * 0, lambda x, y: (-1, 0)),
    "t * 3": (lambda x, y: (x * 3) + y * 0, lambda x, y: (3, 0)),
    "3 * t": (lambda x, y: (3 * x) + y * 0, lambda x, y: (3, 0)),
    "t / 3": (lambda x, y: (x / 3) + y * 0, lambda x, y: (1 / 3, 0)),
    "3 / t": (lambda x, y: (3 / x) + y * 0, lambda x, y: (-3 / x**2, 0)),
    "-t": (lambda x, y: -x + y * 0, lambda x, y: (-1, 0)),
    "array + t": (lambda x, y: np.ones(5) + x + y * 0, lambda x, y: (1, 0)),
    "array / t": (lambda x, y: np.ones(5) / x + y * 0, lambda x, y: (-1 / x**2, 0)),
    "NumPy number * t": (lambda x, y: np.float64(3) * x + y * 0, lambda x, y: (3, 0)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    value, slopes = OPERATORS[name]
    x, y = leaf(5), leaf(5)
    out = value(x, y)
    assert isinstance(out, Tensor)
    np.testing.assert_allclose(out.data, value(x.data, y.data), rtol=1e-15)
    g = RNG.standard_normal(5)
    out.backward(g)
    for tensor, slope in zip((x, y), slopes(x.data, y.data), strict=True):
        np.testing.assert_allclose(tensor.grad, g * slope, rtol=1e-14)


def test_a_number_beside_float32_stays_float32() -> None:
    x = Tensor(np.ones((5, 7), np.float32), requires_grad=True)
    out = 1 - 2.5 * x / 3 + np.float64(1)
    assert out.dtype == np.float32
    sum_(out).backward()
    assert x.grad.dtype == np.float32


def test_slicing() -> None:
    x = leaf(5, 7)
    part = x[1:4, ::2]
    np.testing.assert_array_equal(part.data, x.data[1:4, ::2])
    g = RNG.standard_normal((3, 4))
    part.backward(g)
    expected = np.zeros((5, 7))
    expected[1:4, ::2] = g
    np.testing.assert_array_equal(x.grad, expected)
    assert [row.shape for row in x] == [(7,)] * 5  # iteration ends
    with pytest.raises(IndexError):
        x[5]


def test_tensors_are_made_of_floating_numbers() -> None:
    assert Tensor([1, 2]).dtype == np.float64
    assert Tensor(3).item() == 3.0
    assert Tensor(np.ones(2, np.float32)).dtype == np.float32
    with pytest.raises(InputError, match="Tensor: expected a floating dtype, got dtype int64"):
        Tensor(np.arange(3))


def test_a_tensor_says_what_it_is() -> None:
    x = Tensor(np.ones((5, 7)), requires_grad=True, name="pixels")
    assert repr(x) == "Tensor(pixels, shape (5, 7), float64)"
    assert repr(exp(x)) == "Tensor(shape (5, 7), float64, from exp)"


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match=r"add: expected .*, got x \(5,\), y \(3,\)"):
        add(leaf(5), leaf(3))
    with pytest.raises(InputError, match=r"concat: expected .*, got parts \(5, 2\), parts \(3, 2\), parts \(5, 2\)"):
        concat(leaf(5, 2), leaf(3, 2), leaf(5, 2))


def test_arrays_of_two_devices_are_not_mixed() -> None:
    class OnDevice:  # what the package knows of another device: a module name, and that it has a dtype
        dtype = np.dtype("float64")

    OnDevice.__module__ = "cupy"
    with pytest.raises(DeviceError, match="all on one device"):
        mul(leaf(5), OnDevice())


def test_what_is_behind_a_mask_is_no_number() -> None:
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    for call in (lambda: Tensor(masked), lambda: exp(masked)):
        with pytest.raises(InputError, match="without masked entries, got 1 of 2"):
            call()
    assert type(exp(np.ma.array([1.0, 2.0])).data) is np.ndarray


def test_the_last_name_stands_for_all_further_arguments() -> None:
    """Also where others come before it: an op of one's own that joins a heading and any number of parts."""

    def forward(xp, *arrays):
        return xp.concatenate(arrays), ()

    own = Op("letter", forward, lambda xp, saved, g, needs: (g[:1], g[1:2], g[3:]), args=("heading", "parts"))
    with pytest.raises(InputError, match=r"got heading \(1,\), parts \(1,\), parts \(1, 2\)"):
        own(leaf(1), leaf(1), leaf(1, 2))
    with pytest.raises(WrongGradientError, match=r"with respect to parts: expected an array of shape \(3,\), got \(2,\)"):
        own(leaf(1), leaf(1), leaf(3)).backward(np.ones(5))


def test_an_argument_that_is_none_is_one_that_is_left_out() -> None:
    x, weight = leaf(5, 7), leaf(7, 3)
    np.testing.assert_array_equal(dense(x, weight, None).data, dense(x, weight).data)
