"""The training loop: batches, steps, history, early stop.

What an epoch draws (the order of the rows, the noise, the binarisation) depends only on the seed and the number of the epoch.
Within an epoch, the state includes the rows that are still to come and the state of the generator.  So a training that stops after
any step and is resumed makes exactly the steps that it would have made without the stop.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.autodiff import Tensor, backward
from minivae.backend import Array, generator, generator_state, restore_generator, to_device
from minivae.checks import NonFiniteError, reject
from minivae.kernels.counter_noise import noise_source
from minivae.kernels.graph import Replay
from minivae.optim import clip_by_norm, make_optimizer
from minivae.training.at_once import AtOnce, at_once, replay_obstacle
from minivae.training.batches import Rows
from minivae.training.diagnosis import Snapshot, diagnose, is_finite
from minivae.training.health import Pace
from minivae.training.totals import Totals
from minivae.training.trainable import Trainable

if TYPE_CHECKING:
    from minivae.training.mpi import Peers

CHECK_EVERY = 50  # steps between checks of the loss, each of which waits for a GPU

Hook = Callable[["Trainer"], None]


class Trainer:
    """One run of training: a model, its optimiser, its position and its history.

    Attributes
    ----------
    epoch, step : how many of each have been completed.
    steps_per_epoch : batches in an epoch; the last may be smaller, none is dropped.
    totals : the sum of each term over this epoch so far, on the device.
    running : the mean of each term over this epoch so far, in nats per example.
    peers : the other processes that train the same model on other rows of each batch, or None (``minivae.training.mpi``).
    history : name → one value per epoch; also ``kl_per_dimension``, a list per epoch.
    """

    def __init__(self, model: Trainable, train: Rows, test: Rows | None = None) -> None:
        self.model, self.train, self.test = model, train, test
        vector = model.parameters_
        self._xp = model.xp_
        self.optimizer = make_optimizer(model.optimizer, vector.values.size, self._xp, vector.values.dtype, model.learning_rate)
        self.epoch = self.step = 0
        self.peers: Peers | None = None
        self.steps_per_epoch = math.ceil(len(train) / model.batch_size)
        self.history: dict[str, list[Any]] = {}
        self.best_values: Any = None  # the parameters after the best epoch, where ``patience`` looks for one
        self._order: Any = None  # the rows that are still to come in this epoch; None between two epochs
        self.totals = Totals(self._xp)
        self._one = self._xp.ones((), dtype=vector.values.dtype)  # the loss's slope in itself, made once
        self._seen, self._seconds = 0, 0.0
        self._replay, self._pace = Replay(self._xp, replay_obstacle(model, self.optimizer)), Pace()
        self._at_once: tuple[Hook | None, AtOnce | None] | None = None

    @property
    def running(self) -> dict[str, float]:
        return {name: float(total) / self._seen for name, total in self.totals.items()} if self._seen else {}

    def run(self, epochs: int, on_step: Hook | None = None, on_epoch: Hook | None = None) -> None:
        """Train until ``epochs`` epochs are complete, or until the loss has not improved for ``patience`` epochs.

        With ``patience`` the parameters of the best epoch are restored at the end.
        """
        self.advance(epochs, on_step, on_epoch)
        if self.best_values is not None:
            self.model.parameters_.values[...] = self.best_values

    def advance(self, epochs: int, on_step: Hook | None = None, on_epoch: Hook | None = None) -> None:
        """Train as ``run`` does, but keep the parameters of the last step, so that more epochs can follow."""
        patience, vector = self.model.patience, self.model.parameters_
        while not self.is_over(epochs):
            self.make_epoch(on_step)
            self._record()
            if patience and self.best_epoch == self.epoch:
                self.best_values = vector.values.copy()
            if on_epoch:
                on_epoch(self)

    def is_over(self, epochs: int) -> bool:
        """Return whether ``epochs`` epochs, or ``patience``, are at their end."""
        patience = self.model.patience
        return self.epoch >= epochs or bool(patience and self.epoch - self.best_epoch >= patience)

    @property
    def best_epoch(self) -> int:
        """The number of the epoch with the best loss so far, 0 before the first."""
        losses = self.history.get("test_loss" if self.test else "train_loss")
        return losses.index(min(losses)) + 1 if losses else 0

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return, after any step, the arrays and the numbers (which JSON can hold) that are needed to resume exactly here.

        The arrays are the trainer's own, so the next step changes them; copy what has to be kept.
        """
        arrays = {"values": self.model.parameters_.values, **self.optimizer.state()}
        if self.best_values is not None:
            arrays["best_values"] = self.best_values
        numbers: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "history": self.history}
        numbers["learning_rate"] = self.optimizer.learning_rate
        if self._order is not None:
            totals = {name: float(total) for name, total in self.totals.items()}
            numbers["in_epoch"] = {"totals": totals, "seen": self._seen, "seconds": self._seconds}
            noise = generator_state(self._noise)
            (numbers["in_epoch"] if isinstance(noise, dict) else arrays)["noise"] = noise
        return arrays, numbers

    def restore(self, arrays: dict[str, Array], numbers: dict[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self.model.parameters_.values[...] = to_device(self._xp, arrays["values"])
        for name, array in self.optimizer.state().items():
            array[...] = to_device(self._xp, arrays[name])
        self.best_values = to_device(self._xp, arrays["best_values"]) if "best_values" in arrays else None
        self.epoch, self.step = numbers["epoch"], numbers["step"]
        self.optimizer.steps = self.step
        self.optimizer.learning_rate = numbers.get("learning_rate", self.optimizer.learning_rate)
        history = {name: values[: self.epoch] for name, values in numbers["history"].items()}  # which may be this very one, grown
        self.history.clear()
        self.history.update(history)
        self._order = None
        if within := numbers.get("in_epoch"):
            self._begin_epoch()
            self._order = self._order[within["seen"] :]
            restore_generator(self._noise, within.get("noise", arrays.get("noise")))
            self.totals = Totals(self._xp, within["totals"])
            self._seen, self._seconds = within["seen"], within["seconds"]

    def _begin_epoch(self) -> None:
        """Draw the order of the rows, and place the noise at its beginning."""
        rows = generator(np, self.model.seed_, "order", self.epoch).permutation(len(self.train))
        self._order = to_device(self._xp, rows)
        self._noise = self.noise_of(self.epoch)
        self.model.begin_epoch(self.epoch)
        self.totals, self._seen, self._seconds = Totals(self._xp), 0, 0.0

    def noise_of(self, epoch: int) -> Any:
        """Return the generator of an epoch's noise, at its beginning."""
        return noise_source(self.model.noise, self._xp, self.model.seed_, "noise", epoch)

    def make_epoch(self, on_step: Hook | None = None) -> None:
        """Make the remaining steps of this epoch, and check that all numbers stay finite."""
        if self._order is None:
            self._begin_epoch()
        if self._at_once is None or self._at_once[0] is not on_step:
            self._at_once = on_step, at_once(self, on_step)
        whole = self._at_once[1]
        size, began = self.model.batch_size * (CHECK_EVERY if whole else 1), time.perf_counter() - self._seconds
        pace = self._pace if self._xp is np and self.peers is None else None
        good = Snapshot(self)
        with self.steps(self._order, self._noise) as make_step:
            while len(self._order):
                index, self._order = self._order[:size], self._order[size:]
                before = time.perf_counter()
                try:
                    whole.make(index, self._noise) if whole else make_step(index)
                except NonFiniteError:
                    diagnose(self, good, self.step + 1)
                after = time.perf_counter()
                self._seconds = after - began
                if pace and len(index) == size:
                    pace.note(after - before)
                if whole or self.step % CHECK_EVERY == 0:
                    if not is_finite(self):
                        diagnose(self, good, self.step)
                    good.take(self)
                if on_step:
                    on_step(self)
            if not is_finite(self):
                diagnose(self, good, self.step)
        self.epoch, self._order = self.epoch + 1, None

    @contextlib.contextmanager
    def steps(self, order: Array, noise: Any) -> Iterator[Callable[[Array], None]]:
        """Yield the function that makes a step on the rows of an index; on a GPU it may replay the last one (``kernels.graph``).

        ``order`` holds all the indices that it will be called with, cut into batches in turn.
        """

        def update(index: Array) -> None:
            own, rng = (index, noise) if self.peers is None else self.peers.share(index, noise)
            self._update(self.train.take(own, rng), rng, self.train.condition(own))

        with self._replay.epoch(order, self.model.batch_size, update) as update_or_replay:

            def make_step(index: Array) -> None:
                update_or_replay(index)
                self.count(len(index))

            yield make_step

    def train_step(self, x: Any, noise: Any, condition: Any = None) -> Array:
        """Make one step on a batch (n, d), with noise from the generator ``noise``; return the loss, which stays on the device.

        Raises ``NonFiniteError`` for a loss that is not finite, on the CPU alone.
        """
        loss = self._update(x, noise, condition)
        self.count(len(x))
        return loss

    def next_step(self) -> Iterator[tuple[str, Any]]:
        """Yield, for a diagnosis, the inputs of the next step and what it computes: "x", "condition", and then "loss"."""
        index = self._order[: self.model.batch_size]
        x, condition = self.train.take(index, self._noise), self.train.condition(index)
        yield from (("x", x), ("condition", condition))
        yield "loss", self._objective(x, self._noise, condition)[1]

    def repeat_step(self) -> None:
        """Repeat the next step, for a diagnosis."""
        index, self._order = self._order[: self.model.batch_size], self._order[self.model.batch_size :]
        self.train_step(self.train.take(index, self._noise), self._noise, self.train.condition(index))

    def _objective(self, x: Any, noise: Any, condition: Any) -> tuple[dict[str, Tensor], Tensor]:
        terms = self.model.terms(x, noise, condition)
        reported = {name: term for name, term in terms.items() if not name.startswith("_")}
        for name, term in reported.items():
            if term.shape not in ((len(x),), ()):  # a forgotten sum over features would pass for a mean over them
                expected = f"shape ({len(x)},), one value per example, or ()"
                reject(f"{type(self.model).__name__}.terms: {name}", expected, f"shape {term.shape}", "sum over the other axes")
        loss = self.model.loss(terms, self.step / self.steps_per_epoch)
        if getattr(loss, "shape", None) != () or not isinstance(loss, Tensor):
            got = f"{type(loss).__name__} of shape {getattr(loss, 'shape', ())}"
            reject(f"{type(self.model).__name__}.loss", "a tensor of shape ()", got, "take the mean over the batch of the terms")
        return reported, loss

    def _update(self, x: Any, noise: Any, condition: Any) -> Array:
        """Do the part of a step that runs on the device, without waiting for a GPU."""
        model, vector = self.model, self.model.parameters_
        terms, loss = self._objective(x, noise, condition)
        if self._xp is np and not self.peers and not math.isfinite(loss.data):  # on a device, this look would be a wait
            reject("training", "a finite loss", loss.data, error=NonFiniteError)  # before all parameters have it
        cotangent = self._xp.full((), self.peers.weight, dtype=loss.dtype) if self.peers else self._one
        backward(loss, cotangent, vector.parameters.values())
        values = {name: value.data for name, value in (*terms.items(), ("loss", loss))}
        if self.peers:
            sums = {name: value.mean(dtype="float64") * len(x) for name, value in values.items()}
            sums = self.peers.average(vector.gradients, sums)
            if not math.isfinite(sums["loss"]):  # the same in all processes, so that none goes on to the update
                reject("training", "a finite loss", sums["loss"], error=NonFiniteError)
            self.totals.add(sums, 1)
        else:
            self.totals.add(values, len(x))
        if model.clip_norm is not None:
            clip_by_norm(self._xp, vector.gradients, model.clip_norm)
        self.optimizer.step(vector.values, vector.gradients)
        model.end_step()
        return loss.data

    def count(self, examples: int, steps: int = 1) -> None:
        """Take note of steps that were made."""
        self.step += steps
        self._seen += examples

    def _record(self) -> None:
        row: dict[str, Any] = {"epoch": self.epoch}
        row |= {f"train_{name}": value for name, value in self.model.summarize(self.running).items()}
        terms, code = self.model.evaluate(self.test or self.train.some())
        if self.test:
            row |= {f"test_{name}": value for name, value in self.model.summarize(terms).items()}
        row |= code | {"seconds": self._seconds}
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)
