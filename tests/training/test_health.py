"""What a training says unasked: that its code is dead, or that its steps have become slow."""

from __future__ import annotations

import io
import re
import sys
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import minivae as mv
from minivae.checks import DeadCodeWarning, SlowStepsWarning
from minivae.training import health
from minivae.training.health import SLOW, WINDOW, Pace, warn_of_dead_code
from minivae.training.narration import telling

X = np.random.default_rng(0).random((60, 7))
SMALL = {"latent_dim": 3, "hidden_dims": (11,), "epochs": 30, "batch_size": 30, "learning_rate": 1e-2, "device": "cpu"}


def of_fit(model: mv.Model) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", DeadCodeWarning)
        model.fit(X)
    return [str(warning.message) for warning in said if warning.category is DeadCodeWarning]


@pytest.mark.parametrize(
    ("kind", "settings", "mend"),
    [
        (mv.VAE, {"beta": 1000.0}, "a lower beta"),
        (mv.SparseAutoencoder, {"sparsity": 1000.0}, "a lower sparsity"),
        (mv.ContractiveAutoencoder, {"contraction": 1000.0}, "a lower contraction"),
        (mv.Autoencoder, {"l2": 1000.0}, "a lower l2"),
    ],
)
def test_a_dead_code_is_told_with_what_may_have_killed_it(kind, settings, mend):
    said = of_fit(kind(**SMALL, **settings))
    assert len(said) == 1
    assert re.search(r"got 0 of 3 units: .*; try .*" + mend, said[0])
    assert "output_bias" not in said[0]


def test_the_beginning_of_the_output_is_suspected_where_it_is_zeros():
    (said,) = of_fit(mv.SparseAutoencoder(**SMALL, sparsity=1000.0, output_bias="zeros"))
    assert "try output_bias = data, code_activation = identity, a lower sparsity, more epochs than 30" in said


def test_a_live_code_is_not_talked_about():
    assert of_fit(mv.Autoencoder(**SMALL)) == []


def test_warnings_point_at_the_line_that_called_fit():
    with pytest.warns(DeadCodeWarning) as said:
        mv.VAE(**SMALL, beta=1000.0).fit(X)
    assert said[0].filename == __file__


def fed(seconds, monkeypatch, threads: int | None = 2) -> list[str]:
    monkeypatch.setattr(health, "blas_threads", lambda: threads)
    pace = Pace()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", SlowStepsWarning)
        for duration in seconds:
            pace.note(duration)
    return [str(warning.message) for warning in said]


def test_slow_steps_are_told_once_with_the_remedy(monkeypatch):
    slow = [1e-3] + [2 * SLOW * 1e-3] * (5 * WINDOW)
    (said,) = fed(slow, monkeypatch)
    assert "steps of about 1 ms, as the fastest was, got 10 ms" in said
    assert "OPENBLAS_NUM_THREADS=1" in said
    assert fed(slow[: WINDOW - 1], monkeypatch) == []
    assert fed(slow[:WINDOW], monkeypatch) == [said], "as soon as there are enough steps for a median"
    assert fed(slow, monkeypatch, threads=None)
    assert fed(slow, monkeypatch, threads=1) == [], "the remedy is in force already"


def test_a_few_slow_steps_are_nothing(monkeypatch):
    assert fed(([1e-3] * 30 + [1.0] * 20) * 4, monkeypatch) == []
    assert fed([1e-3] + [0.9 * SLOW * 1e-3] * 200, monkeypatch) == []
    assert fed([1.0] + [SLOW] * 200, monkeypatch) == []


def noted(monkeypatch, **settings) -> list[float]:
    """Return the durations of steps that a training of two epochs looks at."""
    durations = []
    monkeypatch.setattr(Pace, "note", lambda self, seconds: durations.append(seconds))
    mv.VAE(**SMALL | {"epochs": 2, "batch_size": 25} | settings).fit(X)
    return durations


def test_the_pace_of_whole_batches_is_watched(monkeypatch):
    """Of 60 rows in batches of 25, the last batch of ten is no measure of the others."""
    began = time.perf_counter()
    durations = noted(monkeypatch)
    assert len(durations) == 2 * 2
    assert min(durations) > 0
    assert sum(durations) < time.perf_counter() - began


def test_the_pace_on_a_device_is_not_watched(strict_device, monkeypatch):
    """What the host measures there is how fast it asks for steps."""
    assert noted(monkeypatch, device="cuda") == []


def test_slow_steps_are_told_even_after_many_fast_ones(monkeypatch):
    assert fed([1e-3] * 1000 + [1.0] * WINDOW, monkeypatch)


@pytest.mark.parametrize(
    ("active", "best", "told"), [([0, 2], 2, False), ([2, 0], 2, True), ([2, 0, 3], 2, True), ([0, 1, 0], 2, False)]
)
def test_what_counts_is_the_epoch_whose_parameters_are_kept(active, best, told):
    """With ``patience`` that is the best epoch, which need not be the last."""
    trainer = SimpleNamespace(history={"active_units": active}, best_epoch=best, model=mv.VAE(**SMALL))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", DeadCodeWarning)
        warn_of_dead_code(trainer)
    assert bool(said) == told


def test_a_training_without_such_figures_is_not_talked_about():
    """Of a model that counts no units, or before the first epoch."""
    for history in ({}, {"active_units": []}):
        warn_of_dead_code(SimpleNamespace(history=history, best_epoch=0, model=mv.VAE(**SMALL)))


def test_each_epoch_is_told_when_it_is_over(monkeypatch):
    """Also into a pipe or a file, to which Python would write in large pieces."""
    written, heard = io.BytesIO(), []
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    trainer = SimpleNamespace(
        epoch=2, model=mv.VAE(**SMALL), history={"train_loss": [3.0, 2.5], "seconds": [1.0, 0.25], "train_kl": [1, 1]}
    )
    telling(heard.append)(trainer)
    assert written.getvalue() == b"epoch 2/30: train_loss 2.50, 0.25 s\n"
    assert heard == [trainer]
