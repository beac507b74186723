"""The slope of a function along a line, computed from its values alone, and its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from minivae.autodiff import Tensor, no_grad

# Steps along a unit direction, in the order they are tried; powers of two, so that x ± h is rounded as little as possible.
STEPS = tuple(2.0**-k for k in (8, 10, 12, 14, 17, 20, 6, 4))


@dataclass(frozen=True)
class Probe:
    """A slope, measured and by the backward pass: in one entry, or (``index`` None) along a unit direction through many."""

    index: tuple[int, ...] | None
    numeric: float
    analytic: float
    uncertainty: float  # how far ``numeric`` may be from the true slope
    share: float  # what an entry of median size contributes to ``analytic``

    @property
    def difference(self) -> float:
        difference = abs(self.numeric - self.analytic)
        return math.inf if math.isnan(difference) else difference


class Functional:
    """L = Σ fn(leaves) · cotangent, a number that depends on every entry of every leaf, with the gradients to be checked.

    A slope is measured with one step after another until its uncertainty is a hundredth of ``tolerance``, or no step is left.
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        leaves: Mapping[str, Tensor],
        cotangent: np.ndarray,
        gradients: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        tolerance: float,
    ) -> None:
        self.fn, self.leaves, self.cotangent, self.gradients = fn, leaves, cotangent, gradients
        self.rng, self.tolerance = rng, tolerance
        # Values are rounded, so differences of their sums below this size mean nothing.
        self.rounding = float(np.finfo(np.float64).eps * np.abs(self._terms()).sum())

    def _terms(self) -> np.ndarray:
        with no_grad(), np.errstate(all="ignore"):  # a step may leave the domain; the NaN then rules that step out
            return self.fn(*self.leaves.values()).data * self.cotangent

    def value(self) -> float:
        return float(self._terms().sum())

    def probe(self, argument: str, entries: np.ndarray) -> Probe:
        """Compare slopes along a random unit direction within the given entries (flat indices), or along one entry's own axis."""
        leaf = self.leaves[argument]
        direction = np.zeros(leaf.shape)
        direction.flat[entries] = away_from_zero(self.rng, entries.shape) if len(entries) > 1 else 1.0
        direction /= np.linalg.norm(direction)
        index = tuple(map(int, np.unravel_index(entries[0], leaf.shape))) if len(entries) == 1 else None
        gradient = self.gradients[argument]
        analytic = float((gradient * direction).sum())
        share = middling(gradient) * middling(direction)
        best = Probe(index, math.nan, analytic, math.inf, share)
        origin = leaf.data.copy()

        def value(t: float) -> float:
            leaf.data[...] = origin + t * direction
            return self.value()

        try:
            for h in STEPS:
                numeric, uncertainty = central_difference(value, h)
                uncertainty += 3 * self.rounding / h  # 3 is the sum of the weights below, at the step h/2
                if uncertainty < best.uncertainty:
                    best = Probe(index, numeric, analytic, uncertainty, share)
                if best.uncertainty < 0.01 * self.tolerance * abs(best.numeric):
                    break
        finally:
            leaf.data[...] = origin
        return best

    def locate(self, argument: str) -> Probe:
        """Find a wrong entry by bisection: of two halves of the entries, go on with the one that disagrees more."""
        entries = np.arange(self.leaves[argument].data.size)
        while len(entries) > 1:
            entries = max(np.array_split(entries, 2), key=lambda half: self.probe(argument, half).difference)
        return self.probe(argument, entries)


def central_difference(f: Callable[[float], float], h: float) -> tuple[float, float]:
    """Return f'(0) by the central difference of fourth order at step h/2, and its uncertainty.

        f'(0) = [8 (f(h) − f(−h)) − (f(2h) − f(−2h))] / 12h + O(h⁴)

    Comparing the formula at h and at h/2 shows the truncation error, which is 16 times smaller at h/2.  No central difference sees
    a kink at 0, but the second difference does, s(h) = (f(h) − 2 f(0) + f(−h)) / h: where f is smooth it halves with h; at a kink
    it stays equal to the jump of the slope, so 2 s(h/2) − s(h) is the jump.
    """
    f0 = f(0.0)
    half, one, two = ((f(t), f(-t)) for t in (h / 2, h, 2 * h))
    coarse = (8 * (one[0] - one[1]) - (two[0] - two[1])) / (12 * h)
    fine = (8 * (half[0] - half[1]) - (one[0] - one[1])) / (6 * h)
    jump = 4 * (half[0] - 2 * f0 + half[1]) / h - (one[0] - 2 * f0 + one[1]) / h
    return fine, abs(fine - coarse) + abs(jump)


def middling(array: np.ndarray) -> float:
    """Return the median absolute value of the nonzero entries, or 0 if all are zero."""
    sizes = np.abs(array[array != 0])
    return float(np.median(sizes)) if sizes.size else 0.0


def away_from_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw numbers of either sign with absolute values from ½ to 1½, so that none is too small to matter."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
