"""Graph replay: a training step is captured once as a CUDA graph, and from then on launched as a whole.

An eager step of a VAE with one hidden layer is about thirty launches, three hundred without the kernels; a graph is one.  But a
capture records kernels with the addresses and the numbers they were given, so all that changes from step to step has to be in the
device's memory, at the same place: which rows are next, the position of the noise (``counter_noise``), Adam's step number and
learning rate (``adam``), the sums of the losses.  And nothing may read a result during the capture, since it would wait for kernels
that are only recorded.  A graph serves one epoch, so what a hook changes on the host (β, say) counts from the next epoch on.

Memory: a step's own arrays come from a pool that serves nothing else.  What a step frees can only be reused by the next step, which
follows it on the same stream, and by nothing that could run in between.

A step that cannot be captured is not an error: the reason is logged, and the steps run one kernel at a time.

Proven on the CPU, by a stand-in that records kernels instead of running them: a replayed run ends with the same parameters, bit
for bit, as an eager one; a step that waits, copies from the host or calls CuPy's products is not captured, and training goes on.
Seen on an H200: CUDA's own captures give the same bits, and what is gained (``benchmarks/gpu/README.md``).
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from minivae.backend import Array
from minivae.kernels import library

WARM_UP = 3  # eager steps before the first capture: they compile the kernels, choose cuBLAS's algorithms and fill the pool
log = logging.getLogger("minivae")


class Replay:
    """Runs the steps of a training: the first few one kernel at a time, the others by launching the graph of a step.

    Parameters
    ----------
    xp : the array module.
    obstacle : why a step of this training cannot be captured; "" if a capture should be tried.

    Attributes
    ----------
    graph : that of the steps of this epoch, or of the last one; None before it is captured.
    """

    def __init__(self, xp: ModuleType, obstacle: str) -> None:
        self._xp, self._steps = xp, 0
        self.graph: Any = None
        if os.environ.get("MINIVAE_GRAPH") == "0":
            obstacle = "MINIVAE_GRAPH=0"
        self._eager = xp is np or bool(obstacle)
        self._pool: Any = None if self._eager else xp.cuda.MemoryPool()
        if obstacle and xp is not np:
            _explain(obstacle)

    @contextlib.contextmanager
    def epoch(self, order: Array, size: int, step: Callable[[Array], Any]) -> Iterator[Callable[[Array], Any]]:
        """Yield, for each batch, the function to call with its row numbers instead of ``step``.

        Parameters
        ----------
        order : all row numbers of the epoch, from which the batches are cut.
        size : of a full batch; a smaller last batch is never replayed.
        step : makes a training step from row numbers on the device.
        """
        if self._eager:
            yield step
            return
        xp, pool, stream, first, self.graph = self._xp, self._pool, _stream(self._xp), True, None
        place, rows = xp.zeros((), dtype="int64"), xp.empty(size, dtype="int64")

        def next_step() -> None:
            library(xp).by_rows("next_rows", 1, order, place, rows, size)
            step(rows)

        def make(index: Array) -> None:
            nonlocal first
            with xp.cuda.using_allocator(pool.malloc):
                if len(index) < size:
                    step(index)
                    return
                if not (self.graph or first or self._eager) and self._steps >= WARM_UP:
                    self.graph = self._capture(stream, next_step)
                self.graph.launch(stream) if self.graph else next_step()
            first, self._steps = False, self._steps + 1

        xp.cuda.Stream.null.synchronize()  # work begun on other streams is complete before this one reads it
        with stream:
            try:
                yield make
            finally:
                stream.synchronize()

    def _capture(self, stream: Any, step: Callable[[], None]) -> Any:
        """Return the graph of a step; if there can be none, return None and make no more attempts."""
        try:
            return capture(stream, step)
        except Exception as error:  # of CuPy, CUDA or cuBLAS; an error in the step itself is raised again when it runs
            self._eager = True
            _explain(f"{type(error).__name__}: {error}".splitlines()[0])
            return None


def capture(stream: Any, step: Callable[[], None]) -> Any:
    """Return the graph of what ``step`` launches on ``stream``, the current one, without running it."""
    collecting = gc.isenabled()
    gc.disable()  # a collection may free device memory, which must not happen during a capture
    try:
        stream.begin_capture()
        try:
            step()
        except BaseException:  # an interruption, too: nothing would run on a stream that is still being captured
            with contextlib.suppress(Exception):  # the capture has failed, and ending it raises
                stream.end_capture()
            raise
        return stream.end_capture()
    finally:
        if collecting:
            gc.enable()


@functools.cache
def _stream(xp: ModuleType) -> Any:
    """Return the stream of all captures: the default one cannot be captured."""
    return xp.cuda.Stream(non_blocking=True)


def _explain(obstacle: str) -> None:
    log.info("training steps are not replayed as a graph: %s", obstacle)
