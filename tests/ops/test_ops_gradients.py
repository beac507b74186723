"""Every gradient of every op against finite differences in float64, and its float32 twin against the float64 one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.backend import probe_cuda, resolve_device
from minivae.ops.examples import EXAMPLES, Example
from minivae.proof.gradcheck import gradcheck
from minivae.proof.precision import UNITS, compare_precision

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


@every_example
def test_every_entry_agrees_with_finite_differences(example: Example) -> None:
    gradcheck(example, example.draw(), name=example.name, elementwise=True)


@every_example
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 6), d=st.integers(2, 6), m=st.integers(1, 6), s=st.integers(1, 6))
def test_gradients_agree_with_finite_differences_in_any_shape(example: Example, seed: int, **sizes: int) -> None:
    gradcheck(example, example.draw(seed, **sizes), name=example.name, seed=seed)


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
