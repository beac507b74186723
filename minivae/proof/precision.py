"""How far a gradient in float32, or from another device, is from the float64 one, and how far it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from minivae.autodiff import Tensor, backward
from minivae.backend import to_device, to_numpy
from minivae.proof.finite_differences import away_from_zero

UNITS = 4.0  # that are accepted: a handful of roundings, none of them magnified


@dataclass(frozen=True)
class PrecisionReport:
    """The worst entry of one argument's gradient, or of the function's value ("result")."""

    argument: str
    relative_error: float  # largest error over largest entry
    units: float  # the error of the worst entry over what rounding of inputs and cotangent does to that entry
    caught: float  # the smallest relative error, in one entry of middling size, that would have been more than ``UNITS``


def compare_precision(
    fn: Callable[..., Tensor],
    inputs: Mapping[str, np.ndarray],
    dtype: str = "float32",
    xp: ModuleType = np,
    trials: int = 8,
    seed: int = 0,
) -> tuple[PrecisionReport, ...]:
    """Compare value and gradients of ``fn`` in ``dtype`` on ``xp`` with the same in float64 on NumPy.

    The error model: numbers of this dtype are known only to one unit in their last place, so an entry y cannot be more accurate
    than changes of that size in the inputs and the cotangent allow.  Such changes are made at random, in float64, ``trials`` times:

        unit² = (ε y)² + mean over trials of (y(inputs (1 ± ε), cotangent (1 ± ε)) − y)²

    A stable computation stays within a few units for any inputs; one with cancellation does not.  Both sides start from
    inputs and cotangent that ``dtype`` can hold, so that only the arithmetic is compared.
    """
    rng = np.random.default_rng(seed)
    epsilon = float(np.finfo(dtype).eps)
    values = [np.asarray(value).astype(dtype) for value in inputs.values()]
    cotangent = away_from_zero(rng, fn(*values).shape).astype(dtype)

    def results(xp: ModuleType, dtype: str, arrays: list[Any]) -> list[np.ndarray]:
        *leaves, g = (to_device(xp, array, dtype) for array in arrays)
        leaves = [Tensor(leaf, requires_grad=True) for leaf in leaves]
        output = fn(*leaves)
        backward(output, g, leaves)
        return [to_numpy(array) for array in (output.data, *(leaf.grad for leaf in leaves))]

    def jitter(array: np.ndarray) -> np.ndarray:
        return array * rng.choice([1 - epsilon, 1 + epsilon], array.shape)

    arrays = [*values, cotangent]
    exact = results(np, "float64", arrays)
    moved = [results(np, "float64", [jitter(array) for array in arrays]) for _ in range(trials)]
    reports = []
    for argument, actual, y, others in zip(("result", *inputs), results(xp, dtype, arrays), exact, zip(*moved)):
        spread = np.mean([(other - y) ** 2 for other in others], axis=0)
        unit = np.sqrt((epsilon * y) ** 2 + spread) + np.finfo(dtype).smallest_subnormal
        error = np.abs(actual - y)
        seen = (UNITS * unit + error)[y != 0] / np.abs(y[y != 0])
        relative_error, caught = (error.max() / np.abs(y).max(), np.median(seen)) if seen.size else (np.inf, np.inf)
        reports.append(PrecisionReport(argument, float(relative_error), float((error / unit).max()), float(caught)))
    return tuple(reports)
