"""A training that is stopped anywhere and goes on is the training without a stop, bit for bit."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import DataFileError, InputError
from minivae.command.cli import main
from minivae.training import checkpoint
from minivae.training.batches import Rows
from minivae.training.interruption import Interruption, Latch
from minivae.training.keeper import PREFIX, Keeper, interval
from minivae.training.trainer import Trainer

X = np.random.default_rng(0).random((103, 7)).astype(np.float32)
Y = np.arange(103) % 3
SMALL = {"latent_dim": 3, "hidden_dims": (11,), "epochs": 4, "batch_size": 20, "device": "cpu", "seed": 5}
SPLITS = 4  # for each setting, at steps of its own


def without_clock(history: dict) -> dict:
    return {name: values for name, values in history.items() if name != "seconds"}


def fit(model: mv.Model, path: Path, stop: int | None = None, every: str = "1000") -> mv.Model:
    """Train with a keeper at ``path``; with ``stop``, until a signal that comes in that step of this part."""
    latch = Latch()
    keeper = Keeper(path, every, latch=latch)
    steps = 0

    def on_step(trainer):
        nonlocal steps
        steps += 1
        latch.signum = 15 if steps == stop else 0
        keeper.on_step(trainer)

    return model.fit(X, Y, X[:31], Y[:31], on_start=keeper.on_start, on_step=on_step, on_epoch=keeper.on_epoch)


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


def test_saving_comes_at_the_intervals(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Keeper, "save", lambda self, trainer: saved.append((trainer.epoch, trainer.step)))
    fit(mv.VAE(**SMALL | {"epochs": 5}), tmp_path / "file", every="2")
    assert saved == [(2, 12), (4, 24), (5, 30)]
    saved.clear()
    now = iter(range(10**6))
    monkeypatch.setattr("minivae.training.keeper.time.monotonic", lambda: next(now))
    keeper = Keeper(tmp_path / "file", "2.5s")
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_start=keeper.on_start, on_step=keeper.on_step)
    assert [step for _, step in saved] == [3, 4, 5, 6]  # save is a stand-in that does not set the clock back
    assert (interval("1.5s"), interval("7")) == ((1.5, 0), (0.0, 7))


@pytest.mark.parametrize("every", ["", "0", "0s", "-1", "1m", "s", "1e9s", "٣", "9" * 99, None, 1.5])
def test_no_interval(every, tmp_path):
    assert "checkpoint-every" in complaint(InputError, Keeper, tmp_path / "file", every)


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


OTHERS = {
    "model": (lambda: mv.IWAE(**SMALL), X, "VAE"),
    "setting": (lambda: mv.VAE(**SMALL | {"learning_rate": 0.5}), X, "learning_rate"),
    "widths": (lambda: mv.VAE(**SMALL | {"hidden_dims": (12,)}), X, "hidden_dims"),
    "data": (lambda: mv.VAE(**SMALL), X * 0.5, "data"),
    "number of rows": (lambda: mv.VAE(**SMALL), X[:-1], "data"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_state_of_another_training_is_refused(case, tmp_path):
    make, x, word = OTHERS[case]
    keeper = Keeper(tmp_path / "file")
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_start=keeper.on_start, on_epoch=keeper.on_epoch)
    before = (tmp_path / "file").read_bytes()
    message = complaint(DataFileError, make().fit, x, on_start=Keeper(tmp_path / "file").on_start)
    assert word in message
    assert str(tmp_path / "file") in message
    assert (tmp_path / "file").read_bytes() == before


def test_finished_model_is_no_state_of_a_training(tmp_path):
    mv.VAE(**SMALL | {"epochs": 1}).fit(X).save(tmp_path / "file")
    assert "without" in complaint(DataFileError, mv.VAE(**SMALL).fit, X, on_start=Keeper(tmp_path / "file").on_start)


def test_last_good_state_is_kept_until_the_new_one_is_read_back(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.save(path, {"w": np.arange(3.0)}, {"n": 1})
    before = path.read_bytes()

    def gives_back_something_else(file):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        return load(file)

    load = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", gives_back_something_else)
    assert "checksum" in complaint(DataFileError, checkpoint.save, path, {"w": np.arange(4.0)}, {"n": 2})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]


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


def test_history_that_is_taken_up_replaces_the_one_that_was_there():
    """Figures of another training, left among those of this one, would make columns of different lengths."""
    state = {}
    watched = mv.VAE(**SMALL).fit(X, x_test=X[:31])
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_epoch=lambda trainer: state.update(zip(("arrays", "numbers"), trainer.state())))
    trainer = Trainer(watched, Rows(X, np, "float32"))
    trainer.history.update(watched.history_)
    trainer.restore(state["arrays"], state["numbers"])
    assert trainer.history == state["numbers"]["history"]


POSITIONS = {
    "rows that are missing": lambda numbers: numbers["in_epoch"].update(seen=59),
    "more rows than there are": lambda numbers: numbers["in_epoch"].update(seen=104),
    "steps without their rows": lambda numbers: numbers.pop("in_epoch"),
    "fewer steps than epochs": lambda numbers: (numbers.pop("in_epoch"), numbers.update(epoch=1)),
    "more steps than an epoch has": lambda numbers: numbers.update(step=7),
    "more steps than an epoch has, and all its rows": lambda numbers: (
        numbers.update(step=7),
        numbers["in_epoch"].update(seen=103),
    ),
}


@pytest.mark.parametrize("case", POSITIONS)
def test_position_that_no_training_can_have_led_to_is_refused(case, tmp_path):
    """Taken up, it would train on some rows twice and on others not at all, or stop with a traceback in the middle."""
    path = tmp_path / "file"
    with pytest.raises(Interruption):
        fit(mv.VAE(**SMALL), path, 3)
    arrays, record = checkpoint.load(path)
    POSITIONS[case](record["training"])
    checkpoint.save(path, arrays, record)
    message = complaint(DataFileError, mv.VAE(**SMALL).fit, X, Y, X[:31], Y[:31], on_start=Keeper(path).on_start)
    assert "the state of a training" in message
    assert "step: expected" in message


def test_interval_is_a_number_of_at_most_nineteen_signs():
    assert interval("0" * 18 + "2") == (0.0, 2)
    complaint(InputError, interval, "0" * 19 + "2")


def test_the_clock_of_the_intervals_starts_with_the_training(tmp_path, monkeypatch):
    """Not when the keeper is made, since reading the data may take minutes; and a state is saved as soon as its time has come."""
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


SOME = np.ones(3, np.float32)
BIAS, SUMS, SQUARES = "decoder.1.bias", PREFIX + "sums", PREFIX + "square_sums"
DAMAGES = {
    "no history": ("history: expected", lambda arrays, record: record.update(history={})),
    "a column less": ("history: expected", lambda arrays, record: record["history"].pop("test_kl")),
    "negative squares": (f"{SQUARES}: expected sums of squares", lambda arrays, record: arrays[SQUARES].fill(-1)),
    "one negative square": (f"{SQUARES}: expected", lambda arrays, record: arrays[SQUARES].put(3, -1e-9)),
    "a weight that is none": (f"array {BIAS}: expected finite", lambda arrays, record: arrays[BIAS].put(1, np.nan)),
    "a moment that is none": (f"array {SUMS}: expected finite", lambda arrays, record: arrays[SUMS].put(1, np.inf)),
    "no moments": (f"array {SUMS}: expected one, got none", lambda arrays, record: arrays.pop(SUMS)),
    "an unknown array": ("array more: expected none of this name", lambda arrays, record: arrays.update(more=SOME)),
    "a shorter moment": (f"array {SUMS}: expected F32 of shape", lambda arrays, record: arrays.update({SUMS: SOME})),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_state_that_no_training_can_have_had_is_refused(case, tmp_path):
    says, damage = DAMAGES[case]
    path = tmp_path / "file"
    with pytest.raises(Interruption):
        fit(mv.VAE(**SMALL), path, 9)
    arrays, record = checkpoint.load(path)
    damage(arrays, record)
    checkpoint.save(path, arrays, record)
    message = complaint(DataFileError, mv.VAE(**SMALL).fit, X, Y, X[:31], Y[:31], on_start=Keeper(path).on_start)
    assert f"expected the state of a training, got {says}" in message
    assert message.endswith("; train anew")


@pytest.mark.parametrize("settings", [{"optimizer": "sgd"}, {"noise": "counter"}], ids=["no moments", "noise that is an array"])
def test_state_without_moments_or_with_other_noise_is_gone_on_from(settings, tmp_path):
    settings = SMALL | settings
    with pytest.raises(Interruption):
        fit(mv.VAE(**settings), tmp_path / "file", 9)
    parts, whole = fit(mv.VAE(**settings), tmp_path / "file"), fit(mv.VAE(**settings), tmp_path / "other")
    assert parts.parameters_.values.tobytes() == whole.parameters_.values.tobytes()


def test_between_two_epochs_there_is_no_place_in_the_noise(tmp_path):
    """A state of the end of an epoch has none, also where noise is an array."""
    settings = SMALL | {"noise": "counter"}
    fit(mv.VAE(**settings | {"epochs": 1}), tmp_path / "file")
    parts, whole = (
        fit(mv.VAE(**settings | {"epochs": 2}), tmp_path / "file"),
        fit(mv.VAE(**settings | {"epochs": 2}), tmp_path / "other"),
    )
    assert parts.parameters_.values.tobytes() == whole.parameters_.values.tobytes()


def test_what_is_to_be_kept_beside_the_state_is_in_the_file(tmp_path):
    keeper = Keeper(tmp_path / "file", context={"name": "mine"})
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_epoch=keeper.on_epoch)
    assert checkpoint.load(tmp_path / "file")[1]["context"] == {"name": "mine"}


def test_a_keeper_that_has_not_looked_for_a_file_saves_all_the_same(tmp_path):
    """Whoever trains anew has no use for ``on_start``."""
    keeper = Keeper(tmp_path / "file", "0.0000001s")
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_step=keeper.on_step)
    assert keeper.saved_step == 6
