"""One training step against PyTorch, JAX and autograd.

Each contender runs in a process of its own, on the same number of threads.  They take turns: while one runs a round the others are
stopped (SIGSTOP), the order is reversed every round, and what counts is the median over rounds.  Before that, each must reproduce
the first losses of a float64 reference from the same weights, batches and noise.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import time

from benchmarks.contenders import CONTENDERS
from benchmarks.report import Table, contender_environment, machine, say
from benchmarks.workloads import CHECK_STEPS, WORKLOADS, reference_losses

TOLERANCE = 2e-5  # relative, on losses of a few hundred nats: float32 sums of 784 pixels, and four steps that compound
BATCHES = 16


def add_arguments(parser):
    parser.add_argument("--work", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="sizes of the step")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of turns; the median counts")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one turn")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="contenders")


def run(args):
    present = [name for name in args.only if importlib.util.find_spec(CONTENDERS[name].package)]
    for name in (name for name in args.only if name not in present):
        say(f"{name}: absent, {CONTENDERS[name].package} is not installed (pip install 'minivae[bench]')")
    table = Table("peers", ("work", "contender", "ms a step", "fastest", "slowest", "minivae / it"), machine())
    for work in args.work:
        reference = reference_losses(WORKLOADS[work])
        turns = [_Turn(name, work) for name in present]
        try:
            for turn in turns:
                turn.check(reference)
            times = {turn.name: [] for turn in turns}
            for i in range(args.rounds):
                for turn in turns if i % 2 == 0 else reversed(turns):
                    times[turn.name].append(turn.time(args.seconds))
        finally:
            for turn in turns:
                turn.close()
        ours = statistics.median(times.get("minivae", [float("nan")]))
        for name, measured in times.items():
            middle = statistics.median(measured)
            table.add(work, name, middle, min(measured), max(measured), ours / middle)
    table.finish()


class _Turn:
    """The parent's end of one contender's process."""

    def __init__(self, name: str, work: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers", name, work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=contender_environment(),
        )
        self.losses = self._read()
        self._stop()

    def check(self, reference: list[float]) -> None:
        if self.name == "GEMMs alone":
            return
        if not all(abs(got - want) < TOLERANCE * abs(want) for got, want in zip(self.losses, reference)):
            raise SystemExit(f"{self.name} computes something else: losses {self.losses}, reference {reference}")

    def time(self, seconds: float) -> float:
        os.kill(self.process.pid, signal.SIGCONT)
        print(seconds, file=self.process.stdin, flush=True)
        (milliseconds,) = self._read()
        self._stop()
        return milliseconds

    def close(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def _read(self) -> list[float]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} died with exit code {self.process.wait()}")
        return [float(word) for word in line.split()]

    def _stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)


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
