"""The benchmark of the KL's parts: that each of its tables and pictures can be made, in the smallest setting."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.tables import rows_of

from benchmarks import __main__ as command
from benchmarks.surgery import biases, models


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "surgery", *map(str, arguments)])
    command.main()


@pytest.mark.slow
def test_biases_are_measured_drawn_and_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(biases, "EXAMPLES", 200)
    monkeypatch.setattr(biases, "BATCHES", (8, 40))
    run(monkeypatch, "--part", "biases", "--rounds", 10, "--epochs", 1, "--results", tmp_path)
    rows = rows_of(tmp_path / "surgery_biases.csv")
    assert {row["posteriors"] for row in rows} == {"independent", "correlated", "VAE on digits"}
    assert len(rows) == 3 * (1 + 2 * 3)
    page = (tmp_path / "total_correlation.md").read_text(encoding="utf-8")
    assert page.startswith("# Can the total correlation be negative?")
    assert page.count("\n| ") == 1 + len(rows)
    assert (tmp_path / "surgery_biases.png").read_bytes().startswith(b"\x89PNG")


def test_shared_matrix_is_the_one_that_is_shared():
    """Its rows add up to 1; 1/N stands in the first column, the odd weight beside it, and once more at the end."""
    weights = np.exp(biases.shared_matrix(5, 100))
    np.testing.assert_allclose(weights[:, 0], [0.01, 0.01, 0.01, 96 / 400, 0.01])
    np.testing.assert_allclose(weights[:, 1], 96 / 400)
    np.testing.assert_allclose(weights[:, 2:], 1 / 4)


@pytest.mark.slow
def test_models_are_compared_by_every_score(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "SETTINGS", models.SETTINGS | {"hidden_dims": (8,), "batch_size": 512})
    monkeypatch.setattr(models, "EXAMPLES", 300)
    run(monkeypatch, "--part", "models", "--seeds", 2, "--epochs", 1, "--results", tmp_path)
    rows = rows_of(tmp_path / "surgery_models.csv")
    assert [row["model"] for row in rows] == [*models.MODELS, "β = 4 less β = 1", "the seed's share"]
    assert all("±" in value for row in rows[:-1] for name, value in row.items() if name != "model")
    assert (tmp_path / "surgery_models.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "share"),
    [
        (np.array([[1.0, 1.0], [2.0, 2.0]]), 0.0),
        (np.array([[1.0, 2.0], [1.0, 2.0]]), 1.0),
        (np.array([[0.0, 2.0], [2.0, 4.0]]), 0.5),
        (np.zeros((3, 4)), 0.0),
    ],
)
def test_share_of_the_seed_is_what_remains_within_models(values, share):
    assert models.seed_share(values) == pytest.approx(share)
