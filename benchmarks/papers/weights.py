"""The weights of a finished card as a run directory, which ``minivae evaluate CARD`` and all other commands on a run open."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import minivae as mv
from benchmarks.report import say
from minivae.command.environment import versions
from minivae.runs.run import CONFIG, MODEL, as_json
from minivae.runs.scores import score
from minivae.runs.source import Source
from minivae.training.checkpoint import write_whole

# Of the history, which would outweigh the parameters: digits, and points on a logarithmic axis, where early ones share an epoch.
DECIMALS, POINTS = 4, 500

if TYPE_CHECKING:
    from benchmarks.papers.papers import Sitting


def export(sitting: Sitting, folder: Path) -> None:
    """Write model and figures of a finished sitting to ``folder``; what rounding to float16 costs is measured with equal noise."""
    card, model, test = sitting.card, sitting.model, sitting.test
    model.epochs = sitting.trainer.epoch
    model.history_ = thinned(model.history_, sitting.trainer.best_epoch if card.validation else model.epochs)
    samples, exact = sitting.measure(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL, half=True)
    rounded = sitting.measure(mv.load(folder / MODEL))[1]
    experiment = {
        "source": card.source,
        "published": card.published,
        "measure": card.measure,
        "trained": round(float(exact.mean(dtype=float)), 4),
        "standard_error": round(float(exact.std(ddof=1)) / math.sqrt(len(exact)), 4),
        "rounding": float(f"{rounded.mean(dtype=float) - exact.mean(dtype=float):.1e}"),
        "n_samples": samples,
    }
    origin = {"name": test.name, "n_train": len(sitting.trainer.train), "n_test": len(test), "image_shape": test.image_shape}
    config = {
        "model": type(model).__name__,
        "settings": model.get_params(),
        "data": Source(card.dataset).record() | origin,
        "command": ["python", "-m", "benchmarks", "papers", "--card", card.name],
        "versions": versions(),
        "figures": score(model, test),
        "experiment": experiment,
    }
    write_whole(folder / CONFIG, as_json(config, indent=2).encode())
    size = (folder / MODEL).stat().st_size
    say(f"{folder}: {size / 1e6:.1f} MB, {card.measure} {experiment['trained']:.2f}, rounding {experiment['rounding']:+.0e} nats")


def thinned(history: dict[str, list[Any]], kept: int) -> dict[str, list[Any]]:
    """Return a history without the digits and epochs that one would not see on a logarithmic axis, but with the epoch ``kept``."""
    epochs = np.geomspace(1, len(history["epoch"]), POINTS).round().astype(int)
    shown = np.union1d(epochs, kept) - 1
    return {name: np.round(values, DECIMALS)[shown].tolist() for name, values in history.items()}
