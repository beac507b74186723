"""What a gradient check reports: slopes and how uncertain they are, its verdict, and how small an error it would have caught."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from support.spoiled import every_argument, spoiled

from minivae.autodiff import Tensor, backward
from minivae.checks import WrongGradientError
from minivae.ops import dense, tanh
from minivae.ops.examples import Example
from minivae.proof.finite_differences import Probe, away_from_zero, central_difference
from minivae.proof.gradcheck import ArgumentReport, gradcheck

X = np.random.default_rng(0).standard_normal((5, 7))


def test_the_central_difference_is_of_fourth_order_and_its_estimate_holds() -> None:
    errors = []
    for h in (2.0**-3, 2.0**-4, 2.0**-5):
        slope, uncertainty = central_difference(lambda t: float(np.exp(np.sin(t + 0.7))), h)
        errors.append(abs(slope - np.exp(np.sin(0.7)) * np.cos(0.7)))
        assert errors[-1] < uncertainty < 1e3 * h**3
    assert 14 < errors[0] / errors[1] < 18
    assert 14 < errors[1] / errors[2] < 18
    slope, uncertainty = central_difference(math.sin, 0.5)  # odd, so that second differences see nothing
    assert 1e-4 < abs(slope - 1) < uncertainty
    assert central_difference(abs, 0.01) == pytest.approx((0, 2))  # the slope jumps by 2 at the kink


def test_no_number_that_is_drawn_hides_among_the_others() -> None:
    """Cotangents and directions are of either sign, and in size from 0.5 to 1.5."""
    drawn = away_from_zero(np.random.default_rng(0), (2000,))
    assert 0.5 <= np.abs(drawn).min() < 0.51
    assert 1.49 < np.abs(drawn).max() <= 1.5
    assert 0.45 < (drawn > 0).mean() < 0.55


def test_a_report_cannot_be_changed_after_the_fact() -> None:
    report = gradcheck(tanh, [X])
    for record in (report, report.arguments[0], report.arguments[0].probes[0]):
        with pytest.raises(FrozenInstanceError):
            record.seed = record.tolerance = record.numeric = 0.0
    assert type(report.arguments) is type(report.arguments[0].probes) is tuple


@pytest.mark.slow
@every_argument
def test_its_power_is_what_it_says(example: Example, argument: str) -> None:
    """An error three times as large as the one that would show is planted in the entry of middling size, and does; one of a tenth
    of it does not, so the figure is no boast in the other direction either."""
    position, inputs = list(example.arguments).index(argument), example.draw()
    report = gradcheck(example, inputs).arguments[position]
    gradient = np.array(grad_of(example, inputs, position))
    sizes = np.abs(gradient)
    entry = int(np.argsort(sizes, axis=None)[(sizes.size + np.count_nonzero(sizes == 0)) // 2])
    verdicts = []
    for error in (3 * report.caught, 0.1 * report.caught):

        def spoil(gradient: np.ndarray, error: float = error) -> np.ndarray:
            gradient.flat[entry] *= 1 + error
            return gradient

        wrong = replace(example, op=spoiled(example.op, position, spoil))
        verdicts.append(gradcheck(wrong, inputs, raise_exception=False).arguments[position].verdict)
    assert verdicts == ["wrong", "pass"]
    assert report.caught < 1e-4


def grad_of(example: Example, inputs: dict[str, np.ndarray], position: int) -> np.ndarray:
    """Return the gradient under the cotangent that ``gradcheck`` draws."""
    leaves = [Tensor(array, requires_grad=True) for array in inputs.values()]
    output = example(*leaves)
    backward(output, away_from_zero(np.random.default_rng(0), output.shape))
    return leaves[position].grad


def test_a_report_says_in_one_line_what_it_proved() -> None:
    report = gradcheck(dense, {"x": X, "weight": X.T.copy(), "bias": np.ones(5)})
    words = f"dense: gradients of 3 arguments agree with finite differences to {report.relative_error:.1e} of the largest slope"
    assert str(report) == f"{words} (1e-07 allowed); an error of {report.caught:.1e} in one entry would show"
    wrong = gradcheck(spoiled(dense, 1, lambda g: 2 * g), {"x": X, "weight": X.T.copy(), "b": np.ones(5)}, raise_exception=False)
    assert str(wrong) == "dense: the gradient with respect to weight is wrong"


@pytest.mark.parametrize(("tolerance", "step"), [(1e-7, 2.0**-8), (1e-8, 2.0**-6)])
def test_the_slope_of_a_straight_line_is_as_uncertain_as_the_rounding_of_its_values(tolerance: float, step: float) -> None:
    """Rounding leaves a sum of eight values near 128 uncertain by ε Σ|y|, and a slope over a step h by 3 ε Σ|y| / h.  The step
    grows until that is a hundredth of the tolerance.  All numbers here are exact in binary."""
    x, cotangent = np.arange(8.0), np.where(np.arange(8) % 3, -1.0, 1.0)
    report = gradcheck(lambda x: x + (128 - np.arange(8)), [x], cotangent=cotangent, elementwise=True, tolerance=tolerance)
    probes = report.arguments[0].probes
    assert [probe.index for probe in probes] == [(i,) for i in range(8)]
    assert [(probe.numeric, probe.analytic) for probe in probes] == [(sign, sign) for sign in cotangent]
    assert {probe.uncertainty for probe in probes} == {3 * 2.0**-52 * 1024 / step}
    assert {type(figure) for p in probes for figure in (p.numeric, p.analytic, p.uncertainty, p.share)} == {float}


def test_directions_have_unit_length_and_differ_even_between_two_entries() -> None:
    """No slope exceeds the length of the gradient, here 5; and errors that cancel along one direction show along another."""
    report = gradcheck(lambda x: x * 1, [np.ones(2)], cotangent=np.array([3.0, 4.0]), directions=20)
    slopes = [abs(probe.numeric) for probe in report.arguments[0].probes]
    assert max(slopes) <= 5 + 1e-6
    assert max(slopes) > 4.5
    with pytest.raises(WrongGradientError):
        gradcheck(spoiled(tanh, 0, lambda gradient: gradient + np.array([1e-3, -1e-3])), [np.ones(2)])


def probed(*probes: tuple[float, float, float, float]) -> ArgumentReport:
    """Return a report of slopes (measured, by backward, uncertainty, share).  The largest is 2: a tolerance of 1/8 allows 0.25."""
    return ArgumentReport("x", 0.125, tuple(Probe(None, *probe) for probe in probes))


@pytest.mark.parametrize(
    ("probes", "verdict", "worst", "relative_error", "caught"),
    [
        (((2.0, 2.0, 0.125, 0.25), (1.0, 1.25, 0.0, 0.5)), "pass", 1, 0.125, 1.0),  # caught: (0.25 + 0 + 0.25) / 0.5, and not 1.5
        (((2.0, 2.0, 0.25, 1.0), (1.0, 1.125, 0.125, 0.0)), "blind", 0, 0.0625, 0.5),
        (((-2.0, -2.75, 0.5, 0.5), (1.0, 1.0, 0.0, 0.125)), "blind", 0, 0.375, 2.0),  # 0.5 uncertain + 0.25 allowed explain 0.75
        (((-2.0, -2.75, 0.375, 0.5), (0.5, 0.5, 0.0, 0.5)), "wrong", 1, 0.375, 0.5),
    ],
)
def test_verdict_and_power_of_slopes_that_are_known(probes, verdict, worst, relative_error, caught) -> None:
    """Wrong: the difference exceeds what is allowed and what is uncertain together.  Caught: the least error that surely would."""
    report = probed(*probes)
    assert report.verdict == verdict
    assert report.worst == report.probes[worst]
    assert report.relative_error == relative_error
    assert report.caught == caught


def test_a_check_has_the_name_that_it_was_given() -> None:
    assert gradcheck(tanh, [X], name="mine").name == "mine"
    assert gradcheck(tanh, [X]).name == "tanh"
