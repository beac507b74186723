"""The translator, in a real browser: every op's JavaScript gives Python's numbers, forward and backward, however it is called."""

from __future__ import annotations

import numpy as np
import pytest
from support.browser import needs_browser, show

from minivae.autodiff import Tensor, backward
from minivae.op import Op
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from minivae.ops.examples import EXAMPLES
from minivae.pages.book.numbers import SCRIPTS, _plain, array_record, translated
from minivae.pages.book.translate import UntranslatableError, script_of
from minivae.pages.markup import Markup, join, page, tag

pytestmark = pytest.mark.slow  # JavaScript is run

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def calculator(browser, tmp_path_factory):
    """A page with every op in it that the book works out."""
    ops = (op for name, op in (ALL_OPS | SURROGATE_GRADIENTS).items() if translated(name))
    body = join([tag("main"), tag("script", Markup(script_of(ops)))])
    path = tmp_path_factory.mktemp("ops") / "ops.html"
    path.write_text(page("ops", body, (), SCRIPTS), encoding="utf-8")
    show(browser, path.as_uri())
    return browser


SCRIPT = """
const [name, inputs, given, cotangent] = arguments;
const answer = evaluate(name, inputs.map(revive), options({options: given}), revive(cotangent));
return [answer.result, ...answer.gradients].map(({shape, data}) => [shape, Array.from(data)]);
"""


@needs_browser
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_javascript_gives_pythons_numbers(calculator, example):
    inputs = example.draw(seed=3)
    leaves = [Tensor(array, requires_grad=True) for array in inputs.values()]
    result = example(*leaves)
    cotangent = np.random.default_rng(4).standard_normal(result.shape)
    backward(result, cotangent)
    options = {name: _plain(value) for name, value in example.options.items()}
    given = [array_record(array) for array in inputs.values()]
    answers = calculator.execute_script(SCRIPT, example.op.name, given, options, array_record(cotangent))
    for (shape, data), expected in zip(answers, [result.data, *(np.asarray(leaf.grad) for leaf in leaves)], strict=True):
        assert tuple(shape) == np.shape(expected)
        np.testing.assert_allclose(np.reshape(data, shape), expected, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max())


@needs_browser
def test_surrogate_gradients_too(calculator):
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3))
    answer = calculator.execute_script(SCRIPT, "quantize", [array_record(x)], {"levels": 5}, array_record(np.ones((2, 3))))
    np.testing.assert_allclose(np.reshape(answer[0][1], (2, 3)), 0.5 * np.round((x + 1) / 0.5) - 1)
    np.testing.assert_allclose(answer[1][1], 1)


def unknown_forward(xp, x):
    with x:
        return x, ()


def unknown_backward(xp, saved, g, needs):
    return (g,)


def test_what_it_does_not_know_is_an_error_and_not_a_guess():
    with pytest.raises(UntranslatableError, match="with x"):
        script_of([Op("unknown", unknown_forward, unknown_backward, args=("x",))])
