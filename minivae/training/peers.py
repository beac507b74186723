"""What processes that train one model together agree on: which rows of a batch are whose, and what noise goes with them.

The mean over a batch is the weighted mean of the shares' means, and each example keeps the noise that one process alone would give
it, so the result is that of one process up to the order of a sum.  How the gradients meet is the affair of the two kinds of peers:
``team`` (processes of one machine, with memory in common) and ``mpi`` (any machines).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.backend import Array
from minivae.checks import reject


class Peers:
    """The processes of one training.

    Attributes
    ----------
    rank, size : which of how many this is; the process of rank 0 writes and prints.
    weight : the part of the present batch that is this process's.  Its loss is differentiated with this number as cotangent, so
        that the sum of all gradients is the gradient of the batch's mean.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.weight = 0.0

    def share(self, index: Array, noise: Any) -> tuple[Array, Any]:
        """Return this process's rows of a batch, and what draws the noise for them."""
        n = len(index)
        own = slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)
        self.weight = (own.stop - own.start) / n
        own = own if self.weight else slice(0, 1)  # fewer rows than processes: this one computes a row that counts for nothing
        return index[own], Share(noise, n, own)

    def average(self, gradients: Array, sums: dict[str, Any]) -> dict[str, Any]:
        """Make the batch's gradient of the share's weighted one, as far as ``update`` reads it; return the batch's sums."""
        raise NotImplementedError

    def update(self, optimizer: Any, values: Array, gradients: Array) -> None:
        """Make the optimiser's step, after which ``values`` are the same in all processes."""
        raise NotImplementedError

    def leave(self) -> bool:
        """Return whether this process can go on alone, which looks for the cause of a loss that is not finite."""
        return False


def check_is_a_mean_over_examples(argument: str, model: Any) -> None:
    """Refuse a device that is not the CPU, and a loss that shares of a batch cannot be averaged to."""
    if model.xp_ is not np:
        reject(argument, "device cpu", "cuda", "leave one of the two out")
    if setting := model.couples_examples():  # the mean of the shares' losses would be another objective
        got = f"{setting} = {getattr(model, setting, True)!r}, which looks at a whole batch"
        reject(argument, "a loss that is a mean over examples", got, "train with one process")


class Share:
    """Draws the noise of a whole batch and returns that of some of its rows, which are always the second axis from the end."""

    def __init__(self, rng: Any, n: int, own: slice) -> None:
        self._rng, self._n, self._own = rng, n, own

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        return self._rng.standard_normal(self._whole(shape), dtype=dtype)[..., self._own, :]

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        return self._rng.random(self._whole(shape), dtype=dtype)[..., self._own, :]

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], self._n, shape[-1])
