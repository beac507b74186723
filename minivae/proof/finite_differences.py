"""The slope of a function along a line, from its values alone, and how far it may be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from minivae.autodiff import Tensor, no_grad

# Steps along a unit direction, in the order they are tried; powers of two, so that x ± h loses as little as it can.
STEPS = tuple(2.0**-k for k in (8, 10, 12, 14, 17, 20, 6, 4))


@dataclass(frozen=True)
class Probe:
    """One slope, measured and claimed: in one entry of an argument, or (``index`` None) along a unit direction through many."""

    index: tuple[int, ...] | None
    numeric: float
    analytic: float
    uncertainty: float  # how far ``numeric`` may be from the truth
    share: float  # what an entry of middling size contributes to ``analytic``

    @property
    def difference(self) -> float:
        difference = abs(self.numeric - self.analytic)
        return math.inf if math.isnan(difference) else difference


class Functional:
    """L = Σ fn(leaves) · cotangent, a number that depends on every entry of every leaf, beside the gradients claimed for it.

    A slope is measured until it is known to a hundredth of ``tolerance``, or as well as it can be.
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
        # Values are rounded: their sum cannot tell differences below this apart.
        self.rounding = float(np.finfo(np.float64).eps * np.abs(self._terms()).sum())

    def _terms(self) -> np.ndarray:
        with no_grad(), np.errstate(all="ignore"):  # a step may leave the domain: NaN then disqualifies that step
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
        """Find an entry at fault by halving: of two halves of the entries, go on with the one that disagrees more."""
        entries = np.arange(self.leaves[argument].data.size)
        while len(entries) > 1:
            entries = max(np.array_split(entries, 2), key=lambda half: self.probe(argument, half).difference)
        return self.probe(argument, entries)


def central_difference(f: Callable[[float], float], h: float) -> tuple[float, float]:
    """Return f'(0) by the central difference of fourth order at step h/2, and how far off it may be.

        f'(0) = [8 (f(h) − f(−h)) − (f(2h) − f(−2h))] / 12h + O(h⁴)

    The same at h and at h/2 tells the truncation error, which falls 16-fold from one to the other.  A kink at 0 hides from every
    central difference, but not from the second one, s(h) = (f(h) − 2 f(0) + f(−h)) / h: where f is smooth it halves with h, at a
    kink it stays the jump of the slope, so 2 s(h/2) − s(h) is the jump.
    """
    f0 = f(0.0)
    half, one, two = ((f(t), f(-t)) for t in (h / 2, h, 2 * h))
    coarse = (8 * (one[0] - one[1]) - (two[0] - two[1])) / (12 * h)
    fine = (8 * (half[0] - half[1]) - (one[0] - one[1])) / (6 * h)
    jump = 4 * (half[0] - 2 * f0 + half[1]) / h - (one[0] - 2 * f0 + one[1]) / h
    return fine, abs(fine - coarse) + abs(jump)


def middling(array: np.ndarray) -> float:
    """Return the median size of the entries that are not zero, or 0 where all are."""
    sizes = np.abs(array[array != 0])
    return float(np.median(sizes)) if sizes.size else 0.0


def away_from_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw numbers of either sign, ½ to 1½ in size: none hides among the others."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
