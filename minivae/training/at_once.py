"""Decides whether a GPU runs steps without the host: many in a launch (``kernels.whole``) or replayed (``kernels.graph``)."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from minivae.backend import Array
from minivae.kernels.adam import FusedAdam
from minivae.kernels.whole import TERMS, Whole

if TYPE_CHECKING:
    from minivae.training.trainable import Trainable
    from minivae.training.trainer import Hook, Trainer

AnyHook = TypeVar("AnyHook", bound=Callable[..., None])
log = logging.getLogger("minivae")


def only_watches(hook: AnyHook) -> AnyHook:
    """Mark an ``on_step`` hook that changes nothing in the training, so that it may be called after several steps at a time."""
    hook.only_watches = True  # type: ignore[attr-defined]
    return hook


class AtOnce:
    """Runs the steps of a trainer, many in one launch."""

    def __init__(self, trainer: Trainer) -> None:
        model: Any = trainer.model  # a model without an obstacle, which therefore has the settings of a VAE
        widths = (model.n_features_in_, *model.hidden_dims, model.latent_dim)
        values, pixels = model.parameters_.values, trainer.train.values
        self._trainer = trainer
        assert isinstance(trainer.optimizer, FusedAdam)
        self._whole = Whole(model.xp_, widths, model.activation, model.batch_size, values, trainer.optimizer, pixels)

    def make(self, rows: Array, noise: Any) -> None:
        """Make a step on each batch of ``rows``, and count the steps."""
        trainer = self._trainer
        model: Any = trainer.model
        vector = trainer.totals.begin(TERMS)
        warm_up = model.warm_up_epochs * trainer.steps_per_epoch
        self._whole.steps(rows, noise, vector, model.beta, trainer.step, warm_up)
        trainer.count(len(rows), math.ceil(len(rows) / model.batch_size))


def at_once(trainer: Trainer, on_step: Hook | None) -> AtOnce | None:
    """Return what runs many steps of ``trainer`` in one launch, or None if it cannot be used; the log says why."""
    if trainer.model.xp_ is np:
        return None
    reason = _obstacle(trainer, on_step)
    try:
        made = None if reason else AtOnce(trainer)
    except Exception as error:  # from the compiler or the driver, which ordinary steps do not need
        made, reason = None, f"{type(error).__name__}: {error}".splitlines()[0]
    if reason:
        log.info("steps are not made many in a launch: %s", reason)
    return made


def replay_obstacle(model: Trainable, optimizer: Any) -> str:
    """Return what changes on the host from step to step, so that the device cannot replay a step by itself; "" if nothing does."""
    if model.noise != "counter":
        return f"noise={model.noise!r} is not a function of what is on the device; noise='counter' is"
    if not isinstance(optimizer, FusedAdam):
        return f"optimizer={model.optimizer!r} in {model.dtype} without its kernel counts steps on the host"
    if getattr(model, "warm_up_epochs", 0):
        return "warm_up_epochs changes the loss from step to step"
    return ""


def _obstacle(trainer: Trainer, on_step: Hook | None) -> str:
    model, rows = trainer.model, trainer.train
    if os.environ.get("MINIVAE_WHOLE") == "0":
        return "MINIVAE_WHOLE=0"
    if model.noise != "counter":
        return f"noise={model.noise!r} is not a function of what is on the device; noise='counter' is"
    if not isinstance(trainer.optimizer, FusedAdam):
        return f"optimizer={model.optimizer!r} in {model.dtype} has no kernel"
    if model.clip_norm is not None:
        return "clip_norm needs all gradients before the first of them is used"
    if rows.dynamic:
        return "binarize='dynamic' draws pixels anew at every visit"
    if rows.values.dtype not in (np.uint8, np.float32):
        return f"pixels in {rows.values.dtype}, where it reads 8-bit or float32 ones"
    if on_step and not getattr(on_step, "only_watches", False):
        return "on_step may change what the next step does"
    return model.whole_obstacle()
