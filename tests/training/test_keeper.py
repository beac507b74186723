"""When a keeper saves the state of a training, and what it knows of the file."""

from __future__ import annotations

import pytest
from support.helpers import complaint
from support.small_training import SMALL, X, Y, fit

import minivae as mv
from minivae.checks import InputError
from minivae.training import checkpoint
from minivae.training.interruption import Interruption
from minivae.training.keeper import Keeper, interval


def test_saving_comes_at_the_intervals(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Keeper, "save", lambda self, trainer: saved.append((trainer.epoch, trainer.step)))
    fit(mv.VAE(**SMALL | {"epochs": 5}), tmp_path / "file", every="2")
    assert saved == [(2, 12), (4, 24), (5, 30)]


@pytest.mark.parametrize(("every", "seconds_and_epochs"), [("1.5s", (1.5, 0)), ("7", (0.0, 7)), ("0" * 18 + "2", (0.0, 2))])
def test_an_interval_is_in_seconds_or_in_epochs(every, seconds_and_epochs):
    assert interval(every) == seconds_and_epochs


@pytest.mark.parametrize("every", ["", "0", "0s", "-1", "1m", "s", "1e9s", "٣", "9" * 99, "0" * 19 + "2", None, 1.5])
def test_what_is_no_interval_is_refused(every, tmp_path):
    assert "checkpoint-every" in complaint(InputError, Keeper, tmp_path / "file", every)


def test_keeper_knows_how_far_the_file_is_that_it_goes_on_from(tmp_path):
    """A message that says which step is kept must not say "none" until the next save."""
    with pytest.raises(Interruption):
        fit(mv.VAE(**SMALL), tmp_path / "file", 9)
    keeper, seen = Keeper(tmp_path / "file", "1000"), []

    def on_start(trainer):
        seen.append(keeper.saved_step)
        keeper.on_start(trainer)
        seen.append(keeper.saved_step)

    mv.VAE(**SMALL).fit(X, Y, X[:31], Y[:31], on_start=on_start)
    assert seen == [None, 9]


def test_the_clock_of_the_intervals_starts_with_the_training(tmp_path, monkeypatch):
    """It does not start when the keeper is made, since reading the data may take minutes."""
    clock = [100.0]
    monkeypatch.setattr("minivae.training.keeper.time.monotonic", lambda: clock[0])
    saved = []
    monkeypatch.setattr(Keeper, "save", lambda self, trainer: saved.append(trainer.step))
    keeper = Keeper(tmp_path / "file", "4s")
    clock[0] += 1000

    def on_step(trainer):
        clock[0] += 1
        keeper.on_step(trainer)

    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_start=keeper.on_start, on_step=on_step)
    assert saved == [4, 5, 6]  # save is a stand-in that does not set the clock back


def test_the_context_of_a_run_is_kept_beside_its_state(tmp_path):
    keeper = Keeper(tmp_path / "file", context={"name": "mine"})
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_epoch=keeper.on_epoch)
    assert checkpoint.load(tmp_path / "file")[1]["context"] == {"name": "mine"}


def test_a_keeper_saves_without_having_looked_for_a_file(tmp_path):
    """Whoever trains anew has no use for ``on_start``."""
    keeper = Keeper(tmp_path / "file", "0.0000001s")
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_step=keeper.on_step)
    assert keeper.saved_step == 6
