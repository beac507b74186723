"""The commands that use a trained model: they score the test set, or make pictures and numbers from the latent space."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

from minivae.checks import check_int, reject
from minivae.command.console import Terminal
from minivae.command.delivery import deliver, how_many, opened
from minivae.command.fitting import columns_of
from minivae.datasets.labels import has_label
from minivae.evaluation.latent import neighbour_accuracy, principal_plane
from minivae.pictures import plots
from minivae.runs.scores import certify, score
from minivae.runs.selection import choose, code_of, labelled, some_classes, spread
from minivae.runs.source import of_class
from minivae.runs.tables import experiment_rows, figure_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUICK_SAMPLES = 500  # at most, of a published experiment, so that all of its images take a minute or two
PLANE_POINTS = 2000  # most points in the picture of ``transform``, where each is compared with all others


def evaluate(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args)
    experiment = {} if args.data else run.config.get("experiment", {})  # whose figures are of its own data
    usual = (min(experiment["n_samples"], QUICK_SAMPLES), len(test)) if experiment.get("measure") == "NLL" else (100, 1000)
    n_samples, n_examples = (own if given is None else given for given, own in zip((args.n_samples, args.n_examples), usual))
    started = time.perf_counter()
    figures = score(model, test, n_samples, n_examples)
    if args.certificate:
        if not hasattr(model, "certificate"):
            reject("--certificate", "a VAE, whose z has a density p(z)", type(model).__name__, "leave it out")
        figures |= certify(model, test, n_samples)
    figures["evaluation_seconds"] = time.perf_counter() - started
    rows = [*figure_rows(figures), *(experiment_rows(experiment, figures) if experiment else ())]
    terminal.table(f"{run.path.name} on {test.name}, nats per example", rows)
    terminal.result(figures | {"run": str(run.path)} | ({"experiment": experiment} if experiment else {}))


def sample(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args, "sample")
    n = how_many(args, model.n_features_in_)
    y = some_classes(model, n)
    if args.label:
        if test.y is None or not model.condition_width():
            reject("--label", "a conditional model, trained with classes", type(model).__name__, "leave it out")
        y = np.resize([test.y[of_class(test, label, "--label")][0] for label in args.label], n)
    x = model.sample(n, args.seed, args.pixels, y=y)
    what = "E[x|z]" if args.pixels == "mean" else "a draw of x from p(x|z)"
    title = f"Prior samples: {what} for {model.prior_words}"
    deliver(args, terminal, run, x, lambda: plots.gallery(x, test.image_shape, title, column_labels=columns_of(model, y)))


def reconstruct(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args, "reconstruct")
    temperatures = (0.0, *args.temperature)
    shown = test.subset(choose(test, how_many(args, model.n_features_in_, rows=1 + len(temperatures))))
    rows = [shown.x, *(model.reconstruct(shown.x, tau, args.seed, shown.y) for tau in temperatures)]
    labels = ["original", *(f"τ = {tau:g}" for tau in temperatures)]
    title = f"Around test examples: decodings of {model.around_words}"
    deliver(args, terminal, run, np.stack(rows), lambda: plots.cells(rows, test.image_shape, title, labels))


def interpolate(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args)
    i = check_int("--from", args.start, 0, len(test) - 1)
    j = args.end
    if j is None:  # by default to the next example, of another class if there are classes
        j = next((k for k in range(len(test)) if k != i and (test.y is None or test.y[k] != test.y[i])), i)
    check_int("--to", j, 0, len(test) - 1)
    a, b = test.subset(np.array([i, j])).x
    y, y_end = (None, None) if test.y is None else test.y[[i, j]]
    path = model.interpolate(a, b, how_many(args, model.n_features_in_, 2), args.path, y, y_end)
    labels = [f"test {i}", *(f"t = {plots.number(t)}" for t in np.linspace(0, 1, args.n)), f"test {j}"]
    title = f"From test example {i} to {j} on a {args.path} path through the latent space"
    deliver(args, terminal, run, path, lambda: plots.cells([[a, *path, b]], test.image_shape, title, (), labels))


def traverse(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args)
    i = check_int("--example", args.example, 0, len(test) - 1)
    x = test.subset(np.array([i])).x[0]
    code = code_of(model, test.values, test.y)
    strongest = code.order[: check_int("--dims", args.dims, 1)]
    y = None if test.y is None else test.y[i]
    n = how_many(args, model.n_features_in_, 2, len(strongest))
    rows = np.stack([model.traverse(x, int(dim), n, args.span, y) for dim in strongest])
    labels = [f"{plots.latent(dim)}  ({code.strength[dim]:.2f})" for dim in strongest]
    columns = [plots.number(z) for z in np.linspace(-args.span, args.span, args.n)]
    title = f"Test example {i}, one latent dimension moved at a time ({code.measure})"
    deliver(args, terminal, run, rows, lambda: plots.cells(rows, test.image_shape, title, labels, columns))


def transform(args: argparse.Namespace, terminal: Terminal) -> None:
    run, model, test = opened(args, "transform")
    code = code_of(model, test.values, test.y)

    def draw() -> Figure:
        known = labelled(test).y is not None
        usable = np.flatnonzero(has_label(test.y)) if known else np.arange(len(test))
        shown = usable[spread(len(usable), PLANE_POINTS)]
        mean, x, y = code.mean[shown], test.subset(shown).x, test.y[shown] if known and test.y is not None else None
        panels = []
        for name, rows in (("μ(x)", mean), ("the pixels" if test.image_shape else "the features", x)):  # (G.6)
            as_it_is = rows is mean and model.latent_width() == 2
            plane = mean if as_it_is else principal_plane(rows)
            axes = (plots.latent(0), plots.latent(1)) if as_it_is else ("1st component", "2nd component")
            title = name if as_it_is else f"PCA of {name}"
            if y is not None and len(shown) > 1:
                title += f"\nnearest neighbour right: {neighbour_accuracy(plane, y):.0%} here"
                if rows.shape[1] > 2:
                    title += f", {neighbour_accuracy(rows, y):.0%} in all {rows.shape[1]} dimensions"
            panels.append((title, plane, axes))
        return plots.beside(panels, y, f"{len(shown)} test examples as features")

    deliver(args, terminal, run, code.mean, draw)
