"""How processes that train one model together divide the work: which rows of a batch each takes, and the noise of these rows.

The mean over a batch is the weighted mean of the shares' means, and each example gets the noise that a single process would give
it, so the result is that of one process up to the order of a sum.  There are two kinds of peers, which add up the gradients in
different ways: ``team`` (processes of one machine, with shared memory) and ``mpi`` (any machines).
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
    rank, size : the number of this process, and how many there are; the process of rank 0 writes and prints.
    weight : the share of the current batch that this process computes.  The gradient of its loss is computed with this number as
        the cotangent, so that the sum of all gradients is the gradient of the batch's mean.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.weight = 0.0

    def share(self, index: Array, noise: Any) -> tuple[Array, Any]:
        """Return this process's rows of a batch, and a generator of the noise for them."""
        n = len(index)
        own = slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)
        self.weight = (own.stop - own.start) / n
        own = own if self.weight else slice(0, 1)  # fewer rows than processes: this one computes a row with weight 0
        return index[own], Share(noise, n, own)

    def average(self, gradients: Array, sums: dict[str, Any]) -> dict[str, Any]:
        """Add up the weighted gradients of all shares, at least where ``update`` reads them; return the sums over the batch."""
        raise NotImplementedError

    def update(self, optimizer: Any, values: Array, gradients: Array) -> None:
        """Make the optimiser's step, after which ``values`` are the same in all processes."""
        raise NotImplementedError

    def leave(self) -> bool:
        """Leave the others; return whether this process can go on alone, to find out why a loss is not finite."""
        return False


def check_is_a_mean_over_examples(argument: str, model: Any) -> None:
    """Refuse a device that is not the CPU, and a loss that is not the mean of the losses of shares of a batch."""
    if model.xp_ is not np:
        reject(argument, "device cpu", "cuda", "leave one of the two out")
    if setting := model.couples_examples():  # the mean of the shares' losses would be another objective
        got = f"{setting} = {getattr(model, setting, True)!r}, which looks at a whole batch"
        reject(argument, "a loss that is a mean over examples", got, "train with one process")


class Share:
    """Draws the noise of a whole batch and returns that of some rows; the rows are always the second-to-last axis."""

    def __init__(self, rng: Any, n: int, own: slice) -> None:
        self._rng, self._n, self._own = rng, n, own

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        return self._rng.standard_normal(self._whole(shape), dtype=dtype)[..., self._own, :]

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        return self._rng.random(self._whole(shape), dtype=dtype)[..., self._own, :]

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], self._n, shape[-1])
