"""The sums of an objective's terms over an epoch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import ModuleType

import numpy as np

from minivae.backend import Array
from minivae.kernels import library, usable

AT_ONCE = 4  # terms that one launch can add
MOST_EXAMPLES = 2**20  # in a batch whose terms one block adds up


class Totals(dict[str, Array]):
    """Name → the sum of a term over the examples so far; the sums are one float64 vector on the device."""

    def __init__(self, xp: ModuleType, totals: Mapping[str, float] | None = None) -> None:
        self._xp = xp
        if totals:
            self.begin(totals)
            for name, total in totals.items():
                self[name] += total

    def begin(self, names: Collection[str]) -> Array:
        """Return the vector of the sums; the first call makes it, all zeros."""
        if not self:
            self._vector = self._xp.zeros(len(names), dtype="float64")
            self.update({name: self._vector[i : i + 1].reshape(()) for i, name in enumerate(names)})
        return self._vector

    def add(self, terms: Mapping[str, Array], examples: int) -> None:
        """Add terms, (n,) or () in nats per example, of a batch of ``examples`` examples; on a device this is one launch."""
        vector, values = self.begin(terms), list(terms.values())
        if usable(self._xp) and all(x.dtype == np.float32 and x.flags.c_contiguous and x.size <= MOST_EXAMPLES for x in values):
            for start in range(0, len(values), AT_ONCE):
                some = values[start : start + AT_ONCE]
                padded = [part for x in (*some, *some[:1] * (AT_ONCE - len(some))) for part in (x, x.size)]
                library(self._xp).by_blocks("add_terms", len(some), *padded, vector[start:], np.float64(examples))
        else:
            for name, value in terms.items():
                self[name] += value.mean(dtype="float64") * examples
