"""The checker itself: it sees an error of 0.05 %, it says where, and it refuses to pass a check that could not fail."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from support.helpers import complaint

from minivae.autodiff import Tensor, backward
from minivae.checks import BlindCheckError, GradcheckError, InputError, MinivaeError, WrongGradientError
from minivae.nn import Parameter
from minivae.op import Op
from minivae.ops import add, dense, exp, log, logsumexp, mean, relu, square, sum_, tanh
from minivae.ops.examples import EXAMPLES, Example
from minivae.proof.finite_differences import Probe, away_from_zero, central_difference
from minivae.proof.gradcheck import ArgumentReport, gradcheck

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 7))

every_argument = pytest.mark.parametrize(
    ("example", "argument"),
    [(example, argument) for example in EXAMPLES for argument in example.arguments],
    ids=lambda value: value if isinstance(value, str) else value.name,
)


def spoiled(op: Op, position: int, spoil) -> Op:
    """The op with the gradient of one argument passed through ``spoil``."""

    def backward(xp, saved, g, needs, *into):
        gradients = list(op.backward(xp, saved, g, needs))
        gradients[position] = spoil(np.array(gradients[position]))
        return tuple(gradients)

    return replace(op, backward=backward)


def softmax(x: Tensor) -> Tensor:
    return exp(x - logsumexp(x, keepdims=True))


@pytest.mark.slow
@every_argument
def test_a_backward_that_is_off_by_a_twentieth_of_a_percent_fails(example: Example, argument: str) -> None:
    position = list(example.arguments).index(argument)
    wrong = replace(example, op=spoiled(example.op, position, lambda gradient: 1.0005 * gradient))
    with pytest.raises(WrongGradientError, match=f"with respect to {argument}: .* relative error") as error:
        gradcheck(wrong, example.draw(), name=example.name)
    assert example.name in str(error.value)


@pytest.mark.slow
@every_argument
def test_one_entry_that_is_off_by_a_twentieth_of_a_percent_is_found(example: Example, argument: str) -> None:
    """The one of middling size, so that it stands out neither by being large nor by being the first."""
    position, inputs = list(example.arguments).index(argument), example.draw()
    report = gradcheck(example, inputs, elementwise=True).arguments[position]
    sizes = np.array([abs(probe.analytic) for probe in report.probes])
    entry = int(np.argsort(sizes)[(len(sizes) + np.count_nonzero(sizes == 0)) // 2])
    index = np.unravel_index(entry, inputs[argument].shape)

    def spoil(gradient: np.ndarray) -> np.ndarray:
        gradient[index] *= 1.0005
        return gradient

    wrong = replace(example, op=spoiled(example.op, position, spoil))
    where = str(tuple(int(i) for i in index)).replace("(", r"\(").replace(")", r"\)")
    for elementwise in (False, True):
        with pytest.raises(WrongGradientError, match=f"with respect to {argument}: .* at index {where}, got"):
            gradcheck(wrong, inputs, elementwise=elementwise)


def test_the_message_has_all_that_is_needed_to_repeat_it() -> None:
    wrong = spoiled(tanh, 0, lambda gradient: gradient * np.where(np.arange(35).reshape(5, 7) == 11, -7.0, 1.0))
    with pytest.raises(WrongGradientError) as error:
        gradcheck(wrong, {"x": X}, seed=3)
    message = str(error.value)
    report = gradcheck(wrong, {"x": X}, seed=3, raise_exception=False)
    probe = report.arguments[0].probes[-1]
    assert report.relative_error == report.arguments[0].relative_error > 1
    assert probe.index == (1, 4)
    assert probe.analytic == pytest.approx(-7 * probe.numeric, rel=1e-9)
    parts = ("tanh", "x", "(1, 4)", f"{probe.numeric:.12g}", f"{probe.analytic:.12g}", f"{report.relative_error:.2e}", "seed 3")
    assert all(part in message for part in parts)
    assert issubclass(WrongGradientError, GradcheckError)
    assert issubclass(BlindCheckError, GradcheckError)
    assert issubclass(GradcheckError, MinivaeError)


@pytest.mark.parametrize("cotangent", [np.zeros((5, 7)), np.ones((5, 7)), np.full((5, 7), -0.3)], ids=["zero", "ones", "flat"])
def test_a_flat_cotangent_is_refused(cotangent: np.ndarray) -> None:
    with pytest.raises(BlindCheckError, match="cotangent: expected entries that differ"):
        gradcheck(softmax, [X], cotangent=cotangent)


def test_a_zero_cotangent_of_a_single_number_is_refused() -> None:
    with pytest.raises(BlindCheckError, match="cotangent: expected entries that differ"):
        gradcheck(sum_, [X], cotangent=np.zeros(()))
    gradcheck(sum_, [X], cotangent=np.ones(()))  # one number is not flat


def test_softmax_under_a_plain_sum_is_refused_however_wrong_its_backward() -> None:
    """A row of a softmax sums to 1, so the gradient of that sum is zero, and −7 times zero agrees with it."""
    right = softmax_op(1.0)
    wrong = softmax_op(-7.0)
    for op in (right, wrong):
        with pytest.raises(BlindCheckError, match="this check could not fail"):
            gradcheck(lambda x, op=op: sum_(op(x), axis=1), [X])
    gradcheck(right, [X])  # a random cotangent tells them apart
    with pytest.raises(WrongGradientError):
        gradcheck(wrong, [X])


def softmax_op(factor: float) -> Op:
    """The softmax as an op of its own, its gradient multiplied by ``factor``."""

    def forward(xp, x):
        out = softmax(x).data
        return out, (out,)

    def backward(xp, saved, g, needs):
        (out,) = saved
        return (factor * out * (g - (g * out).sum(axis=-1, keepdims=True)),)

    return Op("softmax", forward, backward, args=("x",))


@pytest.mark.parametrize("kink", [0.0, 1e-7, -1e-7])
def test_a_kink_within_the_step_is_refused(kink: float) -> None:
    x = np.abs(X) + 1
    x[2, 3] = kink
    with pytest.raises(BlindCheckError, match="kinks"):
        gradcheck(relu, [x])
    with pytest.raises(BlindCheckError, match="kinks"):
        gradcheck(relu, [x], elementwise=True)
    x[2, 3] = 0.01  # smaller steps stay on this side of it
    gradcheck(relu, [x])


def test_a_derivative_of_zero_is_refused() -> None:
    with pytest.raises(BlindCheckError, match="largest 0"):
        gradcheck(relu, [-np.abs(X) - 1])
    with pytest.raises(BlindCheckError, match="argument 1"):
        gradcheck(lambda x, unused: x * 2, [X, X])
    report = gradcheck(relu, [-np.abs(X) - 1], raise_exception=False)
    assert report.relative_error == report.caught == np.inf  # it would not have seen any error


def test_values_too_noisy_to_tell_are_refused() -> None:
    """log(x + 1e8) moves by less than the rounding of 18.4: a zero or wrong gradient would agree as well."""
    with pytest.raises(BlindCheckError, match="slopes known to 1e-07"):
        gradcheck(lambda x: log(x + 1e8), [np.abs(X)])


def test_steps_shrink_until_they_stay_in_the_domain() -> None:
    with pytest.raises(BlindCheckError):
        gradcheck(log, [np.full((2, 3), 1e-12)])
    gradcheck(log, [np.full((2, 3), 1e-3)])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda gradient: gradient * np.nan, WrongGradientError),
        (lambda gradient: gradient[:1], WrongGradientError),
        (lambda gradient: gradient.T, WrongGradientError),
    ],
    ids=["NaN", "shape to broadcast", "transposed"],
)
def test_what_is_not_a_gradient_is_wrong(wrong, error: type) -> None:
    with pytest.raises(error):
        gradcheck(spoiled(tanh, 0, wrong), [X])


def test_inputs_that_cannot_be_checked_are_refused() -> None:
    with pytest.raises(InputError, match=r"float64.*float32"):
        gradcheck(tanh, [X.astype("float32")])
    with pytest.raises(InputError, match=r"not empty.*shape \(0, 7\)"):
        gradcheck(tanh, [X[:0]])
    with pytest.raises(InputError, match="requires_grad=False"):
        gradcheck(tanh, [Tensor(X)])
    with pytest.raises(InputError, match="single: result: expected float64, got float32"):
        gradcheck(Op("single", lambda xp, x: (x.astype("float32"), ()), lambda xp, saved, g, needs: (g,), args=("x",)), [X])
    with pytest.raises(InputError, match="cotangent: expected an array of shape"):
        gradcheck(tanh, [X], cotangent=X[:2])
    with pytest.raises(InputError, match="the same numbers every time"):
        gradcheck(lambda x: x * RNG.standard_normal(), [X])
    for wrong in (np.nan, np.inf):
        with pytest.raises(InputError, match="finite numbers, got NaN or an infinite one"), np.errstate(invalid="ignore"):
            gradcheck(lambda x, wrong=wrong: x * wrong, [X])


def test_parameters_of_a_model_are_perturbed_in_place_and_restored() -> None:
    flat = RNG.standard_normal(7 * 3 + 3)
    before = flat.copy()
    weight, bias = Parameter(flat[:21].reshape(7, 3), "weight"), Parameter(flat[21:], "bias")
    bias.buffer = np.empty(3)
    report = gradcheck(lambda *_: mean(square(tanh(dense(X, weight, bias)))), [weight, bias], name="objective")
    assert [argument.argument for argument in report.arguments] == ["weight", "bias"]
    assert report.relative_error < 1e-9
    np.testing.assert_array_equal(flat, before)
    with pytest.raises(ZeroDivisionError):
        gradcheck(lambda *_: fails_off_origin(weight, before[:21].reshape(7, 3)), [weight])
    np.testing.assert_array_equal(flat, before)


def fails_off_origin(weight: Tensor, origin: np.ndarray) -> Tensor:
    return weight * 2 if np.array_equal(weight.data, origin) else weight * (1 // 0)


def test_a_composition_with_two_paths() -> None:
    gradcheck(lambda x, y: add(tanh(x) * x, exp(y) / (square(x) + 1)), {"x": X, "y": X[0]}, elementwise=True)


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


def test_a_flat_cotangent_of_two_numbers_is_refused_and_one_with_a_zero_is_not() -> None:
    """Of two numbers errors can cancel already; a zero among others only leaves one entry unasked."""
    rows = X[:2]
    with pytest.raises(BlindCheckError, match="cotangent: expected entries that differ"):
        gradcheck(lambda x: sum_(x, axis=1), [rows], cotangent=np.ones(2))
    gradcheck(lambda x: sum_(x, axis=1), [rows], cotangent=np.array([0.0, 2.0]))


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("n", [1, 4000])
def test_a_right_gradient_is_never_called_wrong_because_its_values_are_rounded(offset: float, n: int) -> None:
    """Large values hide small slopes, the more so the more of them are added up and the smaller the step.  That is a check that
    cannot tell ("blind") and no proof of a mistake: whoever is told "wrong" looks for one in a backward that is right."""
    for seed in range(10):
        report = gradcheck(lambda x: x + offset, [np.linspace(0.5, 1, n)], seed=seed, raise_exception=False)
        assert report.arguments[0].verdict in ("pass", "blind")
        assert all(probe.difference <= probe.uncertainty for probe in report.arguments[0].probes)


def test_no_number_that_is_drawn_hides_among_the_others() -> None:
    """Cotangents and directions: of either sign, and the least of them a third of the largest."""
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


@pytest.mark.parametrize(
    ("name", "value"), [("directions", 0), ("directions", 10**12), ("tolerance", 0.0), ("tolerance", np.nan), ("seed", -1)]
)
def test_a_check_that_proves_nothing_is_refused(name, value):
    """Along no direction every gradient agrees."""
    assert f"{name}: expected a" in complaint(InputError, gradcheck, exp, {"x": np.ones(3)}, **{name: value})


@pytest.mark.parametrize(("tolerance", "step"), [(1e-7, 2.0**-8), (1e-8, 2.0**-6)])
def test_the_slope_of_a_straight_line_is_as_uncertain_as_the_rounding_of_its_values(tolerance: float, step: float) -> None:
    """Eight values of 128 are known to ε Σ|y|, a slope over a step h to 3 ε Σ|y| / h; a larger step is tried until that is a
    hundredth of the tolerance.  All numbers here are exact in binary."""
    x, cotangent = np.arange(8.0), np.where(np.arange(8) % 3, -1.0, 1.0)
    report = gradcheck(lambda x: x + (128 - np.arange(8)), [x], cotangent=cotangent, elementwise=True, tolerance=tolerance)
    probes = report.arguments[0].probes
    assert [probe.index for probe in probes] == [(i,) for i in range(8)]
    assert [(probe.numeric, probe.analytic) for probe in probes] == [(sign, sign) for sign in cotangent]
    assert {probe.uncertainty for probe in probes} == {3 * 2.0**-52 * 1024 / step}
    assert {type(figure) for p in probes for figure in (p.numeric, p.analytic, p.uncertainty, p.share)} == {float}


def test_directions_have_unit_length_and_differ_even_between_two_entries() -> None:
    """No slope is longer than the gradient; and errors that cancel along one direction show along another."""
    report = gradcheck(lambda x: x * 1, [np.ones(2)], cotangent=np.array([3.0, 4.0]), directions=20)
    slopes = [abs(probe.numeric) for probe in report.arguments[0].probes]
    assert max(slopes) <= 5 + 1e-6
    assert max(slopes) > 4.5
    with pytest.raises(WrongGradientError):
        gradcheck(spoiled(tanh, 0, lambda gradient: gradient + np.array([1e-3, -1e-3])), [np.ones(2)])


def probed(*probes: tuple[float, float, float, float]) -> ArgumentReport:
    """Return a report of slopes (measured, by backward, uncertainty, share); the largest is 2, so 0.25 is allowed."""
    return ArgumentReport("x", 0.125, tuple(Probe(None, *probe) for probe in probes))


@pytest.mark.parametrize(
    ("probes", "verdict", "worst", "relative_error", "caught"),
    [
        (((2.0, 2.0, 0.125, 0.25), (1.0, 1.25, 0.0, 0.5)), "pass", 1, 0.125, 1.0),  # (0.25 + 0 + 0.25)/0.5; the other 1.5
        (((2.0, 2.0, 0.25, 1.0), (1.0, 1.125, 0.125, 0.0)), "blind", 0, 0.0625, 0.5),
        (((-2.0, -2.75, 0.5, 0.5), (1.0, 1.0, 0.0, 0.125)), "blind", 0, 0.375, 2.0),  # 0.75 may be 0.5 of doubt and 0.25 allowed
        (((-2.0, -2.75, 0.375, 0.5), (0.5, 0.5, 0.0, 0.5)), "wrong", 1, 0.375, 0.5),
    ],
)
def test_verdict_and_power_of_slopes_that_are_known(probes, verdict, worst, relative_error, caught) -> None:
    """Wrong is what neither the tolerance nor the doubt explains; the power is what both, and the error there, leave room for."""
    report = probed(*probes)
    assert report.verdict == verdict
    assert report.worst == report.probes[worst]
    assert report.relative_error == relative_error
    assert report.caught == caught


def test_a_check_has_the_name_that_it_was_given() -> None:
    assert gradcheck(tanh, [X], name="mine").name == "mine"
    assert gradcheck(tanh, [X]).name == "tanh"
