"""Published figures reproduced, each as a protocol card.

Cards take from minutes to days, so each run saves its state in a file (``runs/papers``) and continues from there the next time;
``--minutes`` limits how long this call trains.  What has been reached is recorded in ``results/papers.csv``, a row for each stage,
and summed up in ``results/papers_summary.csv``, a row for each card and seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minivae as mv
from benchmarks.papers import in_torch as papers_torch
from benchmarks.papers.card import Card
from benchmarks.papers.cards import CARDS, PYTHAE
from benchmarks.papers.log import COLUMNS, MACHINES, REACHED, Log
from benchmarks.papers.shown import plot, show, sum_up
from benchmarks.papers.weights import export
from benchmarks.report import RESULTS, machine, say
from minivae.backend import to_numpy
from minivae.checks import DataFileError
from minivae.datasets import Dataset
from minivae.training import checkpoint
from minivae.training.trainer import Trainer

ACTIVE_OVER = 500  # images


def add_arguments(parser):
    parser.add_argument("--card", nargs="+", choices=CARDS, default=list(CARDS), help="which cards")
    parser.add_argument("--data-dir", help="folder with the four MNIST files")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many minutes; the next call continues")
    parser.add_argument("--stages", type=int, default=99, help="how many stages of a card, at most")
    parser.add_argument("--state", type=Path, default=Path("runs/papers"), help="folder for the states to continue from")
    parser.add_argument("--in-torch", action="store_true", help=f"run {PYTHAE.name} in PyTorch instead")
    text = "train nothing, but store the weights of finished cards in float16, for minivae evaluate CARD"
    parser.add_argument("--weights", action="store_true", help=text)
    parser.add_argument("--table", action="store_true", help="only print what has been reached")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the table and the plot")


def run(args):
    if args.in_torch:
        papers_torch.run(PYTHAE, args.results, *parts(PYTHAE, *mv.datasets.load("mnist", args.data_dir)))
        return
    deadline, log = time.monotonic() + 60 * args.minutes, Log(args.results / "papers.csv")
    if args.weights:
        for card, train, test in with_data([CARDS[name] for name in args.card], args.data_dir):
            sitting = Sitting(card, card.seeds[0], train, test, args.state, log)
            if sitting.stage == len(card.stages):
                export(sitting, args.results / "weights" / card.name)
            else:
                say(f"{card.name}: not finished in {args.state}, so there are no weights to store")
        return
    if not args.table:
        args.state.mkdir(parents=True, exist_ok=True)
        for card, train, test in with_data([CARDS[name] for name in args.card], args.data_dir):
            for seed in card.seeds:
                if time.monotonic() < deadline:
                    Sitting(card, seed, train, test, args.state, log).go_on(deadline, args.stages)
        plot(log, args.results / "papers.png")
        sum_up(log, args.results)
    for name in args.card:
        if rows := log.of(name):
            show(CARDS[name], rows, log.of(CARDS[name].beside))
    if waiting := [name for name in args.card if not log.of(name)]:
        say(f"\nnot begun: {', '.join(waiting)}")


def with_data(cards: list[Card], data_dir: str | None) -> Iterator[tuple[Card, Dataset, Dataset]]:
    """Yield each card with its training and test set, but only say which those are whose data are not at hand."""
    for name in dict.fromkeys(card.dataset for card in cards):
        waiting = [card for card in cards if card.dataset == name]
        try:
            train, test = mv.datasets.load(name, data_dir)
        except DataFileError as error:
            say(f"not run: {', '.join(card.name for card in waiting)}: {error}")
            continue
        yield from ((card, train, test) for card in waiting)


def parts(card: Card, train: Dataset, test: Dataset) -> list[np.ndarray]:
    """Return the rows to train, to validate and to test a card's model on, binarised where that is done once."""
    model = mv.MODELS[card.model](**card.settings)
    return [model._rows(values).values for values in (*split(card, train), test.values)]


