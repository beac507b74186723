"""Every op on the GPU, with plain CuPy and with its kernel, beside the CPU and beside a copy from device to device.

The roofline share of a call is the time of a copy of as many bytes, or of as many operations of a large product, divided by its
own; both ceilings are measured in the same process.  The bytes are those of the arguments and of the results, each counted once.
"""

from __future__ import annotations

import math
import statistics

import numpy as np

from benchmarks import timing
from benchmarks.cpu.ops import CODES, FIRST_EXAMPLES, QUICK_SIZES, Call, bytes_moved
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.steps import shown
from benchmarks.report import COLOURS, Table
from minivae import ops
from minivae.backend import resolve_device, to_device
from minivae.kernels import fused

SIZES = {"n": 8192, "d": 784, "m": 400, "s": 2}  # an array of pixels has 26 MB: large enough to show bandwidth, not latency
SIZES_OF_CODES = SIZES | {"n": 1024, "d": 20}  # for the ops on latents, some of which compare every row with every other
FLUSH, COPY, GEMM = 256 << 20, 1 << 30, 8192  # bytes, bytes, rows and columns
WARM_UP, CALLS = 10, 30


def run_ops(args, header, budget: Budget, available: bool) -> None:
    columns = ("op", "pass", "CPU, µs", "plain, µs", "kernel, µs", "GB/s", "share", "CPU / GPU")
    table = Table("gpu_ops", columns, header, args.results)
    gpu = (available and budget.measure("ops on the GPU", measure_device_ops, args.ops, args.quick)) or {"times": {}}
    cpu = budget.measure("ops on the CPU", measure_cpu_ops, args.ops, args.quick) or {}
    shares: dict[str, float] = {}
    for key, (seconds, moved, flops) in cpu.items():
        plain, kernel = gpu["times"].get(key, (math.nan, math.nan))
        best = min((time for time in (plain, kernel) if not math.isnan(time)), default=math.nan)
        ceiling = flops * gpu.get("gemm", math.nan) if flops else moved * gpu.get("copy", math.nan)
        rates = (moved / best / 1e9, ceiling / best, seconds / best) if moved else (math.nan,) * 3
        table.add(*key.split(), seconds * 1e6, *(shown(value) for value in (plain * 1e6, kernel * 1e6, *rates)))
        if not math.isnan(kernel):
            shares[key] = rates[1]
    table.finish()
    if shares:
        table.plot(_bars(shares))


def _bars(shares: dict[str, float]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.25 * len(shares) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(list(shares), [100 * share for share in shares.values()], color=COLOURS[0])
    axes.axvline(80, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(
        title="Kernels beside a copy of as many bytes",
        xlabel="% of the copy's speed (dense: of a large product's); line: the goal",
    )
    return figure


# In a child process ---------------------------------------------------------------------------------------------------------------


def _call(name: str, quick: bool) -> Call:
    return Call(FIRST_EXAMPLES[name], QUICK_SIZES if quick else SIZES_OF_CODES if name in CODES else SIZES)


def measure_cpu_ops(names: list[str], quick: bool) -> dict[str, tuple[float, int, int]]:
    """Return for "op pass" the seconds on the CPU, the bytes that must move, and for ``dense`` the floating-point operations."""
    rows = {}
    for name in names:
        Call(FIRST_EXAMPLES[name], QUICK_SIZES).verify()
        call = _call(name, quick)
        times = timing.medians({"forward": call.forward, "backward": call.backward}, rounds=1, seconds=0)  # some take a second
        flops = 2 * call.out.size * len(call.arrays[1]) if call.op is ops.dense else 0
        rows[f"{name} forward"] = times["forward"], bytes_moved(call.arrays, [call.out]), flops
        rows[f"{name} backward"] = times["backward"], bytes_moved([*call.saved, call.g], call.backward()), 2 * flops
    return rows


def measure_device_ops(names: list[str], quick: bool) -> dict:
    """Return for "op pass" the device's seconds with plain CuPy and with the kernel (NaN where there is none), and the ceilings:
    seconds per byte of a copy (read and written bytes counted) and per operation of a large product.
    """
    xp = resolve_device("cuda")
    copy, size = (1 << 12, 16) if quick else (COPY, GEMM)
    clock = DeviceClock(xp, 1 << 12 if quick else FLUSH)
    source, target = xp.ones(copy // 4, dtype="float32"), xp.empty(copy // 4, dtype="float32")
    square = to_device(xp, np.random.default_rng(0).standard_normal((size, size), dtype=np.float32))
    times = {}
    for name in names:
        call = _call(name, quick)
        arrays, g = [to_device(xp, array) for array in call.arrays], to_device(xp, call.g)
        twin, _ = fused(call.op, xp, arrays, arrays, call.options)
        passes = [_passes(xp, op, arrays, g, call, clock) for op in dict.fromkeys((call.op, twin))]
        for part in ("forward", "backward"):
            plain, *kernel = (seconds[part] for seconds in passes)
            times[f"{name} {part}"] = plain, kernel[0] if kernel else math.nan
    copied = clock.seconds(lambda: xp.copyto(target, source)) / (2 * copy)
    return {"times": times, "copy": copied, "gemm": clock.seconds(lambda: square @ square) / (2 * size**3)}


def _passes(xp, op, arrays, g, call, clock: DeviceClock) -> dict[str, float]:
    _, saved = op.forward(xp, *arrays, **call.options)
    into = [tuple(xp.empty_like(array) for array in arrays)] if op.writes_into else []
    return {
        "forward": clock.seconds(lambda: op.forward(xp, *arrays, **call.options)),
        "backward": clock.seconds(lambda: op.backward(xp, saved, g, call.needs, *into)),
    }


class DeviceClock:
    """Measures calls by events, one at a time, with a write before and after each that is larger than the L2 cache.

    The write before a call leaves nothing of the arguments in the cache, and gives the host the time to queue the call.  The call
    leaves some of its results in the cache, and the write after it has to move them to memory first.  So both are timed together,
    and the time of such a write by itself is subtracted.
    """

    def __init__(self, xp, flush: int) -> None:
        self._xp, self._flush = xp, xp.zeros(flush, dtype="uint8")
        self._by_itself = 0.0
        self._by_itself = self.seconds(lambda: None)

    def seconds(self, function) -> float:
        """Return the median time of a call; NaN if it is lost in that of the write."""
        start, stop = self._xp.cuda.Event(), self._xp.cuda.Event()
        for _ in range(WARM_UP):
            function()
        laps = []
        for _ in range(CALLS):
            self._flush.fill(0)
            start.record()
            function()
            self._flush.fill(0)
            stop.record()
            stop.synchronize()
            laps.append(self._xp.cuda.get_elapsed_time(start, stop) / 1e3)
        took = statistics.median(laps) - self._by_itself
        return took if took > 0 else math.nan
