"""Noise that belongs to a row of data: the draws for a row depend on the row and the seed, and not on the rows around it.

A generator gives row 7 of a batch different numbers than row 8, so a row's score would change with the batch it is in, with the
order of the rows, and with the size of the chunks.  For evaluation each row therefore has its own stream of numbers.

    (N.4)  h = Σ_j m_j bits(x_j)  mod 2⁶⁴                                        the row's numbers in float32, and fixed odd factors
           p, q = Philox4x32-10(counter = (h mod 2³², ⌊h/2³²⌋, 2³² − 1, stream), key = seed)
           numbers 4i to 4i + 3 of sample s of the row = those of N.2 and N.3 from the counter (i, s, p, q)

Why a second Philox: it mixes the seed, and the purpose of the noise, into the hash.  Equal rows get the same numbers,
by design.  Two different rows have the same hash with a probability of about 2⁻⁶⁴; all that follows is that they share their noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from minivae.backend import STREAMS, Array
from minivae.kernels.counter_noise import WORD, box_muller, philox, uniform


class RowNoise:
    """The two methods of a generator that models use, ``standard_normal`` and ``random``, with a stream of numbers for each row.

    The rows are always the second axis from the end: (n, k) numbers are one sample for each row, (s, n, k) are s samples.

    Parameters
    ----------
    rows : (n, d) floats, the rows that the noise belongs to.
    seed, stream : the seed, and the purpose of the noise.
    """

    def __init__(self, xp: ModuleType, rows: Array, seed: int, stream: str) -> None:
        self._xp, self._rows, self._stream = xp, rows, STREAMS.index(stream)
        self._key = (seed & WORD, seed >> 32 & WORD)
        self._drawn = 0  # samples of each row

    @functools.cached_property
    def keys(self) -> tuple[Array, Array]:
        """The words p and q of each row, (n,) each."""
        h = hash_rows(self._xp, self._rows)
        return philox((h & WORD, h >> 32, WORD, self._stream), self._key)[:2]

    def order(self) -> Array:
        """Return numbers (n,) that sort the rows into a random-looking order, which does not depend on the order they came in."""
        p, q = self.keys
        return p | q << 32

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        """Draw from N(0, 1)."""
        return self._next(box_muller, shape, dtype)

    def random(self, shape: tuple[int, ...], dtype: Any = "float64") -> Array:
        """Draw from the uniform distribution on [0, 1)."""
        return self._next(uniform, shape, dtype)

    def _next(self, transform: Callable[..., list[Array]], shape: tuple[int, ...], dtype: Any) -> Array:
        xp, (*samples, n, k) = self._xp, shape
        s, (p, q) = math.prod(samples), self.keys
        groups = xp.arange(-(-k // 4), dtype="uint64")
        drawn = xp.arange(self._drawn, self._drawn + s, dtype="uint64")
        words = philox((groups, drawn[:, None, None], p[:, None], q[:, None]), self._key)  # (N.4)
        self._drawn += s
        return xp.stack(transform(xp, words), axis=-1).reshape(s, n, -1)[..., :k].astype(dtype).reshape(shape)


def hash_rows(xp: ModuleType, rows: Array) -> Array:
    """Return h of each row, (n,) 64-bit whole numbers; −0 counts as 0."""
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinity, which is hashed like any other
        bits = xp.ascontiguousarray(rows.astype("float32") + 0).view("uint32")
    bits = bits ^ bits >> 16  # in float32, the low half of a small whole number is all zeros
    return (bits * _factors(xp, bits.shape[1])).sum(axis=1, dtype="uint64")  # (N.4)


@functools.lru_cache(maxsize=8)
def _factors(xp: ModuleType, d: int) -> Array:
    low, high, _, _ = philox((xp.arange(d, dtype="uint64"), 0, 0, 0), (0, 0))
    return low | high << 32 | 1
