"""Training in one launch: ``whole.cu`` runs many steps of a small VAE without returning to the host.

A replayed step (``graph``) still consists of 25 kernels or more, each too short to fill a GPU.  Here one kernel runs all steps,
and its blocks wait for each other after each phase of a step.  Its results are in the same arrays as those of ordinary steps, so
the two can alternate.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from minivae import kernels
from minivae.backend import Array
from minivae.kernels.adam import FusedAdam
from minivae.kernels.counter_noise import CounterGenerator

KINDS = {"relu": 1, "tanh": 2}  # activation → its number in ``dense.cu``
TERMS = ("reconstruction", "kl", "loss")


class Whole:
    """Runs the training steps of a Bernoulli VAE with one or two hidden layers, many in one launch.

    Parameters
    ----------
    widths : n_features, the hidden widths of the encoder, latent_dim.
    values : the parameters, one flat vector: weight and bias of each layer, encoder first.
    pixels : (n, n_features) on the device, 8-bit or float32.
    """

    def __init__(
        self,
        xp: ModuleType,
        widths: tuple[int, ...],
        activation: str,
        batch: int,
        values: Array,
        optimizer: FusedAdam,
        pixels: Array,
    ) -> None:
        d, *hidden, k = widths
        self._batch, self._values, self._optimizer = batch, values, optimizer
        self._sizes = (d, hidden[0], hidden[1] if len(hidden) > 1 else 0, k, KINDS[activation])
        blocks = kernels.library(xp).multiprocessors  # all of them run at once
        arrays = 3 * [d] + 2 * [2 * k] + 3 * [k] + 2 * (2 * hidden + [k])  # the widths of the arrays in the scratch memory
        self._scratch = xp.empty(sum(-(-batch * width // 4) * 4 for width in arrays), dtype="float32")
        self._block_totals, self._arrived = xp.zeros(3 * blocks), xp.zeros(1, dtype="uint32")
        is_bytes = pixels.dtype == np.uint8
        none = xp.zeros(1, dtype="float32" if is_bytes else "uint8")
        self._pixels = (pixels, none, 1) if is_bytes else (none, pixels, 0)
        self._kernel, self._blocks = _kernel(xp), blocks

    def steps(self, rows: Array, noise: CounterGenerator, totals: Array, beta: float, first_step: int, warm_up: float) -> None:
        """Make a step on each batch of ``rows``, which are row numbers on the device; the last batch may be smaller.

        Parameters
        ----------
        totals : three float64 numbers to which the sums of ``TERMS`` over the examples are added.
        beta, first_step, warm_up : the KL term has the weight beta times min(1, step / warm_up); ``first_step`` is the number of
            the first step.
        """
        optimizer = self._optimizer
        step, learning_rate = optimizer.place
        self._arrived.fill(0)
        state = (self._values, optimizer.sums, optimizer.square_sums, self._scratch, self._block_totals, totals, self._arrived)
        weight = (np.float64(beta), np.float64(first_step), np.float64(warm_up))
        position = (noise.draw, *noise.position, step, learning_rate, *optimizer.betas_and_eps)
        arguments = (*self._pixels, rows, len(rows), self._batch, *state, *self._sizes, *weight, *position)
        kernels.launch(self._kernel, self._blocks, kernels.WIDE_BLOCK, arguments)


def obstacle(widths: tuple[int, ...], activation: str, batch: int) -> str:
    """Return why ``train`` in ``whole.cu`` cannot train such a network; "" if it can."""
    d, *hidden, k = widths
    if len(hidden) not in (1, 2):
        return f"{len(hidden)} hidden layers, where it knows one or two"
    if activation not in KINDS:
        return f"activation={activation!r}, where it knows {' and '.join(KINDS)}"
    for inputs, outputs in zip((d, *hidden), (*hidden, 2 * k)):  # the decoder's are the same or smaller
        if not kernels.is_small(batch, inputs, outputs):
            return f"a layer with {inputs * outputs:,} weights and batches of {batch} are products that cuBLAS makes faster"
    return ""


@functools.cache
def _kernel(xp: ModuleType) -> Any:
    code = kernels.source("kernels.cu", "product.cu", "dense.cu", "whole.cu")
    return xp.RawModule(code=code, enable_cooperative_groups=True).get_function("train")
