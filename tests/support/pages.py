"""Runs to make pages of: a finished run directory, and models of any kind beside a run that only lends its name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from minivae import MODELS
from minivae.command.environment import versions
from minivae.datasets import Dataset, load
from minivae.runs.scores import score

SETTINGS = {"latent_dim": 4, "hidden_dims": (17,), "epochs": 2, "learning_rate": 3e-3, "device": "cpu", "seed": 3}


def small_test_set(n: int = 60) -> Dataset:
    """Return test digits of every class."""
    test = load("digits")[1]
    return test.subset(np.arange(n))


def small_model(kind: str = "VAE", **settings: Any) -> Any:
    """Return a model trained for a moment on the digits."""
    train = load("digits")[0].subset(slice(600))
    test = small_test_set()
    return MODELS[kind](**SETTINGS | settings).fit(train.values, train.y, test.values, test.y)


def run_of(model: Any, test: Dataset, name: str = "vae-1") -> Any:
    """Return what a page needs to know of a run."""
    data = {"name": test.name, "n_train": 600, "n_test": len(test)}
    command = ["minivae", "train", "--name", name]
    figures = score(model, test, 3, 20)
    return SimpleNamespace(path=Path(name), config={"data": data, "figures": figures, "versions": versions(), "command": command})
