"""A call of every kernel with exact array sizes, for the sanitizers: ``python -m support.kernel_calls LIBRARY SOURCE`` does all.

Sizes are primes, smaller and larger than a block, so that the last block is never full.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from support import cuda_on_cpu

N, D, K = 3, 61, 5
BLOCK = 32 * 2  # two warps, since some mistakes show between warps only


def arguments(name: str) -> tuple[int, tuple[Any, ...]]:
    """Return the grid and the arguments of one call of the kernel ``name``."""
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    n, d, k, size = np.int32(N), np.int32(D), np.int32(K), np.int32(N * D)
    position = (np.zeros((), np.uint64), np.zeros(4, np.uint32), np.uint32(1), np.uint32(2), np.uint64(3))
    tickets = np.zeros(4, np.uint32)
    adam = (np.ones((), np.int64), tickets, np.array(1e-3), np.float64(0.9), np.float64(0.999), np.float64(1e-8))
    rows = (floats(N, K), k, floats(N, 2 * K), np.int32(2 * K))
    if name.endswith("_forward"):
        return 3, (floats(N, D), floats(N, D), size)
    calls: dict[str, tuple[int, tuple[Any, ...]]] = {
        "gather": (2, (rng.integers(0, 256, (7, D)).astype(np.uint8), np.array([6, 0, 6]), floats(N, D), n, d)),
        "add_bias": (2, (floats(N, D), floats(D), n, d)),
        "column_sum": (4, (floats(N, D), floats(D), np.zeros(2 * D), tickets, n, d, np.int32(2))),
        "bias_activation": (2, (floats(N, D), floats(D), n, d, np.int32(1))),
        "activation_backward_sum": (
            4,
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
        "next_rows": (1, (np.arange(7), np.array(2), np.empty(N, np.int64), n)),
        "mean": (1, (floats(D), floats(1), d)),
        "transpose": (2, (floats(N, D), floats(D, N), n, d)),
        "add_terms": (
            3,
            (*(part for m in (D, N, 1, 1) for part in (floats(m), np.int32(m))), np.zeros(3), np.float64(N)),
        ),
        "train": (1, whole_training(rng)),
        "bernoulli_nll": (2, (floats(1, D), floats(N, D), floats(N), floats(N, D), n, np.int32(1), d)),
        "scale_rows": (2, (floats(N), np.int32(1), floats(N, D), floats(N, D), n, d)),
        "reparameterize": (1, (*rows, floats(N, K), floats(N, K), floats(N, K), n, k)),
        "reparameterize_backward": (1, (floats(N, K), floats(N, K), floats(N, K), np.int32(N * K))),
        "kl_standard_normal": (2, (*rows, floats(N), n, k)),
        "kl_standard_normal_backward": (1, (floats(N), np.int32(1), *rows, floats(N, K), floats(N, K), k, n, k)),
        "reparameterize_backward_heads": (1, (floats(N, K), floats(N, K), floats(N, 2 * K), n, k)),
        "counter_uniform": (1, (floats(D), *position, d)),
        "counter_normal": (1, (floats(D), *position, d)),
        "adam": (2, (floats(D), floats(D), floats(D), abs(floats(D)), *adam, d)),
    }
    return calls.get(name) or (3, (floats(N, D), floats(N, D), floats(N, D), size))  # the backward of an activation


def whole_training(rng: np.random.Generator) -> tuple[Any, ...]:
    """Return the arguments of two batches of three rows and one of one, with two hidden layers."""
    d, first, second, k, n_rows = 13, 11, 7, 3, 7
    layers = ((d, first), (first, second), (second, 2 * k), (k, second), (second, first), (first, d))
    size = sum((a + 1) * b for a, b in layers)
    widths = [*[d] * 3, *[2 * k] * 2, *[k] * 2, *2 * [first, second, k], *[first, second] * 2]
    scratch = np.full(sum(-(-N * width // 4) * 4 for width in widths), np.nan, np.float32)
    vectors = [rng.standard_normal(size).astype(np.float32) for _ in range(2)] + [np.ones(size, np.float32)]
    sizes = [np.int32(number) for number in (d, first, second, k, 2)]
    return (
        *(rng.integers(0, 256, (9, d)).astype(np.uint8), np.zeros(1, np.float32), np.int32(1)),
        *(rng.integers(0, 9, n_rows), np.int32(n_rows), np.int32(N), *vectors, scratch, np.zeros(3), np.zeros(3)),
        *(np.zeros(1, np.uint32), *sizes, *(np.float64(number) for number in (0.5, 1, 4))),
        *(np.zeros((), np.uint64), np.uint32(1), np.uint32(2), np.uint64(3)),
        *(np.ones((), np.int64), np.array(1e-3), np.float64(0.9), np.float64(0.999), np.float64(1e-8)),
    )


def call_all(library: Path, source: str) -> None:
    """Call every kernel once."""
    for name, kernel in cuda_on_cpu.load(source, library).items():
        grid, args = arguments(name)
        kernel(grid, BLOCK, *args)


if __name__ == "__main__":
    call_all(Path(sys.argv[1]), Path(sys.argv[2]).read_text())
