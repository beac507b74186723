"""What is timed on a GPU, on the stand-in: each contender computes the right thing, and a time is that of what was done."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support import cuda_on_cpu, strict_cupy
from support.device import forget_cublas, install
from support.gpu_benchmark import TINY

from benchmarks.cpu.workloads import WORKLOADS, Workload, reference_losses
from benchmarks.gpu import contenders, costs, gpu, ops
from benchmarks.gpu.contenders import FEWER, FORMS, ONE_LAUNCH
from minivae import kernels

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU


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


def test_transfers_and_launches_have_a_price(fused, short, monkeypatch):
    monkeypatch.setattr(costs, "DISPATCHED", ("minivae, kernels",))
    prices = costs.measure_costs(quick=True)
    assert all(seconds > 0 for _, seconds, _ in prices)
    assert sum(moved > 0 for _, _, moved in prices) == 4
