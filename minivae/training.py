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
from minivae.backend import Array, generator
from minivae.batches import Rows
from minivae.checks import NonFiniteError, reject
from minivae.optim import OPTIMIZERS, clip_by_norm

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
        self.optimizer = OPTIMIZERS[model.optimizer](vector.values.size, self._xp, vector.values.dtype, model.learning_rate)
        self.epoch = self.step = 0
        self.steps_per_epoch = math.ceil(len(train) / model.batch_size)
        self.history: dict[str, list[Any]] = {}
        self._totals: dict[str, Any] = {}
        self._seen = 0

    @property
    def running(self) -> dict[str, float]:
        return {name: float(total) / self._seen for name, total in self._totals.items()} if self._seen else {}

    def run(self, epochs: int, on_step: Hook | None = None, on_epoch: Hook | None = None) -> None:
        """Train until ``epochs`` epochs are complete, or until ``patience`` of them brought no better loss.

        With ``patience`` the parameters of the best epoch are put back at the end.
        """
        best_loss, best_epoch, best_values = math.inf, 0, None
        patience = self.model.patience
        while self.epoch < epochs:
            started = time.perf_counter()
            self._run_epoch(on_step)
            self._record(time.perf_counter() - started)
            if on_epoch:
                on_epoch(self)
            if patience is None:
                continue
            loss = self.history["test_loss" if self.test else "train_loss"][-1]
            if loss < best_loss:
                best_loss, best_epoch, best_values = loss, self.epoch, self.model.parameters_.values.copy()
            elif self.epoch - best_epoch >= patience:
                break
        if best_values is not None:
            self.model.parameters_.values[...] = best_values

    def _run_epoch(self, on_step: Hook | None) -> None:
        model, seed = self.model, self.model.seed
        order = generator(np, seed, "order", self.epoch).permutation(len(self.train))
        order = self._xp.asarray(order)
        noise = generator(self._xp, seed, "noise", self.epoch)
        self._totals, self._seen = {}, 0
        for start in range(0, len(order), model.batch_size):
            index = order[start : start + model.batch_size]
            self.train_step(self.train.take(index, noise), noise, self.train.condition(index))
            if self.step % CHECK_EVERY == 0:
                self._check_finite()
            if on_step:
                on_step(self)
        self._check_finite()
        self.epoch += 1

    def train_step(self, x: Any, noise: Any, condition: Any = None) -> Array:
        """Make one step on a batch (n, d), with noise from the generator ``noise``; return the loss, still on the device."""
        model, vector = self.model, self.model.parameters_
        terms = model.terms(x, noise, condition)
        loss = model.loss(terms, self.step / self.steps_per_epoch)
        backward(loss, leaves=vector.parameters.values())
        if model.clip_norm is not None:
            clip_by_norm(self._xp, vector.gradients, model.clip_norm)
        self.optimizer.step(vector.values, vector.gradients)
        self.step += 1
        self._seen += len(x)
        for name, value in (*terms.items(), ("loss", loss)):
            self._totals[name] = self._totals.get(name, 0.0) + value.data.mean(dtype="float64") * len(x)
        return loss.data

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
