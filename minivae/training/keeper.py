"""The state of a training, saved to a file while it runs, so that it can be resumed after any end.

The file is that of a model, with the state of the training in addition: ``minivae.load`` reads it as the model at that step.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.backend import generator_state, to_numpy
from minivae.checks import DataFileError, check_path, is_there, reject
from minivae.training import checkpoint
from minivae.training.at_once import only_watches
from minivae.training.interruption import Interruption, Latch
from minivae.training.schema import STATE, compare

if TYPE_CHECKING:
    from minivae.training.trainer import Trainer

PREFIX = "training."  # of the arrays that are not parameters
EVERY = "60s"
FREE = ("epochs", "device", "verbose")  # settings that may change between two parts of a training


class Keeper:
    """Saves the state of a training at intervals and restores it; its methods are the hooks of ``fit``.

        keeper = mv.Keeper("vae.checkpoint")
        vae.fit(x, on_start=keeper.on_start, on_step=keeper.on_step, on_epoch=keeper.on_epoch)

    If the file exists when training starts, training continues from it, to the same bits as without the interruption, given the
    same kind of device and, under MPI, number of processes.  A save replaces the previous one after it has been read back.

    Parameters
    ----------
    path : of the file.
    every : "30s" for seconds, at the end of a step, or "2" for epochs.
    context : values that JSON can hold, saved with the state.
    latch : when a signal has set it, the step ends, the state is saved, and ``Interruption`` is raised.

    Attributes
    ----------
    saved_step : the number of steps in the file, or None while there is none.

    Raises ``DataFileError`` when the file cannot be written, or belongs to another training; the last good file is kept.
    """

    def __init__(self, path: Any, every: str = EVERY, context: dict[str, Any] | None = None, latch: Latch | None = None) -> None:
        self.path = Path(check_path("path", path))
        self.seconds, self.epochs = interval(every)
        self.context, self.latch = context or {}, latch or Latch()
        self.saved_step: int | None = None
        self._saved_at = time.monotonic()

    def on_start(self, trainer: Trainer) -> None:
        """Restore the state from the file, if there is one; to be called before the first step."""
        if is_there(self.path):
            with checkpoint.reading(self.path, "the state of a training", "train anew") as kept:
                trainer.restore(*self._state(kept, trainer))
            self.saved_step = trainer.step
        self._saved_at = time.monotonic()

    @only_watches
    def on_step(self, trainer: Trainer) -> None:
        """Save the state if it is time to, and end the training if a signal has come; to be called after every step."""
        signum = self.latch.signum
        if signum or (self.seconds and time.monotonic() - self._saved_at >= self.seconds):
            self.save(trainer)
        if signum:
            raise Interruption(signum)

    def on_epoch(self, trainer: Trainer) -> None:
        """Save the state if it is time to, and at the end of training; to be called after every epoch."""
        if trainer.is_over(trainer.model.epochs) or (self.epochs and trainer.epoch % self.epochs == 0):
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the state as it is now."""
        model = trainer.model
        arrays, numbers = trainer.state()
        del arrays["values"], numbers["history"]  # the parameters go by their names, and a model's record has its history
        named = {PREFIX + name: to_numpy(array) for name, array in arrays.items()}
        parameters = {name: to_numpy(array) for name, array in model.parameters_.state().items()}
        record = model.record() | {"training": numbers, "data": trainer.train.fingerprint(), "context": self.context}
        checkpoint.save(self.path, parameters | named, record)
        self.saved_step, self._saved_at = trainer.step, time.monotonic()

    def _state(self, kept: checkpoint.Kept, trainer: Trainer) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what ``Trainer.restore`` takes, once it is known to be of this training and possible at all."""
        record = kept.record
        if "training" not in record:
            reject("training", "the state of one", "a model without it")
        compare("record", record, STATE)
        self._check_is_of(record, trainer)
        numbers = record["training"] | {"history": record["history"]}
        _check_position(numbers, trainer)
        checkpoint.check_kinds(_kinds(numbers, trainer), kept.kinds)
        arrays = kept.arrays()
        checkpoint.check_finite(arrays)
        state = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
        state["values"] = np.concatenate([arrays[name].reshape(-1) for name in trainer.model.parameters_.parameters])
        if "square_sums" in state and (state["square_sums"] < 0).any():
            reject(PREFIX + "square_sums", "sums of squares", "negative numbers")
        return state, numbers

    def _check_is_of(self, record: dict[str, Any], trainer: Trainer) -> None:
        """Refuse the state of another training."""
        model, mend = trainer.model, "go on with the same model, settings and data"
        if record["model"] != type(model).__name__:
            reject(str(self.path), f"a training of {type(model).__name__}", record["model"], mend, DataFileError)
        before, now = (type(model).from_record(params) for params in (record["params"], model.record()["params"]))
        before.check_settings()
        for name, value in now.get_params().items():
            was = getattr(before, name)
            if name not in FREE and was != value:
                reject(str(self.path), f"{name} = {was!r}, as the training began with", repr(value), mend, DataFileError)
        own = model.record() | {"data": trainer.train.fingerprint()}
        if any(record[name] != own[name] for name in ("n_features", "learned", "data")):
            reject(str(self.path), "the data that the training began with", "others", mend, DataFileError)


def _check_position(numbers: dict[str, Any], trainer: Trainer) -> None:
    """Refuse a position that no training of this model on these data can have come to."""
    model, epoch, within, history = trainer.model, numbers["epoch"], numbers.get("in_epoch"), numbers["history"]
    done = numbers["step"] - epoch * trainer.steps_per_epoch  # of the steps of this epoch
    seen = min(done * model.batch_size, len(trainer.train))
    found = within["seen"] if within else 0
    if not 0 <= done <= trainer.steps_per_epoch or found != seen:
        reject("step", f"one in epoch {epoch + 1}, with {seen} rows of it seen", f"{numbers['step']}, with {found}")
    terms, code = model.evaluate(trainer.train.some())
    parts = ("train", "test") if trainer.test else ("train",)
    columns = {"epoch", "seconds", *code, *(f"{part}_{name}" for part in parts for name in model.summarize(terms))}
    epochs = history.get("epoch", [])  # in order from 1 on, none twice
    if len(epochs) != epoch or (epoch and (epochs[-1] != epoch or history.keys() != columns)):
        reject("history", f"{', '.join(sorted(columns))} of {epoch} epochs", "others")
    if within:
        if within["totals"].keys() != terms.keys():
            reject("totals", ", ".join(terms), ", ".join(within["totals"])[:80])
        begun = generator_state(trainer.noise_of(epoch))
        if isinstance(begun, dict) and within["noise"]["state"]["inc"] != begun["state"]["inc"]:
            reject("noise", "a generator of this seed and epoch", "another")


def _kinds(numbers: dict[str, Any], trainer: Trainer) -> dict[str, checkpoint.Kind]:
    """Return what each array of a state has to be."""
    model, vector = trainer.model, trainer.model.parameters_
    shapes = {name: parameter.shape for name, parameter in vector.parameters.items()}
    best = ["best_values"] if model.patience and numbers["epoch"] else []
    shapes |= {PREFIX + name: vector.values.shape for name in (*trainer.optimizer.state(), *best)}
    kinds = {name: checkpoint.kind_of(vector.values.dtype, shape) for name, shape in shapes.items()}
    noise = generator_state(trainer.noise_of(numbers["epoch"]))
    if "in_epoch" in numbers and not isinstance(noise, dict):
        kinds[PREFIX + "noise"] = checkpoint.kind_of(noise.dtype, noise.shape)
    return kinds


def interval(every: Any) -> tuple[float, int]:
    """Return (seconds, epochs) of "30s" or "2", the other one 0."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)s|(\d+)", str(every), re.ASCII)
    seconds, epochs = (float(match[1] or 0), int(match[2] or 0)) if match and len(match[0]) < 20 else (0.0, 0)
    if not seconds and not epochs:
        reject("checkpoint-every", 'seconds as "60s" or a number of epochs as "5", above 0', repr(every)[:80])
    return seconds, epochs


def parameters_of(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of a file, or what is known of them, that are a model's parameters."""
    return {name: array for name, array in arrays.items() if not name.startswith(PREFIX)}
