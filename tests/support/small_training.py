"""A small training: its data, its model, and how it is kept in a file and stopped on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import minivae as mv
from minivae.training.interruption import Latch
from minivae.training.keeper import Keeper

X = np.random.default_rng(0).random((103, 7)).astype(np.float32)
Y = np.arange(103) % 3
SMALL = {"latent_dim": 3, "hidden_dims": (11,), "epochs": 4, "batch_size": 20, "device": "cpu", "seed": 5}


def model(**settings) -> mv.VAE:
    """Return a VAE to be trained for three epochs, each of five batches of 20 rows and one of three."""
    return mv.VAE(**{"latent_dim": 3, "hidden_dims": (11,), "epochs": 3, "batch_size": 20, "device": "cpu"} | settings)


def fit(model: mv.Model, path: Path, stop: int | None = None, every: str = "1000") -> mv.Model:
    """Train with a keeper at ``path``; with ``stop``, until a signal that comes in that step of this part."""
    latch = Latch()
    keeper = Keeper(path, every, latch=latch)
    steps = 0

    def on_step(trainer):
        nonlocal steps
        steps += 1
        latch.signum = 15 if steps == stop else 0
        keeper.on_step(trainer)

    return model.fit(X, Y, X[:31], Y[:31], on_start=keeper.on_start, on_step=on_step, on_epoch=keeper.on_epoch)
