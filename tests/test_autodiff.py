"""The tape: gradients meet where paths meet, every pass starts afresh, and nothing is recorded that nobody asked for."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from support.helpers import RNG, leaf

from minivae.autodiff import Tensor, backward, no_grad, topological_order
from minivae.checks import InputError, WrongGradientError
from minivae.ops import add, concat, dense, exp, identity, relu, square, sum_


def test_paths_that_meet_are_added() -> None:
    x = leaf(5, 7)
    y = exp(x)
    g = RNG.standard_normal((5, 7))
    (y * x + y).backward(g)  # d/dx (x eˣ + eˣ) = (x + 2) eˣ
    np.testing.assert_allclose(x.grad, g * (x.data + 2) * np.exp(x.data), rtol=1e-14)


def test_a_diamond_is_walked_once_through_each_link() -> None:
    """x → a → (b, c) → d: the gradient at a must be complete before it goes on to x."""
    calls = []

    def counted(xp, saved, g, needs):
        calls.append(g.copy())
        return (g * 3,)

    triple = type(exp)("triple", lambda xp, x: (3 * x, ()), counted, args=("x",))
    x = leaf(5)
    a = triple(x)
    (square(a) + 2 * a).backward(np.ones(5))
    assert len(calls) == 1
    np.testing.assert_allclose(calls[0], 2 * a.data + 2, rtol=1e-14)
    np.testing.assert_allclose(x.grad, 3 * (2 * a.data + 2), rtol=1e-14)


def test_many_diamonds_in_a_row_take_linear_time() -> None:
    x = leaf(3)
    y = x
    for _ in range(60):  # 2⁶⁰ paths
        y = 0.5 * y + 0.5 * y
    y.backward(np.ones(3))
    np.testing.assert_allclose(x.grad, 1, rtol=1e-12)


def test_one_tensor_in_several_places() -> None:
    x = leaf(5)
    (x * x * x).backward(np.ones(5))
    np.testing.assert_allclose(x.grad, 3 * x.data**2, rtol=1e-14)
    concat(x, x, x).backward(np.arange(15.0))
    np.testing.assert_array_equal(x.grad, np.arange(5.0) + np.arange(5.0, 10) + np.arange(10.0, 15))
    (x - x).backward(np.ones(5))
    np.testing.assert_array_equal(x.grad, 0)


def test_one_tensor_in_ten_places() -> None:
    """As a code is in a loss of many terms: nothing may count how often."""
    x, weights = leaf(5), np.arange(1.0, 11)
    total = 0.0
    for weight in weights:
        total = weight * x + total
    total.backward(np.ones(5))
    np.testing.assert_allclose(x.grad, weights.sum(), rtol=1e-14)


def test_a_cotangent_that_is_passed_on_is_not_added_to() -> None:
    """Both arguments of a sum receive g itself: adding a second gradient in place would change the first one's."""
    x, y = leaf(5), leaf(5)
    g = np.ones(5)
    total = identity(x) + y
    (total + x).backward(g)
    np.testing.assert_array_equal(g, 1)
    np.testing.assert_array_equal(x.grad, 2)
    np.testing.assert_array_equal(y.grad, 1)


def test_every_pass_starts_afresh() -> None:
    x = leaf(5)
    for factor in (2.0, 3.0):
        (factor * x).backward(np.ones(5))
        np.testing.assert_array_equal(x.grad, factor)
    loss = sum_(square(x))
    loss.backward()
    first = x.grad.copy()
    loss.backward()  # the same graph once more
    np.testing.assert_array_equal(x.grad, first)


def test_gradients_live_in_the_callers_memory() -> None:
    flat = np.full(7 * 3 + 3, np.nan)
    x, weight, bias = RNG.standard_normal((5, 7)), leaf(7, 3), leaf(3)
    weight.buffer, bias.buffer = flat[:21].reshape(7, 3), flat[21:]
    g = RNG.standard_normal((5, 3))
    dense(x, weight, bias).backward(g)
    assert weight.grad is weight.buffer
    assert bias.grad is bias.buffer
    np.testing.assert_array_equal(flat, np.concatenate([(x.T @ g).ravel(), g.sum(axis=0)]))

    # A weight used twice: one gradient is written where it will live, the other is added, and neither is lost.
    (dense(x, weight, bias) + dense(2 * x, weight, bias)).backward(g)
    np.testing.assert_allclose(flat, np.concatenate([3 * (x.T @ g).ravel(), 2 * g.sum(axis=0)]), rtol=1e-13)
    (dense(x, weight, bias) * 1.0 + sum_(weight) + square(bias)).backward(g)
    expected = [(x.T @ g + g.sum()).ravel(), g.sum(axis=0) * (1 + 2 * bias.data)]
    np.testing.assert_allclose(flat, np.concatenate(expected), rtol=1e-12)
    assert weight.grad is weight.buffer


def test_leaves_that_were_not_reached_get_zeros() -> None:
    x, unused = leaf(5), leaf(2, 3)
    unused.grad = np.full((2, 3), 7.0)
    backward(sum_(x), leaves=[x, unused])
    np.testing.assert_array_equal(x.grad, 1)
    np.testing.assert_array_equal(unused.grad, np.zeros((2, 3)))
    unused.buffer = np.full((2, 3), 7.0)
    backward(sum_(x), leaves=[unused])
    assert unused.grad is unused.buffer
    np.testing.assert_array_equal(unused.buffer, 0)
    backward(x, np.full(5, 2.0), leaves=[x])  # a leaf is its own output
    np.testing.assert_array_equal(x.grad, 2)


