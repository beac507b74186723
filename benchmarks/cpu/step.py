"""One training step by parts: where the time goes, beside the minimum possible.

The trainer's own step is timed twice: as it is, and with a stopwatch around each function that it calls.  The rest is bookkeeping.
For comparison there are the matrix products of the step alone, which are a lower bound with this BLAS, and the cost of the tape,
which is its number of nodes times the cost of one.  Page faults show memory that is returned to the system and requested again.
Both steps must first reproduce the losses of a float64 reference.
"""

from __future__ import annotations

import contextlib
import functools
import resource
import statistics
import time
from types import SimpleNamespace
from unittest import mock

import numpy as np

from benchmarks import timing
from benchmarks.cpu.contenders import GemmFloor, Minivae
from benchmarks.cpu.peers import TOLERANCE
from benchmarks.cpu.workloads import CHECK_STEPS, WORKLOADS, Workload, reference_losses
from benchmarks.report import COLOURS, Table
from minivae.autodiff import Tensor, backward, topological_order
from minivae.ops import add
from minivae.training import trainer as training
from minivae.training.batches import Rows

PARTS = ("gather", "noise", "forward", "backward", "optimiser", "bookkeeping")
ROWS, QUICK_ROWS = 60_000, 1_000  # of the data set that batches are gathered from
CHAIN = 200  # nodes


def add_arguments(parser):
    parser.add_argument("--work", nargs="+", choices=WORKLOADS, help="sizes of the step; all, or with --quick the smallest")
    timing.add_arguments(parser, rounds=9, seconds=0.5)


def run(args):
    table = Table("step", ("work", "part", "µs", "share of step", "page faults"), timing.header(args), args.results)
    steps = {}
    for work in args.work or (["B"] if args.quick else list(WORKLOADS)):
        step = steps[work] = timing.in_child(measure, work, *timing.effort(args), QUICK_ROWS if args.quick else ROWS).value
        lines = step["parts"] | {"sum of parts": sum(step["parts"].values())}
        lines |= {"whole step": step["whole"], "products alone": step["floor"]}
        lines |= {f"tape: {step['nodes']} nodes at {step['node'] * 1e6:.2g} µs": step["nodes"] * step["node"]}
        for name, seconds in lines.items():
            table.add(work, name, seconds * 1e6, seconds / step["whole"], step["faults"] if name == "whole step" else "")
    table.finish()
    table.plot(_bars(steps))


def _bars(steps):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.55 * len(steps) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    for y, step in enumerate(steps.values()):
        left = 0.0
        for part, colour in zip(PARTS, COLOURS):
            length = 100 * step["parts"][part] / step["whole"]
            axes.barh(y, length, left=left, height=0.6, color=colour, label=part if y == 0 else None)
            left += length
        floor = 100 * step["floor"] / step["whole"]
        axes.plot([floor, floor], [y - 0.4, y + 0.4], color="black", label="products alone" if y == 0 else None)
    axes.set_yticks(range(len(steps)), [f"{work}, {step['whole'] * 1e3:.3g} ms" for work, step in steps.items()])
    axes.invert_yaxis()
    axes.set_xlabel("% of the step as it is timed whole")
    axes.set_title("One training step by parts", fontsize=11, loc="left")
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


# In a child process ---------------------------------------------------------------------------------------------------------------


def measure(work: str, rounds: int, seconds: float, n_rows: int) -> dict:
    """Return the seconds of the parts, of the whole step, of its products alone, and of a node; and the nodes and page faults."""
    workload = WORKLOADS[work]
    whole, apart, floor = Training(workload, n_rows), Training(workload, n_rows), GemmFloor(workload)
    whole.verify()
    watch = Stopwatch()
    with taken_apart(apart, watch):
        apart.verify()
    laps = []

    def step_apart():
        with taken_apart(apart, watch):
            laps.append(watch.lap(apart.step))

    functions = {"whole": whole.step, "apart": step_apart, "floor": lambda: floor.step(None)}
    times = timing.medians(functions, rounds, seconds)
    parts = {part: statistics.median(lap[part] for lap in laps) for part in PARTS}
    step = {"parts": parts, "whole": times["whole"], "floor": times["floor"], "faults": whole.page_faults()}
    return step | {"nodes": whole.nodes(), "node": tape_cost(rounds, seconds / 10)}


