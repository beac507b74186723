"""The GPU beside the CPU: whole steps as a ladder and beside other libraries, drift, MNIST, every op, batches, transfers, launches.

Without a usable GPU, only the CPU's part is measured, and the output says what was left out and why.

Device times are from CUDA events.  Steps are timed by the hundred, on data that stay on the device, and nothing is read back in
between.  Each contender has a process of its own and must first reproduce a float64 reference.  The whole takes at most the given
minutes: what matters most comes first, and what fails, or for which no time is left, is named at the end.
"""

from __future__ import annotations

from benchmarks import timing
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.contenders import FORMS, WORKS
from benchmarks.gpu.costs import run_costs
from benchmarks.gpu.ops import run_ops
from benchmarks.gpu.peers import PEERS
from benchmarks.gpu.steps import ON_CPU, SLOW, Steps, run_batches
from benchmarks.gpu.training import run_drift, run_training
from benchmarks.report import say
from minivae import ops
from minivae.backend import probe_cuda

MINUTES = 7.5
STEPS = ("A", "L")


def add_arguments(parser):
    contenders = [*FORMS, *PEERS]
    parser.add_argument("--only", nargs="+", choices=contenders, default=contenders, metavar="WHO", help="some of the contenders")
    parser.add_argument("--ops", nargs="*", choices=ops.ALL_OPS, default=list(ops.ALL_OPS), metavar="OP", help="some of the ops")
    parser.add_argument("--work", nargs="+", choices=WORKS, default=STEPS, help="sizes of the step")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"most minutes for everything (default: {MINUTES})")
    parser.add_argument("--data-dir", help="folder with the four MNIST files; without it, MNIST is left out")
    timing.add_arguments(parser, rounds=3, seconds=0.05)


def run(args):
    available, reason = probe_cuda()
    header = timing.header(args) | {"device": reason if available else "no GPU"}
    budget = Budget(args.minutes)
    steps, works = Steps(args, header, budget, available), ("B",) if args.quick else args.work
    fast, slow = [name for name in args.only if name not in SLOW], [name for name in args.only if name in SLOW]
    budget.attempt("steps", steps.measure, works, [ON_CPU, *fast])
    if available:
        budget.attempt("drift", run_drift, args, header, budget)
        budget.attempt("training", run_training, args, header, budget)
    if args.ops:
        budget.attempt("ops", run_ops, args, header, budget, available)
    budget.attempt("batches", run_batches, args, header, budget, available)
    if available:
        budget.attempt("transfers and launches", run_costs, args, header, budget)
        if slow:
            budget.attempt("steps of slow contenders", steps.measure, works, slow)
    else:
        others = "drift and MNIST, transfers and launches, and the other libraries' GPU steps"
        say(f"left out, without a GPU ({reason}): every GPU column, {others}")
    for what in budget.missing:
        say(f"left out: {what}")
