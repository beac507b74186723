"""The run directory: it appears whole or not at all, is never overwritten, and is read again as it was written."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from support.helpers import complaint

from minivae.checks import DataFileError, InputError
from minivae.runs.draft import Draft
from minivae.runs.run import Run, as_json, history_csv
from minivae.runs.source import Source


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def write(runs_dir, stem="vae", name=None, content="x"):
    with Draft(runs_dir, stem, name) as draft:
        (draft.folder / "file").write_text(content)
    return draft.path


def test_names_are_numbered_and_none_is_used_twice():
    assert str(write("deep/runs")) == os.path.join("deep", "runs", "vae-1")
    assert write("deep/runs", content="y").name == "vae-2"
    assert write("deep/runs", "other").name == "other-1"
    assert write("deep/runs", name="mine").name == "mine"
    assert sorted(os.listdir("deep/runs")) == ["mine", "other-1", "vae-1", "vae-2"]
    os.rename("deep/runs/vae-1", "deep/runs/kept")
    assert write("deep/runs").name == "vae-1"


def test_nothing_is_seen_before_the_end_and_nothing_is_left_by_a_failure():
    def fail(error: type[BaseException]) -> None:
        with Draft("a/b", "vae") as draft:
            (draft.folder / "file").write_text("half")
            assert [name for name in os.listdir("a/b") if not name.startswith(".")] == []
            raise error

    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError)
    assert os.listdir() == []
    os.mkdir("a")
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt)
    assert os.listdir() == ["a"]  # what was there before stays
    assert os.listdir("a") == []


def test_a_failure_leaves_what_others_put_there_meanwhile():
    def fail() -> None:
        with Draft("runs", "vae"):
            write("runs", name="other")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.listdir("runs") == ["other"]


def test_two_trainings_at_once_do_not_take_each_other_s_name():
    with Draft("runs", "vae") as first:
        (first.folder / "file").write_text("first")
        assert write("runs", content="second").name == "vae-1"
    assert first.path.name == "vae-2"
    assert [(path.name, (path / "file").read_text()) for path in sorted(first.path.parent.iterdir())] == [
        ("vae-1", "second"),
        ("vae-2", "first"),
    ]


def test_a_name_that_was_taken_meanwhile_is_refused_and_the_other_run_kept():
    def late():
        with Draft("runs", "vae", "mine") as draft:
            (draft.folder / "file").write_text("late")
            write("runs", name="mine", content="early")

    assert "--name" in complaint(InputError, late)
    assert os.listdir("runs") == ["mine"]
    assert Path("runs/mine/file").read_text() == "early"


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/tmp/a"])
def test_a_name_is_a_plain_name(name):
    assert "--name" in complaint(InputError, Draft, "runs", "vae", name)
    assert os.listdir() == []


@pytest.mark.parametrize("runs_dir", ["file", "file/runs", "new/../file/runs"])
def test_a_place_that_cannot_be_written_is_refused_at_once(runs_dir):
    Path("file").touch()
    assert "--runs-dir" in complaint(DataFileError, Draft, runs_dir, "vae")
    assert os.listdir() == ["file"]


def test_a_run_is_found_by_path_and_by_name(vae):
    with Draft("runs", "vae", "mine") as draft:
        vae.save(draft.folder / "model.safetensors")
        data = Source("digits").record() | {"name": "digits", "n_train": 1437, "n_test": 360}
        config = {"model": "VAE", "settings": {}, "data": data, "command": [], "versions": {}, "figures": {"conditional": False}}
        (draft.folder / "config.json").write_text(as_json(config))
    for run in (Run("mine"), Run("runs/mine"), Run(str(draft.path.absolute()), "elsewhere")):
        assert run.config == config
        assert run.path.samefile(draft.path)
    assert run.model("cpu").get_params() == vae.get_params()
    train, test = run.data()
    assert (train.name, len(test)) == ("digits", 360)
    assert run.data("sprites")[0].name == "sprites"
    assert "'yours'" in complaint(DataFileError, Run, "yours")
    os.mkdir("runs/empty")
    complaint(DataFileError, Run, "empty")


def test_the_data_of_a_run_are_found_from_any_folder():
    os.mkdir("data")
    np.save("data/mine.npy", np.ones((5, 2)))
    record = Source("data/mine.npy", "data").record()
    assert record == {"source": os.path.abspath("data/mine.npy"), "data_dir": os.path.abspath("data")}


def test_history_as_csv_keeps_every_bit():
    history = {"epoch": [1, 2], "train_loss": [1 / 3, 1e-17], "kl_per_dimension": [[0.1, 0.2, 0.3], [1e300, 5.0, -0.0]]}
    rows = list(csv.DictReader(io.StringIO(history_csv(history).decode())))
    assert list(rows[0]) == ["epoch", "train_loss", "kl_per_dimension_0", "kl_per_dimension_1", "kl_per_dimension_2"]
    for i, row in enumerate(rows):
        assert int(row["epoch"]) == i + 1
        assert float(row["train_loss"]) == history["train_loss"][i]
        assert [float(row[f"kl_per_dimension_{j}"]) for j in range(3)] == history["kl_per_dimension"][i]


def test_json_is_strict():
    text = as_json({"a": [1.5, math.nan, (math.inf, "µ")], "b": {"c": -math.inf, "d": None, "e": True}})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [1.5, None, [None, "µ"]], "b": {"c": None, "d": None, "e": True}}
    assert "\n" not in text
