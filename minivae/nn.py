"""Layers: named parameters, a dense layer, a stack of dense layers, and their initial weights.

After a model is built, its parameters move into one flat vector (``ParameterVector``), with the gradients in a second one of the
same layout.  The optimiser then makes one pass over one vector, and a checkpoint, a norm or a copy is one line.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minivae.autodiff import Tensor, has_kernel
from minivae.backend import Array, to_device
from minivae.checks import check_choice, reject
from minivae.op import Op
from minivae.ops import dense, elu, identity, leaky_relu, relu, sigmoid, softplus, tanh
from minivae.ops.layer import LAYERS

# The choices of the setting ``activation``.  ``ACTIVATIONS["swish"] = swish`` names an op of your own.
ACTIVATIONS: dict[str, Op] = {op.name: op for op in (relu, leaky_relu, elu, tanh, sigmoid, softplus, identity)}


class Parameter(Tensor):
    """A tensor that is trained: a leaf with a name."""

    __slots__ = ()

    def __init__(self, data: Array, name: str) -> None:
        super().__init__(data, requires_grad=True, name=name)


Initialiser = Callable[["np.random.Generator", int, int], np.ndarray]  # quoted: NumPy loads its generators when one is named


def glorot_uniform(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Uniform with variance 2/(fan_in + fan_out): through tanh layers, signals and gradients keep their scale (Glorot & Bengio)."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, (fan_in, fan_out))


def he_normal(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Normal with variance 2/fan_in: a rectifier zeroes half its inputs, and the factor 2 compensates (He et al. 2015)."""
    return rng.normal(0, math.sqrt(2 / fan_in), (fan_in, fan_out))


INITIALISERS: dict[str, Initialiser] = {"glorot": glorot_uniform, "he": he_normal}


class Blank:
    """Stands in for a generator where only the shapes matter: it returns zeros that take no memory, whatever their number."""

    def zeros(self, shape: Any) -> np.ndarray:
        return np.broadcast_to(np.zeros(()), shape)

    def uniform(self, low: float, high: float, shape: tuple[int, int]) -> np.ndarray:
        return self.zeros(shape)

    normal = uniform


class Dense:
    """Affine layer y = x W + b with weight (n_in, n_out) and bias (n_out,), or y = x Wᵀ + b with a weight it shares (A.8)."""

    def __init__(self, weight: Parameter, bias: Parameter, transpose: bool = False) -> None:
        self.weight, self.bias, self.transpose = weight, bias, transpose

    def __call__(self, x: Tensor | Array, activation: Op = identity) -> Tensor:
        arguments, layer = (x, self.weight, self.bias), LAYERS.get(activation.name)
        if layer and has_kernel(layer, *arguments, transpose=self.transpose):  # one launch instead of two
            return layer(*arguments, transpose=self.transpose)
        return activation(dense(*arguments, transpose=self.transpose))


class MLP:
    """Dense layers with an activation between them; the last layer is affine, because the caller decides how to use its outputs.

    Parameters
    ----------
    name : prefix of the parameters' names, "encoder" gives "encoder.0.weight".
    sizes : the widths (n_in, hidden…, n_out), at least two.
    activation : a key of ``ACTIVATIONS``.
    init : "glorot" or "he", for the layers that an activation follows; the last layer is always Glorot's.
    rng : NumPy generator; weights are drawn on the host in float64, so that every device and dtype starts from the same weights.
    """

    def __init__(self, name: str, sizes: Sequence[int], activation: str, init: str, rng: np.random.Generator) -> None:
        self.activation = ACTIVATIONS[check_choice("activation", activation, ACTIVATIONS)]
        self.layers: list[Dense] = []
        for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            initialise = INITIALISERS[check_choice("init", init, INITIALISERS)] if i < len(sizes) - 2 else glorot_uniform
            weight = Parameter(initialise(rng, n_in, n_out), f"{name}.{i}.weight")
            self.layers.append(Dense(weight, Parameter(getattr(rng, "zeros", np.zeros)(n_out), f"{name}.{i}.bias")))

    def __call__(self, x: Tensor | Array) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x, self.activation)
        return self.layers[-1](x)  # (A.9): without hidden layers, this alone

    def mirror(self, other: MLP) -> None:
        """Share the weights of ``other``, transposed and in reverse order (A.8); the biases are not shared."""
        for layer, opposite in zip(self.layers, reversed(other.layers), strict=True):
            layer.weight, layer.transpose = opposite.weight, not opposite.transpose

    def parameters(self) -> list[Parameter]:
        return [parameter for layer in self.layers for parameter in (layer.weight, layer.bias)]


class ParameterVector:
    """All parameters of a model as views of one flat vector, and their gradients as views of another.

    Attributes
    ----------
    parameters : name → Parameter, in order.
    values, gradients : the two flat vectors, on the device, in the model's dtype.
    """

    def __init__(self, parameters: Sequence[Parameter], xp: ModuleType, dtype: Any) -> None:
        self.parameters = {parameter.name: parameter for parameter in parameters}  # one that layers share (A.8) is listed once
        size = sum(parameter.data.size for parameter in self.parameters.values())
        self.values, self.gradients = xp.zeros(size, dtype=dtype), xp.zeros(size, dtype=dtype)
        start = 0
        for parameter in self.parameters.values():
            part, shape = slice(start, start + parameter.data.size), parameter.shape
            self.values[part] = to_device(xp, parameter.data, self.values.dtype).reshape(-1)
            parameter.data = self.values[part].reshape(shape)
            parameter.buffer = parameter.grad = self.gradients[part].reshape(shape)
            start = part.stop

    def state(self) -> dict[str, Array]:
        """Return name → array, as views."""
        return {name: parameter.data for name, parameter in self.parameters.items()}

    def load_state(self, state: dict[str, Array], xp: ModuleType) -> None:
        """Copy arrays in by name; refuse missing, unknown or misshapen ones before anything is changed."""
        if set(state) != set(self.parameters):
            reject("parameters", ", ".join(self.parameters), ", ".join(state) or "none")
        for name, parameter in self.parameters.items():
            if state[name].shape != parameter.shape:
                reject(f"parameter {name}", f"shape {parameter.shape}", f"shape {state[name].shape}")
        for name, parameter in self.parameters.items():
            parameter.data[...] = to_device(xp, state[name], parameter.dtype)
