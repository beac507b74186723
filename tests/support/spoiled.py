"""Ops whose backward is wrong on purpose, and every argument of every example to try it on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minivae.op import Op
from minivae.ops.examples import EXAMPLES

every_argument = pytest.mark.parametrize(
    ("example", "argument"),
    [(example, argument) for example in EXAMPLES for argument in example.arguments],
    ids=lambda value: value if isinstance(value, str) else value.name,
)


def spoiled(op: Op, position: int, spoil) -> Op:
    """The op with the gradient of one argument passed through ``spoil``."""

    def backward(xp, saved, g, needs, *into):
        gradients = list(op.backward(xp, saved, g, needs))
        gradients[position] = spoil(np.array(gradients[position]))
        return tuple(gradients)

    return replace(op, backward=backward)
