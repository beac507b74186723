"""One training step against PyTorch, JAX and autograd.

Each contender runs in a process of its own, on the same number of threads.  They take turns: while one runs a round the others are
stopped (SIGSTOP), the order is reversed every round, and the median over rounds is reported.  Before that, each must reproduce
the first losses of a float64 reference from the same weights, batches and noise.

The ratios differ from one processor to the next, so the table is named after it, and those of several machines stand side by side.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import statistics
import subprocess
import sys
import time

from benchmarks import timing
from benchmarks.cpu.contenders import CONTENDERS
from benchmarks.cpu.workloads import CHECK_STEPS, WORKLOADS, reference_losses
from benchmarks.report import COLOURS, Table, contender_environment, say
from minivae.checks import installing

TOLERANCE = 2e-5  # relative, on losses of a few hundred nats: float32 sums of 784 pixels, and four steps that compound
BATCHES = 16
OURS, FLOOR = "minivae", "GEMMs alone"


def add_arguments(parser):
    parser.add_argument("--work", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="sizes of the step")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="contenders")
    timing.add_arguments(parser, rounds=9, seconds=0.5)


def run(args):
    present = [name for name in args.only if importlib.util.find_spec(CONTENDERS[name].package)]
    for name in (name for name in args.only if name not in present):
        say(f"{name}: absent, {CONTENDERS[name].package} is not installed ({installing('bench')})")
    columns = ("work", "contender", "ms", "least", "most", f"{OURS} / it")
    header = timing.header(args)
    table = Table("peers-" + re.sub(r"\W+", "-", header["processor"].lower()), columns, header, args.results)
    for work in args.work:
        times = turns(present, work, *timing.effort(args))
        ours = statistics.median(times.get(OURS, [float("nan")]))
        for name, measured in times.items():
            middle = statistics.median(measured)
            table.add(work, name, middle, min(measured), max(measured), ours / middle)
    table.finish()
    table.plot(_bars(table.rows))


def turns(names: list[str], work: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return name → milliseconds a step, one figure for each round."""
    reference = reference_losses(WORKLOADS[work])
    contenders = []
    try:
        for name in names:
            contenders.append(_Turn(name, work))
            contenders[-1].check(reference)
        times = {turn.name: [] for turn in contenders}
        for i in range(rounds):
            for turn in contenders if i % 2 == 0 else reversed(contenders):
                times[turn.name].append(turn.time(seconds))
        return times
    finally:
        for turn in contenders:
            turn.close()


def _bars(rows):
    from matplotlib.figure import Figure

    works = list(dict.fromkeys(row[0] for row in rows))
    figure = Figure(figsize=(9, 1.2 + 0.22 * len(rows)), layout="constrained")
    for axes, work in zip(figure.subplots(len(works), 1, squeeze=False)[:, 0], works):
        here = [row for row in rows if row[0] == work]
        colours = [COLOURS[0] if row[1] == OURS else COLOURS[2] if row[1] == FLOOR else COLOURS[3] for row in here]
        axes.barh(range(len(here)), [row[2] for row in here], height=0.7, color=colours)
        axes.set_yticks(range(len(here)), [row[1] for row in here], fontsize=8)
        axes.invert_yaxis()
        axes.set_title(f"{work}: milliseconds a step", fontsize=9, loc="left")
        axes.tick_params(axis="x", labelsize=8)
    return figure


class _Turn:
    """The parent's end of one contender's process."""

    def __init__(self, name: str, work: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cpu.peers", name, work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=contender_environment(),
        )
        self.losses = self._read()
        self.process.send_signal(signal.SIGSTOP)

    def check(self, reference: list[float]) -> None:
        if self.name == FLOOR:
            return
        if not all(abs(got - want) < TOLERANCE * abs(want) for got, want in zip(self.losses, reference)):
            raise SystemExit(f"{self.name} computes something else: losses {self.losses}, reference {reference}")

    def time(self, seconds: float) -> float:
        self.process.send_signal(signal.SIGCONT)
        print(seconds, file=self.process.stdin, flush=True)
        (milliseconds,) = self._read()
        self.process.send_signal(signal.SIGSTOP)
        return milliseconds

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def _read(self) -> list[float]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} died with exit code {self.process.wait()}")
        return [float(word) for word in line.split()]


def _serve(name: str, work: str) -> None:
    """A contender's process: report the check losses, then time a turn for each line that asks for one."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not be read as an answer
    workload = WORKLOADS[work]
    contender = CONTENDERS[name](workload)
    batches = [contender.prepare(x) for x in workload.batches(BATCHES)]
    losses = [contender.step(x, noise) for x, noise in zip(batches, workload.noise(CHECK_STEPS))]
    for x in batches * 2:
        contender.step(x)
    print(*(float(loss) for loss in losses if loss is not None), file=answers, flush=True)
    for line in sys.stdin:
        seconds, steps = float(line), 0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds or steps < BATCHES:
            loss = contender.step(batches[steps % BATCHES])
            steps += 1
        if loss is not None:
            float(loss)  # waits for work that was only queued
        print((time.perf_counter() - started) / steps * 1e3, file=answers, flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
