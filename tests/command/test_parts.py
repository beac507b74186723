"""Commands on parts of the data and on what goes on: classes left out, few labels, one label, the other end, more epochs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
from minivae.backend import to_device, to_numpy

TINY = ["--latent-dim", "3", "--hidden-dims", "13", "--epochs", "2", "--device", "cpu", "--eval-samples", "2"]


@pytest.mark.slow
def test_a_class_that_was_left_out_is_strange_and_one_that_was_not_is_warned_of(cli):
    assert cli("train", *TINY, "--exclude-class", 0, "--name", "it", "--quiet")[0] == 0
    config = json.loads(Path("runs/it/config.json").read_text())
    assert config["data"]["exclude_class"] == ["0"]
    test = mv.datasets.load("digits")[1]
    assert config["data"]["n_test"] == (test.y != 0).sum()
    code, out, err = cli("anomaly", "it", "--strange-class", 0)
    assert (code, err) == (0, "")
    assert "runs/it/anomaly.png" in out
    assert f"{(test.y == 0).sum()} strange against {(test.y != 0).sum() // 2} normal" in out
    code, _, err = cli("anomaly", "it", "--strange-class", 3, "--out", "scores.csv", "--json")
    assert code == 0
    assert "minivae: warning: --strange-class: expected a class that it was not trained on, got 3" in err
    assert "train another with --exclude-class 3" in err
    rows = list(csv.DictReader(Path("scores.csv").read_text().splitlines()))
    strange = [float(row["score"]) for row in rows if row["part"] == "strange"]
    model = mv.load("runs/it/model.safetensors")
    np.testing.assert_allclose(strange, model.anomaly_score(test.values[test.y == 3]), rtol=1e-6)
    assert {row["class"] for row in rows if row["part"] != "strange"} == set("12456789")
    code, _, err = cli("anomaly", "it", "--strange-class", "x")
    assert code == 2
    assert "--strange-class: expected a class of digits" in err


@pytest.mark.slow
def test_few_labels_are_for_models_that_can_do_with_them(cli):
    settings = [*TINY, "--model", "SemiSupervisedVAE", "--batch-size", 500]
    assert cli("train", *settings, "--labels", 50, "--name", "few", "--quiet")[0] == 0
    assert json.loads(Path("runs/few/config.json").read_text())["data"]["labels"] == 50
    assert cli("evaluate", "few", "--n-samples", 2, "--quiet") == (0, "", "")
    code, _, err = cli("train", *TINY, "--labels", 50)
    assert code == 2
    assert "--labels: expected a model that learns from few labels (VAEClassifier, SemiSupervisedVAE), got VAE" in err


@pytest.fixture
def conditional(cli):
    assert cli("train", *TINY, "--model", "ConditionalVAE", "--name", "it", "--quiet")[0] == 0
    return mv.load("runs/it/model.safetensors")


@pytest.mark.slow
def test_samples_of_the_labels_that_are_asked_for(cli, conditional):
    assert cli("sample", "it", "--label", 3, 8, "-n", 6, "--seed", 1, "--out", "x.npy", "--quiet")[0] == 0
    np.testing.assert_array_equal(np.load("x.npy"), conditional.sample(6, seed=1, y=[3, 8] * 3))
    assert cli("sample", "it", "--label", 3, "--quiet")[0] == 0
    assert "--label: expected a class of digits" in cli("sample", "it", "--label", 12)[2]


@pytest.mark.slow
def test_labels_are_refused_where_nothing_goes_by_them(cli):
    assert cli("train", *TINY, "--name", "plain", "--quiet")[0] == 0
    assert "--label: expected a conditional model, trained with classes, got VAE" in cli("sample", "plain", "--label", 3)[2]


@pytest.mark.slow
def test_a_path_of_a_conditional_model_ends_at_the_end_example(cli, conditional):
    test = mv.datasets.load("digits")[1]
    i, j = 4, 9
    assert test.y[i] != test.y[j]
    for path in ("linear", "spherical"):
        assert cli("interpolate", "it", "--from", i, "--to", j, "--path", path, "--out", "path.npy", "--quiet")[0] == 0
        points = np.load("path.npy")
        ends = conditional.reconstruct(test.x[[i, j]], y=test.y[[i, j]])
        np.testing.assert_allclose(points[[0, -1]], ends, rtol=1e-4, atol=1e-6)
    mixed = 0.5 * (np.eye(10)[test.y[i]] + np.eye(10)[test.y[j]])  # half way in the condition too
    z = to_numpy(conditional.transform(test.x[[i, j]], test.y[[i, j]])).mean(axis=0)
    half = conditional.interpolate(test.x[i], test.x[j], 3, y=test.y[i], y_end=test.y[j])[1]
    logits = to_numpy(conditional.decoder_(to_device(conditional.xp_, np.concatenate([z, mixed])[None], "float32")).data[0])
    np.testing.assert_allclose(to_numpy(half), 1 / (1 + np.exp(-logits)), rtol=1e-4)


@pytest.mark.slow
def test_a_finished_run_goes_on_as_if_it_had_never_ended(cli):
    assert cli("train", *TINY, "--name", "parts", "--quiet")[0] == 0
    code, _, err = cli("train", "--resume", "parts")
    assert code == 2
    assert "--epochs: expected more than the 2 epochs of this run, which is finished, got 2" in err
    assert "go on with --resume parts --epochs 4" in err
    assert cli("train", "--resume", "parts", "--epochs", 5, "--quiet")[0] == 0
    assert cli("train", *TINY, "--epochs", 5, "--name", "whole", "--quiet")[0] == 0
    parts, whole = (mv.load(f"runs/{name}/model.safetensors") for name in ("parts", "whole"))
    assert parts.parameters_.values.tobytes() == whole.parameters_.values.tobytes()
    assert parts.history_["train_loss"] == whole.history_["train_loss"]


@pytest.mark.slow
def test_a_training_ends_with_its_pictures_and_two_commands_that_work(cli):
    _, out, _ = cli("train", *TINY, "--name", "my run")
    assert "pictures in it: curves.png, reconstructions.png, samples.png" in out
    assert "next: minivae report 'my run'" in out
    assert "minivae train --resume 'my run' --epochs 4" in out
    assert cli("report", "my run", "--quiet")[0] == 0
    assert cli("train", "--resume", "my run", "--epochs", 3, "--quiet")[0] == 0
