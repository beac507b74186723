"""Training by several processes of one machine that hold the parameters in shared memory: ``VAE(processes=2)``.

A step of a small network is many short pieces of work, and threads that synchronise after each piece gain little.  Processes
synchronise only twice a step.  Each computes the gradient of its share of the batch with its share of the threads, adds up one part
of the vector over all processes, and makes the optimiser's step for that part:

    the first says "go" ── gradient of the share ── all wait for all ── sum and update of one part ── the first waits for the others
    ``share``              the trainer              ``average``                ``update``

The others are forked copies of the first: they have the data, the model and the generators, and so the same batches.  Between "the
first waits" and "go" they wait, while the first runs hooks, evaluates or saves.  If a hook changes the parameters, the optimiser's
arrays or the learning rate, all processes see it; anything else it changes only in the first process.

The counters rely on each core's writes becoming visible to the others in order, as x86 guarantees.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import math
import mmap
import os
import platform
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from minivae import checks
from minivae.backend import Array
from minivae.checks import DeviceError, MinivaeError, installing, reject
from minivae.training.interruption import SIGNALS, held
from minivae.training.peers import Peers, check_is_a_mean_over_examples

if TYPE_CHECKING:
    from minivae.training.trainer import Trainer

MOST_TERMS = 32  # most terms of an objective
LINE = 64  # bytes of a cache line: each counter has a line of its own, and each part of a vector has whole lines
POLLS, YIELDS = 2_000, 20_000  # a wait polls for about 0.1 ms, then lets others use the core for 10 ms, then sleeps
NAP = 5e-4  # seconds
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent ends
ONE_AT_A_TIME = threading.RLock()  # a process has one number of BLAS threads for all its threads


@contextlib.contextmanager
def team(trainer: Trainer, processes: int, follow: Callable[[], object] | None = None) -> Iterator[None]:
    """Train with ``processes`` processes within the block; with one, nothing is changed.

    ``follow`` is what the other processes repeat, by default the trainer's epochs: it has to make the same steps as this process,
    in the same order.  The training of another thread of this process waits until this one has ended.

    Raises ``DeviceError`` elsewhere than on Linux and x86, without threadpoolctl, or with a device that is not the CPU, and
    ``InputError`` for a loss that is not a mean over examples.
    """
    if processes == 1:
        yield
        return
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        reject("processes", "1 elsewhere than on Linux and x86", processes, "leave it out", DeviceError)
    check_is_a_mean_over_examples("processes", trainer.model)
    with ONE_AT_A_TIME, _few_blas_threads(processes):
        peers = Team(trainer, processes)
        try:
            peers.start(follow or functools.partial(trainer.make_epoch, watch=False))
            yield
        finally:
            with held():  # a second Ctrl-C
                peers.leave()


class Team(Peers):
    """This process, which has rank 0, and those forked from it."""

    def __init__(self, trainer: Trainer, processes: int) -> None:
        super().__init__(0, processes)
        self._trainer, vector = trainer, trainer.model.parameters_
        size, dtype = vector.values.size, vector.values.dtype
        unit = LINE // dtype.itemsize
        width = -(-size // unit) * unit
        bounds = [size * rank // processes // unit * unit for rank in range(processes)] + [size]
        self._parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
        self._arrived = memoryview(_shared((processes * LINE // 8,), "int64"))
        self._learning_rate, self._sums = _shared((1,), "float64"), _shared((processes, MOST_TERMS), "float64")
        self._gradients = _shared((processes, width), dtype)[:, :size]
        self._last_words = memoryview(_shared((4096,), "uint8"))  # the error message of a process that found bad data, say
        self._meetings = 0  # how many this process has reached
        self._others: list[int] = []  # in the first process, the process ids of the others by rank

    def start(self, follow: Callable[[], object]) -> None:
        """Move the parameters and the optimiser's state to shared memory, and fork."""
        self._move(_shared, self._gradients[0])
        self._trainer.peers = self
        with held():  # what a handler raised would be lost within fork's own hooks, and a child that was not yet noted with it
            for rank in range(1, self.size):
                self._others.append(self._fork(rank, follow))

    def _fork(self, rank: int, follow: Callable[[], object]) -> int:
        """Make the process of this rank, and return its id."""
        first, prctl = os.getpid(), ctypes.CDLL(None).prctl
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # for the child: no handler of the caller's may run there
        try:
            with warnings.catch_warnings():  # Python warns of locks that other threads may hold; a follower uses none
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))  # whatever it is doing then
                if os.getppid() == first:  # which had not ended before
                    self._follow(rank, follow)
                os._exit(1)
            return child
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _follow(self, rank: int, follow: Callable[[], object]) -> NoReturn:
        """Run as the process of this rank until the first process ends it, which alone knows when the training is over."""
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
        if self._trainer.model.clip_norm is not None:  # the norm needs all parts of the gradient
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
            for child in itertools.filterfalse(_has_ended, self._others):
                os.kill(child, signal.SIGKILL)  # it holds nothing that has to be saved
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, 0)
            self._trainer.peers = None
            self._move(np.zeros, np.zeros(self._gradients.shape[1], self._gradients.dtype))
        return True

    def _move(self, make: Callable[..., Array], gradients: Array) -> None:
        """Move the parameters and the optimiser's arrays to memory that ``make`` allocates."""
        vector, optimizer = self._trainer.model.parameters_, self._trainer.optimizer
        vector.move(make(vector.values.shape, vector.values.dtype), gradients)
        for name, array in optimizer.state().items():
            setattr(optimizer, name, make(array.shape, array.dtype))
            getattr(optimizer, name)[...] = array

    # Synchronisation: each process counts its meetings where the others can read it -----------------------------------------------

    def _other_ranks(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def _meet(self) -> None:
        self._meetings += 1
        self._arrive()
        self._wait_for(*self._other_ranks())

    def _arrive(self) -> None:
        self._arrived[self.rank * LINE // 8] = self._meetings

    def _wait_for(self, *ranks: int) -> None:
        """Wait until these processes have reached as many meetings as this one."""
        arrived, meetings = self._arrived, self._meetings
        for rank in ranks:
            place, polls = rank * LINE // 8, 0
            while arrived[place] < meetings:
                polls += 1
                if polls > POLLS:
                    os.sched_yield()
                if polls > YIELDS:
                    time.sleep(NAP)
                    if self.rank == 0:
                        self._check_life(rank)

    def _check_life(self, rank: int) -> None:
        """Raise the error of a process that has ended."""
        if _has_ended(self._others[rank - 1]):
            kind, _, words = bytes(self._last_words).rstrip(b"\0").decode(errors="ignore").partition("\n")
            raise getattr(checks, kind, MinivaeError)(
                words or f"processes: process {rank} of {self.size} has died; look at what it printed"
            )


def _has_ended(child: int) -> bool:
    """Return whether a child has ended, also if others have taken note of it: SIGCHLD may be ignored, or a handler await any child.

    A child that was taken note of is no longer to be sent signals: another process may have its number.
    """
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def _shared(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return zeros in memory that this process shares with those forked from it."""
    dtype = np.dtype(dtype)
    return np.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def _few_blas_threads(processes: int) -> Any:
    """Within the block, limit matrix products to this process's share of the BLAS threads and of the cores."""
    try:
        from threadpoolctl import threadpool_info, threadpool_limits
    except ImportError:
        reject("processes", "threadpoolctl, for more than 1", "none", installing("processes"), DeviceError)
    threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    most = min([*threads, len(os.sched_getaffinity(0))])
    return threadpool_limits(max(1, most // processes), user_api="blas")
