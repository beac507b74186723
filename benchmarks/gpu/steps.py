"""Whole training steps on the GPU beside those of other libraries, and minivae's forms as a ladder."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

from benchmarks import timing
from benchmarks.cpu.contenders import Minivae
from benchmarks.cpu.workloads import Workload
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.contenders import FEWER, FORMS, WORKS, reference, time_batches, time_steps
from benchmarks.gpu.peers import PEERS
from benchmarks.report import COLOURS, Table, say

ON_CPU = "minivae on the CPU"
RUNGS = (ON_CPU, *(name for name, form in FORMS.items() if "MINIVAE_MATMUL" not in form.environment))
SLOW = ("torch eager, fused Adam", "torch.compile", "torch.compile, reduce-overhead", "torch.compile, max-autotune", "JAX jit")
# At L all products are cuBLAS's, so that some forms are the same, and in float32 all contenders are as fast as it.
AT_L = ("minivae, plain CuPy", "minivae, replayed", "minivae, TF32", "minivae, bf16")
AT_L += ("torch, whole step captured, TF32", "JAX scan, TF32")
BATCHES, QUICK_BATCHES = tuple(2**k for k in range(4, 14)), (16, 32)


class Steps:
    """The tables of steps and of the ladder; ``measure`` adds contenders."""

    def __init__(self, args, header, budget: Budget, available: bool) -> None:
        columns = ("work", "contender", "µs a step, events", "µs a step, wall", "launches a step")
        self.table = Table("gpu_steps", columns, header, args.results)
        self._args, self._budget, self._available = args, budget, available
        self._references: dict[str, list[float] | None] = {}

    def measure(self, works: Sequence[str], names: Sequence[str]) -> None:
        """Time contenders at each size; whatever ends it, the figures that are there are written."""
        try:
            for work in works:
                for name in names:
                    self._on_cpu(work) if name == ON_CPU else self._on_gpu(work, name)
        finally:
            self._finish()

    def _on_gpu(self, work: str, name: str) -> None:
        if not self._available or (work == "L" and name not in AT_L):
            return
        what, package = f"{work}, {name}", PEERS[name][0] if name in PEERS else "cupy"
        if importlib.util.find_spec(package) is None:
            self._budget.leave_out(what, f"{package} is not installed")
        elif (losses := self._reference(work)) is None:
            self._budget.leave_out(what, "there is no reference for its losses")
        elif timed := self._budget.measure(what, time_steps, name, WORKS[work].__dict__, losses, self._args.quick):
            events, wall, launches = timed
            self.table.add(work, name, shown(events * 1e6), wall * 1e6, shown(launches))

    def _on_cpu(self, work: str) -> None:
        workload = WORKS[work]
        if work == "L":  # where one step takes minutes
            return
        arguments = workload.__dict__, [workload.batch], *timing.effort(self._args)
        if timed := self._budget.measure(f"{work}, {ON_CPU}", measure_cpu_steps, *arguments):
            self.table.add(work, ON_CPU, "", timed[0] * 1e6, "")

    def _reference(self, work: str) -> list[float] | None:
        if work not in self._references:
            device = "cuda" if work == "L" else "cpu"
            self._references[work] = self._budget.measure(f"{work}, reference", reference, WORKS[work].__dict__, device)
        return self._references[work]

    def _finish(self) -> None:
        """Print and write both tables and the plot, as far as they have come."""
        self.table.rows.sort(key=lambda row: list(WORKS).index(row[0]))  # stable: contenders stay in order
        self.table.finish()
        made = Table("gpu_ladder", LADDER, self.table.header, self.table.folder)
        made.rows = ladder(self.table.rows)
        made.finish()
        if made.rows:
            made.plot(_bars(self.table.rows))


LADDER = ("work", "form", "launches a step", "µs a step", "times the one before", "times the best peer")


def ladder(rows: list[tuple]) -> list[tuple]:
    """Return, for each size, the forms of minivae one after the other: each beside the one before it and beside the best peer."""
    rungs = []
    for work in dict.fromkeys(row[0] for row in rows):
        times = {name: (wall, launches) for at, name, _, wall, launches in rows if at == work}
        peers = [wall for name, (wall, _) in times.items() if name in PEERS and "TF32" not in name]
        before = math.nan
        for name in filter(times.get, RUNGS):
            wall, launches = times[name]
            rungs.append((work, name, launches, wall, shown(wall / before), shown(wall / min(peers)) if peers else ""))
            before = wall
    return rungs


def _bars(rows):
    from matplotlib.figure import Figure

    works = list(dict.fromkeys(row[0] for row in rows))
    heights = [sum(row[0] == work for row in rows) + 2 for work in works]
    figure = Figure(figsize=(8, 0.3 * sum(heights)), layout="constrained")
    all_axes = figure.subplots(len(works), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, work in zip(all_axes, works):
        times = sorted(((wall, name) for at, name, _, wall, _ in rows if at == work), reverse=True)
        colours = [COLOURS[0] if name.startswith("minivae") else COLOURS[3] for _, name in times]
        bars = axes.barh([name for _, name in times], [wall for wall, _ in times], color=colours)
        axes.bar_label(bars, fmt="{:,.1f}", padding=3)
        axes.set(title=f"{work}: µs a step by the wall clock", xscale="log")
        axes.margins(x=0.15)
    return figure


def run_batches(args, header, budget: Budget, available: bool) -> None:
    """Find the batches from which on the GPU is faster than the CPU, at A."""
    table = Table("gpu_batch", ("batch", "CPU, µs a step", "GPU, µs a step", "CPU / GPU"), header, args.results)
    workload, batches = WORKS["A"].__dict__, QUICK_BATCHES if args.quick else BATCHES
    nothing = [math.nan] * len(batches)
    cpu = budget.measure("batches on the CPU", measure_cpu_steps, workload, batches, *timing.effort(args)) or nothing
    gpu = (available and budget.measure("batches on the GPU", time_batches, workload, batches, args.quick)) or nothing
    for batch, here, there in zip(batches, cpu, gpu):
        table.add(batch, *(shown(value) for value in (here * 1e6, there * 1e6, here / there)))
    table.finish()
    table.plot(_curves(batches, cpu, gpu))
    if available:
        faster = [batch for batch, here, there in zip(batches, cpu, gpu) if there < here]
        say(f"batches at which the GPU is faster: {', '.join(map(str, faster)) or 'none of these'}")


def _curves(batches, cpu, gpu):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for label, times, colour in (("CPU", cpu, COLOURS[1]), (f"GPU, {FEWER}", gpu, COLOURS[0])):
        if not all(map(math.isnan, times)):
            axes.loglog(batches, [seconds * 1e6 for seconds in times], "o-", label=label, color=colour, base=2)
    axes.set(title="A: µs a step", xlabel="batch", yscale="log")
    axes.legend(frameon=False)
    return figure


def shown(value: float) -> float | str:
    return "" if math.isnan(value) else value


# In a child process ---------------------------------------------------------------------------------------------------------------


def measure_cpu_steps(workload: dict, batches: list[int], rounds: int, seconds: float) -> list[float]:
    """Return the seconds of one step on the CPU, with batches of each size."""
    measured = []
    for batch in batches:
        size = Workload(**workload | {"batch": batch})
        contender, (x,) = Minivae(size), size.batches(1)
        measured.append(timing.medians({"step": lambda c=contender, x=x: c.step(x)}, rounds, seconds)["step"])
    return measured
