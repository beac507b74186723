"""The record of an operation: two pure functions and their names.

An op knows nothing of the tape.  Its forward takes arrays and returns the result with a tuple ``saved`` of what its
backward will read; its backward takes that tuple and the cotangent ``g`` (the gradient of the loss with respect to the
result, of the result's shape) and returns one gradient per argument: the vector–Jacobian product, the chain rule for one link.
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
    writes_into : the backward takes a further ``into``, one array or None per argument, and leaves a gradient there
        instead of in fresh memory: what spares a copy where matrices are large (``dense``).
    """

    name: str
    forward: Callable[..., tuple[Any, tuple[Any, ...]]]
    backward: Callable[..., tuple[Any, ...]]
    args: tuple[str, ...]
    writes_into: bool = False

    # Calling an op applies it to tensors; ``autodiff`` sets this, since the tape knows ops and ops do not know the tape.
    __call__: ClassVar[Callable[..., Any]]

    @property
    def doc(self) -> str:
        """The derivation: the docstring of the forward."""
        return self.forward.__doc__ or ""
