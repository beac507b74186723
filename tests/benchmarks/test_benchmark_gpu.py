"""``python -m benchmarks gpu``: its CPU half as on any machine; its GPU half on the stand-in, whose times mean nothing."""

from __future__ import annotations

import argparse
import csv
import math
import os
from unittest import mock

import pytest
from support import strict_cupy

from benchmarks.cpu.workloads import Workload, reference_losses
from benchmarks.gpu import contenders as gpu_contenders
from benchmarks.gpu import gpu
from minivae.backend import probe_cuda

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU

TINY = Workload("tiny", 13, (5,), 2, 4, "relu")


@pytest.mark.slow
def test_without_a_gpu_the_cpu_half_is_measured_and_the_rest_is_named(tmp_path, capsys):
    if probe_cuda()[0]:
        pytest.skip("there is a GPU")
    parser = argparse.ArgumentParser()
    gpu.add_arguments(parser)
    gpu.run(parser.parse_args(["--quick", "--results", str(tmp_path), "--ops", "relu", "dense"]))
    for name, measured in (("gpu_ops", "CPU, µs"), ("gpu_steps", "µs a step, wall"), ("gpu_batch", "CPU, µs a step")):
        lines = (line for line in (tmp_path / f"{name}.csv").read_text().splitlines() if not line.startswith("#"))
        rows = list(csv.DictReader(lines))
        assert rows
        for row in rows:
            assert float(row[measured]) > 0
            assert not any(value for column, value in row.items() if "GPU" in column or column in ("plain, µs", "kernel, µs"))
    said = " ".join(capsys.readouterr().out.split())
    assert "left out, without a GPU" in said
    assert probe_cuda()[1] in said


@pytest.fixture
def short(monkeypatch):
    """Few calls: what counts here is that everything runs."""
    for module, name in ((gpu, "WARM_UP"), (gpu, "CALLS"), (gpu_contenders, "ROUNDS")):
        monkeypatch.setattr(module, name, 1)
    for name in ("WARM_UP", "TIMED"):
        monkeypatch.setattr(gpu_contenders, name, 4)


@pytest.mark.slow
def test_ops_are_timed_with_and_without_their_kernels(fused, short):
    measured = gpu.measure_device_ops(["relu", "dense", "elu"], quick=True)
    for name in ("relu", "dense", "elu"):
        for part in ("forward", "backward"):
            plain, kernel = measured["times"][f"{name} {part}"]
            assert plain > 0
            assert math.isnan(kernel) if name == "elu" else kernel > 0
    assert measured["copy"] > 0
    assert measured["gemm"] > 0


@pytest.mark.parametrize("name", gpu_contenders.FORMS)
def test_a_step_is_timed_after_its_losses_were_checked(name, fused, short):
    with mock.patch.dict(os.environ):  # in which the benchmark chooses the form
        events, wall = gpu_contenders.time_steps(name, TINY.__dict__, reference_losses(TINY), quick=True)
    assert events > 0
    assert wall > 0
    if fused is strict_cupy:
        assert strict_cupy.cuda.get_current_stream() is strict_cupy.cuda.Stream.null


def test_batches_are_timed_one_after_the_other(fused, short):
    assert all(seconds > 0 for seconds in gpu_contenders.time_batches(TINY.__dict__, [3, 4], quick=True))


def test_a_step_that_computes_something_else_is_not_timed(fused, short, monkeypatch):
    monkeypatch.setattr(gpu_contenders, "LEARNING_RATE", 0.1)
    with pytest.raises(SystemExit, match="computes something else"):
        gpu_contenders.time_batches(TINY.__dict__, [3, 4], quick=True)


@pytest.mark.slow
def test_transfers_and_launches_have_a_price(fused, short, monkeypatch):
    monkeypatch.setattr(gpu, "FORMS", {"minivae, kernels": {"MINIVAE_GRAPH": "0"}})
    prices = gpu.measure_costs(quick=True)
    assert all(seconds > 0 for _, seconds, _ in prices)
    assert sum(moved > 0 for _, _, moved in prices) == 4
