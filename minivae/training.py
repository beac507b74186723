"""The training loop: batches, steps, history, early stop.

What an epoch draws (the order of the rows, the noise, the binarisation) depends on the seed and the epoch's number alone, so a
run that stops between epochs and goes on later draws what it would have drawn without the stop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.autodiff import backward
from minivae.backend import Array, generator, to_device
from minivae.batches import Rows
from minivae.checks import NonFiniteError, reject
from minivae.counter_noise import noise_source
from minivae.kernels.adam import FusedAdam
from minivae.kernels.graph import Replay
from minivae.optim import clip_by_norm, make_optimizer

if TYPE_CHECKING:
    from minivae.models.base import Model

CHECK_EVERY = 50  # steps between looks at the loss: on a GPU, each look is a wait

Hook = Callable[["Trainer"], None]


class Trainer:
    """One run of training: a model, its optimiser, its position and its history.

    Attributes
    ----------
    epoch, step : how many of each are complete.
    steps_per_epoch : batches in an epoch; the last may be smaller, none is dropped.
    running : the mean of each term over this epoch so far, in nats per example.
    history : name → one value per epoch; also ``kl_per_dimension``, a list per epoch.
    """

    def __init__(self, model: Model, train: Rows, test: Rows | None = None) -> None:
        self.model, self.train, self.test = model, train, test
        vector = model.parameters_
        self._xp = model.xp_
        self.optimizer = make_optimizer(model.optimizer, vector.values.size, self._xp, vector.values.dtype, model.learning_rate)
        self.epoch = self.step = 0
        self.steps_per_epoch = math.ceil(len(train) / model.batch_size)
        self.history: dict[str, list[Any]] = {}
        self.best_loss, self.best_epoch, self.best_values = math.inf, 0, None
        self._totals: dict[str, Any] = {}
        self._seen = 0
        self._replay = Replay(self._xp, self._obstacle())

    @property
    def running(self) -> dict[str, float]:
        return {name: float(total) / self._seen for name, total in self._totals.items()} if self._seen else {}

    def run(self, epochs: int, on_step: Hook | None = None, on_epoch: Hook | None = None) -> None:
        """Train until ``epochs`` epochs are complete, or until ``patience`` of them brought no better loss.

        With ``patience`` the parameters of the best epoch are put back at the end.
        """
        patience, vector = self.model.patience, self.model.parameters_
        while self.epoch < epochs and not (patience and self.epoch - self.best_epoch >= patience):
            started = time.perf_counter()
            self._run_epoch(on_step)
            self._record(time.perf_counter() - started)
            loss = self.history["test_loss" if self.test else "train_loss"][-1]
            if patience and loss < self.best_loss:
                self.best_loss, self.best_epoch, self.best_values = loss, self.epoch, vector.values.copy()
            if on_epoch:
                on_epoch(self)
        if self.best_values is not None:
            vector.values[...] = self.best_values

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return, between two epochs, the arrays and the JSON-able numbers that a later run needs to go on as this one would."""
        arrays = {"values": self.model.parameters_.values, **self.optimizer.state()}
        if self.best_values is not None:
            arrays["best_values"] = self.best_values
        numbers = {"epoch": self.epoch, "step": self.step, "optimizer_steps": self.optimizer.steps}
        return arrays, numbers | {"best_loss": self.best_loss, "best_epoch": self.best_epoch, "history": self.history}

    def restore(self, arrays: dict[str, Array], numbers: dict[str, Any]) -> None:
        """Take up what ``state`` returned."""
        self.model.parameters_.values[...] = to_device(self._xp, arrays["values"])
        for name, array in self.optimizer.state().items():
            array[...] = to_device(self._xp, arrays[name])
        self.best_values = to_device(self._xp, arrays["best_values"]) if "best_values" in arrays else None
        self.epoch, self.step, self.optimizer.steps = numbers["epoch"], numbers["step"], numbers["optimizer_steps"]
        self.best_loss, self.best_epoch = numbers["best_loss"], numbers["best_epoch"]
        self.history.clear()
        self.history.update(numbers["history"])

    def _run_epoch(self, on_step: Hook | None) -> None:
        model, seed = self.model, self.model.seed
        order = generator(np, seed, "order", self.epoch).permutation(len(self.train))
        order = self._xp.asarray(order)
        noise = noise_source(model.noise, self._xp, seed, "noise", self.epoch)
        self._totals, self._seen = {}, 0

        def update(index: Array) -> None:
            self._update(self.train.take(index, noise), noise, self.train.condition(index))

        with self._replay.epoch(order, model.batch_size, update) as update_or_replay:
            for start in range(0, len(order), model.batch_size):
                index = order[start : start + model.batch_size]
                update_or_replay(index)
                self._count(len(index))
                if self.step % CHECK_EVERY == 0:
                    self._check_finite()
                if on_step:
                    on_step(self)
            self._check_finite()
        self.epoch += 1

    def train_step(self, x: Any, noise: Any, condition: Any = None) -> Array:
        """Make one step on a batch (n, d), with noise from the generator ``noise``; return the loss, still on the device."""
        loss = self._update(x, noise, condition)
        self._count(len(x))
        return loss

    def _update(self, x: Any, noise: Any, condition: Any) -> Array:
        """Do what a step does on the device: on a GPU, nothing here waits for it."""
        model, vector = self.model, self.model.parameters_
        terms = model.terms(x, noise, condition)
        loss = model.loss(terms, self.step / self.steps_per_epoch)
        backward(loss, leaves=vector.parameters.values())
        if model.clip_norm is not None:
            clip_by_norm(self._xp, vector.gradients, model.clip_norm)
        self.optimizer.step(vector.values, vector.gradients)
        for name, value in (*terms.items(), ("loss", loss)):
            total = value.data.mean(dtype="float64") * len(x)
            if name in self._totals:
                self._totals[name] += total  # in place on a device, where a replayed step adds to it
            else:
                self._totals[name] = total
        return loss.data

    def _count(self, n: int) -> None:
        self.step += 1
        self._seen += n

    def _obstacle(self) -> str:
        """Return what changes from step to step on the host, so that a step cannot be repeated by the device alone."""
        model = self.model
        if model.noise != "counter":
            return f"noise={model.noise!r} is not a function of what is on the device; noise='counter' is"
        if not isinstance(self.optimizer, FusedAdam):
            return f"optimizer={model.optimizer!r} in {model.dtype} without its kernel counts steps on the host"
        if getattr(model, "warm_up_epochs", 0):
            return "warm_up_epochs changes the loss from step to step"
        return ""

    def _check_finite(self) -> None:
        bad = [name for name, value in self.running.items() if not math.isfinite(value)]
        if bad:
            where = f"{bad[0]} = {self.running[bad[0]]} in epoch {self.epoch + 1}, by step {self.step}"
            reject("training", "a finite loss", where, "lower learning_rate, or set clip_norm", NonFiniteError)

    def _record(self, seconds: float) -> None:
        row: dict[str, Any] = {"epoch": self.epoch}
        row |= {f"train_{name}": value for name, value in self.model.summarize(self.running).items()}
        terms, code = self.model.evaluate(self.test or self.train.head())
        if self.test:
            row |= {f"test_{name}": value for name, value in self.model.summarize(terms).items()}
        row |= code | {"seconds": seconds}
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)
