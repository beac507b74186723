"""A training's state kept in a file while it goes on, so that it can go on after any end.

The file is a model's, under the parameters' own names, with what the training needs beside them: ``minivae.load`` reads it as the
model that it was at that step.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.backend import to_numpy
from minivae.checks import DataFileError, MinivaeError, check_int, check_path, check_real, reject
from minivae.training import checkpoint
from minivae.training.interruption import Interruption, Latch

if TYPE_CHECKING:
    from minivae.training.trainer import Trainer

PREFIX = "training."  # of the arrays that are not parameters
EVERY = "60s"
FREE = ("epochs", "device", "processes")  # settings that may change between two parts of a training


class Keeper:
    """Saves a training's state now and then, and takes it up again; use it as the hooks of ``fit``.

        keeper = mv.Keeper("vae.checkpoint")
        vae.fit(x, on_start=keeper.on_start, on_step=keeper.on_step, on_epoch=keeper.on_epoch)

    If the file is there when training starts, training goes on from it: bit for bit as it would have gone on then, on the same kind
    of device and with as many processes.  Each save replaces the last one when it has been read back.

    Parameters
    ----------
    path : of the file.
    every : "30s" for seconds, at the end of a step, or "2" for epochs.
    context : JSON-able, kept with the state.
    latch : when a signal has set it, the step ends, the state is saved and ``Interruption`` raised.

    Attributes
    ----------
    saved_step : the number of steps in the file, or None while there is none.

    Raises ``DataFileError`` when the file cannot be written, or is of another training; the last good one is kept.
    """

    def __init__(self, path: Any, every: str = EVERY, context: dict[str, Any] | None = None, latch: Latch | None = None) -> None:
        self.path = Path(check_path("path", path))
        self.seconds, self.epochs = interval(every)
        self.context, self.latch = context or {}, latch or Latch()
        self.saved_step: int | None = None
        self._saved_at = time.monotonic()

    def on_start(self, trainer: Trainer) -> None:
        """Restore the state from the file, if there is one; to be called before the first step."""
        if self.path.exists():
            arrays, record = checkpoint.load(self.path)
            self._check(record, trainer)
            try:
                trainer.restore(*_trainer_state(arrays, record["training"], trainer))
            except Exception as error:  # what the file says may be anything at all
                cause = str(error) if isinstance(error, MinivaeError) else f"{type(error).__name__}: {error}"
                reject(str(self.path), "the state of a training", cause, "train anew", DataFileError)
            self.saved_step = trainer.step
        self._saved_at = time.monotonic()

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
        del arrays["values"]  # the parameters go by their names
        named = {PREFIX + name: to_numpy(array) for name, array in arrays.items()}
        parameters = {name: to_numpy(array) for name, array in model.parameters_.state().items()}
        record = model.record() | {"training": numbers, "data": trainer.train.fingerprint(), "context": self.context}
        checkpoint.save(self.path, parameters | named, record)
        self.saved_step, self._saved_at = trainer.step, time.monotonic()

    def _check(self, record: dict[str, Any], trainer: Trainer) -> None:
        """Refuse the state of another training."""
        if "training" not in record or not isinstance(record.get("params"), dict):
            reject(str(self.path), "the state of a training", "a model without it", "train anew", DataFileError)
        model, mend = trainer.model, "go on with the same model, settings and data"
        if record.get("model") != type(model).__name__:
            reject(str(self.path), f"a training of {type(model).__name__}", str(record.get("model")), mend, DataFileError)
        for name, value in model.get_params().items():
            before = record["params"].get(name, getattr(type(model), name))  # a setting that came later has its default
            before = tuple(before) if isinstance(before, list) else before
            if name not in FREE and before != (tuple(value) if isinstance(value, list) else value):
                reject(str(self.path), f"{name} = {before!r}, as the training began with", repr(value), mend, DataFileError)
        if record.get("data") != trainer.train.fingerprint():
            reject(str(self.path), "the data that the training began with", "others", mend, DataFileError)


def interval(every: Any) -> tuple[float, int]:
    """Return (seconds, epochs) of "30s" or "2", the other one 0."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)s|(\d+)", str(every), re.ASCII)
    seconds, epochs = (float(match[1] or 0), int(match[2] or 0)) if match and len(match[0]) < 20 else (0.0, 0)
    if not seconds and not epochs:
        reject("checkpoint-every", 'seconds as "60s" or a number of epochs as "5", above 0', repr(every)[:80])
    return seconds, epochs


def parameters_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a file that are a model's parameters."""
    return {name: array for name, array in arrays.items() if not name.startswith(PREFIX)}


def clear_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in a run's folder."""
    for path in folder.iterdir():
        if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name) and path.is_file():
            path.unlink()


def _trainer_state(arrays: dict[str, Any], numbers: Any, trainer: Trainer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``Trainer.restore`` takes, after a look at whether it makes sense."""
    parameters, vector, size = parameters_of(arrays), trainer.model.parameters_, trainer.model.batch_size
    state = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    shapes = {name: parameter.shape for name, parameter in vector.parameters.items()}
    if {name: array.shape for name, array in parameters.items()} != shapes:
        reject("parameters", "those of this model", "others")
    state["values"] = np.concatenate([parameters[name].reshape(-1) for name in vector.parameters])
    for name in trainer.optimizer.state():
        if name not in state or state[name].shape != vector.values.shape:
            reject(f"the optimiser's {name}", f"shape {vector.values.shape}", "none, or another")
    epoch = check_int("epoch", numbers["epoch"], 0)
    step = check_int("step", numbers["step"], 0)
    check_int("optimizer_steps", numbers["optimizer_steps"], 0)
    check_int("best_epoch", numbers["best_epoch"], 0, epoch)
    check_real("learning_rate", numbers["learning_rate"], 0, open_low=True)
    if not isinstance(numbers["best_loss"], float):
        reject("best_loss", "a number", repr(numbers["best_loss"])[:40])
    if set(map(type, numbers["history"].values())) - {list} or {len(values) for values in numbers["history"].values()} - {epoch}:
        reject("history", f"a list of {epoch} values of each figure", "others")
    done = step - epoch * trainer.steps_per_epoch  # of the steps of this epoch
    left = max(0, len(trainer.train) - done * size) if "in_epoch" in numbers else 0
    found = len(state.get("order", ()))
    if done < 0 or (done > 0) != ("in_epoch" in numbers) or found != left:
        reject("position", f"one that {step} steps can have led to", f"{found} rows left in epoch {epoch + 1}")
    if left and not np.isin(state["order"], np.arange(len(trainer.train))).all():
        reject("order", f"row numbers below {len(trainer.train)}", "others")
    return state, numbers
