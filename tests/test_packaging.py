"""What is given away: the source distribution has all that its tests read, and a model is the same bytes whenever it is saved."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import minivae as mv

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_source_distribution_has_what_its_tests_need(tmp_path):
    pytest.importorskip("setuptools", reason="setuptools, which makes the distribution, is not installed")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout: there is nothing to compare with")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    code = f"import setuptools.build_meta as build; print(build.build_sdist({str(tmp_path)!r}))"
    copy = tmp_path / "copy"
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, check=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    missing = {name for name in listed if name.startswith(("tests/", "minivae/", "benchmarks/", "CHANGELOG", "LICENSE"))} - inside
    assert not missing
    print(f"{len(inside)} files in the source distribution, none of the checkout's missing")


def test_one_model_saved_twice_is_the_same_bytes(tmp_path):
    x = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    model = mv.VAE(latent_dim=2, hidden_dims=(5,), epochs=1, batch_size=8, device="cpu").fit(x)
    contents = set()
    for i in range(20):
        model.save(tmp_path / f"{i}")
        contents.add((tmp_path / f"{i}").read_bytes())
    again = mv.load(tmp_path / "0", "cpu")
    again.device = model.device
    again.save(tmp_path / "again")
    contents.add((tmp_path / "again").read_bytes())
    assert len(contents) == 1
