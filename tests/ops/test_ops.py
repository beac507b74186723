"""What every op owes: the right numbers, in the dtype and shape that was asked for, from inputs that it leaves alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.op_cases import CASES

from minivae.autodiff import Tensor, backward
from minivae.checks import InputError
from minivae.ops import ALL_OPS, dense, elu, gaussian_nll, leaky_relu, logsumexp, mean, relu, sum_
from minivae.ops.broadcast import unbroadcast
from minivae.ops.dense import FEW_ROWS
from minivae.ops.examples import EXAMPLES, Example

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
EPS = np.finfo(np.float64).eps


def leaves_of(example: Example, dtype: str = "float64", **sizes: int) -> list[Tensor]:
    return [Tensor(array.astype(dtype), requires_grad=True) for array in example.draw(**sizes).values()]


def cotangent_for(output: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(output.shape).astype(output.dtype)


def pull_back(example: Example, arrays: list[np.ndarray]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return result and gradients, straight from the two functions of the op."""
    out, saved = example.op.forward(np, *arrays, **example.options)
    return out, example.op.backward(np, saved, cotangent_for(out), (True,) * len(arrays))


def test_every_op_has_an_example_and_a_case() -> None:
    assert {example.op.name for example in EXAMPLES} == set(ALL_OPS) == set(CASES)


@every_example
@settings(max_examples=8, derandomize=True)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 6), d=st.integers(1, 6), m=st.integers(1, 6), s=st.integers(1, 6))
def test_forward_agrees_with_the_reference(example: Example, seed: int, **sizes: int) -> None:
    arrays = example.draw(seed, **sizes).values()
    expected = np.asarray(CASES[example.op.name].reference(*arrays, **example.options))
    out = example(*arrays).data
    # At most 6³ terms of a few units each: adding them in any order errs by less than 16 roundings of the largest or of 1.
    np.testing.assert_allclose(out, expected, rtol=16 * EPS, atol=16 * EPS * max(1, np.abs(expected).max()), strict=True)


@every_example
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_kept(example: Example, dtype: str) -> None:
    arrays = [array.astype(dtype) for array in example.draw().values()]
    out, gradients = pull_back(example, arrays)
    assert out.dtype == dtype
    assert [g.dtype for g in gradients] == [dtype] * len(arrays)
    assert [g.shape for g in gradients] == [a.shape for a in arrays]


@every_example
def test_nothing_is_written_to(example: Example) -> None:
    arrays = list(example.draw().values())
    copies = [array.copy() for array in arrays]
    out, saved = example.op.forward(np, *arrays, **example.options)
    g = cotangent_for(out)
    for array in (*arrays, *(s for s in saved if isinstance(s, np.ndarray)), g):
        array.flags.writeable = False  # a write raises from here on
    needs = (True,) * len(arrays)
    first, second = (example.op.backward(np, saved, g, needs) for _ in range(2))
    for array, copy in zip((*arrays, *first), (*copies, *second), strict=True):
        np.testing.assert_array_equal(array, copy)
    example.op.forward(np, *arrays, **example.options)


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1] if a.ndim else a,
}


@every_example
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_memory_layout_does_not_matter(example: Example, layout) -> None:
    arrays = list(example.draw().values())
    laid_out = [layout(array) for array in arrays]
    out, gradients = pull_back(example, arrays)
    other, others = pull_back(example, laid_out)
    g = cotangent_for(out)
    _, saved = example.op.forward(np, *arrays, **example.options)
    with_other_g = example.op.backward(np, saved, layout(g), (True,) * len(arrays))
    for a, b in zip((out, *gradients, *gradients), (other, *others, *with_other_g), strict=True):
        # Only the order of additions may differ, over 70 terms of a few units at most.
        np.testing.assert_allclose(b, a, rtol=16 * EPS, atol=16 * EPS * max(1, np.abs(a).max()))


