"""From stored rows to batches: checks, scaling, binarisation, device.

A data set stays as it is stored (8-bit pixels, or a file mapped into memory), and only one batch at a time becomes floating
point.  So MNIST takes 47 MB instead of 188, and data larger than memory can be trained on.
"""

from __future__ import annotations

import copy
import hashlib
import mmap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from minivae.backend import Array, array_module, as_array, to_device, to_numpy
from minivae.checks import NonFiniteError, check_choice, check_matrix, check_values, reject
from minivae.kernels import library, usable
from minivae.kernels.row_noise import RowNoise

BINARIZE = ("none", "fixed", "dynamic")
CHECK_AT_ONCE = 2**28  # bytes; on the CPU the batches of a larger file are checked when they are taken
SPREAD_ROWS = 8192  # of such a file whose mean is used for the mean of all
CHUNK_ROWS = 1024  # rows that are evaluated at a time: enough for the matrix products, little enough for the cache


class Rows:
    """The rows of a data set, handed out as float batches on a device.

    Parameters
    ----------
    x : (n, d) real numbers or (n, …) images, in whatever holds them (``minivae.backend.as_array``); 8-bit unsigned integers are
        pixels and stand for value/255.
    xp, dtype : module and dtype of the batches.
    binarize : "none" keeps grey pixels; "fixed" replaces each by one Bernoulli draw, a function of the row and the seed; "dynamic"
        draws anew whenever a row is taken for training (Burda et al. 2015), and for evaluation draws what "fixed" does.
    unit_interval : refuse values outside [0, 1].
    seed : of the fixed draw.
    n_features, argument : for the checks and their messages.

    Raises ``InputError`` for a wrong shape or dtype, NaN or ±inf, or values out of range: looked for at
    once, chunk by chunk, or, where a mapped file of more than 256 MB stays on the CPU, whenever rows are taken.
    """

    def __init__(
        self,
        x: Any,
        xp: ModuleType,
        dtype: Any,
        binarize: str = "none",
        unit_interval: bool = False,
        seed: int = 0,
        n_features: int | None = None,
        argument: str = "x",
    ) -> None:
        check_choice("binarize", binarize, BINARIZE)
        self._argument, self._unit_interval = argument, unit_interval or binarize != "none"
        mapping: Any = getattr(x, "_mmap", None)  # of a file, if x is a view of one
        x = as_rows(x, argument)
        check_matrix(argument, x, n_features)
        self._unchecked = mapping is not None and xp is np and x.nbytes > CHECK_AT_ONCE and binarize != "fixed"
        if self._unchecked and hasattr(mmap, "MADV_RANDOM"):
            mapping.madvise(mmap.MADV_RANDOM)  # otherwise the system also reads the neighbours of each row, which are not needed
        elif not self._unchecked:
            for part in chunks(len(x)):
                check_values(argument, x[part], self._unit_interval, part.start)
        if binarize == "fixed":
            x = _draw_once(to_numpy(x), seed)
        there = to_device(xp, x)
        self.values = there if xp is np else xp.ascontiguousarray(there)  # kernels read row after row from the first number on
        self._condition: Array | None = None
        self.dynamic = binarize == "dynamic"
        self.dtype = np.dtype(dtype)
        self._xp = xp

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_features(self) -> int:
        return self.values.shape[1]

    def take(self, index: Any, rng: Any) -> Array:
        """Return the rows of ``index`` (a slice or an array of ints) as floats; ``rng`` is for dynamic binarisation."""
        rows = self._grey(index)
        if self.dynamic:
            rows = rng.random(rows.shape, dtype=self.dtype) < rows
        return rows.astype(self.dtype, copy=False)

    def evaluation(self, seed: int) -> Iterator[tuple[Array, Array | None, RowNoise]]:
        """Yield all rows, in order and chunk by chunk, what goes with them, and noise that each row brings along."""
        for part in self.chunks():
            grey = self._grey(part).astype(self.dtype, copy=False)
            x = draw_pixels(self._xp, grey, seed).astype(self.dtype) if self.dynamic else grey
            yield x, self.condition(part), RowNoise(self._xp, grey, seed, "evaluate")

    def _grey(self, index: Any) -> Array:
        """Return the rows of ``index`` as numbers, before a dynamic binarisation."""
        return self._pixels(index) if self.values.dtype == np.uint8 else self._stored(index)

    def _stored(self, index: Any) -> Array:
        rows = self.values[index]
        if self._unchecked:
            check_values(self._argument, rows, self._unit_interval, index.start if isinstance(index, slice) else index)
        return rows

    def _pixels(self, index: Any) -> Array:
        xp = self._xp
        if isinstance(index, slice) or self.dtype != np.float32 or not usable(xp, len(index) * self.n_features):
            return xp.divide(self.values[index], 255, dtype=self.dtype)
        rows = xp.empty((len(index), self.n_features), dtype=self.dtype)
        library(xp).by_fours("gather", rows.size, self.values, index, rows, *rows.shape)
        return rows

    def check_finite(self, figures: dict[str, Array]) -> None:
        """Refuse rows of which a figure, one number (n,) or several (n, k), is not finite."""
        for name, values in figures.items():
            numbers = to_numpy(values).reshape(len(self), -1)
            finite = np.isfinite(numbers)
            wrong = np.flatnonzero(~finite.all(axis=1))
            if len(wrong):
                row = int(wrong[0])
                low, high = (float(extreme) for extreme in (self.values[row].min(), self.values[row].max()))
                figure = float(numbers[row][~finite[row]][0])
                got = f"{name} = {figure} at row {row}, whose numbers are from {low:g} to {high:g}"
                others = f", and in {len(wrong) - 1} other row{'s' * (len(wrong) > 2)}" if len(wrong) > 1 else ""
                mend = "leave such rows out" if len(wrong) < len(self) else "train with a lower learning_rate"
                expected, mend = "rows for which the model gives finite numbers", f"{mend}, or scale the data"
                reject(self._argument, expected, got + others, mend, NonFiniteError)

    def attach(self, condition: np.ndarray | None) -> None:
        """Attach the condition of the rows, an (n, c) array, for a conditional model (A.6)."""
        self._condition = None if condition is None else to_device(self._xp, condition, self.dtype)

    def condition(self, index: Any) -> Array | None:
        """Return the condition of the rows of ``index``, (len(index), c), or None."""
        return None if self._condition is None else self._condition[index]

    def fingerprint(self) -> str:
        """Return a checksum of shape, dtype and up to 256 evenly spread rows with their conditions."""
        index = np.linspace(0, len(self) - 1, min(len(self), 256)).astype(int)
        rows = [self.values] if self._condition is None else [self.values, self._condition]
        digest = hashlib.sha256()
        for array in rows:
            digest.update(f"{array.shape} {array.dtype}".encode())
            digest.update(np.ascontiguousarray(to_numpy(array[to_device(self._xp, index)])).tobytes())
        return digest.hexdigest()

    def spread(self, m: int) -> Array:
        """Return ``m`` rows from all over as floats, (m, d), before a dynamic binarisation."""
        index = np.linspace(0, len(self) - 1, m).astype(int)
        return self._grey(to_device(self._xp, index)).astype(self.dtype, copy=False)

    def some(self) -> Rows:
        """Return as many rows as a chunk has, from all over: enough to monitor a model when there is no test set."""
        some = copy.copy(self)
        index = to_device(self._xp, np.linspace(0, len(self) - 1, min(len(self), CHUNK_ROWS)).astype(int))
        some.values, some._condition = self.values[index], self.condition(index)
        return some

    def mean(self) -> np.ndarray:
        """Return the mean of every feature (d,), in float64 on the host; what is drawn anew has the mean of the grey values.

        Of a large mapped file it is the mean of ``SPREAD_ROWS`` rows from all over: reading all would take as long as an epoch.
        """
        some = np.linspace(0, len(self) - 1, min(len(self), SPREAD_ROWS)).astype(int) if self._unchecked else None
        n = len(self) if some is None else len(some)
        parts = (self._stored(part if some is None else some[part]) for part in chunks(n))
        if self.values.dtype == np.uint8:  # as ``take`` makes numbers of them, so that bytes and the same floats train alike
            parts = (array_module(part).divide(part, 255, dtype=self.dtype) for part in parts)
        return to_numpy(sum(part.sum(axis=0, dtype="float64") for part in parts)) / n

    def chunks(self) -> Iterator[slice]:
        """Yield slices that cover all rows in order."""
        return chunks(len(self))


def chunks(n: int, size: int = CHUNK_ROWS) -> Iterator[slice]:
    """Yield slices of at most ``size`` that cover range(n); the last may be shorter, none is dropped."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def as_rows(x: Any, argument: str = "x") -> Array:
    """Return examples of any shape as rows (n, d): images (n, height, width) and (n, height, width, channels) are flattened."""
    x = as_array(x, argument)
    return x.reshape(len(x), -1) if x.ndim > 2 and x.size else x


def draw_pixels(xp: ModuleType, grey: Array, seed: int) -> Array:
    """Return one Bernoulli draw of each grey pixel (n, d) as a truth value: the same for the same row and seed, for ever."""
    return RowNoise(xp, grey, seed, "binarize").random(grey.shape, dtype=grey.dtype) < grey


def _draw_once(x: np.ndarray, seed: int) -> np.ndarray:
    drawn = np.empty(x.shape, dtype=bool)
    for part in chunks(len(x)):
        grey = np.divide(x[part], 255, dtype=np.float32) if x.dtype == np.uint8 else x[part].astype(np.float32)
        drawn[part] = draw_pixels(np, grey, seed)
    return drawn
