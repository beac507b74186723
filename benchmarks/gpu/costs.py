"""What it costs to move data to a GPU and back, and to launch kernels, as the host sees it."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.cpu.workloads import Workload
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.contenders import FEWER, DeviceMinivae, dispatch_cost, form_of
from benchmarks.report import Table
from minivae import ops
from minivae.backend import resolve_device
from minivae.kernels import fused

DISPATCHED = ("minivae, plain CuPy", "minivae, kernels", FEWER)


def run_costs(args, header, budget: Budget) -> None:
    table = Table("gpu_costs", ("what", "µs", "GB/s"), header, args.results)
    for what, seconds, moved in budget.measure("transfers and launches", measure_costs, args.quick) or ():
        table.add(what, seconds * 1e6, moved / seconds / 1e9 if moved else "")
    table.finish()


# In a child process ---------------------------------------------------------------------------------------------------------------


def measure_costs(quick: bool) -> list[tuple[str, float, int]]:
    """Return (what, seconds, bytes) of transfers, and of launches."""
    xp = resolve_device("cuda")
    rows = []
    for what, count in (("one batch, 128 × 784 bytes", 128 * 784), ("MNIST, 60 000 × 784 bytes", 60_000 * 784)):
        host = np.random.default_rng(0).integers(0, 256, count // 100 if quick else count, dtype=np.uint8)
        there = xp.asarray(host)
        for direction, function in (("to the device", lambda host=host: xp.asarray(host)), ("to the host", there.get)):
            rows.append((f"{what}, {direction}", _host_seconds(xp, function, 20), host.nbytes))
    small = xp.zeros(32, dtype="float32")
    rows.append(("launch of a ufunc", _host_seconds(xp, lambda: xp.add(small, 1, out=small), 1000), 0))
    relu, _ = fused(ops.relu, xp, (small,), [small], {})
    rows.append(("launch of a kernel, with its output", _host_seconds(xp, lambda: relu.forward(xp, small), 1000), 0))
    workload = Workload("small", 16, (16,), 2, 16, "relu")  # almost nothing to compute: the time is that of launching
    for name in DISPATCHED:
        with form_of(name):
            rows.append((f"step of next to nothing, {name}", dispatch_cost(DeviceMinivae(workload)), 0))
    return rows


def _host_seconds(xp, function, calls: int) -> float:
    function()
    xp.cuda.Stream.null.synchronize()
    started = time.perf_counter()
    for _ in range(calls):
        function()
    xp.cuda.Stream.null.synchronize()
    return (time.perf_counter() - started) / calls
