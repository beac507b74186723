"""``python -m museum.symptoms``: what each bug does to a training, a line of JSON for each.

The same small VAE is trained on the digits with each bug in turn, from the same weights, over the same batches, with the same
noise.  Then the bug is taken out, and the right code says what the weights are worth: beside what the training itself had reported.
A bug that has left no trace after one epoch is in nothing that such a training does, and is not trained with further.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import minivae as mv
from museum.exhibits import BUGS
from museum.mutants import PACKAGE, package_functions

SETTINGS: dict[str, Any] = {"latent_dim": 6, "hidden_dims": (64,), "learning_rate": 3e-3, "seed": 0, "device": "cpu"}
PICTURES = 8  # samples from the prior


def measure(epochs: int) -> Iterator[dict[str, Any]]:
    """Yield a record for the right code (whose name is empty), and one for each bug."""
    train, test = mv.datasets.load("digits")
    for room in ("ops", "evaluation", "models", "training"):  # a bug is put where a function is in memory
        for module in pkgutil.iter_modules([str(PACKAGE / room)], f"minivae.{room}."):
            if not module.name.endswith(".mpi"):
                importlib.import_module(module.name)
    right = codes()
    yield trained(None, train, test, epochs, right)
    without = trained(None, train, test, 1, right)
    for bug in BUGS:
        traceless = trained(bug, train, test, 1, right) | {"bug": ""} == without
        yield {"bug": bug.name} if traceless else trained(bug, train, test, epochs, right)


def codes() -> dict[Any, Any]:
    return {function: function.__code__ for function in package_functions()}


def trained(bug: Any, train: Any, test: Any, epochs: int, right: dict[Any, Any]) -> dict[str, Any]:
    """Train with a bug, and return what the training said of itself beside what is true of its weights."""
    name = bug.name if bug else ""
    record: dict[str, Any] = {}
    model = mv.VAE(epochs=epochs, **SETTINGS)
    try:
        if bug:
            bug.apply()
        model.fit(train.values, x_test=test.values)
        record["reported"] = model.history_["test_elbo"][-1]
        record["pictures"] = model.sample(PICTURES, seed=0).round(2).tolist()
    except Exception as error:  # a training that stops is a symptom
        return {"bug": name, "stopped": f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        for function, code in right.items():
            function.__code__ = code
    mean, log_var = model.encode(test.x)
    record["weights"] = int(hashlib.sha256(model.parameters_.values.tobytes()).hexdigest()[:12], 16)
    record["true"] = float(model.elbo(test.x, n_samples=4).mean())
    record["kl"] = float(mv.ops.kl_standard_normal(mean, log_var).data.mean())
    record["active"] = int((mean.var(axis=0) > 0.01).sum())
    record["latents"] = model.latent_dim
    return {"bug": name} | {key: value if np.all(np.isfinite(value)) else None for key, value in record.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m museum.symptoms")
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with np.errstate(all="ignore"):
        for record in measure(args.epochs):
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    sys.exit(main())
