"""Which number stopped being finite first, and the state just before it did.

The training loop checks its sums only every so many steps, and by then a NaN may have spread everywhere.  So a copy of the state
is kept from one check to the next.  On failure, training goes back to it and repeats the same steps one at a time, checking each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

import numpy as np

from minivae.autodiff import Tensor, backward, topological_order
from minivae.backend import Array, to_numpy
from minivae.checks import NonFiniteError, reject
from minivae.training.totals import Totals
from minivae.training.trainable import Trainable

Finding = tuple[str, str, str]  # what it is, what its numbers are like, and the fix
CLEAN = "remove or impute the missing values, and scale large ones"
SLOWER = "scale the data, lower learning_rate, or set clip_norm"
ELSEWHERE = "it changed between two steps of training: check the hooks and the initial weights"


class Repeatable(Protocol):
    """A training that can return to an earlier state and make its steps again, one at a time."""

    model: Trainable
    epoch: int
    step: int
    totals: Totals
    peers: Any

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]: ...

    def restore(self, arrays: dict[str, Any], numbers: dict[str, Any]) -> None: ...

    def next_step(self) -> Iterator[tuple[str, Any]]: ...

    def repeat_step(self) -> None: ...


class Snapshot:
    """A copy of a trainer's state, to go back to."""

    def __init__(self, trainer: Repeatable) -> None:
        self._copies: dict[str, Array] = {}
        self.take(trainer)

    def take(self, trainer: Repeatable) -> None:
        """Copy the state, into the memory of the old copy where it fits, since this happens during training."""
        arrays, self._numbers = trainer.state()
        for name, array in arrays.items():
            if name in self._copies:
                self._copies[name][...] = array
            else:
                self._copies[name] = array.copy()

    def restore(self, trainer: Repeatable) -> None:
        """Put the trainer back to where it was."""
        trainer.restore(self._copies, self._numbers)


def is_finite(trainer: Repeatable) -> bool:
    """Return whether all terms of this epoch and all parameters are finite; this waits for a device once."""
    return math.isfinite(float(sum(trainer.totals.values()) + trainer.model.parameters_.values.sum()))


@np.errstate(all="ignore")
def diagnose(trainer: Repeatable, good: Snapshot, failed: int) -> NoReturn:
    """Raise ``NonFiniteError`` with the first tensor that is not finite by step ``failed``, after going back to the step before.

    What training alone does not do again was done between two steps: then it is a parameter that is not finite now.
    """
    now = next(_parameters(trainer), None)
    good.restore(trainer)
    finding = None
    while finding is None and trainer.step < failed and trainer.peers is None:
        good.take(trainer)
        finding = next(_of_next_step(trainer, good), None)
        if finding is None:
            trainer.repeat_step()
            finding = next(_parameters(trainer, "after the step of the optimiser", SLOWER), None)
    step = trainer.step if finding and "after" in finding[0] else trainer.step + 1
    good.restore(trainer)
    what, numbers, mend = finding or now or ("the sum of the terms", "NaN or infinite", ELSEWHERE)
    where = f"in epoch {trainer.epoch + 1}, at step {step}" if finding else f"in epoch {trainer.epoch + 1}, by step {failed}"
    reject("training", "a finite loss", f"{what}, {numbers}, {where}", mend, NonFiniteError)


def statistics(array: Array) -> str:
    """Return in words how many numbers of an array are not finite, and the range of the others."""
    numbers = to_numpy(array)
    finite = numbers[np.isfinite(numbers)]
    nan = int(np.isnan(numbers).sum())
    parts = [f"{count} {kind}" for count, kind in ((nan, "NaN"), (numbers.size - finite.size - nan, "infinite")) if count]
    rest = f"the rest from {finite.min():.3g} to {finite.max():.3g}" if finite.size else "no finite number"
    return f"shape {numbers.shape} with {' and '.join(parts)}, {rest}"


def _of_next_step(trainer: Repeatable, good: Snapshot) -> Iterator[Finding]:
    """Yield what is not finite in the next step, in the order of the computation; the trainer's state is the same afterwards."""
    step = trainer.next_step()
    for what, (_, array) in zip(("the data batch x", "the condition y"), step):
        if array is not None and not _all_finite(array):
            yield what, statistics(array), CLEAN
    yield from _parameters(trainer)
    _, loss = next(step)
    yield from _tensors(loss)
    vector = trainer.model.parameters_
    backward(loss, leaves=vector.parameters.values())
    for name, parameter in reversed(vector.parameters.items()):  # backward reaches the last layer first
        if not _all_finite(parameter.grad):
            yield f"the gradient of {name}", statistics(parameter.grad), SLOWER
    good.restore(trainer)


def _tensors(loss: Tensor) -> Iterator[Finding]:
    """Yield the tensors on the tape that are not finite, each named by its op and the layer it is in or comes after."""
    parts: dict[Tensor, str] = {}
    for tensor in topological_order(loss):
        if tensor.node is None:
            parts[tensor] = tensor.name.rpartition(".")[0] or tensor.name
            continue
        above = [parent for parent in tensor.node.inputs if parent is not None]
        layers = [parts[parent] for parent in above if parent.node is None]
        parts[tensor] = layers[0] if layers else parts[above[-1]]
        if not _all_finite(tensor.data):
            place = "in" if layers else "behind"
            yield f"the output of {tensor.node.op.name} {place} {parts[tensor]}", statistics(tensor.data), SLOWER


def _parameters(trainer: Repeatable, when: str = "", mend: str = ELSEWHERE) -> Iterator[Finding]:
    for name, parameter in trainer.model.parameters_.parameters.items():
        if not _all_finite(parameter.data):
            yield f"the parameter {name} {when}".rstrip(), statistics(parameter.data), mend


def _all_finite(array: Any) -> bool:
    return bool(np.isfinite(to_numpy(array)).all())
