"""Example arguments for every op: what ``minivae gradcheck`` and ``minivae explain`` run on, and what the tests build on.

An argument is written as its axes, one letter each: n examples, d features, m units, s samples, and 1 for an axis of that length.
The lengths are different primes, because a transposed or wrongly broadcast gradient can hide in a square.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minivae import ops
from minivae.autodiff import Tensor
from minivae.op import Op

SIZES = {"n": 5, "d": 7, "m": 3, "s": 2}

Draw = Callable[[np.random.Generator, Mapping[str, int]], np.ndarray]


def _drawn(sample: Callable[[np.random.Generator, tuple[int, ...]], Any]) -> Callable[[str], Draw]:
    """Turn a function that draws an array into one that takes the axes first, and later the generator and the lengths."""
    return lambda axes: lambda rng, sizes: np.asarray(sample(rng, tuple(sizes.get(axis, 1) for axis in axes)))


def both_signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return equally many 1 and −1 in random order, since a rectifier is constant on one side of its kink."""
    return rng.permutation(np.resize([1.0, -1.0], math.prod(shape))).reshape(shape)


normal = _drawn(lambda rng, shape: rng.standard_normal(shape))
positive = _drawn(lambda rng, shape: rng.uniform(0.5, 2.0, shape))
unit = _drawn(lambda rng, shape: rng.uniform(0.0, 1.0, shape))
within_one = _drawn(lambda rng, shape: rng.uniform(-1.0, 1.0, shape))
off_zero = _drawn(lambda rng, shape: rng.uniform(0.2, 2.0, shape) * both_signs(rng, shape))  # away from a kink or a pole


@dataclass(frozen=True)
class Example:
    """One way to call an op: how to draw each argument within the domain, and the options."""

    op: Op
    arguments: Mapping[str, Draw]
    options: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.op.name} ({self.variant})" if self.variant else self.op.name

    def draw(self, seed: int = 0, **sizes: int) -> dict[str, np.ndarray]:
        """Return float64 arguments; ``sizes`` changes the length of an axis."""
        rng = np.random.default_rng(seed)
        return {name: draw(rng, SIZES | sizes) for name, draw in self.arguments.items()}

    def __call__(self, *inputs: Any) -> Tensor:
        return self.op(*inputs, **self.options)


PAIRS = {"same shape": ("nd", "nd"), "row": ("nd", "d"), "column": ("n1", "nd"), "both stretch": ("n1", "d"), "scalar": ("", "nd")}


def _binary(op: Op) -> tuple[Example, ...]:
    return tuple(Example(op, {"x": off_zero(x), "y": off_zero(y)}, variant=variant) for variant, (x, y) in PAIRS.items())


X = {"x": normal("nd")}
OFF_ZERO = {"x": off_zero("nd")}
CUBE = {"x": normal("snd")}
MIXTURE = {"z": normal("nd"), "mean": normal("md"), "log_var": normal("md")}
SAMPLES = {"x": normal("nd"), "y": normal("md")}

