"""Optimisers over one flat vector of parameters.

``step`` walks the vector in blocks that fit the cache, because an update is many cheap passes over the same numbers: for 650,000
parameters that takes two thirds of the time of whole-vector passes.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from minivae.backend import Array
from minivae.checks import check_real

BLOCK = 65_536  # floats; four such arrays are one megabyte
FLUSH_EVERY = 64  # steps


class SGD:
    """Stochastic gradient descent, θ ← θ − η v with v ← momentum · v + g (Polyak 1964; momentum 0 is plain descent)."""

    def __init__(self, size: int, xp: ModuleType, dtype: Any, learning_rate: float = 1e-2, momentum: float = 0.0) -> None:
        self.learning_rate = check_real("learning_rate", learning_rate, 0, open_low=True)
        self.momentum = check_real("momentum", momentum, 0, 1)
        self.steps = 0
        self.velocity = xp.zeros(size, dtype=dtype)

    def step(self, values: Array, gradients: Array) -> None:
        """Update ``values`` in place."""
        self.steps += 1
        for part in _blocks(values.size):
            v = self.velocity[part]
            v *= self.momentum
            v += gradients[part]
            values[part] -= self.learning_rate * v

    def state(self) -> dict[str, Array]:
        """Return the arrays that a later run needs to go on as this one would."""
        return {"velocity": self.velocity}


class Adam:
    """Adam: steps of the gradient's mean over the root of its mean square, both running and unbiased (Kingma & Ba 2015).

        m ← β₁ m + (1 − β₁) g              m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²             v̂ = v / (1 − β₂ᵗ)
        θ ← θ − η m̂ / (√v̂ + ε)

    Why the hats: m and v begin at zero, so after t steps they hold only the share 1 − βᵗ of a full mean.
    Tuned: multiplying numerator and denominator by √(1 − β₂ᵗ) turns both hats into two scalars, and a block then needs
    eight passes in place and no allocation.
    """

    def __init__(
        self,
        size: int,
        xp: ModuleType,
        dtype: Any,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self.learning_rate = check_real("learning_rate", learning_rate, 0, open_low=True)
        self.beta1, self.beta2 = check_real("beta1", beta1, 0, 1), check_real("beta2", beta2, 0, 1)
        self.eps = check_real("eps", eps, 0)
        self.steps = 0
        self.m, self.v = xp.zeros(size, dtype=dtype), xp.zeros(size, dtype=dtype)
        self._scratch = xp.empty(min(size, BLOCK), dtype=dtype)
        self._xp = xp

    def step(self, values: Array, gradients: Array) -> None:
        """Update ``values`` in place."""
        self.steps += 1
        xp, beta1, beta2 = self._xp, self.beta1, self.beta2
        root = math.sqrt(1 - beta2**self.steps)
        rate = self.learning_rate * root / (1 - beta1**self.steps)
        eps = self.eps * root
        flush = self.steps % FLUSH_EVERY == 0
        for part in _blocks(values.size):
            g, m, v = gradients[part], self.m[part], self.v[part]
            scratch = self._scratch[: g.size]
            m *= beta1
            xp.multiply(g, 1 - beta1, out=scratch)
            m += scratch
            v *= beta2
            xp.multiply(g, g, out=scratch)
            scratch *= 1 - beta2
            v += scratch
            if flush:  # a weight whose pixel is always black has moments that decay into denormals, which cost ten times a float
                m += 1e-25
                m -= 1e-25
                v += 1e-30
                v -= 1e-30
            xp.sqrt(v, out=scratch)
            scratch += eps
            xp.divide(m, scratch, out=scratch)
            scratch *= rate
            values[part] -= scratch

    def state(self) -> dict[str, Array]:
        """Return the arrays that a later run needs to go on as this one would."""
        return {"m": self.m, "v": self.v}


OPTIMIZERS = {"adam": Adam, "sgd": SGD}


def clip_by_norm(xp: ModuleType, gradients: Array, max_norm: float) -> None:
    """Scale ``gradients`` in place so that their Euclidean norm is at most ``max_norm`` (Pascanu, Mikolov & Bengio 2013).

    The factor stays on the device: nothing waits for the norm to reach the host.
    """
    norm = xp.sqrt(xp.vdot(gradients, gradients))
    gradients *= max_norm / xp.maximum(norm, max_norm)


def _blocks(size: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
