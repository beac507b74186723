"""The commands as a user types them: what they print, and what they write."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from support.command import PICTURES, PNG, RUN_FILES, TINY
from support.helpers import MNIST, needs_mnist

import minivae as mv

pytestmark = pytest.mark.slow  # whole commands


def test_train_writes_a_run_and_ends_with_one_json_line(cli, tmp_path):
    code, out, err = cli("train", *TINY, "--name", "first", "--json")
    assert code == 0
    assert out.count("\n") == 1
    figures = json.loads(out)
    assert figures["run"] == str(Path("runs", "first"))
    folder = tmp_path / "runs" / "first"
    assert {path.name for path in folder.iterdir()} == RUN_FILES | PICTURES
    assert os.listdir(tmp_path / "runs") == ["first"]  # the folder it was written in is gone
    assert all(path.read_bytes().startswith(PNG) for path in folder.glob("*.png"))
    assert "test log p(x)" in err  # people's part is aside
    assert "epoch 3/3" in err

    model, (_, test) = mv.load(folder / "model.safetensors"), mv.datasets.load("digits")
    assert figures["test_loss"] == pytest.approx(-model.elbo(test.x).mean(), rel=1e-6)
    assert figures["test_loss"] == -figures["test_elbo"]
    assert figures["test_loss"] == pytest.approx(figures["reconstruction"] + figures["kl"])
    assert figures["log_likelihood"] == pytest.approx(model.log_likelihood(test.x).mean(), rel=1e-6)
    assert figures["log_likelihood"] > figures["test_elbo"]
    assert 0 < figures["monte_carlo_error"] < figures["standard_error"] < 1
    assert 0 < figures["seconds"] < 60
    assert {"active_units", "latent_dim", "n_test", "entropy_floor"} <= figures.keys()

    config = json.loads((folder / "config.json").read_text())
    assert config["command"] == ["minivae", "train", *TINY, "--name", "first", "--json"]
    assert config["settings"] == json.loads(json.dumps(model.get_params() | {"device": "cpu"}))
    assert config["data"] == {
        "source": "digits",
        "data_dir": None,
        "name": "digits",
        "n_train": 1437,
        "n_test": 360,
        "image_shape": [8, 8],
    }
    assert config["versions"]["minivae"] == mv.__version__
    assert config["figures"].items() <= figures.items()

    header, *rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 3
    last = dict(zip(header.split(","), rows[-1].split(",")))
    assert float(last["test_elbo"]) == model.history_["test_elbo"][-1] == figures["test_elbo"]
    assert float(last["kl_per_dimension_1"]) == model.history_["kl_per_dimension"][-1][1]


def test_train_shows_a_table_and_quiet_shows_nothing(cli):
    code, out, err = cli("train", *TINY)
    assert code == 0
    assert err.startswith("VAE on digits: 1437 training and 360 test examples of 8 × 8 pixels, 3 epochs\n")
    for words in ("test ELBO", "±", "100 importance samples", "entropy floor", "of 2"):
        assert words in out
    assert "run: runs/vae-digits-1" in out
    assert "\x1b" not in out + err  # no colour and no movement where nobody looks
    figures = r"reconstruction \d+\.\d\d  KL \d+\.\d\d  ELBO -\d+\.\d\d  active units \d/2"
    assert re.search(rf"\nepoch 1/3  {figures}  [\d,]+ examples/s  \d+:\d\d left\n", err)
    assert cli("train", *TINY, "--quiet") == (0, "", "")
    assert sorted(os.listdir("runs")) == ["vae-digits-1", "vae-digits-2"]


def test_the_same_seed_gives_the_same_history_and_another_seed_another(cli):
    histories = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert cli("train", *TINY, "--latent-dim", 1, "--seed", seed, "--name", name, "--quiet")[0] == 0
        history = mv.load(f"runs/{name}/model.safetensors").history_
        histories.append({name: values for name, values in history.items() if name != "seconds"})
    assert histories[0] == histories[1] != histories[2]


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_shared", "gaussian_fixed"])
def test_train_on_your_own_numbers(cli, tmp_path, likelihood):
    """Data that are no images get line plots; a Gaussian likelihood says which σ it means."""
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((60, 7)))
    arguments = ["--data", "mine.npy", "--likelihood", likelihood, "--variance", 0.25, "--batch-size", 16]
    code, out, err = cli("train", *TINY, *arguments, "--name", "mine")
    assert code == 0
    assert "7 features" in err
    assert "σ of the decoder" in out
    assert "entropy floor" not in out
    assert ("σ² = 0.25," in out) == (likelihood == "gaussian_fixed")
    assert ("effective β" in out) == (likelihood != "gaussian")
    assert {path.name for path in Path("runs/mine").iterdir()} == RUN_FILES | PICTURES
    os.chdir("runs")  # the run knows where its data are, wherever it is asked from
    assert cli("evaluate", "mine", "--runs-dir", ".", "--quiet") == (0, "", "")


@pytest.mark.parametrize("model", mv.MODELS)
def test_every_model_trains_and_can_be_asked(cli, model):
    code, out, _ = cli("train", "--model", model, *TINY, "--epochs", 1, "--eval-samples", 3, "--name", "it", "--json")
    assert code == 0
    assert np.isfinite(json.loads(out)["test_loss"])
    trained = mv.load("runs/it/model.safetensors")
    maps = {"latent_map.png"} if trained.latent_width() == 2 else set()
    assert RUN_FILES | {"curves.png", "reconstructions.png"} | maps <= set(os.listdir("runs/it"))
    for command in ("evaluate", "sample", "reconstruct", "transform"):
        assert cli(command, "it", "--quiet") == (0, "", ""), command
    for command in ("interpolate", "traverse", "explore"):
        code, _, err = cli(command, "it", "--quiet")
        assert (code, err == "") == ((0, True) if trained.continuous else (2, False)), command
        if not trained.continuous:
            assert f"{command}: expected a model with points between two latent vectors, got {model}" in err


def test_epochs_are_many_on_small_data_unless_given(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("minivae.command.fitting.LEAST_STEPS", 30)
    np.save(tmp_path / "few.npy", np.random.default_rng(0).random((10, 3)))
    arguments = ["--data", "few.npy", "--latent-dim", 2, "--hidden-dims", 5, "--batch-size", 8, "--quiet"]
    cli("train", *arguments, "--name", "few")
    assert mv.load("runs/few/model.safetensors").epochs == 30  # 8 rows to train on, so one step in each
    cli("train", *arguments, "--name", "one", "--epochs", 1)
    assert mv.load("runs/one/model.safetensors").epochs == 1


@needs_mnist
def test_data_says_what_is_in_mnist(cli):
    code, out, _ = cli("data", "mnist", "--data-dir", MNIST, "--json")
    record = json.loads(out)
    assert code == 0
    assert (record["n_train"], record["n_test"], record["image_shape"], record["classes"]) == (60000, 10000, [28, 28], 10)
    assert record["entropy_floor"] == pytest.approx(45.53, abs=0.005)  # nats, computed with other software


def test_evaluate_repeats_the_figures_of_the_training(cli, run):
    code, out, _ = cli("evaluate", "tiny", "--json")
    figures, trained = json.loads(out), json.loads((run / "config.json").read_text())["figures"]
    assert code == 0
    for name in ("test_elbo", "log_likelihood", "standard_error", "active_units"):
        assert figures[name] == trained[name]
    _, out, _ = cli("evaluate", run, "--n-samples", 2, "--n-examples", 50)
    assert "50 examples, 2 importance samples" in out


@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate", "traverse"])
def test_pictures_go_into_the_run_or_where_they_are_asked_to(cli, run, command, tmp_path):
    code, out, _ = cli(command, "tiny")
    assert code == 0
    assert out == f"{Path('runs', 'tiny', command)}.png\n"
    assert (run / f"{command}.png").read_bytes().startswith(PNG)
    code, out, _ = cli(command, run, "--out", "other.png", "--json")
    assert code == 0
    assert json.loads(out) == {"run": str(run), "file": "other.png"}
    assert (tmp_path / "other.png").read_bytes().startswith(PNG)


def test_numbers_are_those_of_the_model(cli, run):
    model, (_, test) = mv.load(run / "model.safetensors"), mv.datasets.load("digits")
    x, y = test.x, test.y

    def numbers(*arguments):
        assert cli(*arguments, "--out", "it.npy")[0] == 0
        return np.load("it.npy")

    np.testing.assert_array_equal(numbers("sample", run, "-n", 5, "--seed", 9, "--pixels", "draw"), model.sample(5, 9, "draw"))
    firsts = [int(np.flatnonzero(y == digit)[0]) for digit in range(4)]  # one of each class
    rows = numbers("reconstruct", run, "-n", 4, "--temperature", 0.5, 2)
    np.testing.assert_array_equal(rows[0], x[firsts])
    for row, temperature in zip(rows[1:], (0, 0.5, 2), strict=True):
        np.testing.assert_array_equal(row, model.reconstruct(x[firsts], temperature))
    path = numbers("interpolate", run, "--from", 3, "--to", 8, "-n", 5, "--path", "spherical")
    np.testing.assert_array_equal(path, model.interpolate(x[3], x[8], 5, "spherical"))
    grid = numbers("traverse", run, "--example", 6, "--span", 2, "-n", 3, "--dims", 1)
    strongest = int(np.argmax(model.history_["kl_per_dimension"][-1]))
    np.testing.assert_array_equal(grid, [model.traverse(x[6], strongest, 3, 2)])
