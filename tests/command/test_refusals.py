"""Commands that refuse: exit code 2, one line that says why, and nothing left behind."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.command import TINY, is_complaint

import minivae as mv

pytestmark = pytest.mark.slow  # whole commands


GOOD = np.random.default_rng(0).random((40, 6))


def spoiled(row: int, column: int, value: float) -> np.ndarray:
    x = GOOD.copy()
    x[row, column] = value
    return x


BAD_ARRAYS = {
    "of one axis": (GOOD[0], "(n, d)", "(6,)", "reshape"),
    "of strings": (np.full((3, 2), "a"), "real numbers", "dtype"),
    "empty": (GOOD[:0], "at least one example", "(0, 6)"),
    "with NaN": (spoiled(3, 2, np.nan), "finite numbers", "nan at row 3, column 2", "impute"),
    "with infinity": (spoiled(4, 1, np.inf), "finite numbers", "inf at row 4, column 1"),
    "with NaN among the test rows": (spoiled(39, 0, np.nan), "x_test", "nan at row 7, column 0"),
    "outside the unit interval": (GOOD * 3, "[0, 1]", "Bernoulli", "gaussian"),
    "smaller than a batch": (GOOD, "batch_size", "32 rows", "128", "lower it"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_data_are_refused_in_one_line_and_nothing_is_left_behind(cli, tmp_path, case):
    x, *words = BAD_ARRAYS[case]
    np.save(tmp_path / "bad.npy", x)
    assert is_complaint(cli("train", "--data", "bad.npy"), *words)
    assert os.listdir(tmp_path) == ["bad.npy"]


BAD_COMMANDS = {
    "train --data mnsit": ("data set", "digits, mnist, sprites", "'mnsit'"),
    "train --data none.npy": ("none.npy", "readable", "No such file"),
    "train --data mnist --data-dir nowhere": ("data_dir", "nowhere", "MINIVAE_DATA"),
    "train --model VEA": ("--model", "'VEA'", "VAE"),
    "train --activation rleu": ("activation", "relu", "'rleu'"),
    "train --likelihood normal": ("likelihood", "bernoulli", "'normal'"),
    "train --optimizer adm": ("optimizer", "adam", "'adm'"),
    "train --binarize yes": ("binarize", "dynamic", "'yes'"),
    "train --epochs 0": ("epochs", "at least 1", "0"),
    "train --epochs many": ("--epochs", "whole number", "'many'"),
    "train --learning-rate fast": ("--learning-rate", "number", "'fast'"),
    "train --learning-rate nan": ("learning_rate", "finite number", "nan"),
    "train --hidden-dims 10,x": ("--hidden-dims", "whole number", "'x'"),
    "train --latent-dims 3": ("--latent-dims",),
    "train --sparsity 3": ("--sparsity", "SparseAutoencoder", "VAE", "--model"),
    "train --eval-samples 0": ("--eval-samples", "from 1 to 10000000", "got 0"),
    "train --device tpu": ("device", "cuda", "'tpu'"),
    "train --name a/b": ("--name", "'a/b'", "--runs-dir"),
    "train --name ..": ("--name", "'..'"),
    "evaluate nothing": ("RUN", "'nothing'", "minivae train"),
    "evaluate": ("RUN",),
    "sample tiny -n 0": ("-n", "from 1 to 1000,", "got 0"),
    "sample tiny --out picture.jpg": ("--out", ".png or .npy", "'picture.jpg'"),
    "sample tiny --out nowhere/picture.png": ("nowhere/picture.png", "No such file"),
    "sample tiny --data waves": ("data set", "'waves'"),
    "reconstruct tiny --temperature -1": ("temperature", "at least 0", "-1"),
    "interpolate tiny --from 360": ("--from", "0 to 359", "360"),
    "interpolate tiny --path round": ("--path", "'round'", "spherical"),
    "traverse tiny --example -1": ("--example", "-1"),
    "evaluate tiny --data sprites": ("64 features", "400"),
    "gradcheck --op dens": ("op", "dense", "'dens'"),
    "explain dens": ("op", "dense", "'dens'"),
    "data mnsit": ("data set", "'mnsit'"),
    "paint": ("'paint'", "train"),
    "": ("COMMAND",),
}


@pytest.mark.parametrize("command", BAD_COMMANDS)
def test_bad_arguments_are_refused_in_one_line_and_nothing_is_left_behind(cli, run, command):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    assert is_complaint(cli(*command.split()), *BAD_COMMANDS[command])
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()} == before
    assert os.listdir("runs") == ["tiny"]


def test_cuda_without_a_device_is_refused_with_the_reason(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("minivae.backend.probe_cuda", lambda: (False, "the driver is on holiday"))
    assert is_complaint(cli("train", *TINY[:-1], "cuda"), "device", "the driver is on holiday", "'cpu'")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_found_before_training(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("minivae.models.base.Model.fit", lambda *_, **__: pytest.fail("it trained"))
    (tmp_path / "file").write_text("in the way")
    assert is_complaint(cli("train", "--runs-dir", "file"), "--runs-dir file", "can be written", "another folder")
    assert is_complaint(cli("train", "--runs-dir", "new/../file/deep"), "can be written")
    assert os.listdir(tmp_path) == ["file"]


def test_an_existing_run_is_never_overwritten(cli, run):
    before = (run / "config.json").read_bytes()
    assert is_complaint(cli("train", *TINY, "--name", "tiny"), "--name", "runs/tiny", "exists", "choose another")
    assert (run / "config.json").read_bytes() == before
    assert os.listdir("runs") == ["tiny"]


@pytest.mark.parametrize(("file", "content"), [("model.safetensors", b"\x10"), ("config.json", b"{"), ("config.json", b"{}")])
def test_a_damaged_run_is_refused(cli, run, file, content):
    (run / file).write_bytes(content)
    assert is_complaint(cli("sample", "tiny"), str(Path("runs", "tiny", file)), "expected")
    assert not (run / "sample.png").exists()


def test_a_truncated_model_file_is_refused(cli, run):
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert is_complaint(cli("evaluate", "tiny"), "runs/tiny/model.safetensors", "expected a model", "not fully covered")


@pytest.mark.parametrize("damage", ["truncated", "corrupted"])
def test_a_damaged_idx_file_is_refused(cli, tmp_path, damage):
    header = bytes.fromhex("00000803 0000ea60 0000001c 0000001c".replace(" ", ""))
    content = gzip.compress(header + bytes(1000)) if damage == "truncated" else b"not gzip at all"
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    assert is_complaint(cli("train", "--data", "mnist", "--data-dir", "."), "train-images-idx3-ubyte", "fresh copy")
    assert os.listdir(tmp_path) == ["train-images-idx3-ubyte.gz"]


def test_debug_lets_the_traceback_through(cli):
    with pytest.raises(mv.InputError, match="data set"):
        cli("data", "mnsit", "--debug")


def test_a_loss_that_explodes_is_one_line_too_and_leaves_nothing(cli, tmp_path):
    np.save(tmp_path / "huge.npy", np.full((9, 2), 1e30))
    arguments = ["--likelihood", "gaussian_fixed", "--batch-size", 4, "--epochs", 2]
    assert is_complaint(cli("train", "--data", "huge.npy", *arguments, "--quiet"), "training", "finite loss", "learning_rate")
    assert os.listdir(tmp_path) == ["huge.npy"]


def test_an_interruption_is_130_and_leaves_nothing(cli, monkeypatch, tmp_path):
    def interrupt(display, trainer):
        assert os.listdir("runs")  # the draft is there
        raise KeyboardInterrupt

    monkeypatch.setattr("minivae.command.console._Plain.on_epoch", interrupt)
    code, out, err = cli("train", *TINY)
    assert (code, out) == (130, "")
    assert err.endswith("\nminivae: interrupted\n")
    assert os.listdir(tmp_path) == []


def test_the_process_ends_as_main_says(tmp_path):
    command = [sys.executable, "-m", "minivae", "train", "--data", "nothing"]
    environment = os.environ | {"PYTHONPATH": str(Path(mv.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert is_complaint((done.returncode, done.stdout, done.stderr), "data set", "'nothing'")
