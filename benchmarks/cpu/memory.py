"""The cost around the training step: import time, and time and peak memory of five epochs of MNIST from start to exit.

Every figure is from fresh processes; the kinds alternate, and medians are reported.  MNIST is read from --data-dir, or from the
folder in MINIVAE_DATA.  A run counts only if it has learned: its loss must lie between bounds that are computed from the pixels.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks import timing
from benchmarks.cpu.scripts import FILE, SCRIPTS, loss_bounds
from benchmarks.report import COLOURS, Table, contender_environment, say
from minivae.checks import installing
from minivae.datasets.files import FOLDER_VARIABLE

EPOCHS = 5
IMPORTS_A_ROUND = 5
IMPORT = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"


def add_arguments(parser):
    parser.add_argument("--data-dir", default=os.environ.get(FOLDER_VARIABLE), help=f"folder with {FILE}")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    timing.add_arguments(parser, rounds=5)


def run(args):
    rounds, imports = (1, 1) if args.quick else (args.rounds, IMPORTS_A_ROUND * args.rounds)
    table = Table("memory_import", ("import", "ms", "fastest", "slowest", "to numpy"), timing.header(args), args.results)
    times = in_turns({name: lambda name=name: import_seconds(name) for name in ("numpy", "minivae")}, imports)
    for name, measured in times.items():
        ratio = statistics.median(measured) / statistics.median(times["numpy"])
        table.add(name, *(1e3 * f(measured) for f in (statistics.median, min, max)), ratio)
    table.finish()
    if args.data_dir is None:
        say(f"{args.epochs} epochs of MNIST: left out, {FILE} is missing; pass --data-dir or set {FOLDER_VARIABLE} to its folder")
        return
    path = Path(args.data_dir) / FILE
    if not path.is_file():
        raise SystemExit(f"--data-dir: expected a folder with {FILE}, got {args.data_dir}")
    _compare(args, str(path.resolve()), rounds)


def _compare(args, path: str, rounds: int) -> None:
    present = [name for name in SCRIPTS if importlib.util.find_spec(name)]
    for name in (name for name in SCRIPTS if name not in present):
        say(f"{name}: absent, it is not installed ({installing('bench')})")
    low, high = loss_bounds(path)
    outcomes = in_turns({name: lambda name=name: timing.in_child(SCRIPTS[name], path, args.epochs) for name in present}, rounds)
    columns = ("script", "s", "start", "read", "train", "peak MB", "loss", "time: minivae / it", "memory: minivae / it")
    table = Table("memory", columns, timing.header(args), args.results)
    rows = {}
    for name, runs in outcomes.items():
        for loss in (run.value["loss"] for run in runs):
            if not low < loss < high:
                raise SystemExit(f"{name}: has not learned: a loss of {loss:.4g} is not between {low:.4g} and {high:.4g}")
        seconds, peak = (statistics.median(getattr(run, field) for run in runs) for field in ("seconds", "peak"))
        read, train, loss = (statistics.median(run.value[field] for run in runs) for field in ("read", "train", "loss"))
        rows[name] = {
            "seconds": seconds,
            "start": seconds - read - train,
            "read": read,
            "train": train,
            "peak": peak,
            "loss": loss,
        }
    ours = rows["minivae"]
    for name, row in rows.items():
        table.add(name, *row.values(), ours["seconds"] / row["seconds"], ours["peak"] / row["peak"])
    table.finish()
    table.plot(_bars(rows, args.epochs))


def in_turns(calls, rounds: int):
    """Return name → what ``rounds`` calls gave; the calls alternate, in an order that is reversed every round."""
    results = {name: [] for name in calls}
    for i in range(rounds):
        for name in calls if i % 2 == 0 else reversed(calls):
            results[name].append(calls[name]())
    return results


def import_seconds(module: str) -> float:
    """Return how long a fresh interpreter takes to import a module, without its own start."""
    command = [sys.executable, "-c", IMPORT.format(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=timing.ROOT, env=contender_environment())
    return float(done.stdout)


def _bars(rows, epochs: int):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.5 * len(rows) + 1.6), layout="constrained")
    times, memory = figure.subplots(1, 2, sharey=True)
    places = list(range(len(rows)))
    left = [0.0] * len(rows)
    for stage, colour in zip(("start", "read", "train"), COLOURS):
        lengths = [row[stage] for row in rows.values()]
        times.barh(places, lengths, left=left, height=0.6, color=colour, label=stage)
        left = [a + b for a, b in zip(left, lengths)]
    memory.barh(places, [row["peak"] for row in rows.values()], height=0.6, color=COLOURS[-1])
    times.set_yticks(places, rows)
    times.invert_yaxis()
    times.set_xlabel("seconds")
    memory.set_xlabel("peak memory, MB")
    times.set_title(f"{epochs} epochs of MNIST, start to exit", fontsize=11, loc="left")
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
