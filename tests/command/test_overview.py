"""Runs as a list, and side by side."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from minivae.command.cli import main
from minivae.command.overview import _in_order
from minivae.pictures.curves import overlaid

pytestmark = pytest.mark.slow  # trainings

TINY = ["--hidden-dims", "7", "--device", "cpu", "--eval-samples", "2", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with three runs, one of which was stopped, and things that are none."""
    folder = tmp_path_factory.mktemp("home")
    runs = ["--runs-dir", str(folder / "runs")]
    assert main(["train", *TINY, *runs, "--name", "one", "--latent-dim", "2", "--epochs", "2"]) == 0
    assert main(["train", *TINY, *runs, "--name", "two", "--latent-dim", "3", "--epochs", "4", "--model", "Autoencoder"]) == 0
    (folder / "runs/stopped").mkdir()
    (folder / "runs/stopped/checkpoint.safetensors").write_bytes((folder / "runs/one/checkpoint.safetensors").read_bytes())
    (folder / "runs/other").mkdir()
    return folder


@pytest.fixture
def cli(home, monkeypatch, capsys):
    monkeypatch.chdir(home)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        return code, *capsys.readouterr()

    return run


def test_runs_are_listed_with_what_tells_them_apart(cli):
    code, out, _ = cli("runs")
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert code == 0
    assert lines["one"].split()[1:4] == ["VAE", "digits", "2"]
    assert lines["two"].split()[1:4] == ["Autoencoder", "digits", "4"]
    assert "minivae train --resume runs/stopped" in lines["stopped"]
    assert "other" not in lines
    record = json.loads(cli("runs", "--json")[1])
    one = json.loads(Path("runs/one/config.json").read_text())["figures"]
    assert record["runs"][0]["test_loss"] == one["test_loss"]


def test_where_there_is_no_run_the_list_says_what_makes_one(cli, tmp_path):
    code, out, _ = cli("runs", "--runs-dir", str(tmp_path / "nowhere"))
    assert code == 0
    assert "none yet; minivae train makes one" in out


def test_two_runs_side_by_side(cli):
    code, out, _ = cli("compare", "one", "two")
    assert code == 0
    rows = {line.strip().split("  ")[0]: line for line in out.splitlines() if line.strip()}
    assert rows["model"].split()[1:] == ["VAE", "Autoencoder"]
    assert rows["latent_dim"].split()[1:] == ["2", "3"]
    assert rows["epochs"].split()[1:] == ["2", "4"]
    assert "hidden_dims" not in rows, "it is the same in both"
    for name, run in (("one", 0), ("two", 1)):
        figures = json.loads(Path(f"runs/{name}/config.json").read_text())["figures"]
        assert f"{figures['reconstruction']:.2f}" == rows["reconstruction"].split()[1 + run]
    assert Path("runs/one/compare.png").stat().st_size > 10_000
    assert cli("compare", "two", "one", "--out", "both.png", "--json")[0] == 0
    assert Path("both.png").is_file()
    os.unlink("both.png")


def test_what_cannot_be_compared_is_refused(cli):
    assert "RUN: expected 2 to 6 different runs, got 1" in cli("compare", "one", "one")[2]
    assert "'three'" in cli("compare", "one", "three")[2]


def test_curves_lie_over_each_other():
    histories = {
        "a": {"epoch": [1, 2], "train_loss": [3.0, 2.0], "test_loss": [4.0, 3.5], "active_units": [1, 2]},
        "b": {"epoch": [1, 2, 3], "train_loss": [5.0, 2.5, 2.0], "train_kl": [1.0, 2.0, 3.0], "active_units": [3, 2, 1]},
    }
    figure = overlaid(histories)
    loss, kl, active = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[4.0, 3.5], [5.0, 2.5, 2.0]]
    assert [line.get_ydata().tolist() for line in kl.lines] == [[1.0, 2.0, 3.0]]
    assert kl.lines[0].get_color() == loss.lines[1].get_color() == active.lines[1].get_color() != loss.lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert (loss.get_xscale(), loss.get_xlim()) == ("linear", (1, 3))
    long = {"epoch": [*range(1, 60), 600], "train_loss": [1.0] * 60, "active_units": [1] * 60}
    assert {(axes.get_xscale(), axes.get_xlim()) for axes in overlaid(histories | {"long": long}).axes} == {("log", (1, 600))}


def test_names_of_several_lists_keep_their_order():
    assert _in_order([["a", "b", "d"], ["a", "c", "d", "e"]]) == ["a", "c", "b", "d", "e"]
    assert _in_order([["a", "b"], ["a", "b"]]) == ["a", "b"]
