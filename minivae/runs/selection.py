"""Which examples and latent dimensions to show where there is no room for all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from minivae.backend import to_numpy
from minivae.checks import NonFiniteError, reject
from minivae.datasets import Dataset
from minivae.datasets.labels import classes_in, has_label
from minivae.evaluation.estimators import kl_per_dimension


def spread(n: int, limit: int) -> np.ndarray:
    """Return ``limit`` row numbers spread evenly over ``n`` rows, or all of them if there are fewer."""
    return np.linspace(0, n - 1, min(n, limit)).round().astype(int)


def choose(test: Dataset, n: int) -> np.ndarray:
    """Return up to ``n`` row numbers to show: one of each class, then others spread evenly."""
    firsts = [] if test.y is None else [int(np.flatnonzero(test.y == label)[0]) for label in classes_in(test.y)]
    return np.array(list(dict.fromkeys([*firsts, *spread(len(test), n).tolist()]))[:n])


def labelled(test: Dataset) -> Dataset:
    """Return the examples that have a label; where none has one, all of them without."""
    known = np.zeros(1, dtype=bool) if test.y is None else has_label(test.y)
    return test.subset(known) if known.any() else dataclasses.replace(test, y=None)


def some_classes(model: Any, n: int) -> np.ndarray | None:
    """Return ``n`` conditions to generate under, the classes that the model knows in turn; None if it is not told classes."""
    return np.resize(model.classes_, n) if model.condition_width() and len(model.classes_) else None


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
    strange = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(log_var)).all(axis=1))
    if len(strange):
        got = f"none of row {strange[0]}" + (f" and {len(strange) - 1} others" if len(strange) > 1 else "")
        reject("test data", "rows with a finite code", got, "leave such rows out, or scale the data", NonFiniteError)
    if "kl_per_dimension" in model.history_:
        strength, measure = kl_per_dimension(mean, log_var), "KL, nats"
    else:
        strength, measure = mean.var(axis=0, dtype="float64"), "variance of the code"
    return Code(mean, log_var, np.argsort(-strength, kind="stable"), strength, measure)