def test_constants_and_intermediate_results_get_no_gradient() -> None:
    x, constant = leaf(5), Tensor(np.ones(5))
    y = x * constant
    sum_(y).backward()
    assert constant.grad is None
    assert y.grad is None
    assert not constant.requires_grad
    assert not (constant * 2).requires_grad


def test_no_grad_records_nothing_and_gives_the_mode_back() -> None:
    x = leaf(5)
    with no_grad():
        with no_grad():
            assert exp(x).node is None
        assert not exp(x).requires_grad
    assert exp(x).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        _ = 1 // 0
    assert exp(x).requires_grad


def test_no_grad_is_of_one_thread() -> None:
    x, recorded = leaf(5), []
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with no_grad():
            inside.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(10)
    recorded.append(exp(x).requires_grad)
    with no_grad():
        other = threading.Thread(target=lambda: recorded.append(exp(x).requires_grad))
        other.start()
        other.join()
    done.set()
    holder.join()
    assert recorded == [True, True]


def test_a_chain_longer_than_the_recursion_limit() -> None:
    x = leaf(3)
    y = x
    for _ in range(3 * sys.getrecursionlimit()):
        y = y + 1.0
    y.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, 1)
    del y  # and so is giving it back


def test_topological_order_puts_a_tensor_after_what_it_was_made_of() -> None:
    x, y = leaf(3), leaf(3)
    a = x * y
    b = a + x
    c = b * a
    order = topological_order(c)
    assert len(order) == 5
    assert set(order) == {x, y, a, b, c}
    assert order.index(a) < order.index(b) < order.index(c)


def test_what_backward_cannot_do() -> None:
    x = leaf(5)
    with pytest.raises(InputError, match="depends on a tensor with requires_grad"):
        sum_(Tensor(np.ones(3))).backward()
    with no_grad():
        silent = sum_(x)
    with pytest.raises(InputError, match="leave no_grad"):
        silent.backward()
    with pytest.raises(InputError, match="expected an array of shape \\(5,\\), got none"):
        exp(x).backward()
    with pytest.raises(InputError, match="expected an array of shape \\(5,\\), got shape \\(3,\\)"):
        exp(x).backward(np.ones(3))


def test_ops_with_one_constant_argument_keep_the_other_gradient() -> None:
    x = leaf(5, 7)
    out = relu(dense(Tensor(np.ones((2, 5))), x))
    assert out.node is not None
    assert out.node.inputs[0].node.inputs[0] is None  # the constant is not remembered as a parent
    sum_(out).backward()
    np.testing.assert_array_equal(x.grad, np.ones((5, 1)) * 2 * (x.data.sum(axis=0) > 0))


def test_gradients_have_memory_of_their_own() -> None:
    """Whoever scales one gradient changes no other, and not the cotangent: also where an op passes g on as it is."""
    for op in (add, concat):
        a, b = leaf(5), leaf(5)
        out = op(a, b)
        c = np.ones(out.shape)
        backward(out, c)
        a.grad *= 0.1
        np.testing.assert_array_equal(b.grad, 1)
        np.testing.assert_array_equal(c, 1)
    for out, a in ((sum_(x), x) for x in (leaf(5, 7), leaf())):
        out.backward()
        a.grad[...] = 3.0
        np.testing.assert_array_equal(a.grad, np.full(a.shape, 3.0))
    x, c = leaf(5), np.ones(5)
    backward(x, c)  # a leaf is its own output
    x.grad *= 2
    np.testing.assert_array_equal(c, 1)


def test_a_gradient_has_the_dtype_of_its_tensor() -> None:
    x = Tensor(np.ones(5, np.float32), requires_grad=True)
    (x * np.ones(5)).backward(np.ones(5))
    assert x.grad.dtype == np.float32


def test_a_gradient_of_the_wrong_shape_is_named_by_its_argument_even_as_one_of_many_parts() -> None:
    def short(xp, saved, g, needs, *into):
        *right, last = concat.backward(xp, saved, g, needs)
        return (*right, last[:1])

    parts = [leaf(4, n) for n in (1, 2, 3)]
    message = r"concat: backward: gradient with respect to parts: expected an array of shape \(4, 3\), got \(1, 3\)"
    with pytest.raises(WrongGradientError, match=message):
        backward(replace(concat, backward=short)(*parts), np.ones((4, 6)))


def test_only_the_first_gradient_of_a_tensor_is_written_to_its_final_place() -> None:
    """That saves a copy of a large matrix; a second one there would overwrite the first."""
    given = []

    def spy(xp, saved, g, needs, into):
        given.append(into[1])
        return dense.backward(xp, saved, g, needs, into)

    weight, layer = leaf(7, 7), replace(dense, backward=spy)
    weight.buffer = np.empty((7, 7))
    layer(layer(leaf(5, 7), weight), weight).backward(np.ones((5, 7)))
    assert [into is weight.buffer for into in given] == [True, False]
    assert given[1] is None
