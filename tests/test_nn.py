"""Layers compute what they say, begin with the variances they say, and live in one flat vector."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.helpers import ACTIVATIONS as PLAIN
from support.helpers import complaint

from minivae.autodiff import Tensor, backward, topological_order
from minivae.backend import to_device, to_numpy
from minivae.checks import InputError
from minivae.kernels import usable
from minivae.nn import ACTIVATIONS, INITIALISERS, MLP, Blank, Dense, Parameter, ParameterVector
from minivae.ops import mean, relu, sigmoid, square

IN, OUT = 307, 211


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("name", "variance", "kurtosis"), [("glorot", 2 / (IN + OUT), 9 / 5), ("he", 2 / IN, 3)], ids=["glorot", "he"]
)
def test_initialisers_have_their_variance(name, variance, kurtosis):
    weight = INITIALISERS[name](rng(), IN, OUT)
    assert weight.shape == (IN, OUT)
    n = weight.size
    assert abs(weight.mean()) < 4 * math.sqrt(variance / n)
    assert abs(weight.var() / variance - 1) < 4 * math.sqrt((kurtosis - 1) / n)
    assert abs((weight**4).mean() / variance**2 / kurtosis - 1) < 0.1  # uniform or normal: the fourth moment tells
    if name == "glorot":
        assert 0.999 < np.abs(weight).max() / math.sqrt(3 * variance) <= 1


def test_he_keeps_the_scale_of_signals_through_rectifiers():
    """Without the 2 the mean square would halve at every layer: after 12 layers it would be 1/4096."""
    layers = MLP("deep", (400,) * 13 + (1,), "relu", "he", rng()).layers[:-1]
    x = rng(1).standard_normal((200, 400))
    for layer in layers:
        x = np.maximum(x @ layer.weight.data, 0)
    assert 0.4 < (x**2).mean() < 2.5


def test_dense_is_affine_and_shares_a_weight_transposed():
    weight, bias, back = (Parameter(rng(i).standard_normal(shape), "p") for i, shape in enumerate([(5, 3), (3,), (5,)]))
    x = rng(3).standard_normal((7, 5))
    h = Dense(weight, bias)(x)
    np.testing.assert_allclose(h.data, np.einsum("ni,io->no", x, weight.data) + bias.data, rtol=1e-13)
    expected = np.einsum("no,io->ni", h.data, weight.data) + back.data
    np.testing.assert_allclose(Dense(weight, back, transpose=True)(h).data, expected, rtol=1e-12)


@pytest.mark.parametrize("activation", PLAIN)
def test_mlp_has_an_activation_between_layers_and_none_after_the_last(activation):
    mlp = MLP("net", (5, 7, 3, 2), activation, "glorot", rng())
    for layer in mlp.layers:
        layer.bias.data = rng(1).standard_normal(layer.bias.shape)
    x = rng(2).standard_normal((11, 5))
    f = PLAIN[activation]
    first, second, last = ((layer.weight.data, layer.bias.data) for layer in mlp.layers)
    expected = f(f(x @ first[0] + first[1]) @ second[0] + second[1]) @ last[0] + last[1]
    assert expected.min() < 0  # an activation after the last layer would show
    np.testing.assert_allclose(mlp(x).data, expected, rtol=1e-12)


def test_mlp_without_hidden_layers_is_affine():
    mlp = MLP("net", (5, 2), "relu", "glorot", rng())
    x = rng(1).standard_normal((11, 5))
    np.testing.assert_allclose(mlp(x).data, x @ mlp.layers[0].weight.data, rtol=1e-13)


def test_parameters_are_named_in_order_and_biases_begin_at_zero():
    mlp = MLP("encoder", (5, 7, 3), "tanh", "he", rng())
    shapes = {"encoder.0.weight": (5, 7), "encoder.0.bias": (7,), "encoder.1.weight": (7, 3), "encoder.1.bias": (3,)}
    assert {p.name: p.shape for p in mlp.parameters()} == shapes
    assert [p.name for p in mlp.parameters()] == list(shapes)
    assert all(p.requires_grad for p in mlp.parameters())
    assert not any(layer.bias.data.any() for layer in mlp.layers)


def test_the_last_layer_is_always_glorots():
    hidden, last = MLP("net", (IN, OUT, IN), "relu", "he", rng()).layers
    assert abs(hidden.weight.data.var() * IN / 2 - 1) < 0.03
    assert abs(last.weight.data.var() * (IN + OUT) / 2 - 1) < 0.03


def test_weights_depend_on_the_seed_alone():
    def weights(seed):
        return MLP("net", (5, 7, 3), "relu", "he", rng(seed)).layers[0].weight.data

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).all()
    assert weights(1).dtype == np.float64


def test_unknown_names():
    assert ", ".join(ACTIVATIONS) in complaint(InputError, MLP, "net", (2, 3, 2), "gelu", "he", rng())
    assert "glorot, he" in complaint(InputError, MLP, "net", (2, 3, 2), "relu", "orthogonal", rng())


# -- ParameterVector ----------------------------------------------------------------------------------------------------


def build(xp=np, dtype="float64") -> tuple[MLP, ParameterVector]:
    mlp = MLP("net", (5, 7, 3), "tanh", "glorot", rng())
    scalar = Parameter(np.asarray(0.5), "scale")
    return mlp, ParameterVector([*mlp.parameters(), scalar], xp, dtype)


def test_parameters_become_views_of_one_vector(xp):
    before = np.concatenate([p.data.reshape(-1) for p in build()[0].parameters()] + [[0.5]])
    mlp, vector = build(xp, "float32")
    assert vector.values.dtype == vector.gradients.dtype == np.float32
    np.testing.assert_array_equal(to_numpy(vector.values), before.astype(np.float32))
    vector.values[...] = xp.arange(vector.values.size)
    np.testing.assert_array_equal(to_numpy(mlp.layers[0].weight.data), np.arange(35).reshape(5, 7))
    np.testing.assert_array_equal(to_numpy(mlp.layers[1].bias.data), [63, 64, 65])
    assert float(vector.parameters["scale"].data) == 66
    mlp.layers[1].weight.data[2, 1] = -1
    assert float(vector.values[5 * 7 + 7 + 2 * 3 + 1]) == -1
    vector.gradients[...] = xp.arange(vector.values.size)
    np.testing.assert_array_equal(to_numpy(vector.parameters["net.1.bias"].grad), [63, 64, 65])


def test_gradients_land_in_the_vector_and_are_overwritten_by_the_next_pass():
    x = rng(3).standard_normal((11, 5))
    free, (mlp, vector) = MLP("net", (5, 7, 3), "tanh", "glorot", rng()), build()
    backward(mean(square(free(x))))
    expected = np.concatenate([p.grad.reshape(-1) for p in free.parameters()] + [[0.0]])
    assert np.abs(expected[:-1]).min() > 0
    for _ in range(2):
        backward(mean(square(mlp(x))), leaves=vector.parameters.values())
        np.testing.assert_allclose(vector.gradients, expected, rtol=1e-12)
    assert all(np.shares_memory(p.grad, vector.gradients) for p in vector.parameters.values())
    backward(mean(square(mlp.layers[0](x))), leaves=vector.parameters.values())  # the second layer has no part in it
    assert not vector.gradients[42:].any()
    assert vector.gradients[:42].all()


def test_state_goes_out_and_in_by_name(xp):
    _, source = build()
    source.values[...] = rng(4).standard_normal(source.values.shape)
    _, target = build(xp, "float32")
    target.load_state(dict(reversed(source.state().items())), xp)
    np.testing.assert_array_equal(to_numpy(target.values), source.values.astype(np.float32))
    assert all(np.shares_memory(array, source.values) for array in source.state().values())
    assert list(target.state()) == ["net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias", "scale"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("scale"), ["parameters", "scale"]),
        (lambda state: state.update(extra=np.zeros(3)), ["extra"]),
        (lambda state: state.update(scale=np.zeros(1)), ["parameter scale", "()", "(1,)"]),
        (lambda state: state.update({"net.1.weight": np.zeros((3, 7))}), ["net.1.weight", "(7, 3)", "(3, 7)"]),
        (lambda state: state.clear(), ["none"]),
    ],
    ids=["missing", "unknown", "number", "transposed", "empty"],
)
def test_state_that_does_not_fit_changes_nothing(change, words):
    _, vector = build()
    before = vector.values.copy()
    state = {name: np.zeros_like(array) for name, array in vector.state().items()}
    change(state)
    message = complaint(InputError, vector.load_state, state, np)
    assert all(word in message for word in words)
    np.testing.assert_array_equal(vector.values, before)


def test_parameter_is_a_leaf():
    parameter = Parameter(to_device(np, np.ones(3)), "w")
    assert isinstance(parameter, Tensor)
    assert parameter.node is None
    assert "w" in repr(parameter)


def test_gradients_are_zero_before_the_first_pass_and_after_a_move():
    """An optimiser that is asked for a step too early must not move the weights by leftovers."""
    _, vector = build()
    assert not vector.gradients.any()
    assert all(not p.grad.any() for p in vector.parameters.values())


@pytest.mark.parametrize("init", INITIALISERS)
def test_shapes_alone_take_no_memory(init):
    """Settings in a file may ask for any number of weights; their shapes are compared with the file's before any are made."""
    layers = MLP("encoder", (10**6, 10**9, 10**9, 3), "relu", init, Blank())
    assert [parameter.shape for parameter in layers.parameters()][2:4] == [(10**9, 10**9), (10**9,)]
    assert all(set(parameter.data.strides) == {0} for parameter in layers.parameters())


@pytest.mark.parametrize(("activation", "joined"), [(relu, True), (sigmoid, False)])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_layer_and_its_activation_are_one_op_where_there_is_a_kernel_for_both(transpose, activation, joined, strict_device):
    x, weight, bias = (rng(i).standard_normal(shape).astype("float32") for i, shape in enumerate([(7, 5), (5, 3), (3,)]))
    shared = np.ascontiguousarray(weight.T) if transpose else weight
    layer = Dense(*(Parameter(strict_device.asarray(array), "p") for array in (shared, bias)), transpose=transpose)
    out = layer(strict_device.asarray(x), activation)
    np.testing.assert_allclose(to_numpy(out.data), PLAIN[activation.name](x @ weight + bias), rtol=1e-5, atol=1e-6)
    links = sum(tensor.node is not None for tensor in topological_order(out))
    assert links == (1 if joined and usable(strict_device) else 2)


def test_a_stack_of_another_depth_has_no_mirror():
    with pytest.raises(ValueError, match="shorter"):
        MLP("decoder", (3, 7, 5), "relu", "he", rng()).mirror(MLP("encoder", (5, 3), "relu", "he", rng()))
