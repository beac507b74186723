"""What every loader returns: examples as they are stored, and as the numbers that a model reads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples, one per row, with what is known about them.

    ``values`` keeps the stored type: 8-bit pixels stay 8-bit (MNIST is 47 MB, four times less than as float32) and a mapped
    file stays on disk.  A loop over large data can take rows of ``values`` and convert those; ``x`` converts all of them.

    Attributes
    ----------
    values : array (n, d), uint8 pixels or real numbers
    y : int array (n,) or None, the class of each example
    image_shape : (height, width) with height · width = d, or None for data that are no images
    name : str
    factors : int array (n, len(factor_names)) or None, the class of each example in each factor that generated it
    factor_names, factor_sizes : the factors' names and numbers of classes
    """

    values: np.ndarray
    y: np.ndarray | None
    image_shape: tuple[int, int] | None
    name: str
    factors: np.ndarray | None = None
    factor_names: tuple[str, ...] = ()
    factor_sizes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def x(self) -> np.ndarray:
        """The examples as float32 (n, d): pixels divided by 255, so in [0, 1]; other numbers unchanged.

        Data stored as float32 are returned without a copy; anything else is converted anew at each access.
        """
        if self.values.dtype == np.uint8:
            return np.divide(self.values, 255, dtype=np.float32)
        return np.asarray(self.values, dtype=np.float32)

    def subset(self, rows: slice | np.ndarray) -> Dataset:
        """Return the examples at ``rows``: a slice (a view, no copy), row numbers or a boolean mask."""
        y, factors = (None if array is None else array[rows] for array in (self.y, self.factors))
        return dataclasses.replace(self, values=self.values[rows], y=y, factors=factors)
