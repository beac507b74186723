"""The comparison of priors, posteriors and layers, on little data."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.tables import rows_of

from benchmarks import beyond
from benchmarks.__main__ import main

pytestmark = pytest.mark.slow


def test_table_has_a_row_for_each_model_and_the_figures_of_it(tmp_path, monkeypatch):
    arguments = ["--quick", "--epochs", "1", "--samples", "3", "--examples", "20", "--processes", "1", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "beyond", *arguments])
    main()
    rows = rows_of(tmp_path / "beyond.csv")
    assert [row["model"] for row in rows] == list(beyond.RIVALS)
    assert rows[0]["less the VAE's"] == ""
    found = beyond.measure("VampPrior, 100 pseudo-inputs", {"quick": True, "epochs": 1, "seed": 0, "samples": 3, "examples": 20})
    row = rows[list(beyond.RIVALS).index("VampPrior, 100 pseudo-inputs")]
    assert row["bound"] == f"{found['bound']:.2f}"
    assert row["log p(x)"] == beyond.mean_and_error(found["log_p"])
    assert row["active units"] == found["active"]


def test_mean_and_error():
    assert beyond.mean_and_error(np.array([1.0, 2.0, 3.0])) == "2.00 ± 0.58"
    assert beyond.mean_and_error(np.zeros(3)) == ""
