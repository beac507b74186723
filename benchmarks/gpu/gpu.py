"""The GPU beside the CPU: every op, whole steps, the batch from which the GPU is faster, the cost of transfers and launches, peers.

Without a usable GPU, only the CPU's part is measured, and the output says what was left out and why.

Device times are from CUDA events.  Single ops are timed one call at a time, with a write of 256 MB before each, which empties the
L2 cache and gives the host the time to queue the call.  Steps are timed by the hundred, on data that stay on the device, and
nothing is read back in between; each contender has a process of its own and must first reproduce a float64 reference.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import statistics
import time
from unittest import mock

import numpy as np

from benchmarks import timing
from benchmarks.cpu.contenders import Minivae
from benchmarks.cpu.ops import FIRST_EXAMPLES, QUICK_SIZES, Call, bytes_moved
from benchmarks.cpu.workloads import WORKLOADS, Workload, reference_losses
from benchmarks.gpu.contenders import FORMS, LARGE, ONE_LAUNCH, DeviceMinivae, dispatch_cost, time_batches, time_steps
from benchmarks.gpu.peers import PEERS
from benchmarks.report import COLOURS, Table, say
from minivae import ops
from minivae.backend import probe_cuda, resolve_device, to_device
from minivae.kernels import fused

SIZES = {"n": 8192, "d": 784, "m": 400, "s": 2}  # an array of pixels has 26 MB: large enough to show bandwidth, not latency
FLUSH, COPY, GEMM = 256 << 20, 1 << 30, 8192  # bytes, bytes, rows and columns
WARM_UP, CALLS = 10, 30
BATCHES = tuple(2**k for k in range(4, 14))
STEPS, QUICK_BATCHES = ("A", "L"), (16, 32)
WORKS = WORKLOADS | {"L": LARGE}


def add_arguments(parser):
    contenders = [*FORMS, *PEERS]
    parser.add_argument("--only", nargs="+", choices=contenders, default=contenders, metavar="WHO", help="some of the contenders")
    parser.add_argument("--ops", nargs="*", choices=ops.ALL_OPS, default=list(ops.ALL_OPS), metavar="OP", help="some of the ops")
    parser.add_argument("--work", nargs="+", choices=WORKS, default=STEPS, help="sizes of the step")
    timing.add_arguments(parser, rounds=3, seconds=0.05)


def run(args):
    available, reason = probe_cuda()
    header = timing.header(args) | {"device": reason if available else "none"}
    if args.ops:
        run_ops(args, header, available)
    run_steps(args, header, available)
    run_batches(args, header, available)
    if available:
        run_costs(args, header)
    else:
        say(f"left out, without a GPU ({reason}): every GPU column, transfers and launches, and the other libraries' GPU steps")


def run_ops(args, header, available):
    columns = ("op", "pass", "CPU, µs", "plain, µs", "kernel, µs", "GB/s", "share", "CPU / GPU")
    table = Table("gpu_ops", columns, header, args.results)
    cpu = timing.in_child(measure_cpu_ops, args.ops, *timing.effort(args), args.quick).value
    gpu = timing.in_child(measure_device_ops, args.ops, args.quick).value if available else {"times": {}}
    for key, (seconds, moved, flops) in cpu.items():
        plain, kernel = gpu["times"].get(key, (math.nan, math.nan))
        best = min(time for time in (plain, kernel, math.inf) if not math.isnan(time))
        ceiling = flops * gpu["gemm"] if flops and available else moved * gpu.get("copy", math.nan)
        rates = (moved / best / 1e9, ceiling / best, seconds / best) if available and moved else ("", "", "")
        table.add(*key.split(), seconds * 1e6, *(shown(time * 1e6) for time in (plain, kernel)), *rates)
    table.finish()


def run_steps(args, header, available):
    table = Table("gpu_steps", ("work", "contender", "µs a step, events", "µs a step, wall"), header, args.results)
    for work in args.work if not args.quick else ("B",):
        workload = WORKS[work].__dict__
        if work != "L":  # where one step takes minutes
            (seconds,) = timing.in_child(measure_cpu_steps, workload, [WORKS[work].batch], *timing.effort(args)).value
            table.add(work, "minivae on the CPU", "", seconds * 1e6)
        reference = reference_losses(WORKS[work]) if available else []
        for name in args.only if available else ():
            if name == ONE_LAUNCH and work == "L":
                say(f"{name}: not for L, whose products are large")
                continue
            package = PEERS[name][0] if name in PEERS else "cupy"
            if importlib.util.find_spec(package) is None:
                say(f"{name}: absent, {package} is not installed")
                continue
            events, wall = timing.in_child(time_steps, name, workload, reference, args.quick).value
            table.add(work, name, shown(events * 1e6), wall * 1e6)
    table.finish()
    ladder(args, header, table.rows)


def ladder(args, header, rows):
    """Print, for each size, the forms of minivae one after the other: each beside the one before it and beside the best peer."""
    rungs = ("minivae on the CPU", "minivae, plain CuPy", "minivae, kernels", "minivae, replayed", ONE_LAUNCH)
    table = Table("gpu_ladder", ("work", "form", "µs a step", "times the one before", "times the best peer"), header, args.results)
    for work in dict.fromkeys(row[0] for row in rows):
        times = {name: wall for at, name, _, wall in rows if at == work}
        peers = [times[name] for name in times if name in PEERS and "TF32" not in name]
        before = math.nan
        for name in filter(times.get, rungs):
            best = times[name] / min(peers) if peers else math.nan
            table.add(work, name, times[name], shown(times[name] / before), shown(best))
            before = times[name]
    table.finish()
    if table.rows:
        table.plot(_bars(rows))


def _bars(rows):
    from matplotlib.figure import Figure

    works = list(dict.fromkeys(row[0] for row in rows))
    figure = Figure(figsize=(8, 0.3 * len(rows) + 1.5 * len(works)), layout="constrained")
    for axes, work in zip(figure.subplots(len(works), 1, squeeze=False)[:, 0], works):
        times = sorted(((wall, name) for at, name, _, wall in rows if at == work), reverse=True)
        colours = [COLOURS[0] if name.startswith("minivae") else COLOURS[3] for _, name in times]
        bars = axes.barh([name for _, name in times], [wall for wall, _ in times], color=colours)
        axes.bar_label(bars, fmt="%.4g", padding=3)
        axes.set(title=f"{work}: µs a step by the wall clock", xscale="log")
        axes.margins(x=0.15)
    return figure


def run_batches(args, header, available):
    table = Table("gpu_batch", ("batch", "CPU, µs a step", "GPU, µs a step", "CPU / GPU"), header, args.results)
    workload, batches = WORKLOADS["A"].__dict__, QUICK_BATCHES if args.quick else BATCHES
    cpu = timing.in_child(measure_cpu_steps, workload, batches, *timing.effort(args)).value
    gpu = timing.in_child(time_batches, workload, batches, args.quick).value if available else [math.nan] * len(batches)
    for batch, here, there in zip(batches, cpu, gpu):
        table.add(batch, here * 1e6, shown(there * 1e6), shown(here / there))
    table.finish()
    if available:
        faster = [batch for batch, here, there in zip(batches, cpu, gpu) if there < here]
        say(f"batches at which the GPU is faster: {', '.join(map(str, faster)) or 'none of these'}")


def run_costs(args, header):
    table = Table("gpu_costs", ("what", "µs", "GB/s"), header, args.results)
    for what, seconds, moved in timing.in_child(measure_costs, args.quick).value:
        table.add(what, seconds * 1e6, moved / seconds / 1e9 if moved else "")
    table.finish()


def shown(value: float) -> float | str:
    return "" if math.isnan(value) else value


# In a child process ---------------------------------------------------------------------------------------------------------------


def measure_cpu_ops(names: list[str], rounds: int, seconds: float, quick: bool) -> dict[str, tuple[float, int, int]]:
    """Return for "op pass" the seconds on the CPU, the bytes that must move, and for ``dense`` the floating-point operations."""
    rows = {}
    for name in names:
        Call(FIRST_EXAMPLES[name], QUICK_SIZES).verify()
        call = Call(FIRST_EXAMPLES[name], QUICK_SIZES if quick else SIZES)
        times = timing.medians({"forward": call.forward, "backward": call.backward}, rounds, seconds)
        flops = 2 * call.out.size * len(call.arrays[1]) if call.op is ops.dense else 0
        rows[f"{name} forward"] = times["forward"], bytes_moved(call.arrays, [call.out]), flops
        rows[f"{name} backward"] = times["backward"], bytes_moved([*call.saved, call.g], call.backward()), 2 * flops
    return rows


def measure_cpu_steps(workload: dict, batches: list[int], rounds: int, seconds: float) -> list[float]:
    """Return the seconds of one step on the CPU, with batches of each size."""
    measured = []
    for batch in batches:
        size = Workload(**workload | {"batch": batch})
        contender, (x,) = Minivae(size), size.batches(1)
        measured.append(timing.medians({"step": lambda c=contender, x=x: c.step(x)}, rounds, seconds)["step"])
    return measured


def measure_device_ops(names: list[str], quick: bool) -> dict:
    """Return for "op pass" the device's seconds with plain CuPy and with the kernel (NaN where there is none), and the ceilings:
    seconds per byte of a copy (read and written bytes counted) and per operation of a large product.
    """
    xp = resolve_device("cuda")
    copy, size = (1 << 12, 16) if quick else (COPY, GEMM)
    flush = xp.zeros(1 << 12 if quick else FLUSH, dtype="uint8")
    source, target = xp.ones(copy // 4, dtype="float32"), xp.empty(copy // 4, dtype="float32")
    square = to_device(xp, np.random.default_rng(0).standard_normal((size, size), dtype=np.float32))
    times = {}
    for name in names:
        call = Call(FIRST_EXAMPLES[name], QUICK_SIZES if quick else SIZES)
        arrays, g = [to_device(xp, array) for array in call.arrays], to_device(xp, call.g)
        twin, _ = fused(call.op, xp, arrays, arrays, call.options)
        passes = [_passes(xp, op, arrays, g, call, flush) for op in dict.fromkeys((call.op, twin))]
        for part in ("forward", "backward"):
            plain, *kernel = (seconds[part] for seconds in passes)
            times[f"{name} {part}"] = plain, kernel[0] if kernel else math.nan
    copied = device_seconds(xp, lambda: xp.copyto(target, source), flush) / (2 * copy)
    return {"times": times, "copy": copied, "gemm": device_seconds(xp, lambda: square @ square, flush) / (2 * size**3)}


def _passes(xp, op, arrays, g, call, flush) -> dict[str, float]:
    _, saved = op.forward(xp, *arrays, **call.options)
    into = [tuple(xp.empty_like(array) for array in arrays)] if op.writes_into else []
    return {
        "forward": device_seconds(xp, lambda: op.forward(xp, *arrays, **call.options), flush),
        "backward": device_seconds(xp, lambda: op.backward(xp, saved, g, call.needs, *into), flush),
    }


def device_seconds(xp, function, flush) -> float:
    """Return the median time of a call on the device, by events, each call after the cache was flushed."""
    start, stop = xp.cuda.Event(), xp.cuda.Event()
    for _ in range(WARM_UP):
        function()
    laps = []
    for _ in range(CALLS):
        flush.fill(0)
        start.record()
        function()
        stop.record()
        stop.synchronize()
        laps.append(xp.cuda.get_elapsed_time(start, stop) / 1e3)
    return statistics.median(laps)


def measure_costs(quick: bool) -> list[tuple[str, float, int]]:
    """Return (what, seconds, bytes) of transfers, and of launches as the host sees them."""
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
    for name in filter(ONE_LAUNCH.__ne__, FORMS):
        with mock.patch.dict(os.environ, FORMS[name]):
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