@every_example
def test_only_what_is_needed_is_computed(example: Example) -> None:
    arrays = list(example.draw().values())
    out, saved = example.op.forward(np, *arrays, **example.options)
    g = cotangent_for(out)
    everything = example.op.backward(np, saved, g, (True,) * len(arrays))
    for needs in itertools.product((True, False), repeat=len(arrays)):  # every set of them, as the tape may ask for it
        if any(needs):
            some = example.op.backward(np, saved, g, list(needs))
            assert len(some) == len(arrays)
            for need, gradient, whole in zip(needs, some, everything, strict=True):
                if need:
                    np.testing.assert_array_equal(gradient, whole)
                else:
                    assert gradient is None


@every_example
def test_a_second_call_leaves_alone_what_the_first_has_saved(example: Example) -> None:
    """As in a loss with two densities of one shape: each is differentiated after both were computed."""
    (alone, first), second = (leaves_of(example) for _ in range(2)), example.draw(1).values()
    g = cotangent_for(example(*alone).data)
    backward(example(*alone), g)
    out = example(*first)
    value = out.data.copy()
    other = example(*second)
    np.testing.assert_array_equal(out.data, value)
    backward(out, g)
    for expected, found in zip(alone, first, strict=True):
        np.testing.assert_array_equal(found.grad, expected.grad)
    assert not np.shares_memory(out.data, other.data)


@every_example
def test_an_empty_batch_passes_through(example: Example) -> None:
    arrays = list(example.draw(n=0).values())
    of_the_batch = ("sparsity_kl", "mmd", "covariance")
    if example.name == "mean" or example.op.name in of_the_batch:  # over everything, of which there is nothing
        with pytest.raises(InputError, match="at least one "):
            example(*arrays)
        return
    out, gradients = pull_back(example, arrays)
    assert np.all(np.isfinite(out))
    for gradient, array in zip(gradients, arrays, strict=True):
        assert gradient.shape == array.shape
        if example.op.name != "concat":  # an empty batch joined with other rows still passes theirs on
            assert not np.any(gradient)


@every_example
def test_a_tensor_used_twice_gets_both_gradients(example: Example) -> None:
    once, twice = leaves_of(example), leaves_of(example)
    g = cotangent_for(example(*once).data)
    backward(example(*once), g)
    backward(example(*twice) + example(*twice), g)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(b.grad, a.grad + a.grad)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "kl_standard_normal", "bernoulli_nll"])
def test_one_tensor_as_both_arguments(name: str) -> None:
    data = np.random.default_rng(0).uniform(0.1, 0.9, (5, 7))
    x, y, z = (Tensor(data, requires_grad=True) for _ in range(3))
    out = ALL_OPS[name](x, x)
    g = cotangent_for(out.data)
    backward(out, g)
    backward(ALL_OPS[name](y, z), g)
    np.testing.assert_array_equal(x.grad, y.grad + z.grad)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [(name, refusal) for name, case in CASES.items() for refusal in case.refusals],
    ids=lambda value: value if isinstance(value, str) else value.fragment[:40],
)
def test_what_does_not_fit_is_refused(name: str, refusal) -> None:
    with pytest.raises(InputError) as error:
        ALL_OPS[name](*(np.ones(shape) for shape in refusal.shapes), **refusal.options)
    assert name in str(error.value)
    assert refusal.fragment in str(error.value)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("rows", [5, FEW_ROWS + 1, 1009])
