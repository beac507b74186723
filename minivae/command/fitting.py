"""The command ``train``: it trains a model, or resumes a training that stopped, and writes a run directory."""

from __future__ import annotations

import argparse
import math
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from minivae.checks import DataFileError, MinivaeWarning, check_choice, check_int, check_repeats, is_there, quoted, reject
from minivae.command.console import Terminal
from minivae.command.environment import threads_for, versions
from minivae.command.options import given_settings, option
from minivae.command.parser import LEAST_STEPS
from minivae.datasets import Dataset
from minivae.models import MODELS
from minivae.models.priors import StandardNormal
from minivae.pictures import plots
from minivae.pictures.curves import curves
from minivae.runs.draft import Draft, clear_leftovers
from minivae.runs.run import CHECKPOINT, CONFIG, HISTORY, MODEL, RUN_STATE, as_json, begun, history_csv
from minivae.runs.scores import score
from minivae.runs.selection import choose, labelled, some_classes
from minivae.runs.source import Source
from minivae.runs.tables import describe, figure_rows
from minivae.training import checkpoint
from minivae.training.at_once import only_watches
from minivae.training.checkpoint import write_whole
from minivae.training.interruption import Interruption, Latch
from minivae.training.keeper import Keeper, interval
from minivae.training.mpi import Peers
from minivae.training.schema import compare
from minivae.training.trainer import Hook, Trainer

GRID = 20  # cells on a side of the decoded latent plane


def train(args: argparse.Namespace, terminal: Terminal) -> None:
    latch = Latch()
    if not args.distributed:
        fit(args, terminal, latch, None)
        return
    peers = Peers(latch)
    with peers.together():
        fit(args, terminal if peers.rank == 0 else Terminal(quiet=True), latch, peers)


def fit(args: argparse.Namespace, terminal: Terminal, latch: Latch, peers: Peers | None) -> None:
    check_repeats("--eval-samples", args.eval_samples)
    check_int("--eval-examples", args.eval_examples, 1)
    interval(args.checkpoint_every)
    path, model, source = resumed(args) if args.resume else (None, *asked_for(args))
    data, test = source.load()
    if model.epochs is None:
        steps_per_epoch = math.ceil(len(data) / max(1, check_int("batch_size", model.batch_size, 1)))
        model.epochs = max(type(model).epochs, math.ceil(LEAST_STEPS / steps_per_epoch))
    if peers and peers.rank > 0:
        follower = Follower((path or Path(args.runs_dir, f".{os.getpid()}")) / CHECKPOINT, args.checkpoint_every, latch=peers.stop)
        with latch, threads_for(model, data.values.shape[1]), warnings.catch_warnings():
            warnings.simplefilter("ignore", MinivaeWarning)  # the first process prints them
            model.fit(data.values, data.y, test.values, test.y, **chained(peers, follower))
        return
    kind, origin = type(model).__name__, source.record()
    with Draft(args.runs_dir, f"{kind.lower()}-{data.name}", args.name, path) as draft:
        started = time.perf_counter()
        title = f"{kind} on {describe(data, test)}, {model.epochs} epoch{'s' * (model.epochs != 1)}"
        context = {"data": origin, "command": args.arguments}
        keeper = RunKeeper(draft, args.checkpoint_every, context, peers.stop if peers else latch)
        try:
            with latch, threads_for(model, data.values.shape[1]), terminal.training(title) as display:
                model.fit(data.values, data.y, test.values, test.y, **chained(peers, display, keeper))
            figures = score(model, test, args.eval_samples, args.eval_examples) | {"seconds": time.perf_counter() - started}
            config = {
                "model": kind,
                "settings": model.get_params(),
                "data": origin | {"name": data.name, "n_train": len(data), "n_test": len(test), "image_shape": data.image_shape},
                "command": ["minivae", *args.arguments],
                "versions": versions(),
                "figures": figures,
            }
            write_whole(draft.folder / CONFIG, as_json(config, indent=2).encode())
            write_whole(draft.folder / HISTORY, history_csv(model.history_))
            draw_all(model, test, figures.get("entropy_floor"), draft.folder)
            model.save(draft.folder / MODEL)  # last, since this makes it a finished run
        except KeyboardInterrupt as stop:
            raise Interruption(getattr(stop, "signum", Interruption().signum), keeper.note("interrupted", ", ")) from None
        except DataFileError as error:
            raise DataFileError(keeper.note(str(error), "; ")) from None
    terminal.table(f"{kind} on {data.name}, nats per example", figure_rows(figures))
    terminal.line(f"\nrun: {draft.path}")
    for line in what_next(draft.folder, model, args.runs_dir):
        terminal.line(line)
    terminal.result(figures | {"run": str(draft.path)})


def asked_for(args: argparse.Namespace) -> tuple[Any, Source]:
    """Return the model and the data that the command line asks for; ``epochs`` is None unless it was given."""
    name = args.model or "VAE"
    model = MODELS[name](**{"epochs": None} | given_settings(args, name, MODELS))
    if args.labels is not None and not hasattr(model, "predict"):
        able = ", ".join(other for other, kind in MODELS.items() if hasattr(kind, "predict"))
        reject("--labels", f"a model that learns from few labels ({able})", name, "choose another --model or leave it out")
    seed = check_int("seed", model.seed, 0)
    shape = args.image_shape and tuple(args.image_shape)
    return model, Source(args.data or "digits", args.data_dir, tuple(args.exclude_class), args.labels, seed, shape)


