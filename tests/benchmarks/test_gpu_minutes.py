"""The minutes of ``python -m benchmarks gpu``: what fails, hangs or is interrupted costs itself and nothing that was measured."""

from __future__ import annotations

import math
import subprocess
import time

import pytest
from support.gpu_benchmark import arguments
from support.tables import rows_of

from benchmarks import timing
from benchmarks.gpu import gpu, steps
from benchmarks.gpu.budget import MOST, Budget
from benchmarks.gpu.contenders import FEWER


def test_what_fails_or_takes_too_long_costs_only_itself(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.gpu.budget.MOST", 0.5)
    budget, began = Budget(1.0), time.monotonic()
    assert budget.measure("a nap", time.sleep, 60) is None
    assert time.monotonic() - began < 30
    monkeypatch.setattr("benchmarks.gpu.budget.MOST", 60)
    assert budget.measure("a fall", math.sqrt, -1) is None
    assert budget.measure("a sum", math.hypot, 3, 4) == 5
    nap, fall = budget.missing
    assert nap == "a nap: stopped after 0 s"
    assert fall == "a fall: failed, see above"
    assert "a nap" in capsys.readouterr().out


def test_when_the_minutes_are_over_nothing_is_begun(monkeypatch):
    monkeypatch.setattr(timing, "in_child", None)
    budget = Budget(0.0)
    assert budget.measure("a sum", math.hypot, 3, 4) is None
    assert budget.missing == ["a sum: no time was left"]


def test_it_is_over_in_its_minutes_though_nothing_in_it_ever_ends(fused, monkeypatch, tmp_path, capsys):
    now, begun = [1000.0], []

    def hang(function, *args, timeout):
        begun.append(function)
        now[0] += timeout
        raise subprocess.TimeoutExpired("it", timeout)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(timing, "in_child", hang)
    monkeypatch.setattr(gpu, "probe_cuda", lambda: (True, "a GPU"))
    gpu.run(arguments("--results", str(tmp_path), "--data-dir", "here"))
    assert now[0] - 1000 == 60 * gpu.MINUTES <= 8 * 60
    assert len(begun) == 60 * gpu.MINUTES / MOST
    said = " ".join(capsys.readouterr().out.split())
    for what in (
        "B, minivae on the CPU: stopped after 90 s",
        "B, minivae, replayed: there is no reference",
        "ops on the CPU: no time",
    ):
        assert f"left out: {what}" in said


class Scripted:
    """A budget whose parts end as the script says: with a value, or an error."""

    def __init__(self, **ends) -> None:
        self._ends, self.missing = ends, []

    def measure(self, what, function, *args):
        end = self._ends[function.__name__]
        if isinstance(end, BaseException):
            raise end
        return end

    def leave_out(self, what, reason) -> None:
        self.missing.append(f"{what}: {reason}")


@pytest.fixture
def scripted_steps(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: package)
    return lambda **ends: steps.Steps(arguments("--results", str(tmp_path)), {}, Scripted(**ends), available=True)


def test_a_size_without_a_reference_is_left_out_and_not_computed_here(scripted_steps):
    """NumPy would take minutes for one at L."""
    made = scripted_steps(reference=None)
    made.measure(["L"], [steps.ON_CPU, "minivae, kernels", "minivae, TF32"])
    assert made._budget.missing == ["L, minivae, TF32: there is no reference for its losses"]


def test_an_interruption_leaves_the_figures_that_are_there(scripted_steps, tmp_path):
    made = scripted_steps(measure_cpu_steps=[2e-3], reference=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        made.measure(["A"], [steps.ON_CPU, FEWER])
    (row,) = rows_of(tmp_path / "gpu_steps.csv")
    assert row["contender"] == steps.ON_CPU
    assert float(row["µs a step, wall"]) == 2000
    assert (tmp_path / "gpu_ladder.png").exists()


def test_an_error_in_one_part_costs_only_that_part(fused, here, monkeypatch, tmp_path, capsys):
    done = []
    for name in ("run_training", "run_ops", "run_batches", "run_costs"):
        monkeypatch.setattr(gpu, name, lambda *args, name=name: done.append(name))
    monkeypatch.setattr(gpu, "run_drift", lambda *args: math.sqrt(-1))
    monkeypatch.setattr(steps.Steps, "measure", lambda self, works, names: done.append(names[-1]))
    gpu.run(arguments("--results", str(tmp_path)))
    assert done == ["JAX scan, TF32", "run_training", "run_ops", "run_batches", "run_costs", "JAX jit"]
    assert "left out: drift: ValueError: " in " ".join(capsys.readouterr().out.split())
