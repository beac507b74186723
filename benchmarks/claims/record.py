"""What a claim is, and the rule that decides whether it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.claims.lab import Lab

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"
# Quantiles of Student's t that leave 2.5 % above them, for 1, 2, 3, … degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
MOST_SEEDS = len(STUDENT) + 1

Values = Mapping[str, Sequence[float]]  # name of a figure → one value per seed


class Interval(NamedTuple):
    """The 95 % confidence interval of a figure's mean over seeds, mean ± half."""

    mean: float
    half: float


def interval(values: Sequence[float]) -> Interval:
    """Return mean ± t · s / √n of ``values``, one per seed: it covers what other seeds would change, and nothing else."""
    n = len(values)
    half = STUDENT[n - 2] * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Interval(float(np.mean(values)), half)


class Bound(NamedTuple):
    """Where a figure must lie for its claim to hold."""

    low: float = -math.inf
    high: float = math.inf

    def verdict(self, values: Sequence[float]) -> str:
        """Return "holds" where the whole interval lies within the bound, "does not hold" where all of it lies outside."""
        mean, half = interval(values)
        if self.low < mean - half and mean + half < self.high:
            return HOLDS
        return FAILS if mean + half <= self.low or mean - half >= self.high else OPEN

    def __str__(self) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"between {self.low:g} and {self.high:g}"
        return f"above {self.low:g}" if math.isfinite(self.low) else f"below {self.high:g}"


def above(low: float) -> Bound:
    return Bound(low=low)


def below(high: float) -> Bound:
    return Bound(high=high)


class Measured(NamedTuple):
    """The result of one seed: name → figure, and whatever else the picture shows."""

    figures: dict[str, float]
    shown: Any = None


@dataclass(frozen=True)
class Claim:
    """One claim of the source texts, and how it is put to the test.

    Attributes
    ----------
    name : what ``--claim`` calls it; also the name of its picture.
    source : who claims it, and the equations it rests on.
    statement : what must be true.
    measure : what is measured, with everything random drawn from the lab's seed.
    asks : figure → where it must lie.  The other figures help to interpret these.
    picture : the figures of all seeds and what the first one shows → a picture.
    table : the figures of all seeds → header and rows of a table of its own, where figures one below the other say too little.
    """

    name: str
    source: str
    statement: str
    measure: Callable[[Lab], Measured]
    asks: dict[str, Bound]
    picture: Callable[[Values, Any], Figure]
    table: Callable[[Values], tuple[Sequence[str], Sequence[tuple[Any, ...]]]] | None = None

    def verdict(self, values: Values) -> str:
        """Return "does not hold" if one of the bounds does not, "holds" if all do, and else "undecided"."""
        verdicts = {bound.verdict(values[figure]) for figure, bound in self.asks.items()}
        return next(verdict for verdict in (FAILS, OPEN, HOLDS) if verdict in verdicts)
