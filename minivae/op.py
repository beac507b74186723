"""The record of an operation: two pure functions and their names.

An op knows nothing of the tape.  Its forward takes arrays and returns the result together with a tuple ``saved``, which holds
what its backward will read.  Its backward takes that tuple and the cotangent ``g``, the gradient of the loss with respect to the
result, and returns one gradient per argument: the vector–Jacobian product, which is the chain rule for one link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, eq=False)
class Op:
    """One differentiable operation.

    Attributes
    ----------
    name : the name under which users, tests and error messages know it.
    forward : ``forward(xp, *arrays, **options) -> (out, saved)``.
    backward : ``backward(xp, saved, g, needs) -> gradients``, one per argument; ``None`` where ``needs`` is False.
        It never writes into ``g`` or ``saved``, and it may return ``g`` itself.
    args : names of the array arguments, in order.
    writes_into : whether backward takes one more argument ``into``, with an array or None for each argument, and writes a gradient
        there instead of into new memory.  This saves a copy where matrices are large (``dense``).
    """

    name: str
    forward: Callable[..., tuple[Any, tuple[Any, ...]]]
    backward: Callable[..., tuple[Any, ...]]
    args: tuple[str, ...]
    writes_into: bool = False

    # Calling an op applies it to tensors.  ``autodiff`` sets this, because the tape knows the ops but the ops do not know the tape.
    __call__: ClassVar[Callable[..., Any]]

    @property
    def doc(self) -> str:
        """The derivation: the docstring of the forward."""
        return self.forward.__doc__ or ""
