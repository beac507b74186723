"""Training by several processes that hold the same model: each takes its share of a batch, and their gradients are added up.

``mpiexec -n 2 minivae train --distributed`` needs mpi4py (the extra ``mpi``) and an MPI.  Every step has one all-reduce of the flat
gradient.  The mean over a batch is the weighted mean of the shares' means, and each example keeps the noise that one process alone
would give it, so the result is that of one process up to the order of a sum.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.backend import Array
from minivae.checks import DeviceError, MinivaeError, reject
from minivae.interruption import Latch

if TYPE_CHECKING:
    from minivae.training import Trainer

# Settings whose term of the loss is of a whole batch: the mean of the shares' terms would be another objective.
OF_THE_BATCH = {"free_bits": 0.0, "capacity": 0.0, "penalty": "l1", "classification_weight": 0.0}


class Peers:
    """The processes of one training.

    Parameters
    ----------
    latch : what a signal sets in this process.

    Attributes
    ----------
    rank, size : which of how many this is; the process of rank 0 writes and prints.
    stop : a latch that is set in all processes after the same step, when a signal has come to one of them.

    Raises ``DeviceError`` without mpi4py or a working MPI.
    """

    def __init__(self, latch: Latch) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            mend = "install an MPI, and pip install 'minivae[mpi]'"
            reject("--distributed", "mpi4py and an MPI", str(error).partition("\n")[0], mend, DeviceError)
        self._comm, self._in_place, self._max = MPI.COMM_WORLD, MPI.IN_PLACE, MPI.MAX
        self.rank, self.size = self._comm.rank, self._comm.size
        self._latch, self.stop = latch, Latch()
        self._weight = 0.0

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """End all processes if this one fails, since the others would wait for it for ever."""
        try:
            yield
        except Exception as error:
            cause = str(error) if isinstance(error, MinivaeError) else f"{type(error).__name__}: {error}"
            print(f"minivae: process {self.rank} of {self.size} ends all: {cause}", file=sys.stderr, flush=True)
            self._comm.Abort(2)

    def on_start(self, trainer: Trainer) -> None:
        """Make a training one of several processes."""
        model = trainer.model
        if model.xp_ is not np:
            reject("--distributed", "device cpu", "cuda", "leave one of the two out")
        for name, harmless in OF_THE_BATCH.items():
            value = getattr(model, name, harmless)
            if value != harmless:
                mend = "train with one process"
                reject("--distributed", f"a loss that is a mean over examples, {name} = {harmless!r}", repr(value), mend)
        trainer.peers = self

    def share(self, index: Array, noise: Any) -> tuple[Array, Any]:
        """Return this process's rows of a batch, and what draws the noise for them."""
        own = np.arange(self.rank, len(index), self.size)
        self._weight = len(own) / len(index)
        own = own if len(own) else np.arange(1)  # fewer rows than processes: this one computes a row that counts for nothing
        return index[own], _Share(noise, len(index), own)

    def average(self, gradients: Array, sums: dict[str, Any]) -> dict[str, Any]:
        """Replace the gradient of the share's mean by that of the batch's; return the batch's sums for the share's."""
        size = gradients.size
        buffer = np.empty(size + len(sums) + 1, dtype=gradients.dtype)
        np.multiply(gradients, self._weight, out=buffer[:size])
        buffer[size:-1] = [total if self._weight else 0.0 for total in sums.values()]
        buffer[-1] = self._latch.signum
        self._comm.Allreduce(self._in_place, buffer)
        gradients[...] = buffer[:size]
        if buffer[-1]:
            self.stop.signum = self._comm.allreduce(self._latch.signum, self._max)
        return dict(zip(sums, buffer[size:-1].astype("float64")))


class _Share:
    """Draws the noise of a whole batch and returns that of some of its rows, which are always the second axis from the end."""

    def __init__(self, rng: Any, n: int, own: Array) -> None:
        self._rng, self._n, self._own = rng, n, own

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        return self._rng.standard_normal(self._whole(shape), dtype=dtype)[..., self._own, :]

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        return self._rng.random(self._whole(shape), dtype=dtype)[..., self._own, :]

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], self._n, shape[-1])
