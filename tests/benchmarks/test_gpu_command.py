"""``python -m benchmarks gpu``: its CPU half as on any machine; its GPU half on the stand-in, whose times mean nothing."""

from __future__ import annotations

from importlib import metadata

import numpy as np
import pytest
from support.gpu_benchmark import TINY, arguments
from support.tables import comments_of, rows_of

from benchmarks import timing
from benchmarks.gpu import costs, gpu, ops, steps, training
from benchmarks.gpu.contenders import FEWER, FORMS, ONE_LAUNCH
from minivae import backend, datasets
from minivae.backend import probe_cuda


@pytest.mark.slow
def test_without_a_gpu_the_cpu_half_is_measured_and_the_rest_is_named(tmp_path, capsys):
    if probe_cuda()[0]:
        pytest.skip("there is a GPU")
    gpu.run(arguments("--results", str(tmp_path), "--ops", "relu", "dense"))
    for name, measured in (("gpu_ops", "CPU, µs"), ("gpu_steps", "µs a step, wall"), ("gpu_batch", "CPU, µs a step")):
        rows = rows_of(tmp_path / f"{name}.csv")
        assert rows
        for row in rows:
            assert float(row[measured]) > 0
            assert not any(value for column, value in row.items() if "GPU" in column or column in ("plain, µs", "kernel, µs"))
    said = " ".join(capsys.readouterr().out.split())
    assert "left out, without a GPU" in said
    assert probe_cuda()[1] in said


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(steps, "WORKS", dict.fromkeys(("A", "B", "L"), TINY))
    for name in ("SIZES", "QUICK_SIZES"):
        monkeypatch.setattr(ops, name, {"n": 3, "d": 7, "m": 5, "s": 2})
    some = [part.subset(range(9)) for part in datasets.load("digits")]
    monkeypatch.setattr(datasets, "load", lambda name, folder=None: some)
    monkeypatch.setattr(training, "digits", lambda rows: np.resize(some[0].values, (rows, 64)))
    monkeypatch.setattr(training, "NETWORK", {"latent_dim": 2, "hidden_dims": (3,), "batch_size": 4, "noise": "counter"})
    monkeypatch.setattr(training, "EPOCHS", 2)
    monkeypatch.setattr(training, "QUICK_STEPS", (5, 10))
    monkeypatch.setattr(training, "IN_EPOCH", 5)


TABLES = {
    "gpu_steps": "contender",
    "gpu_ladder": "form",
    "gpu_drift": "training",
    "gpu_training": "training",
    "gpu_ops": "op",
    "gpu_batch": "batch",
    "gpu_costs": "what",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.compile calls what PyTorch itself advises against
def test_the_whole_benchmark_makes_every_table_and_plot(fused, short, here, tiny, tmp_path, capsys):
    chosen = [*FORMS, "JAX scan", "torch.compile"]
    gpu.run(arguments("--results", str(tmp_path), "--ops", "relu", "dense", "elu", "--only", *chosen))
    tables = {name: rows_of(tmp_path / f"{name}.csv") for name in TABLES}
    seen = {name: list(dict.fromkeys(row[column] for row in tables[name])) for name, column in TABLES.items()}
    assert set(seen["gpu_steps"]) >= {steps.ON_CPU, *FORMS}
    assert seen["gpu_ladder"] == list(steps.RUNGS)
    assert seen["gpu_drift"] == [training.SINGLE, *training.ON_DEVICE]
    assert seen["gpu_training"] == list(training.TRAINED)
    assert len(seen["gpu_costs"]) == 6 + len(costs.DISPATCHED)
    for row in tables["gpu_drift"]:  # of a network and a few steps that leave rounding little room
        assert 0 < float(row["largest difference of a parameter"]) < 1e-4
        assert float(row["relative difference of the loss"]) < 1e-5
    for row in tables["gpu_training"]:
        assert float(row["test loss"]) > 0
    for name in ("gpu_ladder", "gpu_drift", "gpu_ops", "gpu_batch"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    assert f"# device: {backend.probe_cuda()[1]}" in comments_of(tmp_path / "gpu_ladder.csv")
    said = " ".join(capsys.readouterr().out.split())
    for package, peer in (("jax", "JAX scan"), ("torch", "torch.compile")):
        if not any(row["contender"] == peer for row in tables["gpu_steps"]):
            assert f"left out: B, {peer}: {package} is not installed" in said


def test_the_ladder_compares_each_form_with_the_one_before_and_with_the_best_peer():
    rows = [
        ("A", steps.ON_CPU, "", 800.0, ""),
        ("A", "minivae, replayed", 9.0, 400.0, 60.0),
        ("A", ONE_LAUNCH, 9.0, 100.0, 0.04),
        ("A", "minivae, TF32", 9.0, 90.0, 60.0),  # not the same precision: no rung, and below no rival
        ("A", "JAX scan", "", 50.0, ""),
        ("A", "JAX jit", 9.0, 70.0, ""),
        ("A", "JAX scan, TF32", "", 20.0, ""),
        ("L", FEWER, 9.0, 30.0, 40.0),
    ]
    assert steps.ladder(rows) == [
        ("A", steps.ON_CPU, "", 800.0, "", 16.0),
        ("A", "minivae, replayed", 60.0, 400.0, 0.5, 8.0),
        ("A", ONE_LAUNCH, 0.04, 100.0, 0.25, 2.0),
        ("L", FEWER, 40.0, 30.0, "", ""),
    ]


def test_the_header_names_cupy_by_the_package_that_holds_it(monkeypatch):
    installed = {"numpy": "2.5.2", "cupy-cuda13x": "14.2.0"}

    def version(package: str) -> str:
        if package not in installed:
            raise metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(metadata, "version", version)
    assert timing.header(arguments())["versions"].endswith("numpy 2.5.2, cupy-cuda13x 14.2.0")