def split(card: Card, train: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those that are held out."""
    kept = len(train) - card.validation
    return train.values[:kept], train.values[kept:]


class Sitting:
    """One card with one seed: its trainer, taken up where it was left, and its schedule."""

    def __init__(self, card: Card, seed: int, train: Dataset, test: Dataset, folder: Path, log: Log) -> None:
        self.card, self.seed, self.test, self.log = card, seed, test, log
        self.path = folder / f"{card.name}-{seed}.safetensors"
        self.model = mv.MODELS[card.model](**card.settings, seed=seed)
        learned, held_out = split(card, train)
        rows = self.model._rows(learned)
        self.model._build(rows.n_features, rows.mean() if self.model.output_bias == "data" else None)
        self.trainer = Trainer(self.model, rows, self.model._rows(held_out) if card.validation else None)
        for name, value in card.adam.items():
            setattr(self.trainer.optimizer, name, value)
        self.trainer.optimizer.square_sums += card.second_moment / (1 - self.trainer.optimizer.beta2)
        self.model.history_ = self.trainer.history
        self.stage, self.seconds, self.machines = 0, 0.0, ["; ".join(machine().values())]
        if self.path.exists():
            arrays, record = checkpoint.load(self.path)
            self.trainer.restore(arrays, record["trainer"])
            self.stage, self.seconds = record["stage"], record["seconds"]
            self.machines = list(dict.fromkeys([*record.get("machines", ()), *self.machines]))

    def go_on(self, deadline: float, stages: int) -> None:
        """Train until the card is finished, or ``stages`` stages of it, or the time is up."""
        while self.stage < min(stages, len(self.card.stages)):
            learning_rate = self.card.stages[self.stage][1]
            end = sum(epochs for epochs, _ in self.card.stages[: self.stage + 1])
            self.trainer.optimizer.learning_rate = learning_rate
            saved, began = time.monotonic(), time.process_time() - self.seconds  # processor time, as other programs may run too
            while not self.trainer.is_over(end) and time.monotonic() < deadline:
                self.trainer.advance(self.trainer.epoch + 1)
                self.seconds = time.process_time() - began
                if time.monotonic() - saved > 60:
                    self._save()
                    saved = time.monotonic()
            if not self.trainer.is_over(end):
                self._save()
                say(f"{self.path.stem}: stopped after epoch {self.trainer.epoch} of {end} of this stage")
                return
            self.stage += 1
            if self.stage == len(self.card.stages):
                self.trainer.run(end)  # nothing is left to train: this puts back the best epoch, where a card keeps that
            self._record()
            self._save()

    def measure(self, model: Any) -> tuple[int, np.ndarray]:
        """Return the samples and the figure of each test image, by the model at this stage or another one of the card's."""
        card = self.card
        if card.measure == "test loss":
            return 1, to_numpy(-model.elbo(self.test.values))
        samples = card.final_samples if self.stage == len(card.stages) else card.samples
        return samples, to_numpy(-model.log_likelihood(self.test.values, n_samples=samples))

    def _record(self) -> None:
        card, model = self.card, self.model
        samples, values = self.measure(model)
        error = values.std(ddof=1) / math.sqrt(len(values))
        mean, log_var = model.encode(self.test.x[:ACTIVE_OVER])
        active = " + ".join(str(n) for name, n in model.code_statistics(mean, log_var).items() if name.endswith("active_units"))
        figures = (self.stage, self.trainer.epoch, f"{values.mean():.2f}", f"{error:.2f}", samples, active)
        reached = (*figures, f"{self.seconds / 3600:.2f}")
        whole = sum(epochs for epochs, _ in card.stages)
        row = (card.name, self.seed, *reached, whole, card.published, MACHINES.join(self.machines))
        self.log.add(dict(zip(COLUMNS, map(str, row))))
        say(f"{self.path.stem}: " + ", ".join(f"{name} {value}" for name, value in zip(REACHED, reached)))

    def _save(self) -> None:
        arrays, numbers = self.trainer.state()
        record = {"trainer": numbers, "stage": self.stage, "seconds": self.seconds, "machines": self.machines}
        checkpoint.save(self.path, {name: to_numpy(array) for name, array in arrays.items()}, record)