class Training:
    """The steps of an epoch: rows of a data set gathered in random order, then the trainer's step."""

    def __init__(self, workload: Workload, n_rows: int) -> None:
        rng = np.random.default_rng(3)
        self.workload, self.contender = workload, Minivae(workload)
        self.trainer = self.contender.trainer
        self.trainer.train = Rows(rng.integers(0, 256, (n_rows, workload.features), dtype=np.uint8), np, "float32")
        self.order = rng.permutation(n_rows)
        self.noise = SimpleNamespace(standard_normal=rng.standard_normal)
        self.start = 0

    def step(self) -> None:
        if self.start + self.workload.batch > len(self.order):
            self.start = 0
        index = self.order[self.start : self.start + self.workload.batch]
        self.start += self.workload.batch
        self.trainer.train_step(self.trainer.train.take(index, self.noise), self.noise)

    def verify(self) -> None:
        """Raise ``SystemExit`` unless the first losses are the reference's."""
        pairs = zip(self.workload.batches(CHECK_STEPS), self.workload.noise(CHECK_STEPS))
        losses = [float(self.contender.step(x, noise)) for x, noise in pairs]
        expected = _reference(self.workload)
        if not all(abs(got - want) < TOLERANCE * abs(want) for got, want in zip(losses, expected)):
            raise SystemExit(f"{self.workload.name}: losses {losses}, reference {expected}")

    def page_faults(self, steps: int = 20) -> float:
        """Return how many pages of memory a step requests from the system."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(steps):
            self.step()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / steps

    def nodes(self) -> int:
        """Return how many applications of an op backward walks over."""
        model = self.trainer.model
        loss = model.loss(model.terms(self.workload.batches(1)[0], self.noise))
        return sum(tensor.node is not None for tensor in topological_order(loss))


_reference = functools.cache(reference_losses)


class Stopwatch:
    """Divides the time of a call among parts: time is charged to the innermost part that is running."""

    def __init__(self) -> None:
        self.part, self.since = "bookkeeping", 0.0
        self.spent = dict.fromkeys(PARTS, 0.0)

    def lap(self, function) -> dict[str, float]:
        """Call ``function`` and return part → seconds."""
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.since = time.perf_counter()
        function()
        self._go_on("bookkeeping")
        return self.spent

    def around(self, part: str, function):
        """Return ``function`` with its time charged to ``part``."""

        def run(*args, **kwargs):
            outer = self.part
            self._go_on(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._go_on(outer)

        return run

    def _go_on(self, part: str) -> None:
        now = time.perf_counter()
        self.spent[self.part] += now - self.since
        self.part, self.since = part, now


@contextlib.contextmanager
def taken_apart(apart: Training, watch: Stopwatch):
    """Put the stopwatch around everything that a step calls."""
    trainer = apart.trainer
    calls = (
        (trainer.train, "take", "gather"),
        (apart.noise, "standard_normal", "noise"),
        (trainer.model, "terms", "forward"),
        (trainer.model, "loss", "forward"),
        (training, "backward", "backward"),
        (trainer.optimizer, "step", "optimiser"),
    )
    with contextlib.ExitStack() as stack:
        for owner, name, part in calls:
            stack.enter_context(mock.patch.object(owner, name, watch.around(part, getattr(owner, name))))
        yield


def tape_cost(rounds: int, seconds: float) -> float:
    """Return the seconds that recording an op and walking back over it cost beyond the op's own two functions."""
    x, zero = Tensor(np.ones(1), requires_grad=True), np.zeros(1)

    def recorded():
        y = x
        for _ in range(CHAIN):
            y = add(y, zero)
        backward(y)

    def bare():
        y, tape = x.data, []
        for _ in range(CHAIN):
            y, saved = add.forward(np, y, zero)
            tape.append(saved)
        g = np.ones(1)
        for saved in reversed(tape):
            g, _ = add.backward(np, saved, g, (True, False))
        return g

    recorded()
    if x.grad != bare():
        raise SystemExit(f"a chain of sums has the gradient {x.grad}")
    times = timing.medians({"recorded": recorded, "bare": bare}, rounds, seconds)
    return (times["recorded"] - times["bare"]) / CHAIN
