"""The error model of float32, where its units can be computed by hand, and errors of known size in it."""

from __future__ import annotations

import numpy as np
import pytest

from minivae.op import Op
from minivae.ops import sum_
from minivae.proof.precision import UNITS, PrecisionReport, compare_precision

EPSILON = 2.0**-23
X = np.array([1.0, -2.0, 4.0, 8.0])  # powers of two, so that nothing is rounded


def off(right, wrong) -> Op:
    """An op of one argument whose value is ``right(x)``, but ``wrong(x)`` in float32."""

    def forward(xp, x):
        return (wrong if x.dtype == np.float32 else right)(x).astype(x.dtype), (right(np.ones_like(x)),)

    return Op("off", forward, lambda xp, saved, g, needs: ((g * saved[0]).astype(g.dtype),), args=("x",))


@pytest.mark.parametrize("planted", [[0, 0, 3, 0], [1, 2, 3, 4], [0, 0, 0, 0]])
def test_an_error_is_measured_in_what_rounding_of_the_input_and_of_the_result_would_do(planted) -> None:
    """y = x: one ε by the input, one by the result, √2 ε |y| together, so four units can hide 4 √2 ε in an entry."""
    error = np.array(planted) * 2.0**-20
    (result, gradient) = reports = compare_precision(off(lambda x: x, lambda x: x * (1 + error)), {"x": X})
    assert result.argument == "result"
    assert result.relative_error == (error * np.abs(X)).max() / 8
    assert result.units == pytest.approx(error.max() / np.sqrt(2) / EPSILON, rel=1e-12)
    assert result.caught == pytest.approx(np.median(4 * np.sqrt(2) * EPSILON + error), rel=1e-12)
    exact = pytest.approx(4 * np.sqrt(2) * EPSILON, rel=1e-12)  # of the gradient, which is the cotangent
    assert gradient == PrecisionReport("x", 0.0, 0.0, exact)
    assert type(reports) is tuple
    for report in reports:
        assert {type(figure) for figure in (report.relative_error, report.units, report.caught)} == {float}


def test_an_entry_that_is_rightly_zero_has_no_error_and_no_room_for_one() -> None:
    mask = np.array([1.0, 0.0, 1.0, 0.0])
    for report in compare_precision(off(lambda x: x * mask, lambda x: x * mask), {"x": X}):
        assert report.units == 0
        assert report.caught == pytest.approx(4 * np.sqrt(2) * EPSILON, rel=1e-12)  # of those that are not zero
    result, _ = compare_precision(off(lambda x: x * mask, lambda x: x * mask + 1e-30 * (1 - mask)), {"x": X})
    assert result.units > UNITS


def test_inputs_are_rounded_independently_of_one_another() -> None:
    """Σ x of 1, −1, 1, … 1 is 1, but 65 inputs move it by √65 ε; all rounded upwards they would move it by ε."""
    x = np.where(np.arange(65) % 2, -1.0, 1.0)[None]
    fn = off(lambda x: x, lambda x: x * (1 + 2.0**-16))
    result, _ = compare_precision(lambda x: fn(sum_(x, axis=1)), {"x": x}, trials=200)
    assert result.units == pytest.approx(2.0**-16 / EPSILON / np.sqrt(66), rel=0.3)  # known to 5 % from 200 trials


def test_what_is_zero_everywhere_has_no_relative_error_to_be_small() -> None:
    """As in ``gradcheck``: nothing was proved of it."""
    for report in compare_precision(off(lambda x: 0 * x, lambda x: 0 * x), {"x": X}):
        assert (report.relative_error, report.units, report.caught) == (np.inf, 0, np.inf)


def test_both_sides_start_from_numbers_that_the_dtype_can_hold() -> None:
    """0.1 in float32 is not 0.1, and that is no error of an op that passes it on."""
    for report in compare_precision(off(lambda x: x, lambda x: x), {"x": np.array([0.1, 0.3, 0.7])}):
        assert report.relative_error == report.units == 0
