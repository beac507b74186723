"""Numbers that would take all memory, or mean nothing, are refused in a line; the smallest data are drawn all the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import benchmarks.__main__ as benchmarks
import minivae
from minivae.command import environment
from minivae.command.cli import main

TINY = ["--latent-dim", "3", "--hidden-dims", "5", "--epochs", "1", "--device", "cpu", "--eval-samples", "2", "--quiet"]


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate", "traverse"])
def test_more_than_can_be_held_is_refused(folder, capsys, command):
    assert main(["train", *TINY, "--name", "it"]) == 0
    for n in (10**9, 10**12, 10**30, 0, -1):
        for out in ("x.png", "x.npy"):
            assert main([command, "it", "-n", str(n), "--out", out]) == 2
            err = capsys.readouterr().err
            assert err.startswith("minivae: -n: expected a whole number")
            assert "e+" not in err  # bounds are told to the last digit
            assert ("--out FILE.npy" in err) == (out == "x.png")
            assert err.count("\n") == 1
    assert sorted(os.listdir()) == ["runs"]


@pytest.mark.slow
def test_a_picture_is_bounded_by_all_its_cells(folder, capsys):
    """Each count alone is one that a picture has room for; together they would keep the drawing busy for minutes."""
    assert main(["train", *TINY, "--name", "it"]) == 0
    for command, most in ((["traverse", "it", "--dims", "3"], 333), (["reconstruct", "it", "--temperature", "1", "2"], 250)):
        assert main([*command, "-n", str(most + 1)]) == 2
        assert f"to {most}, got {most + 1}; a picture has no room" in capsys.readouterr().err
        assert main([*command, "-n", str(most + 1), "--out", "it.npy", "--quiet"]) == 0
        assert len(np.load("it.npy")[0]) == most + 1


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--n-samples", "--eval-samples"])
def test_more_samples_than_anybody_waits_for_are_refused(folder, capsys, option):
    """Before the training, too: its figures are estimated with them at its end."""
    if option == "--n-samples":
        assert main(["train", *TINY, "--name", "it"]) == 0
    command = ["evaluate", "it"] if option == "--n-samples" else ["train"]
    assert main([*command, option, "1000000000000"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "expected a whole number from 1 to 10000000, got 1000000000000" in err


def test_a_seed_below_zero_is_refused(capsys):
    assert main(["gradcheck", "--op", "exp", "--seed", "-1"]) == 2
    assert "--seed: expected a whole number of at least 0, got -1" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("features", "latents", "tests"), [(1, 3, 9), (1, 1, 1), (2, 2, 1), (5, 1, 2), (5, 2, 9)])
def test_transform_draws_the_smallest_data(folder, features, latents, tests):
    rng = np.random.default_rng(0)
    x, x_test = rng.random((12, features)), rng.random((tests, features))
    np.savez("it.npz", x=x, y=np.arange(12) % 2, x_test=x_test, y_test=np.arange(tests) % 2)
    assert main(["train", *TINY, "--data", "it.npz", "--batch-size", "4", "--latent-dim", str(latents), "--name", "it"]) == 0
    assert main(["transform", "it", "--quiet"]) == 0
    assert Path("runs/it/transform.png").stat().st_size > 5000


def test_info_and_gradcheck_say_which_source_runs(capsys, monkeypatch):
    here = str(Path(minivae.__file__).parent)
    assert main(["info"]) == 0
    assert here in capsys.readouterr().out
    assert main(["gradcheck", "--op", "exp"]) == 0
    assert f"checked: {here}\n" in capsys.readouterr().out
    monkeypatch.setattr(environment, "__file__", "/usr/lib/python3/site-packages/minivae/command/environment.py")
    assert "minivae (an installed copy: edits of a checkout do not change it)" in environment.source()


def test_quick_benchmarks_keep_away_from_the_results_that_are_kept(monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setattr("benchmarks.cpu.ops.run", lambda args: seen.append(args.results))
    for arguments in (["--quick"], [], ["--quick", "--results", str(tmp_path)]):
        monkeypatch.setattr(sys, "argv", ["benchmarks", "ops", *arguments])
        benchmarks.main()
    assert seen == [benchmarks.QUICK_RESULTS, benchmarks.RESULTS, tmp_path]
    assert str(benchmarks.QUICK_RESULTS) in capsys.readouterr().out
