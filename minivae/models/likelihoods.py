"""What the numbers of a decoder mean: the likelihood p(x|z) as a small object.

Each likelihood knows how many numbers per feature it wants from the decoder, how to score data under them (in nats, one value
per example), and how to turn them into a picture: the mean of p(x|z), or a draw from it.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_normal
from minivae.nn import Parameter
from minivae.ops import bernoulli_nll, gaussian_nll, softplus


class Bernoulli:
    """Binary features, or grey ones in [0, 1] scored by their cross-entropy (L.1).  The decoder gives logits."""

    outputs_per_feature = 1
    unit_interval = True
    parameters: tuple[Parameter, ...] = ()

    def nll(self, x: Array, outputs: Tensor) -> Tensor:
        """Return −log p(x|z) (…,) for data (…, d) and decoder outputs (…, d)."""
        return bernoulli_nll(x, outputs)  # (L.1)

    def mean(self, xp: ModuleType, outputs: Array) -> Array:
        """Return the expected features, here the probabilities sigmoid(ℓ), of the shape of the data."""
        return 0.5 + 0.5 * xp.tanh(0.5 * outputs)

    def draw(self, xp: ModuleType, outputs: Array, rng: Any) -> Array:
        """Return a sample of the features."""
        return (rng.random(outputs.shape, dtype=outputs.dtype) < self.mean(xp, outputs)).astype(outputs.dtype)

    def output_bias(self, data_mean: np.ndarray) -> np.ndarray:
        """Return the decoder's last bias for which a blank decoder already predicts the data's mean."""
        p = np.clip(data_mean, 0.001, 0.999)  # an always-black pixel would ask for −∞
        return np.log(p) - np.log1p(-p)


class Gaussian:
    """Real features with a variance per example and feature (L.2).  The decoder gives means, then raw log-variances.

    The log-variance is  floor + softplus(raw − floor),  which is raw where that is well above the floor.  Without a floor a feature
    that never varies would send its variance to 0 and the likelihood, a density, to infinity.
    """

    outputs_per_feature = 2
    unit_interval = False
    parameters: tuple[Parameter, ...] = ()

    def __init__(self, variance_floor: float) -> None:
        self.floor = math.log(variance_floor)

    def nll(self, x: Array, outputs: Tensor) -> Tensor:
        d = x.shape[-1]
        log_var = softplus(outputs[..., d:] - self.floor) + self.floor
        return gaussian_nll(x, outputs[..., :d], log_var)  # (L.2)

    def mean(self, xp: ModuleType, outputs: Array) -> Array:
        return outputs[..., : outputs.shape[-1] // 2]

    def std(self, xp: ModuleType, outputs: Array) -> Array:
        """Return the standard deviation of every feature, of the shape of the data."""
        above = outputs[..., outputs.shape[-1] // 2 :] - self.floor
        return xp.exp(0.5 * (self.floor + xp.maximum(above, 0) + xp.log1p(xp.exp(-xp.abs(above)))))

    def draw(self, xp: ModuleType, outputs: Array, rng: Any) -> Array:
        mean = self.mean(xp, outputs)
        return mean + self.std(xp, outputs) * standard_normal(rng, mean.shape, mean.dtype)

    def output_bias(self, data_mean: np.ndarray) -> np.ndarray:
        return np.concatenate([data_mean, np.zeros_like(data_mean)])


class GaussianShared:
    """Real features with one variance for the whole data set: fixed (L.3), or learned as a parameter (L.4).

    With σ² fixed at v, −log p(x|z) is ‖x − m‖²/(2 v) plus a constant.  So a loss "mean squared error over d features + β KL" is
    this one at the hidden variance v = d/2: measured against unit variance, its effective β is β d/2 (L.5).
    """

    outputs_per_feature = 1
    unit_interval = False

    def __init__(self, variance: float, learned: bool, xp: ModuleType, dtype: Any) -> None:
        log_var = xp.asarray(math.log(variance), dtype=dtype)
        self.log_var = Parameter(log_var, "likelihood.log_var") if learned else Tensor(log_var)
        self.parameters = (self.log_var,) if isinstance(self.log_var, Parameter) else ()

    def nll(self, x: Array, outputs: Tensor) -> Tensor:
        return gaussian_nll(x, outputs, self.log_var)  # (L.3), (L.4)

    def mean(self, xp: ModuleType, outputs: Array) -> Array:
        return outputs

    def draw(self, xp: ModuleType, outputs: Array, rng: Any) -> Array:
        return outputs + xp.exp(0.5 * self.log_var.data) * standard_normal(rng, outputs.shape, outputs.dtype)

    def output_bias(self, data_mean: np.ndarray) -> np.ndarray:
        return data_mean


Likelihood = Bernoulli | Gaussian | GaussianShared
LIKELIHOODS = ("bernoulli", "gaussian", "gaussian_shared", "gaussian_fixed")


def make_likelihood(name: str, variance: float, variance_floor: float, xp: ModuleType, dtype: Any) -> Likelihood:
    """Return the likelihood of a name in ``LIKELIHOODS``; ``variance`` is the fixed σ², or where the learned one begins."""
    if name == "bernoulli":
        return Bernoulli()
    if name == "gaussian":
        return Gaussian(variance_floor)
    return GaussianShared(variance, name == "gaussian_shared", xp, dtype)
