"""The loop: every row once per epoch, the same numbers from the same seed, and a history of it."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest
from support.helpers import blank_vae, plain_kl
from support.small_training import X, model

from minivae import VAE
from minivae.backend import generator
from minivae.evaluation.aggregate import PARTS
from minivae.training.batches import CHUNK_ROWS, Rows
from minivae.training.trainer import Trainer


def history(vae: VAE) -> dict:
    """Return the history without its clock."""
    return {name: values for name, values in vae.history_.items() if name != "seconds"}


@pytest.fixture
def taken(monkeypatch) -> list[np.ndarray]:
    """Return the list of all index arrays that training takes rows by; evaluation takes slices."""
    indices = []
    take = Rows.take

    def spy(self, index, rng):
        if not isinstance(index, slice):
            indices.append(np.array(index))
        return take(self, index, rng)

    monkeypatch.setattr(Rows, "take", spy)
    return indices


# -- order and noise ----------------------------------------------------------------------------------------------------


def test_every_epoch_visits_every_row_once_in_an_order_of_its_own(taken):
    steps = []
    model().fit(X, on_step=lambda trainer: steps.append((trainer.epoch, trainer.step)))
    assert [len(index) for index in taken] == [20, 20, 20, 20, 20, 3] * 3  # the last batch is smaller, and used
    assert steps == [(step // 6, step + 1) for step in range(18)]
    epochs = np.concatenate(taken).reshape(3, 103)
    for order in epochs:
        assert sorted(order) == list(range(103))
    for a, b in itertools.combinations([*epochs, np.arange(103)], 2):  # also none is the stored order
        assert (a == b).sum() < 8  # random orders agree at one place on average


def test_order_does_not_depend_on_what_else_is_drawn(taken):
    orders = []
    for settings in ({}, {"latent_dim": 5}, {"binarize": "dynamic"}, {"hidden_dims": ()}, {"batch_size": 7}, {"optimizer": "sgd"}):
        taken.clear()
        model(seed=4, **settings).fit(X, x_test=X)
        orders.append(np.concatenate(taken))
    for order in orders[1:]:
        np.testing.assert_array_equal(order, orders[0])
    taken.clear()
    model(seed=5).fit(X)
    assert (np.concatenate(taken) != orders[0]).mean() > 0.9


@pytest.fixture
def drawn(monkeypatch) -> list[np.ndarray]:
    """Return the list of all noise that training draws; there is no evaluation."""
    draws = []
    terms = VAE.terms

    def spy(self, x, rng, condition=None):
        class Spy:
            def standard_normal(self, shape, dtype):
                draws.append(rng.standard_normal(shape, dtype=dtype))
                return draws[-1]

        return terms(self, x, Spy(), condition)

    monkeypatch.setattr(VAE, "terms", spy)
    monkeypatch.setattr(VAE, "evaluate", lambda self, rows: ({}, {}))
    return draws


def test_noise_is_new_at_every_step_and_epoch(drawn):
    model().fit(X)
    assert [noise.shape for noise in drawn] == 3 * ([(20, 3)] * 5 + [(3, 3)])
    everything = np.concatenate(drawn)
    assert len(np.unique(everything)) == everything.size
    own = generator(np, 0, "noise", 0).standard_normal((20, 3), dtype=np.float32)  # and not from the stream of the order
    np.testing.assert_array_equal(drawn[0], own)


def test_what_an_epoch_draws_depends_on_its_number_alone(taken, drawn):
    """An epoch that is entered without those before it, as after a stop, sees the same order and the same noise."""
    vae = model(epochs=3).fit(X)
    whole = [taken[12:], drawn[12:]]
    trainer = Trainer(vae, Rows(X, np, "float32"))
    trainer.epoch = 2
    del taken[:], drawn[:]
    trainer.run(3)
    for again, before in zip((taken, drawn), whole):
        assert len(again) == 6
        np.testing.assert_array_equal(np.concatenate(again), np.concatenate(before))


# -- reproducibility ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"binarize": "dynamic"}, {"binarize": "fixed"}, {"dtype": "float64", "clip_norm": 1.0}])
def test_same_seed_same_history_to_the_last_bit(settings):
    np.random.seed(1)  # noqa: NPY002 - to show that the global generator has no part in it
    first = model(seed=2, **settings).fit(X, x_test=X[:50])
    np.random.seed(2)  # noqa: NPY002
    second = model(seed=2, **settings)
    for _ in range(2):  # and a second fit of the same object begins anew
        second.fit(X, x_test=X[:50])
        assert history(second) == history(first)
        assert second.parameters_.values.tobytes() == first.parameters_.values.tobytes()


@pytest.mark.parametrize("binarize", ["none", "fixed", "dynamic"])
def test_another_seed_is_another_run(binarize):
    first, second = (model(seed=seed, binarize=binarize).fit(X) for seed in (0, 1))
    assert all(a != b for a, b in zip(first.history_["train_loss"], second.history_["train_loss"]))
    assert (first.parameters_.parameters["encoder.0.weight"].data != second.parameters_.parameters["encoder.0.weight"].data).all()


def test_test_rows_have_no_influence_on_training():
    with_test = model().fit(X, x_test=1 - X)
    without = model().fit(X)
    assert with_test.parameters_.values.tobytes() == without.parameters_.values.tobytes()
    assert with_test.history_["train_loss"] == without.history_["train_loss"]
    assert not any(name.startswith("test_") for name in without.history_)


@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "sgd"}, {"binarize": "dynamic", "warm_up_epochs": 4}, {"patience": 1, "learning_rate": 0.5}]
)
def test_run_that_stops_and_goes_on_is_the_run_without_a_stop(settings):
    states = {}

    def keep(trainer):
        arrays, numbers = trainer.state()
        states[trainer.epoch] = {name: array.copy() for name, array in arrays.items()}, json.dumps(numbers)

    whole = model(epochs=9, **settings).fit(X, on_epoch=keep)
    assert (len(states) < 9) == ("patience" in settings)
    for epoch in (1, len(states) - 1):
        arrays, numbers = states[epoch]
        vae = model(epochs=1, **settings).fit(X)  # an object with other parameters, as in another process
        trainer = Trainer(vae, Rows(X, np, "float32", vae.binarize))
        trainer.restore(arrays, json.loads(numbers))
        assert trainer.epoch == epoch
        trainer.run(9)
        assert vae.parameters_.values.tobytes() == whole.parameters_.values.tobytes()
        assert {name: values for name, values in trainer.history.items() if name != "seconds"} == history(whole)


# -- history ------------------------------------------------------------------------------------------------------------


def test_history_has_one_value_per_epoch_of_every_figure():
    record = model(beta=2.0).fit(X, x_test=X[:50]).history_
    figures = {f"{part}_{name}" for part in ("train", "test") for name in ("reconstruction", "kl", "elbo", "loss")}
    assert record.keys() == figures | {"epoch", "active_units", "kl_per_dimension", "seconds", *PARTS}
    assert record["epoch"] == [1, 2, 3]
    for values in record.values():
        assert len(values) == 3
    for part in ("train", "test"):
        terms = [np.array(record[f"{part}_{name}"]) for name in ("reconstruction", "kl", "elbo", "loss")]
        assert (terms[1] >= 0).all()
        np.testing.assert_allclose(terms[2], -(terms[0] + terms[1]), rtol=1e-12)
        np.testing.assert_allclose(terms[3], terms[0] + 2.0 * terms[1], rtol=1e-6)
    np.testing.assert_allclose([sum(kl) for kl in record["kl_per_dimension"]], record["test_kl"], rtol=1e-6)
    assert all(seconds > 0 for seconds in record["seconds"])


def test_seconds_of_the_epochs_are_those_of_the_training():
    began = time.perf_counter()
    record = model().fit(X).history_
    assert 0 < sum(record["seconds"]) < time.perf_counter() - began


def test_averages_weigh_every_row_the_same():
    """103 rows in batches of 20: a mean over batches would give the three rows of the last one the weight of twenty."""
    x = X.astype(np.float64)
    x[generator(np, 0, "order", 0).permutation(103)[-3:]] = 1.0  # what the smaller batch of the first epoch holds
    vae = blank_vae(x, latent_dim=3, hidden_dims=(11,), batch_size=20)
    kl = plain_kl(*vae.encode(x))
    assert abs(kl[(x == 1).all(axis=1)].mean() / kl.mean() - 1) > 0.1  # the test would notice
    assert vae.history_["train_kl"][0] == pytest.approx(kl.mean(), rel=1e-12)
    assert vae.history_["train_loss"][0] == pytest.approx(-vae.history_["train_elbo"][0], rel=1e-12)


def test_running_figures_are_averages_over_the_epoch_so_far():
    seen = []
    vae = model(epochs=2).fit(X, on_step=lambda trainer: seen.append(trainer.running))
    assert seen[5]["loss"] == pytest.approx(vae.history_["train_loss"][0])
    assert seen[11]["loss"] == pytest.approx(vae.history_["train_loss"][1])
    assert seen[0]["reconstruction"] + seen[0]["kl"] == pytest.approx(seen[0]["loss"], rel=1e-6)
    assert len({running["loss"] for running in seen}) == 12


def test_evaluation_covers_all_rows_of_a_large_test_set():
    n = 2 * CHUNK_ROWS + 5
    x = np.random.default_rng(1).random((n, 7))
    x[CHUNK_ROWS:] = 0.9
    vae = blank_vae(X, latent_dim=3, hidden_dims=(11,))
    rows = Rows(x, np, "float64")
    terms, code = vae.evaluate(rows)
    mean, log_var = vae.encode(x)
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)
    assert terms["kl"] == pytest.approx(kl.sum(axis=1).mean(), rel=1e-10)
    np.testing.assert_allclose(code["kl_per_dimension"], kl.mean(axis=0), rtol=1e-10)
    assert code["active_units"] == (mean.var(axis=0) > 0.01).sum()
    assert -(terms["reconstruction"] + terms["kl"]) == pytest.approx(vae.elbo(x).mean(), rel=1e-10)


@pytest.mark.trained
def test_training_lowers_the_loss():
    record = model(epochs=40, learning_rate=3e-3).fit(X, x_test=X).history_
    assert record["train_loss"][-1] < record["train_loss"][0] - 0.2
    assert record["test_loss"][-1] < record["test_loss"][0] - 0.2
