"""Calls of kernels with exact array sizes, for the sanitizers: ``python -m support.kernel_calls LIBRARY SOURCE [NAME]``.

Once with primes, smaller and larger than a block, so that the last block is never full; and once with multiples of four that are
none of a tile's rows and columns, which are read 16 bytes at a time.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from support import cuda_on_cpu

BLOCK = 32 * 2  # two warps, since some mistakes show between warps only


class Sizes(NamedTuple):
    """Rows, and numbers in a row of pixels and of a code; for the whole training also pixels, hidden units, and latents."""

    n: int
    d: int
    k: int
    whole: tuple[int, int, int, int]


ALL_SIZES = Sizes(3, 61, 5, (13, 11, 7, 3)), Sizes(6, 68, 12, (20, 12, 0, 4))


def arguments(name: str, sizes: Sizes) -> tuple[int, tuple[Any, ...]]:
    """Return the grid and the arguments of one call of the kernel ``name``."""
    rng = np.random.default_rng(0)
    N, D, K, whole = sizes

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    n, d, k, size = np.int32(N), np.int32(D), np.int32(K), np.int32(N * D)
    position = (np.zeros((), np.uint64), np.zeros(4, np.uint32), np.uint32(1), np.uint32(2), np.uint64(3))
    tickets = np.zeros(-(-D // 32), np.uint32)
    adam = (np.ones((), np.int64), tickets, np.array(1e-3), np.float64(0.9), np.float64(0.999), np.float64(1e-8))
    rows = (floats(N, K), k, floats(N, 2 * K), np.int32(2 * K))
    if name.endswith("_forward"):
        return 3, (floats(N, D), floats(N, D), size)
    calls: dict[str, tuple[int, tuple[Any, ...]]] = {
        "gather": (2, (rng.integers(0, 256, (7, D)).astype(np.uint8), rng.integers(0, 7, N), floats(N, D), n, d)),
        "column_sum": (2 * len(tickets), (floats(N, D), floats(D), np.zeros(2 * D), tickets, n, d, np.int32(2))),
        "activation_backward_sum": (
            2 * len(tickets),
            (*(floats(N, D) for _ in range(3)), floats(D), np.zeros(2 * D), tickets, n, d, *[np.int32(2)] * 2),
        ),
        "layer": (2, (floats(N, K), floats(K, D), floats(D), floats(N, D), n, d, k, np.int32(1))),
        "layer_backward": (
            3,
            (
                *(floats(N, K), floats(K, D), floats(N, D), floats(N, K), floats(K, D), floats(D)),
                *(n, d, k, np.int32(1)),
            ),
        ),
        "next_rows": (1, (np.arange(N + 2), np.array(2), np.empty(N, np.int64), n)),
        "mean": (1, (floats(D), floats(1), d)),
        "transpose": (len(tickets), (floats(N, D), floats(D, N), n, d)),
        "add_terms": (
            3,
            (*(part for m in (D, N, 1, 1) for part in (floats(m), np.int32(m))), np.zeros(3), np.float64(N)),
        ),
        "train": (3, whole_training(rng, 3, N, *whole)),
        "bernoulli_nll": (2, (floats(1, D), floats(N, D), floats(N), floats(N, D), n, np.int32(1), d)),
        "scale_rows": (2, (floats(N), np.int32(1), floats(N, D), floats(N, D), n, d)),
        "reparameterize": (1, (*rows, floats(N, K), floats(N, K), floats(N, K), n, k)),
        "reparameterize_backward": (1, (floats(N, K), floats(N, K), floats(N, K), np.int32(N * K))),
        "kl_standard_normal": (2, (*rows, floats(N), n, k)),
        "kl_standard_normal_backward": (1, (floats(N), np.int32(1), *rows, floats(N, K), floats(N, K), k, n, k)),
        "reparameterize_backward_heads": (1, (floats(N, K), floats(N, K), floats(N, 2 * K), n, k)),
        "counter_uniform": (2, (floats(D), *position, d)),
        "counter_normal": (2, (floats(D), *position, d)),
        "adam": (2, (floats(D), floats(D), floats(D), abs(floats(D)), *adam, d)),
    }
    return calls.get(name) or (3, (floats(N, D), floats(N, D), floats(N, D), size))  # the backward of an activation


def whole_training(rng: np.random.Generator, grid: int, batch: int, d: int, first: int, second: int, k: int) -> tuple[Any, ...]:
    """Return the arguments of two full batches and one of a single row, with one hidden layer or, unless ``second`` is 0, two."""
    n_rows, hidden = 2 * batch + 1, [first, second] if second else [first]
    encoder, decoder = [d, *hidden, 2 * k], [k, *hidden[::-1], d]
    size = sum((a + 1) * b for part in (encoder, decoder) for a, b in itertools.pairwise(part))
    widths = [*[d] * 3, *[2 * k] * 2, *[k] * 3, *2 * [*hidden, k, *hidden]]
    scratch = np.full(sum(-(-batch * width // 4) * 4 for width in widths), np.nan, np.float32)
    vectors = [rng.standard_normal(size).astype(np.float32) for _ in range(2)] + [np.ones(size, np.float32)]
    sizes = [np.int32(number) for number in (d, first, second, k, 2)]
    return (
        *(rng.integers(0, 256, (9, d)).astype(np.uint8), np.zeros(1, np.float32), np.int32(1)),
        *(rng.integers(0, 9, n_rows), np.int32(n_rows), np.int32(batch), *vectors, scratch, np.zeros(3 * grid), np.zeros(3)),
        *(np.zeros(1, np.uint32), *sizes, *(np.float64(number) for number in (0.5, 1, 4))),
        *(np.zeros((), np.uint64), np.uint32(1), np.uint32(2), np.uint64(3)),
        *(np.ones((), np.int64), np.array(1e-3), np.float64(0.9), np.float64(0.999), np.float64(1e-8)),
    )


def call(library: Path, source: str, names: Sequence[str] = ()) -> None:
    """Call the kernels of these names, or all, with both sizes, and all blocks at the same time."""
    loaded = cuda_on_cpu.load(source, library)
    for name in names or loaded:
        for sizes in ALL_SIZES:
            grid, args = arguments(name, sizes)
            replace(loaded[name], together=True)(grid, BLOCK, *args)


if __name__ == "__main__":
    call(Path(sys.argv[1]), Path(sys.argv[2]).read_text(), sys.argv[3:])
