"""The checker itself: it sees an error of 0.05 %, it says where, and it refuses to pass a check that could not fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.helpers import complaint
from support.spoiled import every_argument, spoiled

from minivae.autodiff import Tensor
from minivae.checks import BlindCheckError, GradcheckError, InputError, MinivaeError, WrongGradientError
from minivae.nn import Parameter
from minivae.op import Op
from minivae.ops import add, dense, exp, log, logsumexp, mean, relu, square, sum_, tanh
from minivae.ops.examples import Example
from minivae.proof.gradcheck import gradcheck

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 7))


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


@pytest.mark.parametrize(
    ("name", "value"), [("directions", 0), ("directions", 10**12), ("tolerance", 0.0), ("tolerance", np.nan), ("seed", -1)]
)
def test_a_check_that_proves_nothing_is_refused(name, value):
    """Along no direction every gradient agrees."""
    assert f"{name}: expected a" in complaint(InputError, gradcheck, exp, {"x": np.ones(3)}, **{name: value})
