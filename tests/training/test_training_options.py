"""What can be asked of a training: warm-up, clipping, an early stop, hooks, single steps; and that it stops when it diverges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.helpers import complaint
from support.small_training import X, model

from minivae import VAE
from minivae.backend import generator
from minivae.checks import MinivaeError, NonFiniteError
from minivae.models.objectives import warm_up
from minivae.training.batches import Rows
from minivae.training.trainer import CHECK_EVERY, Trainer


@pytest.mark.parametrize(("done", "epochs", "share"), [(0, 4, 0), (1, 4, 0.25), (2.5, 4, 0.625), (4, 4, 1), (9, 4, 1), (0, 0, 1)])
def test_warm_up_is_a_line_from_zero_to_one(done, epochs, share):
    assert warm_up(done, epochs) == pytest.approx(share)
    assert warm_up(math.inf, epochs) == 1


def test_warm_up_weighs_the_kl_in_training_and_not_in_the_validation():
    """With one batch an epoch, the share in force in epoch e is e/4; validation always uses the full β."""
    record = model(beta=3.0, warm_up_epochs=4, epochs=6, batch_size=103, dtype="float64").fit(X, x_test=X).history_
    shares = np.minimum(np.arange(6) / 4, 1)
    kl = np.array(record["train_kl"])
    assert (kl > 1e-3).all()
    np.testing.assert_allclose(np.array(record["train_loss"]) - record["train_reconstruction"], 3.0 * shares * kl, rtol=1e-9)
    excess = np.array(record["test_loss"]) - record["test_reconstruction"]
    np.testing.assert_allclose(excess, 3.0 * np.array(record["test_kl"]), rtol=1e-9)


def test_warm_up_rises_within_an_epoch():
    losses = []

    class Spy(VAE):
        def loss(self, terms, epochs_done=math.inf):
            losses.append(epochs_done)
            return super().loss(terms, epochs_done)

    Spy(latent_dim=2, hidden_dims=(), epochs=2, batch_size=26, device="cpu").fit(X)
    trained = [done for done in losses if done != math.inf]
    np.testing.assert_allclose(trained, np.arange(8) / 4)


def test_clipping_bounds_the_step():
    settings = {"optimizer": "sgd", "epochs": 1, "batch_size": 103, "dtype": "float64"}  # one step
    before = model(**settings, learning_rate=1e-300).fit(X).parameters_.values
    for clip_norm, learning_rate in ((1e-3, 0.1), (0.05, 1.0)):
        clipped = model(**settings, learning_rate=learning_rate, clip_norm=clip_norm).fit(X).parameters_.values
        free = model(**settings, learning_rate=learning_rate).fit(X).parameters_.values
        assert np.linalg.norm(free - before) > 2 * learning_rate * clip_norm
        assert np.linalg.norm(clipped - before) == pytest.approx(learning_rate * clip_norm, rel=1e-9)


class Scripted(VAE):
    """A VAE whose test losses are dictated, and whose parameters are remembered epoch by epoch."""

    def evaluate(self, rows):
        self.states_ = [*getattr(self, "states_", []), self.parameters_.values.copy()]
        loss = self.script_[len(self.states_) - 1]
        return {"reconstruction": loss, "kl": 0.0, "loss": loss}, {}


@pytest.mark.parametrize(
    ("script", "patience", "epochs", "best"),
    [
        ([5, 3, 4, 3.5, 2], 2, 4, 2),
        ([5, 3, 4, 2, 4, 4, 1], 2, 6, 4),
        ([5, 3, 4, 4, 4, 2], 3, 5, 2),
        ([5, 3, 3, 3, 1], 2, 4, 2),  # as good is not better
        ([1, 2, 3, 4], 1, 2, 1),
        ([5, 4, 3, 2, 1], 2, 5, 5),
        ([5, 3, 4], 9, 3, 2),  # the epochs end before the patience does
    ],
)
def test_early_stop_comes_on_time_and_restores_the_best_epoch(script, patience, epochs, best):
    vae = Scripted(latent_dim=2, hidden_dims=(), epochs=len(script), patience=patience, device="cpu", batch_size=50)
    vae.script_ = script
    vae.fit(X, x_test=X)
    assert vae.history_["test_loss"] == script[:epochs]
    np.testing.assert_array_equal(vae.parameters_.values, vae.states_[best - 1])
    assert len({state.tobytes() for state in vae.states_}) == epochs


def test_without_patience_all_epochs_run_and_the_last_stays():
    vae = Scripted(latent_dim=2, hidden_dims=(), epochs=4, device="cpu", batch_size=50)
    vae.script_ = [1, 2, 3, 4]
    vae.fit(X, x_test=X)
    assert len(vae.states_) == 4
    np.testing.assert_array_equal(vae.parameters_.values, vae.states_[-1])


def test_early_stop_without_test_rows_watches_the_training_loss():
    vae = model(epochs=300, patience=2, learning_rate=0.3).fit(X)
    losses = vae.history_["train_loss"]
    assert len(losses) < 300
    assert np.argmin(losses) == len(losses) - 3


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_shared", "gaussian_fixed"])
def test_divergence_is_noticed_and_named(likelihood):
    steps = []
    vae = model(likelihood=likelihood, learning_rate=1e8, optimizer="sgd", batch_size=1, epochs=9)
    message = complaint(NonFiniteError, vae.fit, 100 * X, on_step=lambda trainer: steps.append(trainer.step))
    assert "training: expected a finite loss" in message
    assert "learning_rate" in message
    assert "clip_norm" in message
    assert "in epoch 1, at step" in message
    assert len(steps) <= CHECK_EVERY  # and soon


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_noticed_at_the_end_of_a_short_epoch():
    vae = model(likelihood="gaussian_fixed", learning_rate=1e30, optimizer="sgd", batch_size=52, epochs=9)
    assert "in epoch 1, at step 1" in complaint(NonFiniteError, vae.fit, 100 * X)


def test_hook_sees_the_epochs_and_can_change_the_rate():
    rates, epochs = [], []

    def decay(trainer):
        epochs.append(trainer.epoch)
        rates.append(trainer.optimizer.learning_rate)
        trainer.optimizer.learning_rate *= 0.5

    model(learning_rate=0.1).fit(X, on_epoch=decay)
    assert epochs == [1, 2, 3]
    assert rates == [0.1, 0.05, 0.025]


def test_error_in_a_hook_passes_through():
    class Stop(MinivaeError):
        pass

    def stop(trainer):
        raise Stop

    with pytest.raises(Stop):
        model().fit(X, on_step=stop)


def test_a_single_step_returns_its_loss():
    """Who writes a loop of his own has nothing else to plot."""
    vae = model(epochs=1).fit(X)
    trainer = Trainer(vae, Rows(X, np, "float32"))
    expected = vae.loss(vae.terms(X[:20], generator(np, 5, "noise")), 0.0).item()
    assert trainer.train_step(X[:20], generator(np, 5, "noise")).item() == expected
    assert trainer.step == 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_single_step_whose_loss_is_no_number_changes_nothing():
    vae = model(epochs=1).fit(X)
    trainer, before = Trainer(vae, Rows(X, np, "float32")), vae.parameters_.values.copy()
    with pytest.raises(NonFiniteError, match="a finite loss, got nan"):
        trainer.train_step(np.full((5, 7), np.nan, np.float32), generator(np, 5, "noise"))
    np.testing.assert_array_equal(vae.parameters_.values, before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_single_step_on_a_device_waits_for_nothing(strict_device):
    """It does not even ask whether its loss is a number."""
    vae = model(epochs=1, device="cuda").fit(X)
    trainer = Trainer(vae, Rows(X, strict_device, "float32"))
    x, noise = strict_device.asarray(np.full((5, 7), np.nan, np.float32)), trainer.noise_of(0)
    trainer.train_step(x, noise)  # compiles and fills what is made once
    with strict_device.counting() as counts:
        loss = trainer.train_step(x, noise)
    assert counts.synchronisations == 0
    assert math.isnan(float(loss))