def test_dense_gradients_of_few_rows_and_of_many_are_the_plain_ones(rows: int, transpose: bool) -> None:
    """Of a large batch too, where it might seem clever to look at a part of it."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((rows, 7)), rng.standard_normal((3, 7) if transpose else (7, 3))
    out, saved = dense.forward(np, x, weight, np.zeros(3), transpose=transpose)
    g = cotangent_for(out)
    dx, dw, db = dense.backward(np, saved, g, (True, True, True))
    np.testing.assert_allclose(db, [math.fsum(column) for column in g.T], rtol=1e-12, atol=1e-13)
    # sums of as many products as there are rows: some roundings of 1e-16
    expected_dx = np.einsum("nm,md->nd" if transpose else "nm,dm->nd", g, weight)
    expected_dw = np.einsum("nm,nd->md", g, x) if transpose else np.einsum("nd,nm->dm", x, g)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(dw, expected_dw, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("transpose", [False, True])
def test_dense_writes_gradients_into_given_memory(transpose: bool) -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal((5, 7)), rng.standard_normal((3, 7) if transpose else (7, 3)), rng.standard_normal(3)
    out, saved = dense.forward(np, x, weight, bias, transpose=transpose)
    g = cotangent_for(out)
    plain = dense.backward(np, saved, g, (True, True, True))
    into = (None, np.full(weight.shape, np.nan), None)
    written = dense.backward(np, saved, g, (True, True, True), into)
    assert written[1] is into[1]
    for a, b in zip(plain, written, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_kinks_of_rectifiers() -> None:
    zero = Tensor(np.array([0.0, -0.0]), requires_grad=True)
    relu(zero).backward(np.ones(2))
    np.testing.assert_array_equal(zero.grad, [0, 0])
    leaky_relu(zero, slope=0.25).backward(np.ones(2))
    np.testing.assert_array_equal(zero.grad, [0.25, 0.25])
    elu(zero, alpha=1.5).backward(np.ones(2))
    np.testing.assert_array_equal(zero.grad, [1.5, 1.5])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fixed_variance_may_be_a_number(dtype: str) -> None:
    """(L.3): the number has no dtype of its own, so neither result nor gradient may get one from it."""
    x, m = np.random.default_rng(0).standard_normal((2, 5, 7)).astype(dtype)
    results = []
    for log_var in (0.7, np.full(7, 0.7, dtype)):
        mean = Tensor(m, requires_grad=True)
        out = gaussian_nll(x, mean, log_var)
        backward(out, np.ones(5, dtype))
        assert out.dtype == mean.grad.dtype == dtype
        results.append((out.data, mean.grad))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps)


def test_one_learned_variance_has_its_optimum_at_the_mean_squared_error() -> None:
    """(L.4): the gradient in log σ² vanishes where σ² is the mean squared error."""
    rng = np.random.default_rng(0)
    x, m = rng.standard_normal((2, 5, 7))
    log_var = Tensor(np.log(np.mean((x - m) ** 2)), requires_grad=True)
    gaussian_nll(x, m, log_var).backward(np.ones(5))
    assert abs(log_var.grad) < 35 * EPS * 4


WHOLE = {  # name → whole numbers and what goes with them
    "bernoulli_nll": (lambda rng, dtype: (rng.integers(0, 2, (5, 7)).astype(dtype), rng.standard_normal((5, 7)))),
    "gaussian_nll": (lambda rng, dtype: (rng.integers(0, 100, (5, 7)).astype(dtype), *rng.standard_normal((2, 5, 7)))),
    "sub": (lambda rng, dtype: (rng.integers(0, 100, (5, 7)).astype(dtype), rng.integers(0, 100, (5, 7)).astype(dtype))),
    "div": (lambda rng, dtype: (rng.integers(0, 100, (5, 7)).astype(dtype), rng.integers(1, 100, (5, 7)).astype(dtype))),
    "dense": (lambda rng, dtype: (rng.integers(0, 100, (5, 7)).astype(dtype), rng.standard_normal((7, 3)))),
    "kl_normal": (lambda rng, dtype: (rng.integers(0, 9, (5, 7)).astype(dtype), *rng.standard_normal((3, 5, 7)))),
    **dict.fromkeys(
        ("sigmoid", "softplus", "tanh", "relu", "leaky_relu", "elu", "exp", "log", "neg", "square", "sum", "mean", "logsumexp"),
        lambda rng, dtype: (rng.integers(1, 100, (5, 7)).astype(dtype),),
    ),
}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64"])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_are_numbers(name: str, dtype: str) -> None:
    """No wrap-around of 8 bits, no 16-bit exponential: as if they had been floats."""
    arrays = WHOLE[name](np.random.default_rng(0), dtype)
    out = ALL_OPS[name](*arrays).data
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out, ALL_OPS[name](*(array.astype("float64") for array in arrays)).data)


def test_whole_numbers_take_the_dtype_of_what_they_are_with() -> None:
    x = np.random.default_rng(0).integers(0, 2, (5, 7), dtype=np.uint8)
    logits = Tensor(np.random.default_rng(1).standard_normal((5, 7)).astype("float32"), requires_grad=True)
    out = ALL_OPS["bernoulli_nll"](x, logits)
    backward(out, np.ones(5, "float32"))
    assert out.dtype == logits.grad.dtype == np.float32
    np.testing.assert_array_equal(out.data, ALL_OPS["bernoulli_nll"](x.astype("float32"), logits).data)
    with pytest.raises(InputError, match="real numbers, got dtype complex128"):
        ALL_OPS["exp"](np.ones(3, complex))


@pytest.mark.parametrize("number", [np.float64(0.3), np.float16(0.25), np.int64(3), np.uint8(200)], ids=repr)
def test_a_numpy_number_has_no_dtype_of_its_own(number: np.generic) -> None:
    x = Tensor(np.random.default_rng(0).uniform(1, 2, (5, 7)).astype("float32"), requires_grad=True)
    for op in ("add", "sub", "mul", "div"):
        for arguments in ((x, number), (number, x)):
            out = ALL_OPS[op](*arguments)
            backward(out, np.ones((5, 7), "float32"))
            assert out.dtype == x.grad.dtype == np.float32
            plain = ALL_OPS[op](*(a if a is x else a.item() for a in arguments))
            np.testing.assert_array_equal(out.data, plain.data)
    slope = np.float64(0.3)
    assert leaky_relu(x, slope=slope).dtype == elu(x, alpha=slope).dtype == np.float32


def test_sums_of_many_terms_keep_their_digits() -> None:
    """Along every axis, whatever its length and the layout in memory: a float32 has 24 bits, FEW roundings leave 16 of them."""
    rng = np.random.default_rng(0)
    cases = {(200_000, 3): (0, 1, None, (0, 1)), (3, 200_000): (0, 1, None), (2, 50_000, 3): (1, (0, 1), (1, 2), None)}
    for shape, axes in cases.items():
        x = rng.uniform(0, 1, shape).astype("float32")
        for axis in axes:
            for array in (x, np.asfortranarray(x)):
                expected = x.sum(axis=axis, dtype="float64")
                np.testing.assert_allclose(sum_(array, axis=axis).data, expected, rtol=1e-5)
                np.testing.assert_allclose(mean(array, axis=axis).data, x.mean(axis=axis, dtype="float64"), rtol=1e-6)
    g = rng.uniform(0, 1, (60_000, 4)).astype("float32")
    _, saved = dense.forward(np, np.ones((60_000, 2), "float32"), np.ones((2, 4), "float32"), np.zeros(4, "float32"))
    bias_gradient = dense.backward(np, saved, g, (False, False, True))[2]
    np.testing.assert_allclose(bias_gradient, g.sum(axis=0, dtype="float64"), rtol=1e-5)
    np.testing.assert_allclose(unbroadcast(g, (4,)), g.sum(axis=0, dtype="float64"), rtol=1e-5)
    np.testing.assert_allclose(unbroadcast(g, (1, 1))[0, 0], g.sum(dtype="float64"), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_mean_is_finite_where_its_sum_is_not(dtype: str) -> None:
    x = Tensor(np.full((3, 500), np.finfo(dtype).max / 4, dtype), requires_grad=True)
    for axis in (None, 0, 1):
        out = mean(x, axis=axis)
        np.testing.assert_array_equal(out.data, x.data[0, 0])
        assert out.dtype == dtype


@pytest.mark.parametrize(
    ("x", "value", "slopes"),
    [
        ([-np.inf], -np.inf, [1]),
        ([-np.inf, -np.inf], -np.inf, [0.5, 0.5]),
        ([-np.inf, 2.0], 2.0, [0, 1]),
        ([np.inf, 2.0, -np.inf], np.inf, [1, 0, 0]),
        ([np.inf, np.inf, 0.0], np.inf, [0.5, 0.5, 0]),
        ([np.nan, 1.0], np.nan, [np.nan, np.nan]),
    ],
)
def test_log_sum_exp_where_the_largest_is_infinite(x: list[float], value: float, slopes: list[float]) -> None:
    leaf = Tensor(x, requires_grad=True)
    out = logsumexp(leaf)
    out.backward()
    np.testing.assert_array_equal(out.data, value)
    np.testing.assert_array_equal(leaf.grad, slopes)
