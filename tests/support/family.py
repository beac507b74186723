"""What the tests of the models share: small data, models with their first weights, and objectives with their noise held fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minivae.autodiff import Tensor, backward
from minivae.models import MODELS, Model

D, K = 7, 3
_rng = np.random.default_rng(0)  # 29 rows that two numbers explain, and some noise
X = 1 / (1 + np.exp(-2 * _rng.standard_normal((29, 2)) @ _rng.standard_normal((2, D)) - 0.3 * _rng.standard_normal((29, D))))
Y = np.arange(29) * 7 % 5
TINY = {"latent_dim": K, "hidden_dims": (11, 5), "activation": "tanh", "dtype": "float64", "device": "cpu"}

every_model = pytest.mark.parametrize("kind", MODELS.values(), ids=list(MODELS))


def blank(kind: type[Model], y: Any = None, x: np.ndarray = X, **settings: Any) -> Any:
    """Return a model whose one epoch of training moved its first weights by next to nothing; then all are stirred, biases too."""
    model = kind(**TINY | {"epochs": 1, "batch_size": len(x), "learning_rate": 1e-300} | settings).fit(x, y)
    values = model.parameters_.values
    values += 0.2 * np.random.default_rng(1).standard_normal(values.size)
    return model


def objective(model: Any, x: np.ndarray = X, y: Any = None, seed: int = 2, **loss: Any) -> Callable[..., Tensor]:
    """Return the loss on a batch as a function without arguments, which draws the same noise every time."""
    condition = model.encode_condition(y, len(x))
    return lambda *_: model.loss(model.terms(x, np.random.default_rng(seed), condition), **loss)


def parameters(model: Any) -> dict[str, Tensor]:
    return dict(model.parameters_.parameters)


def gradients(model: Any, loss: Tensor) -> dict[str, np.ndarray]:
    """Return a copy of the gradient of every parameter."""
    backward(loss, leaves=parameters(model).values())
    return {name: np.array(parameter.grad) for name, parameter in parameters(model).items()}
