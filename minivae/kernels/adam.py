"""Adam in one launch on a GPU, and in one pass over memory on a CPU."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import ModuleType

import numpy as np

from minivae.backend import Array
from minivae.checks import check_real
from minivae.kernels import library


def in_one_pass() -> Callable[..., None] | None:
    """Return the update of ``minivae.optim.Adam`` as one compiled loop, or None without numba or under MINIVAE_FUSED=0.

    Every number is rounded as in NumPy's passes, so that no bit of a training depends on which of the two is used.
    """
    return _compiled() if os.environ.get("MINIVAE_FUSED") != "0" else None


@functools.cache
def _compiled() -> Callable[..., None] | None:
    try:
        import numba
    except (ImportError, OSError):  # not installed, not made for this version of NumPy, or without room for its compiler
        return None

    @numba.njit(error_model="numpy")
    def update(values, gradients, sums, square_sums, beta1, beta2, rate, eps):
        for i in range(values.size):
            sums[i] = sums[i] * beta1 + gradients[i]
            square_sums[i] = square_sums[i] * beta2 + gradients[i] * gradients[i]
            values[i] -= sums[i] / (np.sqrt(square_sums[i]) + eps) * rate

    return update


class FusedAdam:
    """The ``Adam`` of ``minivae.optim`` for float32 vectors on a device: same settings, same ``step``, same ``state``.

    Everything that changes from step to step is kept in the device's memory.
    The number of steps and the learning rate are arrays on the device, because replaying a captured step would repeat the Python
    numbers it was captured with.  Reading ``steps`` waits for the device; ``step`` does not.
    """

    def __init__(
        self,
        size: int,
        xp: ModuleType,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self.beta1, self.beta2 = check_real("beta1", beta1, 0, 1), check_real("beta2", beta2, 0, 1)
        self.eps = check_real("eps", eps, 0)
        self.sums, self.square_sums = xp.zeros(size, dtype="float32"), xp.zeros(size, dtype="float32")
        self._steps, self._rate = xp.zeros((), dtype="int64"), xp.zeros((), dtype="float64")
        self._kernels = library(xp)
        self.learning_rate = learning_rate

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = check_real("learning_rate", value, 0, open_low=True)
        self._rate.fill(value)

    @property
    def steps(self) -> int:
        return int(self._steps)

    @steps.setter
    def steps(self, value: int) -> None:
        self._steps.fill(value)

    def step(self, values: Array, gradients: Array) -> None:
        """Update ``values`` in place."""
        arrays = (values, gradients, self.sums, self.square_sums, self._steps, self._kernels.tickets, self._rate)
        self._kernels.by_fours("adam", values.size, *arrays, *self.betas_and_eps, values.size)

    @property
    def betas_and_eps(self) -> tuple[np.float64, ...]:
        """The constant settings, as arguments for a kernel."""
        return np.float64(self.beta1), np.float64(self.beta2), np.float64(self.eps)

    @property
    def place(self) -> tuple[Array, Array]:
        """The number of steps and the learning rate, as arrays on the device."""
        return self._steps, self._rate

    def state(self) -> dict[str, Array]:
        """Return the arrays that a resumed training needs to continue exactly as this one would."""
        return {"sums": self.sums, "square_sums": self.square_sums}
