"""A dense layer and the activation behind it as one op, for devices that compute both in one kernel.

On the CPU they stay two ops, so that each can be inspected on the tape.
"""

from __future__ import annotations

from functools import partial

from minivae.op import Op
from minivae.ops.activations import relu, tanh
from minivae.ops.dense import dense


def followed_by(first: Op, second: Op) -> Op:
    """Return ``second`` of the result of ``first`` as one op: the chain rule for two links in a row.

    out = f₂(f₁(x))        ∂L/∂x = (∂f₁/∂x)ᵀ (∂f₂/∂f₁)ᵀ ∂L/∂out
    """
    forward, backward = partial(_forward, first, second), partial(_backward, first, second)
    return Op(f"{first.name}_{second.name}", forward, backward, first.args, first.writes_into)


def _forward(first, second, xp, *arrays, **options):
    between, saved = first.forward(xp, *arrays, **options)
    out, saved_behind = second.forward(xp, between)
    return out, (saved, saved_behind)


def _backward(first, second, xp, saved, g, needs, into=(None, None, None)):
    saved, saved_behind = saved
    (g,) = second.backward(xp, saved_behind, g, (True,))
    return first.backward(xp, saved, g, needs, into)


LAYERS = {activation.name: followed_by(dense, activation) for activation in (relu, tanh)}
