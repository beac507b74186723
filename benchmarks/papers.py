"""Published figures reproduced, each as a protocol card.

A card says what was done elsewhere, what is done here, and what came out.  Cards take from minutes to days, so each run keeps
its place in a file (``runs/papers``) and goes on from there the next time; ``--minutes`` says how long this sitting may last.
Every row of the result names what was measured: how far the schedule came, on how many examples, with how many samples.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import minivae as mv
from benchmarks.report import RESULTS, Table, machine, say
from minivae import checkpoint
from minivae.backend import to_numpy
from minivae.datasets import Dataset
from minivae.training import Trainer

Stage = tuple[int, float]  # epochs, learning rate


@dataclass(frozen=True)
class Card:
    """One published experiment and how it is repeated.

    ``stages`` are run one after the other.  After each, the test set is scored with ``samples`` importance samples, after the last
    with ``final_samples``.  ``adam`` overrides attributes of the optimiser; with ``ones`` its second moment starts at one.
    """

    name: str
    source: str
    published: str
    low: float
    high: float
    protocol: str
    settings: dict[str, Any]
    stages: tuple[Stage, ...]
    seeds: tuple[int, ...] = (0,)
    model: str = "VAE"
    validation: int = 0
    samples: int = 500
    final_samples: int = 5000
    measure: str = "nll"
    adam: dict[str, float] = field(default_factory=dict)
    ones: bool = False


BURDA = {
    "latent_dim": 50,
    "hidden_dims": (200, 200),
    "activation": "tanh",
    "init": "glorot",
    "output_bias": "data",
    "binarize": "dynamic",
    "batch_size": 20,
}
BURDA_STAGES = tuple((3**i, 1e-3 * 10 ** (-i / 7)) for i in range(8))
BURDA_PROTOCOL = (
    "784-200-200-(50 means, 50 log-variances), tanh, decoder mirrored, Bernoulli; pixels binarised anew at every visit; "
    "Glorot-uniform weights, biases 0 but for the output's, logit of the clipped training mean; Adam, epsilon 1e-4; batch 20; "
    "stage i = 0...7 runs 3^i epochs at 1e-3 * 10^(-i/7), 3280 epochs in all"
)
PAPER_ADAM, CODE_ADAM = {"eps": 1e-4}, {"eps": 1e-4, "beta1": 0.99}


def _burda(k: int, variant: str, published: str, low: float, high: float) -> Card:
    iwae = {"n_importance_samples": k} if k > 1 else {}
    code = variant == "code"
    adam = "beta1 .99, second moment starting at ones (the authors' code)" if code else "beta1 .9 (the paper)"
    return Card(
        name=f"burda-{'iwae' if k > 1 else 'vae'}-k{k}-{variant}",
        source="Burda, Grosse & Salakhutdinov 2015, Table 1, one stochastic layer",
        published=published,
        low=low,
        high=high,
        protocol=f"{BURDA_PROTOCOL}; {adam}",
        settings=BURDA | iwae,
        stages=BURDA_STAGES,
        model="IWAE" if k > 1 else "VAE",
        adam=CODE_ADAM if code else PAPER_ADAM,
        ones=code,
    )


CARDS = {
    card.name: card
    for card in (
        Card(
            name="pytorch-example",
            source="the VAE of pytorch/examples, run for this comparison with three seeds",
            published="test loss 105.21 / 105.66 / 105.77",
            low=104.7,
            high=106.3,
            protocol="784-400-20, ReLU, grey pixels, batch 128, Adam 1e-3, 10 epochs; Glorot-uniform weights",
            settings={"latent_dim": 20, "hidden_dims": (400,), "batch_size": 128},
            stages=((10, 1e-3),),
            seeds=(0, 1, 2),
            measure="test loss",
        ),
        Card(
            name="pythae-vae",
            source="pythae's table of reproductions, VAE on binarised MNIST",
            published="NLL 89.78 ± 0.01",
            low=89.28,
            high=90.28,
            protocol="784-400-40, ReLU, batch 100, 500 epochs at 1e-4, * 10^(-1/5) at 200 and 350; 50k/10k/10k, best validation "
            "epoch kept; 200 importance samples; each pixel drawn once from its grey value with our seed, which is not the "
            "published draw: other pixels, so another entropy",
            settings={"latent_dim": 40, "hidden_dims": (400,), "batch_size": 100, "binarize": "fixed", "patience": 500},
            stages=((200, 1e-4), (150, 1e-4 * 10**-0.2), (150, 1e-4 * 10**-0.4)),
            validation=10_000,
            samples=200,
            final_samples=200,
        ),
        _burda(1, "paper", "NLL 86.76", 86.3, 87.8),
        _burda(5, "paper", "NLL 85.54", 85.1, 86.5),
        _burda(1, "code", "NLL 86.76", 86.3, 87.8),
        _burda(5, "code", "NLL 85.54", 85.1, 86.5),
    )
}


def add_arguments(parser):
    parser.add_argument("--card", nargs="+", choices=CARDS, default=list(CARDS), help="which cards")
    parser.add_argument("--data-dir", help="folder with the four MNIST files")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop, and keep the place, after so long")
    parser.add_argument("--stages", type=int, default=99, help="stop before this stage")
    parser.add_argument("--state", type=Path, default=Path("runs/papers"), help="folder for what is needed to go on")
    parser.add_argument("--table", action="store_true", help="only print what has been reached")


def run(args):
    deadline = time.monotonic() + 60 * args.minutes
    if not args.table:
        args.state.mkdir(parents=True, exist_ok=True)
        train, test = mv.datasets.load("mnist", args.data_dir)
        for card in (CARDS[name] for name in args.card):
            for seed in card.seeds:
                Sitting(card, seed, train, test, args.state).go_on(deadline, args.stages)
    columns = ("card", "seed", "stage", "epochs", "figure", "± s.e.", "samples", "active", "hours", "published", "verdict")
    table = Table("papers", columns, machine())
    for row in sorted(_rows(), key=lambda row: (list(CARDS).index(row["card"]), int(row["seed"]), int(row["stage"]))):
        card = CARDS[row["card"]]
        table.add(*row.values(), card.published, _verdict(card, row))
    table.finish()


def _verdict(card: Card, row: dict[str, str]) -> str:
    if int(row["stage"]) < len(card.stages):
        return f"stage {row['stage']} of {len(card.stages)}"
    return "reproduced" if card.low <= float(row["figure"]) <= card.high else f"outside {card.low} ... {card.high}"


class Sitting:
    """One card with one seed: its trainer, taken up where it was left, and its schedule."""

    def __init__(self, card: Card, seed: int, train: Dataset, test: Dataset, folder: Path) -> None:
        self.card, self.seed, self.test = card, seed, test
        self.path = folder / f"{card.name}-{seed}.safetensors"
        self.model = mv.MODELS[card.model](**card.settings, seed=seed)
        kept = len(train) - card.validation
        rows = self.model._rows(train.values[:kept])
        held_out = train.values[kept:] if card.validation else test.values if card.measure == "test loss" else None
        self.model._build(train.values.shape[1], rows.mean() if self.model.output_bias == "data" else None)
        self.trainer = Trainer(self.model, rows, None if held_out is None else self.model._rows(held_out))
        for name, value in card.adam.items():
            setattr(self.trainer.optimizer, name, value)
        if card.ones:
            self.trainer.optimizer.square_sums += 1 / (1 - self.trainer.optimizer.beta2)
        self.model.history_ = self.trainer.history
        self.stage, self.seconds = 0, 0.0
        if self.path.exists():
            arrays, record = checkpoint.load(self.path)
            self.trainer.restore(arrays, record["trainer"])
            self.stage, self.seconds = record["stage"], record["seconds"]

    def go_on(self, deadline: float, stop_before: int) -> None:
        for stage, (epochs, learning_rate) in self._to_do(stop_before):
            self.trainer.optimizer.learning_rate = learning_rate
            end = sum(epochs for epochs, _ in self.card.stages[: stage + 1])
            saved = started = time.monotonic()
            while self.trainer.epoch < end and time.monotonic() < deadline:
                self.trainer.run(self.trainer.epoch + 1)
                if time.monotonic() - saved > 60:
                    self._save(time.monotonic() - started)
                    saved = time.monotonic()
            self.seconds += time.monotonic() - started
            if self.trainer.epoch < end:
                self._save()
                say(f"{self.path.stem}: stopped after epoch {self.trainer.epoch} of {end} of this stage")
                return
            self.stage = stage + 1
            self._record()
            self._save()

    def _to_do(self, stop_before: int) -> Iterator[tuple[int, Stage]]:
        return ((i, stage) for i, stage in enumerate(self.card.stages) if self.stage <= i < stop_before)

    def _record(self) -> None:
        card, model, x = self.card, self.model, self.test.values
        last = self.stage == len(card.stages)
        samples = 1
        if card.measure == "test loss":
            values = -model.elbo(x)
        else:
            samples = card.final_samples if last else card.samples
            values = -model.log_likelihood(x, n_samples=samples)
        values = to_numpy(values)
        row = {
            "card": card.name,
            "seed": self.seed,
            "stage": self.stage,
            "epochs": self.trainer.epoch,
            "figure": f"{values.mean():.2f}",
            "± s.e.": f"{values.std(ddof=1) / math.sqrt(len(values)):.2f}",
            "samples": samples,
            "active": mv.estimators.active_units(model.transform(self.test.x[:500])),
            "hours": f"{self.seconds / 3600:.2f}",
        }
        say(f"{self.path.stem}: " + ", ".join(f"{name} {value}" for name, value in row.items()))
        _append(row)

    def _save(self, unsaved_seconds: float = 0.0) -> None:
        arrays, numbers = self.trainer.state()
        record = {"trainer": numbers, "stage": self.stage, "seconds": self.seconds + unsaved_seconds}
        checkpoint.save(self.path, {name: to_numpy(array) for name, array in arrays.items()}, record)


LOG = RESULTS / "papers_log.csv"


def _rows() -> list[dict[str, str]]:
    if not LOG.exists():
        return []
    with LOG.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _append(row: dict[str, Any]) -> None:
    """Add a row to the log of what was reached, in place of an earlier one for the same card, seed and stage."""
    key = [str(row[name]) for name in ("card", "seed", "stage")]
    rows = [old for old in _rows() if [old[name] for name in ("card", "seed", "stage")] != key]
    RESULTS.mkdir(exist_ok=True)
    with LOG.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows([*rows, row])
