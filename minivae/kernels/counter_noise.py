"""Noise that is a function of its position, so that every device draws the same numbers for the same seed.

An ordinary generator computes each state from the previous one, and NumPy's and CuPy's generators are different algorithms.  Here a
number is a function of its position: ten rounds of mixing turn that position (a counter) into random bits.  A run on the CPU and
one on a GPU then differ only by rounding.

    (N.1)  w₀, w₁, w₂, w₃ = Philox4x32-10(counter = (i, draw, path, stream), key = seed)          numbers 4i to 4i + 3 of a draw
    (N.2)  uniform  u = ⌊w / 2⁸⌋ / 2²⁴                                                              in [0, 1), exact in float32
    (N.3)  normal   ε₀ = r cos φ,  ε₁ = r sin φ   with r = √(−2 log u₀), φ = 2π u₁, u = (w + ½) / 2³²      and so ε₂, ε₃ from w₂, w₃

Why N.3 (Box & Muller 1958): the plane's standard normal density depends on the radius alone, so the angle is uniform, and
P(radius > r) = exp(−r²/2) is uniform on (0, 1): solve u₀ = exp(−r²/2) for r.  The largest radius is √(66 log 2) = 6.8.
It is computed in float64 and rounded once: sines and logarithms of two libraries differ in a float64's last place, which rounding
to float32 hides.

Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from minivae.backend import STREAMS, Array, generator
from minivae.kernels import library, usable

WORD = 2**32 - 1
NOISES = ("generator", "counter")


def noise_source(kind: str, xp: ModuleType, seed: int, stream: str, *path: int) -> Any:
    """Return a source of noise for one purpose: the module's own "generator" (fast), or "counter" (the same on every device)."""
    return (generator if kind == "generator" else CounterGenerator)(xp, seed, stream, *path)


class CounterGenerator:
    """The two methods of a NumPy generator that models use, as functions of seed, stream, epoch and the number of the draw.

    The number of the draw is stored and incremented on the device, so that a captured step draws new noise on each replay.
    """

    def __init__(self, xp: ModuleType, seed: int, stream: str, epoch: int | None = None) -> None:
        self._xp, self._seed = xp, seed % 2**64
        self._path, self._stream = 0 if epoch is None else epoch + 1, STREAMS.index(stream)
        self.draw = xp.zeros((), dtype="uint64")

    @property
    def position(self) -> tuple[Any, ...]:
        """Path, stream and seed, the constant parts of the position, as arguments for a kernel."""
        return np.uint32(self._path), np.uint32(self._stream), np.uint64(self._seed)

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        """Draw from N(0, 1)."""
        return self._next("counter_normal", box_muller, shape, dtype)

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        """Draw from the uniform distribution on [0, 1)."""
        return self._next("counter_uniform", uniform, shape, dtype)

    def _next(self, kernel: str, transform: Callable[..., list[Array]], shape: tuple[int, ...], dtype: Any) -> Array:
        xp, size = self._xp, math.prod(shape)
        if np.dtype(dtype) == np.float32 and usable(xp, size):
            out = xp.empty(shape, dtype="float32")
            library(xp).by_fours(kernel, size, out, self.draw, library(xp).tickets, *self.position, size)
        else:
            groups = xp.arange(-(-size // 4), dtype="uint64")
            words = philox((groups, self.draw, self._path, self._stream), (self._seed & WORD, self._seed >> 32))
            out = xp.stack(transform(xp, words), axis=-1).reshape(-1)[:size].reshape(shape).astype(dtype)
            self.draw += 1
        return out


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Return four random 32-bit words for each counter of four words (N.1), in uint64 arrays, so that products of words fit."""
    a, b, c, d = counter
    key0, key1 = key
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ key0, q & WORD, (p >> 32) ^ d ^ key1, p & WORD  # (N.1)
        key0, key1 = (key0 + 0x9E3779B9) & WORD, (key1 + 0xBB67AE85) & WORD
    return a, b, c, d


def uniform(xp: ModuleType, words: tuple[Array, ...]) -> list[Array]:
    """Return a number in [0, 1) for each word (N.2), in float64."""
    return [(word >> 8) * 2.0**-24 for word in words]  # (N.2)


def box_muller(xp: ModuleType, words: tuple[Array, ...]) -> list[Array]:
    """Return a standard normal number for each word, made in pairs (N.3), in float64."""
    u = [(word + 0.5) * 2.0**-32 for word in words]
    normals = []
    for first, second in ((u[0], u[1]), (u[2], u[3])):
        radius, angle = xp.sqrt(-2 * xp.log(first)), 2 * math.pi * second
        normals += [radius * xp.cos(angle), radius * xp.sin(angle)]  # (N.3)
    return normals