def resumed(args: argparse.Namespace) -> tuple[Path, Any, Source]:
    """Return the folder, model and data of the training to resume; only ``--epochs`` may differ."""
    clear_leftovers(Path(args.runs_dir))
    path = begun(args.resume, args.runs_dir)
    file = path / CHECKPOINT
    with checkpoint.reading(file, "the state of a training") as kept:
        compare("record", kept.record, RUN_STATE)
        name, done = kept.record["model"], kept.record["training"]["epoch"]
        kind = MODELS[check_choice("model", name, MODELS)]
        model, source = kind.announced(kept)[0], Source.of(kept.record["context"]["data"])
        kept.arrays()  # this compares arrays and record with their checksum
    given = given_settings(args, name, MODELS)
    model.epochs = given.pop("epochs", model.epochs)
    others = {"model": args.model, "data": args.data, "data_dir": args.data_dir, "name": args.name, "labels": args.labels}
    others["image_shape"] = args.image_shape
    for field, value in (given | others | {"exclude_class": args.exclude_class or None}).items():
        if value is not None:
            reject(option(field), "no other option with --resume, which keeps the settings of the run", repr(value), "leave it out")
    if is_there(path / MODEL) and check_int("--epochs", model.epochs, 1) <= done:
        mend = f"go on with --resume {quoted(str(args.resume))} --epochs {2 * done}"
        reject("--epochs", f"more than the {done} epochs of this run, which is finished", model.epochs, mend)
    return path, model, source


class RunKeeper(Keeper):
    """Saves the checkpoints of a run directory, which gets its final name with the first of them."""

    def __init__(self, draft: Draft, every: str, context: dict[str, Any], latch: Latch) -> None:
        super().__init__(draft.folder / CHECKPOINT, every, context, latch)
        self.draft = draft

    def on_start(self, trainer: Trainer) -> None:
        """Load the state to resume, or save a first one, which claims the run's name before the first step."""
        super().on_start(trainer)
        if self.saved_step is None:
            self.save(trainer)

    def save(self, trainer: Any) -> None:
        super().save(trainer)
        self.draft.publish()
        self.draft.worth = self.draft.worth or trainer.step > 0
        self.path = self.draft.folder / CHECKPOINT

    def note(self, why: str, then: str) -> str:
        """Return the message of a command that stopped: why, and then how to go on, if there is something to go on from."""
        if not self.saved_step:
            return why
        run = quoted(os.fspath(self.draft.folder))
        return f"{why}{then}step {self.saved_step} is saved; go on with: minivae train --resume {run}"


class Follower(Keeper):
    """The keeper of every process but the first: it reads the state and never writes it."""

    def save(self, trainer: Any) -> None:
        pass


def chained(*owners: Any) -> dict[str, Hook]:
    """Return hooks that call those of each owner in turn; an owner is an object or a dict with some of the hooks, or None."""

    def one(name: str) -> Hook:
        hooks = [owner.get(name) if isinstance(owner, dict) else getattr(owner, name, None) for owner in owners]

        def call(trainer: Trainer) -> None:
            for hook in filter(None, hooks):
                hook(trainer)

        return only_watches(call) if all(getattr(hook, "only_watches", False) for hook in filter(None, hooks)) else call

    return {name: one(name) for name in ("on_start", "on_step", "on_epoch")}


def what_next(folder: Path, model: Any, runs_dir: str) -> list[str]:
    """Return the lines printed after a training: which pictures there are, and what to do next with the run."""
    run = folder.name if runs_dir == "runs" else str(folder)
    pictures = sorted(path.name for path in folder.glob("*.png"))
    epochs = model.history_["epoch"][-1]
    return [
        f"pictures in it: {', '.join(pictures)}",
        f"next: minivae report {quoted(run)}   (everything on one web page)",
        f"      minivae train --resume {quoted(run)} --epochs {2 * epochs}   (train further; {epochs} done so far)",
    ]


def draw_all(model: Any, test: Dataset, floor: float | None, folder: Path) -> None:
    """Write the pictures of a run."""
    plots.save(curves(model.history_, floor), folder / "curves.png")
    shown = test.subset(choose(test, 12))
    pairs = (shown.x, model.reconstruct(shown.x, y=shown.y))
    title, labels = "Test examples and the decodings of their posterior means", ("original", "reconstruction")
    plots.save(plots.cells(pairs, test.image_shape, title, labels), folder / "reconstructions.png")
    generative = "train_elbo" in model.history_  # the codes of a plain autoencoder do not follow the prior
    if generative:
        y = some_classes(model, 64)
        samples, title = model.sample(64, y=y), f"Prior samples: E[x|z] for {model.prior_words}"
        plots.save(plots.gallery(samples, test.image_shape, title, column_labels=columns_of(model, y)), folder / "samples.png")
    if model.latent_width() == 2:
        known = labelled(test)
        means = plots.latent_map(model.transform(known.values, known.y), known.y, f"the {len(known)} test examples")
        plots.save(means, folder / "latent_map.png")
    flat = model.continuous and isinstance(model.prior_, StandardNormal)  # of whose probability the grid has equal shares
    if model.latent_width() == 2 and generative and flat:
        y = some_classes(model, 1)
        note = "" if y is None else f", class {y[0]}"
        decoded = model.decode(plots.prior_grid(GRID).astype(model.dtype), None if y is None else y[0])
        plots.save(plots.manifold(decoded, test.image_shape, note), folder / "manifold.png")


def columns_of(model: Any, y: np.ndarray | None) -> list[str]:
    """Return the labels of a gallery's columns: for a conditional model the classes it is given in turn, else none."""
    return list(dict.fromkeys(map(str, y))) if y is not None and model.condition_width() else []
