"""The small VAE that the tests of it look at: its data, its settings, and noise to give it."""

from __future__ import annotations

import numpy as np

D, K = 7, 3
rng = np.random.default_rng(0)  # 53 rows that two numbers explain, and some noise
X = 1 / (1 + np.exp(-5 * rng.standard_normal((53, 2)) @ rng.standard_normal((2, D)) - 0.3 * rng.standard_normal((53, D))))
X = X.astype(np.float32)
SMALL = {"latent_dim": K, "hidden_dims": (11, 5), "device": "cpu"}


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def with_value(value: float, row: int) -> np.ndarray:
    x = X.copy()
    x[row, 2] = value
    return x
