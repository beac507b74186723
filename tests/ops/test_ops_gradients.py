"""Every gradient of every op against finite differences in float64, and its float32 twin against the float64 one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.op_cases import CASES

from minivae.autodiff import Tensor, backward
from minivae.backend import probe_cuda, resolve_device
from minivae.ops import ALL_OPS
from minivae.ops.examples import EXAMPLES, Example
from minivae.proof.gradcheck import gradcheck
from minivae.proof.precision import UNITS, compare_precision

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


@every_example
def test_every_entry_agrees_with_finite_differences(example: Example) -> None:
    gradcheck(example, example.draw(), name=example.name, elementwise=True)


@pytest.mark.slow
@every_example
@settings(max_examples=10, derandomize=True)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 6), d=st.integers(2, 6), m=st.integers(1, 6), s=st.integers(1, 6))
def test_gradients_agree_with_finite_differences_in_any_shape(example: Example, seed: int, **sizes: int) -> None:
    gradcheck(example, example.draw(seed, **sizes), name=example.name, seed=seed)


# The example of each op whose arguments have the same shape, for ops that broadcast them.
BROADCASTING = {e.op.name: e for e in reversed(EXAMPLES) if len(e.op.args) > 1 and CASES[e.op.name].exact}


@st.composite
def stretching(draw: st.DrawFn, example: Example) -> list[np.ndarray]:
    """Draw arguments that broadcast to (s, n, d), each with any axes of length 1 or, the leading ones, left out."""
    s, n, d = (draw(st.integers(2, 4)) for _ in range(3))
    arrays = []
    for name, array in example.draw(draw(st.integers(0, 2**32)), n=s * n, d=d).items():
        part = tuple(draw(st.sampled_from([slice(None), slice(1)]), label=f"{name}, an axis") for _ in range(3))
        array = array.reshape(s, n, d)[part]
        left_out = draw(st.integers(0, min([*np.flatnonzero(np.array(array.shape) > 1), 3])), label=f"{name}, axes left out")
        arrays.append(array.reshape(array.shape[left_out:]))
    return arrays


@pytest.mark.slow
@pytest.mark.parametrize("name", BROADCASTING)
@settings(max_examples=40, derandomize=True)
@given(data=st.data())
def test_any_axis_of_any_argument_may_stretch(name: str, data: st.DataObject) -> None:
    """Also the one that is summed: the gradient of a mean (n, 1) beside log_var (n, k) has k parts."""
    example = BROADCASTING[name]
    arrays = data.draw(stretching(example))
    expected = CASES[name].reference(*arrays)
    np.testing.assert_allclose(example(*arrays).data, expected, rtol=1e-13, atol=1e-13 * np.abs(expected).max())
    gradcheck(example, arrays, name=name)


def test_the_gradient_of_a_mean_that_all_dimensions_share() -> None:
    """KL is ½ Σ_j mean_i² + …, three times the same mean."""
    mean, log_var = Tensor(np.array([[0.5], [1.0]]), requires_grad=True), np.zeros((2, 3))
    backward(ALL_OPS["kl_standard_normal"](mean, log_var), np.ones(2))
    np.testing.assert_array_equal(mean.grad, [[1.5], [3.0]])


@pytest.mark.slow
@every_example
@pytest.mark.parametrize("seed", range(10))
def test_float32_is_as_close_to_float64_as_its_rounding_allows(example: Example, seed: int) -> None:
    for report in compare_precision(example, example.draw(seed), "float32", seed=seed):
        assert report.units < UNITS, report


@every_example
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_device_agrees_with_numpy(example: Example, dtype: str) -> None:
    available, reason = probe_cuda()
    if not available:
        pytest.skip(reason)
    for report in compare_precision(example, example.draw(), dtype, resolve_device("cuda")):
        assert report.units < UNITS, report


def test_precision_is_measured_in_units_of_rounding() -> None:
    x = {"x": np.random.default_rng(0).uniform(1.0, 2.0, (5, 7))}
    (result, gradient) = compare_precision(lambda x: x * 1.5, x)
    assert result.units < 1
    assert gradient.units < 1
    # (1 + x) − 1 cancels three digits at x = 1e-3: not the fault of the input, so a stable computation would keep them.
    (result, gradient) = compare_precision(lambda x: (x + 1.0) - 1.0, {"x": x["x"] * 1e-3})
    assert result.units > 50
    assert gradient.units < 1
