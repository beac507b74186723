"""What the claims are measured with: data, models trained on them, and a judge, a classifier trained independently of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minivae import datasets
from minivae.datasets import Dataset
from minivae.evaluation.classifier import fit_classifier, log_softmax
from minivae.models import Model
from minivae.models.conditions import one_hot
from minivae.nn import MLP
from minivae.runs.selection import spread

DIGITS, SPRITES = "handwriting", "sprites"
JUDGE_EXAMPLES, JUDGE_WIDTH = 10_000, 100


@dataclass(frozen=True)
class Effort:
    """How much is spent: seeds, which handwriting, the settings of its models and of those of sprites, examples per figure."""

    seeds: int
    handwriting: str
    settings: dict[str, dict[str, Any]]
    n: int
    levels: tuple[int, ...]  # of a quantised code
    linear_steps: int  # steps of gradient descent on all examples at once
    data_dir: str | None = None


QUICK = Effort(
    seeds=3,
    handwriting="digits",
    settings={
        DIGITS: {"latent_dim": 8, "hidden_dims": (128,), "epochs": 120, "batch_size": 64},
        SPRITES: {"latent_dim": 8, "hidden_dims": (200,), "epochs": 50, "batch_size": 128},
    },
    n=360,
    levels=(3, 9),
    linear_steps=600,
)
FULL = Effort(
    seeds=5,
    handwriting="mnist",
    settings={
        DIGITS: {"latent_dim": 20, "hidden_dims": (400,), "epochs": 20, "batch_size": 128},
        SPRITES: {"latent_dim": 8, "hidden_dims": (400, 400), "epochs": 200, "batch_size": 128},
    },
    n=2000,
    levels=(2, 3, 5, 9, 17),
    linear_steps=1500,
)

_load = functools.cache(datasets.load)


@dataclass
class Lab:
    """The data, the judge and the trained models of one seed."""

    effort: Effort
    seed: int
    _fitted: dict[str, Any] = field(default_factory=dict)

    def data(self, of: str = DIGITS) -> tuple[Dataset, Dataset]:
        """Return (train, test)."""
        return _load(self.effort.handwriting, self.effort.data_dir) if of == DIGITS else _load(of)

    @property
    def train(self) -> Dataset:
        return self.data()[0]

    @functools.cached_property
    def test(self) -> Dataset:
        """The ``effort.n`` test examples of handwriting that figures are measured on."""
        test = self.data()[1]
        return test.subset(spread(len(test), self.effort.n))

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def fit(self, kind: type[Model], of: str = DIGITS, without: int | None = None, **settings: Any) -> Any:
        """Return a model trained on ``of``, or on ``of`` ``without`` one class; claims that need the same model share it."""
        key = repr((kind.__name__, of, without, sorted(settings.items())))
        if key not in self._fitted:
            train = self.data(of)[0]
            kept = train if without is None else train.subset(train.y != without)
            model = kind(**self.effort.settings[of] | settings, seed=self.seed)
            self._fitted[key] = model.fit(kept.values, kept.y)
        return self._fitted[key]

    @functools.cached_property
    def judge(self) -> Judge:
        return Judge(self.train.subset(spread(len(self.train), JUDGE_EXAMPLES)), self.rng())


class Judge:
    """A classifier of handwriting that has seen real examples only."""

    def __init__(self, train: Dataset, rng: np.random.Generator) -> None:
        self.classes = np.unique(train.y)
        self._network = MLP("judge", (train.x.shape[1], JUDGE_WIDTH, len(self.classes)), "relu", "he", rng)
        fit_classifier(self._network, train.x, one_hot(train.y, self.classes, len(train)), weight_decay=1e-3)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return p(y|x), (n, c)."""
        return np.exp(log_softmax(self._network(x)).data)

    def confidence(self, x: np.ndarray) -> float:
        """Return the mean over rows of the probability of the class that is the most probable."""
        return float(self.probabilities(x).max(axis=1).mean())

    def agreement(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return the share of rows whose most probable class is ``y``."""
        return float((self.classes[self.probabilities(x).argmax(axis=1)] == y).mean())

    def classes_told(self, x: np.ndarray) -> float:
        """Return exp I(class; row): 1 if the judge always gives the same answer, c if it is sure of all c classes equally often.

        This is what "inception score" means, with this judge.  Confidence alone could be high for a single repeated picture.
        """
        p = self.probabilities(x).astype("float64")
        return float(np.exp(_entropy(p.mean(axis=0)) - _entropy(p).mean()))


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.maximum(p, 1e-12))).sum(axis=-1)


def principal_axes(x: np.ndarray, k: int) -> np.ndarray:
    """Return the directions of the ``k`` leading principal components of the rows of x (n, d): (k, d), orthonormal."""
    centred = x - x.mean(axis=0, dtype="float64")
    return np.linalg.eigh(centred.T @ centred)[1][:, : -k - 1 : -1].T


def nearest(x: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return, for each row of x, the number of the nearest row of ``among``."""
    return ((among**2).sum(axis=1) - 2 * x @ among.T).argmin(axis=1)
