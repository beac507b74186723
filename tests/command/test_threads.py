"""``minivae train`` computes small products on one thread, unless it is told otherwise."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_limits

import minivae as mv
from minivae.backend import blas_threads
from minivae.command.cli import main
from minivae.command.environment import SMALL, THREAD_VARIABLES, threads_for
from minivae.training.trainer import Trainer


@pytest.fixture
def two_threads(monkeypatch):
    """A process in which nobody has said how many threads there are to be, and BLAS has two."""
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with threadpool_limits(2, "blas"):
        yield


@pytest.mark.slow
def test_training_a_small_network_takes_one_thread(two_threads, tmp_path, monkeypatch):
    seen, update = [], Trainer._update
    monkeypatch.setattr(Trainer, "_update", lambda *args: seen.append(blas_threads()) or update(*args))
    common = ["--epochs", "1", "--device", "cpu", "--quiet", "--eval-samples", "2", "--runs-dir", str(tmp_path)]
    assert main(["train", *common]) == 0
    assert set(seen) == {1}
    assert blas_threads() == 2, "for what comes after the training"
    seen.clear()
    assert main(["train", *common, "--hidden-dims", "400", "400"]) == 0
    assert set(seen) == {2}


@pytest.mark.parametrize("hidden_dims", [(SMALL // 640,), (1, SMALL // 10), ()])
def test_small_is_judged_by_the_largest_product_of_a_step(two_threads, hidden_dims):
    """Of rows, inputs and outputs of a layer: 10 · 64 · 6250, or 10 · 1 · 400000."""
    for more, threads in ((0, 1), (1, 2)):
        model = mv.VAE(hidden_dims=tuple(width + more * (width > 1) for width in hidden_dims), batch_size=10, latent_dim=1)
        with threads_for(model, 64 if hidden_dims else SMALL // 10 + more):
            assert blas_threads() == threads
    assert blas_threads() == 2


@pytest.mark.parametrize("name", THREAD_VARIABLES)
def test_the_environment_has_the_last_word(two_threads, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with threads_for(mv.VAE(), 64):
        assert blas_threads() == 2
