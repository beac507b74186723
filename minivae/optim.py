"""Optimisers over one flat vector of parameters.

``step`` goes through the vector in blocks that fit the cache, because an update makes many cheap passes over the same numbers.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from minivae.backend import Array
from minivae.checks import check_real
from minivae.kernels import usable
from minivae.kernels.adam import FusedAdam, in_one_pass

BLOCK = 65_536  # floats; four such arrays are one megabyte
WORTH_COMPILING = 131_072  # parameters; loading the compiler takes as long as some thousand updates of so many
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
        for block in _blocks(values.size):
            v = self.velocity[block]
            v *= self.momentum
            v += gradients[block]
            values[block] -= float(self.learning_rate) * v  # a hook may have set a NumPy number, whose dtype would be used

    def state(self) -> dict[str, Array]:
        """Return the arrays that have to be kept to continue later exactly from here."""
        return {"velocity": self.velocity}


class Adam:
    """Adam: the running mean of the gradient over the root of its running mean square, both corrected for bias (Kingma & Ba 2015).

        m ← β₁ m + (1 − β₁) g              m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²             v̂ = v / (1 − β₂ᵗ)
        θ ← θ − η m̂ / (√v̂ + ε)

    Why the hats: m and v begin at zero, so after t steps they hold only the share 1 − βᵗ of a full mean.
    Tuned: the arrays hold the sums  M = m / (1 − β₁)  and  V = v / (1 − β₂),  to which g and g² are added without a factor.  All
    factors of both hats go into two numbers:  θ ← θ − rate · M / (√V + eps).  A block then takes ten passes in place, without
    allocation; the equations as written take seventeen, with as many temporaries.  With numba (extra ``compiled``) it takes one
    pass, to the same bits, from ``WORTH_COMPILING`` parameters on.
    Tried without gain: ``rate`` in the scale of M or V, which takes its pass away and needs one for the scale of g instead, since
    M / √V is the same at any scale of g; numexpr, with three passes that take four times as long; and two threads, one half of the
    vector each, which gain a third where nothing else runs, but 4 % of a step at most, since its products have both cores busy.
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
        self.sums, self.square_sums = xp.zeros(size, dtype=dtype), xp.zeros(size, dtype=dtype)
        self._scratch = xp.empty(min(size, BLOCK), dtype=dtype)
        self._xp, self._number = xp, np.dtype(dtype).type
        self._compiled = in_one_pass() if xp is np and size >= WORTH_COMPILING else None

    def step(self, values: Array, gradients: Array) -> None:
        """Update ``values`` in place."""
        self.steps += 1
        beta1, beta2, update = self.beta1, self.beta2, self._compiled or self._in_passes
        to_unbiased_root = math.sqrt((1 - beta2) / (1 - beta2**self.steps))  # √v̂ = √V · this
        rate = float(self.learning_rate) * (1 - beta1) / (1 - beta1**self.steps) / to_unbiased_root
        eps = self.eps / to_unbiased_root
        factors = [self._number(factor) for factor in (beta1, beta2, rate, eps)]
        for block in _blocks(values.size):
            sums, square_sums = self.sums[block], self.square_sums[block]
            if self.steps % FLUSH_EVERY == 0:  # what decays for a pixel that is always black becomes denormal: ten times slower
                sums += 1e-25
                sums -= 1e-25
                square_sums += 1e-30
                square_sums -= 1e-30
            update(values[block], gradients[block], sums, square_sums, *factors)

    def _in_passes(self, values: Array, gradients: Array, sums: Array, square_sums: Array, *factors: Any) -> None:
        xp, scratch, (beta1, beta2, rate, eps) = self._xp, self._scratch[: values.size], factors
        sums *= beta1
        sums += gradients
        square_sums *= beta2
        xp.multiply(gradients, gradients, out=scratch)
        square_sums += scratch
        xp.sqrt(square_sums, out=scratch)
        scratch += eps
        xp.divide(sums, scratch, out=scratch)
        scratch *= rate
        values -= scratch

    def state(self) -> dict[str, Array]:
        """Return the arrays that have to be kept to continue later exactly from here."""
        return {"sums": self.sums, "square_sums": self.square_sums}


OPTIMIZERS = {"adam": Adam, "sgd": SGD}


def make_optimizer(name: str, size: int, xp: ModuleType, dtype: Any, learning_rate: float) -> SGD | Adam | FusedAdam:
    """Return the optimiser of a name in ``OPTIMIZERS``; on a GPU with kernels, Adam is a fused one."""
    if name == "adam" and dtype == "float32" and usable(xp, size):
        return FusedAdam(size, xp, learning_rate)
    return OPTIMIZERS[name](size, xp, dtype, learning_rate)


def clip_by_norm(xp: ModuleType, gradients: Array, max_norm: float) -> None:
    """Scale ``gradients`` in place so that their Euclidean norm is at most ``max_norm`` (Pascanu, Mikolov & Bengio 2013).

    The factor stays on the device, so nothing has to wait for the norm to be copied to the host.
    """
    norm = xp.sqrt(xp.square(gradients.astype("float64")).sum())  # 1e20² overflows float32
    gradients *= (max_norm / xp.maximum(norm, max_norm)).astype(gradients.dtype)


def _blocks(size: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]
