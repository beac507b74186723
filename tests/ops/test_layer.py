"""Two ops in a row as one: the same numbers, and the same gradients, as of one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from minivae import ops
from minivae.ops.layer import LAYERS, followed_by


@pytest.mark.parametrize("activation", [ops.sigmoid, ops.relu, ops.tanh], ids=lambda op: op.name)
@pytest.mark.parametrize("transpose", [False, True])
def test_a_layer_is_its_two_ops_one_after_the_other(activation, transpose):
    layer = followed_by(ops.dense, activation)
    assert (layer.name, layer.args, layer.writes_into) == (f"dense_{activation.name}", ops.dense.args, True)
    rng = np.random.default_rng(0)
    x, weight, bias, g = (rng.standard_normal(shape) for shape in ((5, 3), (4, 3) if transpose else (3, 4), 4, (5, 4)))
    between, saved = ops.dense.forward(np, x, weight, bias, transpose=transpose)
    expected, saved_behind = activation.forward(np, between)
    out, saved_by_both = layer.forward(np, x, weight, bias, transpose=transpose)
    np.testing.assert_array_equal(out, expected)
    (behind,) = activation.backward(np, saved_behind, g, (True,))
    for needs in ((True, True, True), (False, True, False)):
        into = (None, np.empty_like(weight), None)
        gradients = layer.backward(np, saved_by_both, g, needs, into)
        for got, right in zip(gradients, ops.dense.backward(np, saved, behind, needs), strict=True):
            np.testing.assert_array_equal(got, right)
        assert gradients[1] is into[1]


def test_layers_are_known_by_their_activation():
    assert {name: op.name for name, op in LAYERS.items()} == {"relu": "dense_relu", "tanh": "dense_tanh"}
