"""Which examples and latent dimensions to show where there is no room for all."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from minivae.backend import to_numpy
from minivae.datasets import Dataset
from minivae.evaluation.estimators import kl_per_dimension


def spread(n: int, limit: int) -> np.ndarray:
    """Return ``limit`` row numbers spread evenly over ``n`` rows, or all of them if there are fewer."""
    return np.linspace(0, n - 1, min(n, limit)).round().astype(int)


def choose(test: Dataset, n: int) -> np.ndarray:
    """Return up to ``n`` row numbers to show: one of each class, then others spread evenly."""
    firsts = [] if test.y is None else np.unique(test.y, return_index=True)[1].tolist()
    return np.array(list(dict.fromkeys([*firsts, *spread(len(test), n).tolist()]))[:n])


def some_classes(test: Dataset, n: int) -> np.ndarray | None:
    """Return ``n`` conditions to generate under, the classes in turn; None where there are no classes."""
    return None if test.y is None else np.resize(np.unique(test.y), n)


class Code(NamedTuple):
    """The posteriors of some examples, and the order of the latent dimensions by falling strength."""

    mean: np.ndarray  # (n, latent_dim)
    log_var: np.ndarray
    order: np.ndarray  # dimensions by falling strength
    strength: np.ndarray  # of each dimension, in the original order
    measure: str  # what strength is

    def reach(self, dims: Any = slice(None)) -> float:
        """Return how far from 0 to go along some dimensions: three standard deviations of the prior, or as far as the means."""
        return max(3.0, math.ceil(10 * np.abs(self.mean[:, dims]).max()) / 10)


def code_of(model: Any, x: Any, y: Any) -> Code:
    """Return the code of examples (n, d).  The strength of a dimension is its KL, or its variance if there is no posterior."""
    mean, log_var = map(to_numpy, model.encode(x, y))
    if "kl_per_dimension" in model.history_:
        strength, measure = kl_per_dimension(mean, log_var), "KL, nats"
    else:
        strength, measure = mean.var(axis=0, dtype="float64"), "variance of the code"
    return Code(mean, log_var, np.argsort(-strength, kind="stable"), strength, measure)
