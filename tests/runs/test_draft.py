"""Two trainings at once are told apart at the start, and what a killed one leaves is cleared by the next command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import DataFileError, InputError
from minivae.command.cli import main
from minivae.runs.draft import Draft, clear_leftovers, lock
from minivae.training import checkpoint

pytestmark = pytest.mark.slow  # processes of their own

TINY = ["--latent-dim", "2", "--hidden-dims", "5", "--epochs", "1", "--eval-samples", "2", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def started(*arguments: str, name: str) -> subprocess.Popen:
    """Return a real training that goes on for ever, once its first state is kept."""
    environment = os.environ | {"PYTHONPATH": str(Path(mv.__file__).parents[1])}
    line = [sys.executable, "-m", "minivae", "train", "--hidden-dims", "5", "--epochs", "99999", "--device", "cpu", "--quiet"]
    process = subprocess.Popen([*line, *arguments], env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not Path(f"runs/{name}/checkpoint.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    return process


def test_second_of_two_is_told_at_the_start_and_the_first_goes_on(capsys):
    """Also where the first is one of 60 seconds between two saves, and has made no step yet."""
    with started("--name", "mine", "--checkpoint-every", "9999s", name="mine") as process:
        assert main(["train", "--resume", "mine"]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "runs/mine: expected a run that no other process is training" in err
        assert main(["train", *TINY, "--name", "mine"]) == 2
        assert "a name that no run has yet" in capsys.readouterr().err
        process.send_signal(signal.SIGTERM)
        assert "is saved; go on with: minivae train --resume runs/mine" in process.communicate(timeout=60)[1]
    assert os.listdir("runs/mine") == ["checkpoint.safetensors"]
    assert main(["train", "--resume", "mine", "--epochs", "1", "--quiet"]) == 0


def test_lock_of_a_killed_process_is_none():
    with started("--name", "mine", name="mine") as process:
        process.kill()
    assert main(["train", "--resume", "mine", "--epochs", "1", "--quiet"]) == 0


def test_folder_is_locked_for_as_long_as_the_training_takes():
    with Draft("runs", "vae", "mine") as draft:
        (draft.folder / "file").touch()
        complaint(DataFileError, lock, draft.folder)
        draft.publish()
        complaint(DataFileError, Draft, "runs", "vae", None, draft.path)
    Draft("runs", "vae", path=draft.path)._lock.close()


def test_training_that_fails_leaves_no_run_of_no_step(capsys):
    assert main(["train", *TINY, "--learning-rate", "1e300", "--name", "mine"]) == 2
    assert "expected a finite loss" in capsys.readouterr().err
    assert os.listdir() == []


@pytest.mark.parametrize("command", [["train", *TINY, "--name", "next"], ["train", "--resume", "old"], ["sample", "old"]])
def test_leftovers_are_cleared_by_the_next_command(command, vae, capsys):
    os.makedirs("runs/.mine.0123abcd")
    Path("runs/.mine.0123abcd/.checkpoint.safetensors.0123abcd").write_bytes(b"half")
    os.makedirs("runs/.alive.0123abcd")
    Path("runs/.hidden").touch()
    Path("runs/.file.0123abcd").touch()  # not of a training: it may be someone's
    with lock(Path("runs/.alive.0123abcd")):
        main([*command, "--quiet"])
    assert {".alive.0123abcd", ".hidden", ".file.0123abcd"} == {name for name in os.listdir("runs") if name.startswith(".")}


def test_folder_that_cannot_be_listed_is_no_reason_to_stop():
    clear_leftovers(Path("nowhere"))


@pytest.mark.parametrize("name", ["x" * 246, "x" * 255, "ä" * 127, "donn\udce9es", "a[old] b", "-x"])
def test_long_and_strange_names_work(name):
    with Draft("runs", "vae", name) as draft:
        checkpoint.write_whole(draft.folder / "file", b"content")
    assert os.listdir("runs") == [name]
    assert os.listdir(f"runs/{name}") == ["file"]


@pytest.mark.parametrize("name", ["x" * 256, "ä" * 128, "x" * 5000, "\ud800", "a\0b"])
def test_names_that_no_folder_can_have_are_blamed_on_the_name(name):
    assert complaint(InputError, Draft, "runs", "vae", name).startswith("--name")
    assert os.listdir() == []


def test_run_of_data_with_a_long_name():
    np.save("x" * 250 + ".npy", np.random.default_rng(0).random((40, 6)).astype("float32"))
    assert main(["train", *TINY, "--batch-size", "8", "--data", "x" * 250 + ".npy"]) == 0
    assert os.listdir("runs") == ["vae-" + "x" * 56 + "-1"]
