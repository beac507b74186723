"""The likelihood p(x|z): what the numbers that a decoder puts out mean.

A likelihood knows how many numbers per feature it needs from the decoder, how to score data under them (in nats, one value per
example), and how to turn them into features again: into the mean of p(x|z), or into a draw from it.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_normal
from minivae.checks import reject
from minivae.nn import Parameter
from minivae.ops import bernoulli_nll, gaussian_nll, softplus


class Likelihood:
    """What all likelihoods share.  One of your own inherits from this class and gets its name by an entry in ``LIKELIHOODS``.

    Unless a subclass says otherwise, the decoder puts out one number per feature, which is the mean of that feature.

    Attributes
    ----------
    outputs_per_feature : how many numbers the decoder puts out for each feature.
    unit_interval : whether data outside [0, 1] are refused.
    parameters : what is trained beside the networks.

    The constructor takes the model's settings ``variance`` and ``variance_floor``, the array module and the dtype.
    """

    outputs_per_feature: ClassVar[int] = 1
    unit_interval: ClassVar[bool] = False
    parameters: tuple[Parameter, ...] = ()

    def __init__(self, variance: float = 1.0, variance_floor: float = 1e-4, xp: ModuleType = np, dtype: Any = "float32") -> None:
        pass

    def nll(self, x: Array, outputs: Tensor) -> Tensor:
        """Return −log p(x|z), (…,) in nats, summed over the features of data (…, d), from outputs (…, d · outputs_per_feature)."""
        raise NotImplementedError

    def mean(self, xp: ModuleType, outputs: Array) -> Array:
        """Return the expected features E[x|z], of the shape of the data."""
        return outputs

    def draw(self, xp: ModuleType, outputs: Array, rng: Any) -> Array:
        """Return a sample of the features from p(x|z), of the shape of the data; without it a model has means alone."""
        reject(f"{type(self).__name__}.draw", "a method that samples p(x|z)", "none", "write it, or ask for pixels='mean'")

    def output_bias(self, data_mean: np.ndarray) -> np.ndarray:
        """Return the last bias of the decoder with which an untrained decoder already predicts the mean of the data (d,)."""
        return data_mean


class Bernoulli(Likelihood):
    """Binary features, or grey ones in [0, 1] scored by their cross-entropy (L.1).  The decoder gives logits."""

    unit_interval = True

    def nll(self, x: Array, outputs: Tensor) -> Tensor:
        return bernoulli_nll(x, outputs)  # (L.1)

    def mean(self, xp: ModuleType, outputs: Array) -> Array:
        return 0.5 + 0.5 * xp.tanh(0.5 * outputs)  # sigmoid(ℓ)

    def draw(self, xp: ModuleType, outputs: Array, rng: Any) -> Array:
        return (rng.random(outputs.shape, dtype=outputs.dtype) < self.mean(xp, outputs)).astype(outputs.dtype)

    def output_bias(self, data_mean: np.ndarray) -> np.ndarray:
        p = np.clip(data_mean, 0.001, 0.999)  # a pixel that is always black would need −∞
        return np.log(p) - np.log1p(-p)


class Gaussian(Likelihood):
    """Real features with a variance per example and feature (L.2).  The decoder gives means, then raw log-variances.

    The log-variance is  floor + softplus(raw − floor),  which is close to raw where raw is well above the floor.  Without a
    floor, a feature that never varies would drive its variance to 0 and the likelihood, a density, to infinity.
    """

    outputs_per_feature = 2

    def __init__(self, variance: float = 1.0, variance_floor: float = 1e-4, xp: ModuleType = np, dtype: Any = "float32") -> None:
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


class GaussianFixed(Likelihood):
    """Real features with one fixed variance for the whole data set (L.3).  The decoder gives means.

    With σ² fixed at v, −log p(x|z) is ‖x − m‖²/(2 v) plus a constant.  So a loss "mean squared error over d features + β KL" is
    this one at the hidden variance v = d/2: measured against unit variance, its effective β is β d/2 (L.5).
    """

    def __init__(self, variance: float = 1.0, variance_floor: float = 1e-4, xp: ModuleType = np, dtype: Any = "float32") -> None:
        self.log_var = Tensor(xp.asarray(math.log(variance), dtype=dtype))

    def nll(self, x: Array, outputs: Tensor) -> Tensor:
        return gaussian_nll(x, outputs, self.log_var)  # (L.3), (L.4)

    def draw(self, xp: ModuleType, outputs: Array, rng: Any) -> Array:
        return outputs + xp.exp(0.5 * self.log_var.data) * standard_normal(rng, outputs.shape, outputs.dtype)


class GaussianShared(GaussianFixed):
    """Real features with one variance for the whole data set, which is learned (L.4).  The decoder gives means."""

    def __init__(self, variance: float = 1.0, variance_floor: float = 1e-4, xp: ModuleType = np, dtype: Any = "float32") -> None:
        self.log_var = Parameter(xp.asarray(math.log(variance), dtype=dtype), "likelihood.log_var")
        self.parameters = (self.log_var,)


# The choices of the setting ``likelihood``.  ``LIKELIHOODS["laplace"] = Laplace`` names one of your own.
LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "gaussian_shared": GaussianShared,
    "gaussian_fixed": GaussianFixed,
}
