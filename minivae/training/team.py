"""Training by several processes of one machine that hold the parameters in common memory: ``VAE(processes=2)``.

A step of a small network is many short pieces of work, and threads that meet after each piece gain little.  Processes meet twice a
step instead.  Each computes the gradient of its share of the batch with its share of the threads, adds up one part of the
vector over all processes, and makes the optimiser's step for that part:

    the first says "go" ── gradient of the share ── all wait for all ── sum and update of one part ── the first waits for the others
    ``share``              the trainer              ``average``                ``update``

The others are forked copies of the first: they have the data, the model and the generators, and so the same batches.  Between "the
first waits" and "go" they stand still, while the first runs hooks, evaluates or saves.  What a hook does to the parameters, to the
optimiser's arrays and to the learning rate is done to all; whatever else it changes, it changes in the first process alone.

The counters rely on a processor that lets others see its writes in order, as those of x86 do.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import mmap
import os
import platform
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from minivae import checks
from minivae.backend import Array
from minivae.checks import DeviceError, MinivaeError, installing, reject
from minivae.training.interruption import SIGNALS
from minivae.training.peers import Peers, check_is_a_mean_over_examples

if TYPE_CHECKING:
    from minivae.training.trainer import Trainer

MOST_TERMS = 32  # of an objective
LINE = 64  # bytes that a core takes from another at a time: each counter has a line to itself, and each part of a vector whole ones
POLLS, YIELDS = 2_000, 20_000  # of a wait: some 0.1 ms at full attention, 10 ms in which others may have the core, then asleep
NAP = 5e-4  # seconds


@contextlib.contextmanager
def team(trainer: Trainer, processes: int, follow: Callable[[], object] | None = None) -> Iterator[None]:
    """Train with so many processes within the block; with one, nothing is changed.

    ``follow`` is what the others do again and again, by default the trainer's epochs: it has to take the steps that this process
    takes, in the same order.

    Raises ``DeviceError`` elsewhere than on Linux and x86, without threadpoolctl, or with a device that is not the CPU, and
    ``InputError`` for a loss that is not a mean over examples.
    """
    if processes == 1:
        yield
        return
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        reject("processes", "1 elsewhere than on Linux and x86", processes, "leave it out", DeviceError)
    check_is_a_mean_over_examples("processes", trainer.model)
    with _few_blas_threads(processes):
        peers = Team(trainer, processes)
        try:
            peers.start(follow or functools.partial(trainer.make_epoch, watch=False))
            yield
        finally:
            peers.leave()


class Team(Peers):
    """This process, of rank 0, and those that are forked from it."""

    def __init__(self, trainer: Trainer, processes: int) -> None:
        super().__init__(0, processes)
        self._trainer, vector = trainer, trainer.model.parameters_
        self._first = os.getpid()
        size, dtype = vector.values.size, vector.values.dtype
        unit = LINE // dtype.itemsize
        width = -(-size // unit) * unit
        bounds = [size * rank // processes // unit * unit for rank in range(processes)] + [size]
        self._parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
        self._arrived = memoryview(_shared((processes * LINE // 8,), "int64"))
        self._learning_rate, self._sums = _shared((1,), "float64"), _shared((processes, MOST_TERMS), "float64")
        self._gradients = _shared((processes, width), dtype)[:, :size]
        self._last_words = memoryview(_shared((4096,), "uint8"))  # of a process that has met bad data, say
        self._meetings = 0  # how often this process has come to one
        self._others: list[int] = []  # in the first process, the others' numbers by rank

    def start(self, follow: Callable[[], object]) -> None:
        """Move what is trained to common memory, and fork."""
        self._move(_shared, self._gradients[0])
        self._trainer.peers = self
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # no handler may run in a child, nor between fork and append
        try:
            for rank in range(1, self.size):
                with warnings.catch_warnings():  # of locks that other threads may hold: a follower uses none but Python's own
                    warnings.simplefilter("ignore", DeprecationWarning)
                    child = os.fork()
                if child == 0:
                    self._follow(rank, follow)
                self._others.append(child)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _follow(self, rank: int, follow: Callable[[], object]) -> NoReturn:
        """Be the process of a rank until the first one ends it: that one alone knows when the training is over."""
        try:
            self.rank = rank
            vector = self._trainer.model.parameters_
            vector.move(vector.values, self._gradients[rank])
            while True:
                follow()
        except MinivaeError as error:
            words = f"{type(error).__name__}\n{error}".encode()[: len(self._last_words)]
            self._last_words[: len(words)] = words
        except BaseException:
            with contextlib.suppress(Exception):  # whatever happens, this process must not go on into its caller's code
                traceback.print_exc()
                sys.stderr.flush()
        finally:
            os._exit(1)

    def share(self, index: Array, noise: Any) -> tuple[Array, Any]:
        optimizer = self._trainer.optimizer
        self._meetings += 1
        if self.rank == 0:
            self._learning_rate[0] = optimizer.learning_rate  # a hook may have changed it
            self._arrive()
        else:
            self._wait_for(0)
            optimizer.learning_rate = float(self._learning_rate[0])
        return super().share(index, noise)

    def average(self, gradients: Array, sums: dict[str, Any]) -> dict[str, Any]:
        self._sums[self.rank, : len(sums)] = [total if self.weight else 0.0 for total in sums.values()]
        self._meet()
        part = self._parts[self.rank]
        for rank in self._other_ranks():
            gradients[part] += self._gradients[rank, part]
        if self._trainer.model.clip_norm is not None:  # its norm is of all parts
            self._meet()
            for rank in self._other_ranks():
                gradients[self._parts[rank]] = self._gradients[rank, self._parts[rank]]
            self._meet()
        return dict(zip(sums, self._sums[:, : len(sums)].sum(axis=0)))

    def update(self, optimizer: Any, values: Array, gradients: Array) -> None:
        optimizer.step(values, gradients, self._parts[self.rank])
        self._meetings += 1
        if self.rank == 0:
            self._wait_for(*self._other_ranks())
        else:
            self._arrive()

    def leave(self) -> bool:
        if self._trainer.peers is self:
            for child in self._others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)  # it has nothing that is to be kept
            for child in self._others:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, 0)
            self._trainer.peers = None
            self._move(np.zeros, np.zeros(self._gradients.shape[1], self._gradients.dtype))
        return True

    def _move(self, make: Callable[..., Array], gradients: Array) -> None:
        """Move the parameters and the optimiser's arrays to memory that ``make`` gives."""
        vector, optimizer = self._trainer.model.parameters_, self._trainer.optimizer
        vector.move(make(vector.values.shape, vector.values.dtype), gradients)
        for name, array in optimizer.state().items():
            setattr(optimizer, name, make(array.shape, array.dtype))
            getattr(optimizer, name)[...] = array

    # Meeting: each process counts its meetings where the others can see it ------------------------------------------------------

    def _other_ranks(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def _meet(self) -> None:
        self._meetings += 1
        self._arrive()
        self._wait_for(*self._other_ranks())

    def _arrive(self) -> None:
        self._arrived[self.rank * LINE // 8] = self._meetings

    def _wait_for(self, *ranks: int) -> None:
        """Return when these processes have come as far as this one."""
        arrived, meetings = self._arrived, self._meetings
        for rank in ranks:
            place, polls = rank * LINE // 8, 0
            while arrived[place] < meetings:
                polls += 1
                if polls > POLLS:
                    os.sched_yield()
                if polls > YIELDS:
                    time.sleep(NAP)
                    self._check_life(rank)

    def _check_life(self, rank: int) -> None:
        """Give up waiting for a process that is no more."""
        if self.rank > 0:
            if os.getppid() != self._first:
                os._exit(1)
        elif os.waitpid(self._others[rank - 1], os.WNOHANG)[0]:
            self._others.pop(rank - 1)
            kind, _, words = bytes(self._last_words).rstrip(b"\0").decode(errors="ignore").partition("\n")
            raise getattr(checks, kind, MinivaeError)(
                words or f"processes: process {rank} of {self.size} has died; look at what it printed"
            )


def _shared(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return zeros in memory that stays common to this process and those that are forked from it."""
    dtype = np.dtype(dtype)
    return np.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def _few_blas_threads(processes: int) -> Any:
    """Within the block, let a matrix product use this process's share of the threads that it may use now, and of the cores."""
    try:
        from threadpoolctl import threadpool_info, threadpool_limits
    except ImportError:
        reject("processes", "threadpoolctl, for more than 1", "none", installing("processes"), DeviceError)
    threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    most = min([*threads, len(os.sched_getaffinity(0))])
    return threadpool_limits(max(1, most // processes), user_api="blas")
