"""Priors, posteriors and layers beyond the plain VAE: one architecture on MNIST, trained for equally many passes over the data.

The networks are those of Burda et al. 2016: 200-200 hidden units between x and 50 latents; with two layers between x and 100
latents, and 100-100 between these and 50 more.  Pixels are drawn anew at every visit.  Every model has the same optimiser, batches
and seed; what differs is in the table's first column.

    bound              E[log p(x|z)] − KL, one sample for each example of the test set, nats
    log p(x)           importance-weighted (M.6), on some of the test set
    less the VAE's     the difference of log p(x), example by example, ± its standard error
    CPU seconds        of training, of one process with one thread
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, Table, machine, say
from minivae import datasets
from minivae.models import MODELS
from minivae.runs.selection import spread

SETTINGS: dict[str, Any] = {
    "latent_dim": 50,
    "hidden_dims": (200, 200),
    "activation": "tanh",
    "binarize": "dynamic",
    "device": "cpu",
}
TWO: dict[str, Any] = {"latent_dim": 100, "second_latent_dim": 50, "second_hidden_dims": (100, 100)}
RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "VAE": ("VAE", {}),
    "mixture prior, 100 components": ("LearnedPriorVAE", {"prior": "mixture", "n_components": 100}),
    "VampPrior, 100 pseudo-inputs": ("LearnedPriorVAE", {"prior": "vamp", "n_components": 100}),
    "planar flow, 4 steps": ("FlowVAE", {"n_flows": 4}),
    "two layers, VAE": ("TwoLayerVAE", TWO),
    "IWAE, 5 samples": ("IWAE", {"n_importance_samples": 5}),
    "two layers, IWAE, 5 samples": ("TwoLayerIWAE", TWO | {"n_importance_samples": 5}),
}


def add_arguments(parser):
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data, for every model (default: 10)")
    parser.add_argument("--samples", type=int, default=500, help="importance samples for each example (default: 500)")
    parser.add_argument("--examples", type=int, default=1000, help="test examples whose log p(x) is estimated (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="models that are trained at the same time (default: 2)")
    parser.add_argument("--data-dir", help="folder with the four MNIST files")
    parser.add_argument("--quick", action="store_true", help="the embedded digits in place of MNIST")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the table")


def run(args):
    columns = ("model", "bound", "log p(x)", "less the VAE's", "active units", "CPU seconds")
    data = "digits" if args.quick else "MNIST"
    header = machine() | {
        "threads": "1 thread for each model",
        "runs": f"{args.epochs} epochs of {data}, seed {args.seed}",
        "log p(x)": f"{args.samples} samples for each of {args.examples} test examples",
    }
    table = Table("beyond", columns, header, args.results)
    reference = None
    with ProcessPoolExecutor(args.processes) as pool:
        for name, found in zip(RIVALS, pool.map(measure, RIVALS, [vars(args)] * len(RIVALS)), strict=True):
            reference = found["log_p"] if reference is None else reference
            log_p, gain = found["log_p"], found["log_p"] - reference
            table.add(name, f"{found['bound']:.2f}", mean_and_error(log_p), mean_and_error(gain), found["active"], found["seconds"])
            say(f"{name}: bound {found['bound']:.2f}, log p(x) {log_p.mean():.2f}")
    table.finish()


def measure(name: str, args: dict[str, Any]) -> dict[str, Any]:
    """Train one of the models and return its figures on the test set."""
    kind, settings = RIVALS[name]
    train, test = datasets.load("digits") if args["quick"] else datasets.load("mnist", args["data_dir"])
    model = MODELS[kind](**SETTINGS | settings, epochs=args["epochs"], seed=args["seed"])
    started = time.process_time()
    model.fit(train.values)
    seconds = time.process_time() - started
    terms, code = model.evaluate(model._rows(test.values))
    part = test.subset(spread(len(test), args["examples"]))
    log_p = model.log_likelihood(part.values, args["samples"])
    active = f"{code['active_units']} of {model.latent_dim}"
    if "second_active_units" in code:
        active += f", then {code['second_active_units']} of {model.second_latent_dim}"
    return {"bound": model.summarize(terms)["elbo"], "log_p": log_p, "active": active, "seconds": seconds}


def mean_and_error(values: np.ndarray) -> str:
    """Return the mean over examples ± its standard error; "" where all are 0."""
    return f"{values.mean():.2f} ± {values.std(ddof=1) / math.sqrt(len(values)):.2f}" if values.any() else ""
