"""Training by several processes on any machines: each computes its share of a batch, and MPI adds up their gradients.

``mpiexec -n 2 minivae train --distributed`` needs mpi4py (the extra ``mpi``) and an MPI.  Every step has one all-reduce of the flat
gradient.  The mean over a batch is the weighted mean of the shares' means, and each example gets the noise that a single process
would give it, so the result is that of one process up to the order of a sum.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.backend import Array
from minivae.checks import DeviceError, MinivaeError, installing, reject
from minivae.training.interruption import Latch

if TYPE_CHECKING:
    from minivae.training.trainer import Trainer


class Peers:
    """The processes that ``mpiexec`` has started, which train one model together.

    Parameters
    ----------
    latch : is set by a signal in this process.

    Attributes
    ----------
    rank, size : the number of this process, and how many there are; the process of rank 0 writes and prints.
    weight : the share of the current batch that this process computes.  The gradient of its loss is computed with this number as
        the cotangent, so that the sum of all gradients is the gradient of the batch's mean.
    stop : a latch that is set in all processes after the same step, once one of them has received a signal.

    Raises ``DeviceError`` without mpi4py or a working MPI.
    """

    def __init__(self, latch: Latch) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            mend = f"install an MPI, and {installing('mpi')}"
            reject("--distributed", "mpi4py and an MPI", str(error).partition("\n")[0], mend, DeviceError)
        self._comm, self._in_place, self._max = MPI.COMM_WORLD, MPI.IN_PLACE, MPI.MAX
        self.rank, self.size, self.weight = self._comm.rank, self._comm.size, 0.0
        self._latch, self.stop = latch, Latch()

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
        """Make the training one of several processes."""
        check_can_be_shared(trainer.model)
        trainer.peers = self

    def share(self, index: Array, noise: Any) -> tuple[Array, Any]:
        """Return this process's rows of a batch, and a generator of the noise for them."""
        n = len(index)
        own = slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)
        self.weight = (own.stop - own.start) / n
        own = own if self.weight else slice(0, 1)  # fewer rows than processes: this one computes a row with weight 0
        return index[own], Share(noise, n, own)

    def average(self, gradients: Array, sums: dict[str, Any]) -> dict[str, Any]:
        """Add up the weighted gradients of all shares, in place; return the sums over the batch."""
        size = gradients.size
        buffer = np.empty(size + len(sums) + 1, dtype=gradients.dtype)
        buffer[:size] = gradients
        buffer[size:-1] = [total if self.weight else 0.0 for total in sums.values()]
        buffer[-1] = self._latch.signum
        self._comm.Allreduce(self._in_place, buffer)
        gradients[...] = buffer[:size]
        if buffer[-1]:
            self.stop.signum = self._comm.allreduce(self._latch.signum, self._max)
        return dict(zip(sums, buffer[size:-1].astype("float64")))


def check_can_be_shared(model: Any) -> None:
    """Refuse a device that is not the CPU, and a loss that is not the mean of the losses of shares of a batch."""
    if model.xp_ is not np:
        reject("--distributed", "device cpu", "cuda", "leave one of the two out")
    if setting := model.couples_examples():  # the mean of the shares' losses would be another objective
        got = f"{setting} = {getattr(model, setting, True)!r}, which looks at a whole batch"
        reject("--distributed", "a loss that is a mean over examples", got, "train with one process")


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