EXAMPLES: tuple[Example, ...] = (
    Example(ops.dense, {"x": normal("nd"), "weight": normal("dm"), "bias": normal("m")}),
    Example(ops.dense, {"x": normal("nd"), "weight": normal("dm")}, variant="no bias"),
    Example(ops.dense, {"x": normal("nd"), "weight": normal("md"), "bias": normal("m")}, {"transpose": True}, "transposed"),
    Example(ops.identity, X),
    Example(ops.relu, OFF_ZERO),
    Example(ops.leaky_relu, OFF_ZERO),
    Example(ops.leaky_relu, OFF_ZERO, {"slope": 0.3}, "slope 0.3"),
    Example(ops.elu, OFF_ZERO),
    Example(ops.elu, OFF_ZERO, {"alpha": 1.7}, "alpha 1.7"),
    Example(ops.tanh, {"x": within_one("nd")}),  # further out, float32 slopes have the rounding error of the saved result
    Example(ops.sigmoid, X),
    Example(ops.softplus, X),
    *_binary(ops.add),
    *_binary(ops.sub),
    *_binary(ops.mul),
    *_binary(ops.div),
    Example(ops.neg, X),
    Example(ops.exp, X),
    Example(ops.log, {"x": positive("nd")}),
    Example(ops.square, X),
    Example(ops.sum_, X),
    Example(ops.sum_, X, {"axis": 0}, "axis 0"),
    Example(ops.sum_, X, {"axis": -1}, "last axis"),
    Example(ops.sum_, CUBE, {"axis": (0, 2), "keepdims": True}, "two axes kept"),
    Example(ops.mean, X),
    Example(ops.mean, X, {"axis": -1}, "last axis"),
    Example(ops.mean, CUBE, {"axis": (0, 2), "keepdims": True}, "two axes kept"),
    Example(ops.logsumexp, X),
    Example(ops.logsumexp, {"x": normal("sn")}, {"axis": 0, "keepdims": True}, "over samples, kept"),
    Example(ops.concat, {"image": normal("nd"), "label": normal("nm"), "noise": normal("ns")}),
    Example(ops.concat, {"first": normal("nd"), "second": normal("md")}, {"axis": 0}, "rows"),
    Example(ops.slice_, X, {"index": (slice(1, None), slice(None, None, -2))}, "rows, backwards columns"),
    Example(ops.slice_, CUBE, {"index": (..., None, -1)}, "last feature"),
    Example(ops.reshape, CUBE, {"shape": (-1,)}, "flat"),
    Example(ops.repeat, X, {"repeats": 3}),
    Example(ops.repeat, X, {"repeats": 2, "axis": -1}, "last axis"),
    Example(ops.reparameterize, {"mean": normal("nd"), "log_var": normal("nd"), "noise": normal("nd")}),
    Example(ops.reparameterize, {"mean": normal("nd"), "log_var": normal("d"), "noise": normal("snd")}, variant="samples"),
    Example(ops.reparameterize, {"mean": normal("nd"), "log_var": normal("nd"), "noise": normal("d")}, variant="one noise"),
    Example(ops.reparameterize_variance, {"mean": normal("nd"), "raw": normal("nd"), "noise": normal("nd")}),
    Example(ops.reparameterize_variance, {"mean": normal("d"), "raw": normal("nd"), "noise": normal("snd")}, variant="samples"),
    Example(ops.reparameterize_variance, {"mean": normal("nd"), "raw": normal("nd"), "noise": normal("d")}, variant="one noise"),
    Example(ops.kl_standard_normal, {"mean": normal("nd"), "log_var": normal("nd")}),
    Example(ops.kl_standard_normal, {"mean": normal("nd"), "log_var": normal("d")}, variant="shared variance"),
    Example(ops.kl_standard_normal, {"mean": normal("d"), "log_var": normal("nd")}, variant="shared mean"),
    Example(ops.kl_standard_normal, {"mean": normal("n1"), "log_var": normal("nd")}, variant="one mean for all"),
    Example(ops.kl_standard_normal, {"mean": normal("nd"), "log_var": normal("n1")}, variant="one variance for all"),
    Example(
        ops.kl_normal,
        {"mean": normal("nd"), "log_var": normal("nd"), "prior_mean": normal("nd"), "prior_log_var": normal("nd")},
    ),
    Example(
        ops.kl_normal,
        {"mean": normal("n1"), "log_var": normal("nd"), "prior_mean": normal("1"), "prior_log_var": normal("n1")},
        variant="one mean for all",
    ),
    Example(
        ops.kl_normal,
        {"mean": normal("nd"), "log_var": normal("nd"), "prior_mean": normal("d"), "prior_log_var": normal("")},
        variant="shared prior",
    ),
    Example(
        ops.kl_normal,
        {"mean": normal("nd"), "log_var": normal("d"), "prior_mean": normal("nd"), "prior_log_var": normal("nd")},
        variant="shared variance",
    ),
    Example(ops.bernoulli_nll, {"x": unit("nd"), "logits": normal("nd")}),
    Example(ops.bernoulli_nll, {"x": unit("nd"), "logits": normal("snd")}, variant="samples"),
    Example(ops.bernoulli_nll, {"x": unit("snd"), "logits": normal("nd")}, variant="shared logits"),
    Example(ops.bernoulli_nll, {"x": unit("nd"), "logits": normal("n1")}, variant="one logit for all"),
    Example(ops.bernoulli_nll, {"x": unit("n1"), "logits": normal("nd")}, variant="one pixel for all"),
    Example(ops.gaussian_nll, {"x": normal("nd"), "mean": normal("nd"), "log_var": normal("nd")}),
    Example(ops.gaussian_nll, {"x": normal("nd"), "mean": normal("nd"), "log_var": normal("")}, variant="one variance"),
    Example(ops.gaussian_nll, {"x": normal("nd"), "mean": normal("snd"), "log_var": normal("d")}, variant="samples"),
    Example(ops.gaussian_nll, {"x": normal("snd"), "mean": normal("d"), "log_var": normal("nd")}, variant="shared mean"),
    Example(ops.gaussian_nll, {"x": normal("nd"), "mean": normal("n1"), "log_var": normal("n1")}, variant="one Gaussian for all"),
    Example(ops.log_mixture, MIXTURE | {"log_weights": normal("nm")}),
    Example(ops.log_mixture, MIXTURE | {"log_weights": normal("m")}, variant="shared weights"),
    Example(
        ops.log_mixture,
        {"z": normal("nd1"), "mean": normal("md1"), "log_var": normal("md1"), "log_weights": normal("nm")},
        variant="marginals",
    ),
    Example(ops.mmd, SAMPLES, {"scale": 2.0}),
    Example(ops.mmd, SAMPLES, {"kernel": "inverse_multiquadratic", "scale": 2.0}, "inverse multiquadratic"),
    Example(ops.covariance, X),
    Example(ops.planar, {"z": normal("nd"), "u": normal("nd"), "w": normal("nd"), "b": normal("n")}),
    Example(ops.planar, {"z": normal("snd"), "u": normal("d"), "w": normal("nd"), "b": normal("n")}, variant="samples"),
    Example(ops.planar, {"z": normal("d"), "u": normal("nd"), "w": normal("nd"), "b": normal("n")}, variant="one point"),
    Example(ops.planar_log_det, {"z": normal("nd"), "u": positive("nd"), "w": unit("nd"), "b": normal("n")}),
    Example(ops.planar_log_det, {"z": normal("snd"), "u": positive("d"), "w": unit("nd"), "b": normal("")}, variant="samples"),
    Example(ops.planar_log_det, {"z": normal("d"), "u": positive("nd"), "w": unit("nd"), "b": normal("n")}, variant="one point"),
    Example(ops.gumbel_softmax, {"logits": normal("nd"), "noise": normal("nd")}),
    Example(ops.gumbel_softmax, {"logits": normal("nd"), "noise": normal("snd")}, {"temperature": 0.5}, "samples, temperature 0.5"),
    Example(ops.gumbel_softmax, {"logits": normal("d"), "noise": normal("nd")}, variant="same logits for all"),
    Example(ops.gumbel_softmax, {"logits": normal("nd"), "noise": normal("d")}, variant="same noise for all"),
    Example(ops.kl_uniform, {"logits": normal("nd")}),
    Example(ops.kl_uniform, {"logits": normal("snd")}, variant="several variables"),
    Example(ops.absolute, OFF_ZERO),
    Example(ops.sparsity_kl, {"logits": normal("nd")}),
    Example(ops.sparsity_kl, {"logits": normal("nd")}, {"target": 0.3}, "target 0.3"),
)
