"""Commands as a user types them: fixtures to run one in an empty folder, or on a small run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minivae.command.cli import main

TINY = ["--latent-dim", "2", "--hidden-dims", "13", "--epochs", "3", "--device", "cpu"]
PNG = b"\x89PNG\r\n\x1a\n"
RUN_FILES = {"model.safetensors", "config.json", "history.csv", "checkpoint.safetensors"}
PICTURES = {"curves.png", "reconstructions.png", "samples.png", "manifold.png", "latent_map.png"}


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Return a function that runs a command in an empty folder and returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse's own way out
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run directory of a tiny VAE.  Shared: look, don't touch."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", *TINY, "--name", "tiny", "--runs-dir", str(folder), "--quiet"]) == 0
    return folder / "tiny"


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of that run directory to write into."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "tiny"))


def is_complaint(result: tuple[int, str, str], *words: str) -> bool:
    """Assert that a command refused: exit 2, nothing on standard output, and one line with these words on standard error."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("minivae")
    assert all(word in err for word in words), err
    return True
