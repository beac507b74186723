"""Measuring: it times functions in turns, runs work in fresh processes, and reads the peak memory of a process."""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import RESULTS, contender_environment, contender_threads, machine

ROOT = Path(__file__).parents[1]
LAP = 50e-6  # seconds; reading the clock takes a thousandth of it


def add_arguments(parser, rounds: int, seconds: float = 0.0) -> None:
    """Add the options that all benchmarks have; ``seconds`` is given only where turns have a length."""
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds of turns; the median is reported")
    if seconds:
        parser.add_argument("--seconds", type=float, default=seconds, help="length of one turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for tables and plots")
    parser.add_argument("--quick", action="store_true", help="small sizes, one short round: only shows that the benchmark works")


def effort(args) -> tuple[int, float]:
    """Return the rounds and the seconds of a turn that ``args`` ask for."""
    return (1, 0.002) if args.quick else (args.rounds, args.seconds)


def header(args) -> dict[str, str]:
    """Return the lines that head a result."""
    return machine(contender_threads()) | ({"mode": "quick: these figures mean nothing"} if args.quick else {})


def medians(functions: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, float]:
    """Return the seconds that one call of each function takes.

    The functions take turns of ``seconds``, in an order that is reversed every round, so that a temporary slowdown of the machine
    affects all of them.  The result is the median over rounds of the median over the calls of a turn.
    """
    repeats = {name: _repeats(function) for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for i in range(rounds):
        for name in functions if i % 2 == 0 else reversed(functions):
            times[name].append(_turn(functions[name], repeats[name], seconds))
    return {name: statistics.median(measured) for name, measured in times.items()}


def _turn(function: Callable[[], Any], repeats: int, seconds: float) -> float:
    end = time.perf_counter() + seconds
    laps = [_lap(function, repeats)]
    while time.perf_counter() < end:
        laps.append(_lap(function, repeats))
    return statistics.median(laps)


def _lap(function: Callable[[], Any], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - started) / repeats


def _repeats(function: Callable[[], Any]) -> int:
    """Return how often to call a function between two readings of the clock, so that reading it takes a negligible share."""
    function()
    return max(1, int(LAP / _lap(function, 1)))


class Outcome(NamedTuple):
    """The result of a child process: the value of its function, its running time in seconds, and its peak memory in MB."""

    value: Any
    seconds: float
    peak: float


def in_child(function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Outcome:
    """Call a module's function in a fresh process, with ``contender_environment``; arguments and value must be fit for JSON.

    After ``timeout`` seconds the process is killed, and subprocess.TimeoutExpired is raised.
    """
    command = [sys.executable, "-m", "benchmarks.timing", function.__module__, function.__name__, json.dumps(args)]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=contender_environment(), timeout=timeout)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{function.__module__}.{function.__name__}{args} failed with exit code {done.returncode}, see above")
    return Outcome(**json.loads(done.stdout), seconds=seconds)


def peak_memory() -> float:
    """Return the most memory, in MB, that this process has had resident since it began to run its program."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    # Not ru_maxrss, which on Linux begins with what the *parent* had when it started this process.
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kibibytes) * 1024 / 1e6


def _serve(module: str, name: str, args: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that a library's output is not mistaken for the result
    value = getattr(importlib.import_module(module), name)(*json.loads(args))
    json.dump({"value": value, "peak": peak_memory()}, answers)
    answers.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
