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


@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate", "traverse"])
def test_more_than_can_be_held_is_refused(folder, capsys, command):
    assert main(["train", *TINY, "--name", "it"]) == 0
    for n in (10**9, 10**12, 10**30, 0, -1):
        for out in ("x.png", "x.npy"):
            assert main([command, "it", "-n", str(n), "--out", out]) == 2
            err = capsys.readouterr().err
            assert err.startswith("minivae: -n: expected a whole number")
            assert err.count("\n") == 1
    assert sorted(os.listdir()) == ["runs"]


def test_a_seed_below_zero_is_refused(capsys):
    assert main(["gradcheck", "--op", "exp", "--seed", "-1"]) == 2
    assert "--seed: expected a whole number of at least 0, got -1" in capsys.readouterr().err


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
