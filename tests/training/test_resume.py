"""A training that is stopped anywhere and goes on is the training without a stop, bit for bit."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from support.small_training import SMALL, X, Y, fit

import minivae as mv
from minivae.command.cli import main
from minivae.training.batches import Rows
from minivae.training.interruption import Interruption
from minivae.training.keeper import PREFIX, Keeper
from minivae.training.trainer import Trainer

SPLITS = 4  # for each setting, at steps of its own


def without_clock(history: dict) -> dict:
    return {name: values for name, values in history.items() if name != "seconds"}


def in_parts(model: str, settings: dict, path: Path, seed: int) -> tuple[mv.Model, int]:
    """Return the model that is trained with a stop every so many random steps, each part by a new object, and how many parts."""
    rng, parts = random.Random(seed), 0
    while True:
        parts += 1
        made = mv.MODELS[model](**SMALL | settings)
        try:
            return fit(made, path, rng.randint(1, 11)), parts
        except Interruption:
            continue


CASES = {
    **{name: (name, {}) for name in mv.MODELS},
    "float64, sgd, clipped": ("VAE", {"dtype": "float64", "optimizer": "sgd", "clip_norm": 0.5, "noise": "counter"}),
    "dynamic, warm-up": ("VAE", {"binarize": "dynamic", "warm_up_epochs": 3}),
    "fixed, counter": ("VAE", {"binarize": "fixed", "noise": "counter", "output_bias": "data"}),
    "patience": ("VAE", {"patience": 1, "learning_rate": 0.3, "epochs": 9}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_any_split_is_the_run_without_a_stop(case, tmp_path):
    name, settings = CASES[case]
    whole = mv.MODELS[name](**SMALL | settings).fit(X, Y, X[:31], Y[:31])
    total = 0
    for seed in range(SPLITS):
        path = tmp_path / f"{seed}"
        model, parts = in_parts(name, settings, path, seed)
        total += parts
        assert model.parameters_.values.tobytes() == whole.parameters_.values.tobytes()
        assert without_clock(model.history_) == without_clock(whole.history_)
        assert os.listdir(tmp_path) == [path.name]  # nothing half-written
        path.unlink()
    assert total > 2 * SPLITS
    print(f"{case}: {total} parts in {SPLITS} splits")


def test_every_step_is_a_place_to_stop(tmp_path):
    """Among them the last step of an epoch, before its figures are made, and the last step of all."""
    whole = mv.VAE(**SMALL | {"epochs": 2}).fit(X, Y, X[:31], Y[:31])
    for stop in range(1, 13):
        path = tmp_path / f"{stop}"
        with pytest.raises(Interruption):
            fit(mv.VAE(**SMALL | {"epochs": 2}), path, stop)
        model = fit(mv.VAE(**SMALL | {"epochs": 2}), path)
        assert model.parameters_.values.tobytes() == whole.parameters_.values.tobytes()
        assert without_clock(model.history_) == without_clock(whole.history_)


def test_more_epochs_may_be_asked_for(tmp_path):
    whole = mv.VAE(**SMALL).fit(X)
    for epochs in (1, 3, 4):
        keeper = Keeper(tmp_path / "file")
        model = mv.VAE(**SMALL | {"epochs": epochs})
        model.fit(X, on_start=keeper.on_start, on_step=keeper.on_step, on_epoch=keeper.on_epoch)
    assert model.parameters_.values.tobytes() == whole.parameters_.values.tobytes()


def test_rate_that_a_hook_has_changed_is_kept(tmp_path):
    def fit_with_decay(epochs, path):
        keeper = Keeper(path)

        def decay(trainer):
            trainer.optimizer.learning_rate *= 0.5
            keeper.on_epoch(trainer)

        return mv.VAE(**SMALL | {"epochs": epochs}).fit(X, on_start=keeper.on_start, on_epoch=decay)

    fit_with_decay(2, tmp_path / "a")
    parts, whole = fit_with_decay(4, tmp_path / "a"), fit_with_decay(4, tmp_path / "b")
    assert parts.parameters_.values.tobytes() == whole.parameters_.values.tobytes()


def test_state_is_a_model_that_can_be_used_and_that_other_libraries_read(tmp_path):
    from safetensors import safe_open

    model = fit(mv.VAE(**SMALL), tmp_path / "file")
    loaded = mv.load(tmp_path / "file", device="cpu")
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    with safe_open(tmp_path / "file", framework="numpy") as file:
        names = set(file.keys())
        assert {"encoder.0.weight", "decoder.1.bias", PREFIX + "sums", PREFIX + "square_sums"} <= names
        record = json.loads(file.metadata()["record"])
        assert file.metadata()["version"] == "1"
    assert record["params"] == json.loads(json.dumps(model.get_params()))
    assert record["training"]["epoch"] == 4
    weights = model.parameters_.state()["encoder.0.weight"]
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its loader is not tried")
    from safetensors.torch import load_file

    tensor = load_file(tmp_path / "file")["encoder.0.weight"]
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), weights)


def test_state_is_read_by_jax(tmp_path):
    jax = pytest.importorskip("jax", reason="JAX is not installed: its loader is not tried")
    from safetensors.flax import load_file

    model = fit(mv.VAE(**SMALL), tmp_path / "file")
    array = load_file(tmp_path / "file")["decoder.1.bias"]
    assert isinstance(array, jax.Array)
    np.testing.assert_array_equal(np.asarray(array), model.parameters_.state()["decoder.1.bias"])


# The command -----------------------------------------------------------------------------------------------------------------


TINY = ["--latent-dim", "2", "--hidden-dims", "13", "--epochs", "3", "--device", "cpu", "--quiet", "--eval-samples", "3"]


@pytest.fixture
def in_an_empty_folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stopped(in_an_empty_folder, monkeypatch, capsys) -> Path:
    """A run directory whose training was stopped by SIGTERM in its 17th step."""
    on_step = Keeper.on_step

    def signal(self, trainer):
        if trainer.step == 17:
            os.kill(os.getpid(), 15)
        on_step(self, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_step", signal)
        assert main(["train", *TINY, "--name", "mine"]) == 143
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "minivae: interrupted, step 17 is saved; go on with: minivae train --resume runs/mine\n"
    assert os.listdir("runs") == ["mine"]
    assert os.listdir("runs/mine") == ["checkpoint.safetensors"]
    return Path("runs/mine")


@pytest.mark.slow
def test_resumed_command_ends_as_the_one_that_was_not_stopped(stopped):
    assert main(["train", *TINY, "--name", "whole"]) == 0
    assert main(["train", "--resume", "mine", "--quiet", "--eval-samples", "3"]) == 0
    whole, parts = (mv.load(f"runs/{name}/model.safetensors") for name in ("whole", "mine"))
    assert parts.parameters_.values.tobytes() == whole.parameters_.values.tobytes()
    assert without_clock(parts.history_) == without_clock(whole.history_)
    assert sorted(os.listdir("runs/mine")) == sorted(os.listdir("runs/whole"))
    assert json.loads(Path("runs/mine/config.json").read_text())["data"]["source"] == "digits"


def test_stopped_run_is_refused_by_other_commands_which_say_what_to_do(stopped, capsys):
    assert main(["sample", "mine"]) == 2
    assert "minivae train --resume runs/mine" in capsys.readouterr().err


@pytest.mark.slow
def test_resume_takes_nothing_but_epochs(stopped, capsys):
    for extra in (["--seed", "3"], ["--model", "VAE"], ["--data", "sprites"], ["--name", "other"], ["--learning-rate", "1"]):
        assert main(["train", "--resume", "mine", *extra]) == 2
        err = capsys.readouterr().err
        assert extra[0] in err
        assert "--resume" in err
    assert main(["train", "--resume", "mine", "--epochs", "4", "--quiet"]) == 0
    assert len(mv.load("runs/mine/model.safetensors").history_["epoch"]) == 4
    assert main(["train", "--resume", "mine"]) == 2
    assert "finished" in capsys.readouterr().err
    assert main(["train", "--resume", "yours"]) == 2
    assert "'yours'" in capsys.readouterr().err


def test_history_that_is_taken_up_replaces_the_one_that_was_there():
    """Figures of another training, left among those of this one, would make columns of different lengths."""
    state = {}
    watched = mv.VAE(**SMALL).fit(X, x_test=X[:31])
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_epoch=lambda trainer: state.update(zip(("arrays", "numbers"), trainer.state())))
    trainer = Trainer(watched, Rows(X, np, "float32"))
    trainer.history.update(watched.history_)
    trainer.restore(state["arrays"], state["numbers"])
    assert trainer.history == state["numbers"]["history"]


@pytest.mark.parametrize("settings", [{"optimizer": "sgd"}, {"noise": "counter"}], ids=["no moments", "noise that is an array"])
def test_training_without_moments_or_with_counter_noise_can_be_resumed(settings, tmp_path):
    settings = SMALL | settings
    with pytest.raises(Interruption):
        fit(mv.VAE(**settings), tmp_path / "file", 9)
    parts, whole = fit(mv.VAE(**settings), tmp_path / "file"), fit(mv.VAE(**settings), tmp_path / "other")
    assert parts.parameters_.values.tobytes() == whole.parameters_.values.tobytes()


def test_a_state_between_two_epochs_can_be_resumed_with_counter_noise(tmp_path):
    settings = SMALL | {"noise": "counter"}
    fit(mv.VAE(**settings | {"epochs": 1}), tmp_path / "file")
    parts, whole = (
        fit(mv.VAE(**settings | {"epochs": 2}), tmp_path / "file"),
        fit(mv.VAE(**settings | {"epochs": 2}), tmp_path / "other"),
    )
    assert parts.parameters_.values.tobytes() == whole.parameters_.values.tobytes()
