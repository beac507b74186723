"""Training by several processes on any machines: each computes its share of a batch, and MPI adds up their gradients.

``mpiexec -n 2 minivae train --distributed`` needs mpi4py (the extra ``mpi``) and an MPI.  Every step has one all-reduce of the flat
gradient.
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
from minivae.training.peers import Peers, check_is_a_mean_over_examples

if TYPE_CHECKING:
    from minivae.training.trainer import Trainer


class MPIPeers(Peers):
    """The processes that ``mpiexec`` has started.

    Parameters
    ----------
    latch : is set by a signal in this process.

    Attributes
    ----------
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
        super().__init__(self._comm.rank, self._comm.size)
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
        if trainer.model.processes > 1:
            reject("--distributed", "processes = 1", trainer.model.processes, "leave the number to mpiexec -n")
        check_is_a_mean_over_examples("--distributed", trainer.model)
        trainer.peers = self

    def average(self, gradients: Array, sums: dict[str, Any]) -> dict[str, Any]:
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

    def update(self, optimizer: Any, values: Array, gradients: Array) -> None:
        optimizer.step(values, gradients)
