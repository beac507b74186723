"""``python -m benchmarks gpu``: its CPU half as on any machine; its GPU half on the stand-in, whose times mean nothing."""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from support import cuda_on_cpu, strict_cupy
from support.device import forget_cublas, install

from benchmarks import timing
from benchmarks.cpu.workloads import WORKLOADS, Workload, reference_losses
from benchmarks.gpu import contenders, costs, gpu, ops, steps, training
from benchmarks.gpu.budget import MOST, Budget
from benchmarks.gpu.contenders import FEWER, FORMS, ONE_LAUNCH
from minivae import backend, datasets, kernels
from minivae.backend import probe_cuda

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU

TINY = Workload("tiny", 13, (5,), 2, 4, "relu")


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    gpu.add_arguments(parser)
    return parser.parse_args(["--quick", *given])


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#")))


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
def short(monkeypatch):
    """Few calls: what counts here is that everything runs."""
    for module, name in ((ops, "WARM_UP"), (ops, "CALLS"), (contenders, "ROUNDS")):
        monkeypatch.setattr(module, name, 1)
    for name in ("WARM_UP", "TIMED"):
        monkeypatch.setattr(contenders, name, 4)
    monkeypatch.setattr(contenders.OneLaunch, "in_launch", 2)


@pytest.fixture
def here(monkeypatch):
    """What a benchmark does in a process of its own is done in this one, where the stand-in is."""

    def in_child(function, *args, timeout=None):
        value = function(*json.loads(json.dumps(args)))
        return timing.Outcome(json.loads(json.dumps(value)), 0.0, 0.0)

    monkeypatch.setattr(timing, "in_child", in_child)
    monkeypatch.setattr(gpu, "probe_cuda", lambda: backend.probe_cuda())


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
    header = (tmp_path / "gpu_ladder.csv").read_text().splitlines()
    assert f"# device: {backend.probe_cuda()[1]}" in header
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


@pytest.mark.slow
def test_ops_are_timed_with_and_without_their_kernels(fused, short):
    measured = ops.measure_device_ops(["relu", "dense", "elu"], quick=True)
    for name in ("relu", "dense", "elu"):
        for part in ("forward", "backward"):
            plain, kernel = measured["times"][f"{name} {part}"]
            assert plain > 0
            assert math.isnan(kernel) if name == "elu" else kernel > 0
    if fused is strict_cupy:  # where a launch takes a millisecond, those of the writes before and after are not counted
        assert measured["times"]["relu forward"][1] == measured["times"]["relu backward"][1] == 1e-3
    assert measured["copy"] > 0
    assert measured["gemm"] > 0


LAUNCHES = {"minivae, plain CuPy": math.nan, FEWER: 25, ONE_LAUNCH: 2 / 2}  # the last: for two steps a kernel, and one that clears


@pytest.mark.parametrize("name", FORMS)
def test_a_step_is_timed_after_its_losses_were_checked(name, fused, short):
    small = kernels.SMALL
    events, wall, launches = contenders.time_steps(name, TINY.__dict__, reference_losses(TINY), quick=True)
    assert small == kernels.SMALL
    assert events > 0
    assert wall > 0
    assert launches == pytest.approx(LAUNCHES.get(name, launches), nan_ok=True)
    if fused is strict_cupy:
        assert strict_cupy.cuda.get_current_stream() is strict_cupy.cuda.Stream.null
        if "launch" not in name and "plain" not in name:
            replayed = name != "minivae, kernels"  # where one more launch chooses the next rows
            assert launches == 29 + replayed  # the gradients of a layer are up to three kernels: a sum and two products


@pytest.fixture
def launches_of(monkeypatch):
    """Count those of a step at full size; kernels only get their arguments, since computing would take the CPU minutes."""
    install(monkeypatch, with_kernels=True)
    forget_cublas()
    monkeypatch.setattr(cuda_on_cpu.Kernel, "__call__", lambda self, grid, block, *args: self.check(args))

    def count(form: str, work: str) -> int:
        with contenders.form_of(form):
            contender = contenders.DeviceMinivae(WORKLOADS[work])
            contender._some_steps()
            with strict_cupy.counting() as counts:
                contender._some_steps()
        return counts.launches

    yield count
    forget_cublas()


@pytest.mark.parametrize(("work", "launches"), [("A", 25), ("B", 25), ("B2", 31)])
def test_a_step_takes_few_launches_at_full_size(work, launches, launches_of):
    """The goal is 35 for one hidden layer."""
    assert launches_of(FEWER, work) + 1 == launches <= 35  # and the one that chooses the next rows


def test_a_step_in_plain_cupy_takes_about_as_many_launches_as_the_page_says(launches_of):
    page = Path(gpu.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert f"| plain CuPy | about {round(launches_of('minivae, plain CuPy', 'A'), -1)} ¹ |" in page


def test_the_header_names_cupy_by_the_package_that_holds_it(monkeypatch):
    installed = {"numpy": "2.5.2", "cupy-cuda13x": "14.2.0"}

    def version(package: str) -> str:
        if package not in installed:
            raise metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(metadata, "version", version)
    assert timing.header(arguments())["versions"].endswith("numpy 2.5.2, cupy-cuda13x 14.2.0")


def test_batches_are_timed_one_after_the_other(fused, short):
    assert all(seconds > 0 for seconds in contenders.time_batches(TINY.__dict__, [3, 4], quick=True))


def test_a_step_that_computes_something_else_is_not_timed(fused, short, monkeypatch):
    monkeypatch.setattr(contenders, "LEARNING_RATE", 0.1)
    with pytest.raises(SystemExit, match="computes something else"):
        contenders.time_batches(TINY.__dict__, [3, 4], quick=True)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_reference_is_the_same_on_a_device(activation, fused):
    workload = Workload("tiny", 13, (5, 3), 2, 4, activation)
    assert contenders.reference(workload.__dict__, "cuda") == pytest.approx(reference_losses(workload), rel=1e-12)


class Hundreds:
    """A contender that makes its steps by the hundred, however many are asked for, a millisecond each."""

    def __init__(self, workload: Workload) -> None:
        self.made = 0

    def check(self) -> list[float]:
        return [1.0]

    def run(self, n: int) -> int:
        self.made += 100
        return 100

    def mark(self) -> int:
        return self.made

    def between(self, begin: int, end: int) -> float:
        return (end - begin) * 1e-3

    def wait(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("quick", [False, True])
def test_the_time_of_a_step_is_that_of_the_steps_that_were_made(quick, monkeypatch):
    monkeypatch.setitem(contenders.PEERS, "hundreds", ("", Hundreds))
    events, _, launches = contenders.time_steps("hundreds", TINY.__dict__, [1.0], quick)
    assert events == pytest.approx(1e-3)
    assert math.isnan(launches)


# ---- The minutes ----------------------------------------------------------------------------------------------------------------


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


@pytest.mark.slow
def test_transfers_and_launches_have_a_price(fused, short, monkeypatch):
    monkeypatch.setattr(costs, "DISPATCHED", ("minivae, kernels",))
    prices = costs.measure_costs(quick=True)
    assert all(seconds > 0 for _, seconds, _ in prices)
    assert sum(moved > 0 for _, _, moved in prices) == 4
