"""Every op, forward and backward: time, GB/s, GFLOP/s, and the share of this machine's limits that they reach.

A forward must at least read its arguments and write its result; a backward must read what was saved and the cotangent, and write
the gradients.  A copy of as many bytes is timed in turns with it, and a large matrix product with ``dense``: they are the
limits, measured at the same time and with arrays that are as near in the cache.  A result that is a view moves nothing and has no
share.  Before an op is timed, it is compared with the equation in plain float64 and with its finite differences.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks import timing
from benchmarks.cpu.contenders import Minivae
from benchmarks.cpu.references import REFERENCES, PlainAdam, bernoulli_nll, bernoulli_nll_slope
from benchmarks.cpu.workloads import LEARNING_RATE, WORKLOADS
from benchmarks.report import COLOURS, Table
from minivae import ops
from minivae.ops.examples import EXAMPLES, Example
from minivae.optim import Adam
from minivae.proof.finite_differences import central_difference

SIZES = {"n": 128, "d": 784, "m": 400, "s": 2}  # for dense the first layer of A, for all others the pixels of its batch
QUICK_SIZES = {"n": 13, "d": 29, "m": 17, "s": 2}
CODES = ("log_mixture", "mmd", "covariance", "planar", "planar_log_det")  # ops on the latents of A, 20 instead of 784 numbers
GEMM_SIZE = 768
TOLERANCE = 1e-5  # relative: some dozens of float32 roundings
STEP = 2.0**-10  # of the finite differences

FIRST_EXAMPLES = {example.op.name: example for example in reversed(EXAMPLES)}
DATA = {"bernoulli_nll": "x", "gaussian_nll": "x", "reparameterize": "noise", "reparameterize_variance": "noise"}  # no gradient


def add_arguments(parser):
    parser.add_argument("--only", nargs="+", choices=ops.ALL_OPS, default=list(ops.ALL_OPS), metavar="OP", help="some of the ops")
    timing.add_arguments(parser, rounds=7, seconds=0.05)


def run(args):
    table = Table("ops", ("op", "pass", "µs", "MB", "GB/s", "GFLOP/s", "share"), timing.header(args), args.results)
    shares = {}
    for row in timing.in_child(measure, args.only, *timing.effort(args), args.quick).value:
        seconds, moved, flops = row["seconds"], row["bytes"], row["flops"]
        ceiling = row["gemm"] * flops if flops else row["copy"]  # seconds of the same work at its best
        share = ceiling / seconds if moved else math.nan
        rates = (moved / 1e6, moved / seconds / 1e9) if moved else ("a view", "")
        table.add(row["op"], row["pass"], seconds * 1e6, *rates, flops / seconds / 1e9 if flops else "", share if moved else "")
        shares.setdefault(row["op"], {})[row["pass"]] = share
    table.finish()
    table.plot(_bars(shares))
    plain = Table("ops_plain", ("what", "plain, µs", "tuned, µs", "tuned / plain"), timing.header(args), args.results)
    for what, before, after in timing.in_child(measure_plain, *timing.effort(args), args.quick).value:
        plain.add(what, before * 1e6, after * 1e6, after / before)
    plain.finish()


def _bars(shares):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.3 * len(shares) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    for part, colour, shift in (("forward", COLOURS[0], -0.2), ("backward", COLOURS[1], 0.2)):
        lengths = [100 * passes[part] for passes in shares.values()]
        axes.barh(np.arange(len(shares)) + shift, lengths, height=0.38, color=colour, label=part)
    axes.axvline(100, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shares)), shares, fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("% of a copy of the bytes that must move (dense: of a large matrix product); no bar: a view", fontsize=8)
    axes.set_title("How close the ops come to this machine", fontsize=11, loc="left")
    axes.legend(frameon=False, fontsize=8)
    return figure


# In a child process ---------------------------------------------------------------------------------------------------------------


def measure(names: list[str], rounds: int, seconds: float, quick: bool) -> list[dict]:
    """Return for both passes of each op its seconds, the bytes it must move and the seconds of a copy of as many, and for ``dense``
    its floating-point operations and the seconds of one in a large product.
    """
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((GEMM_SIZE, GEMM_SIZE), dtype=np.float32) for _ in range(2))
    rows = []
    for name in names:
        sizes = QUICK_SIZES if quick else SIZES
        call = Call(FIRST_EXAMPLES[name], sizes | ({"d": 20} if name in CODES else {}))
        call.verify()
        moved = {
            "forward": bytes_moved(call.arrays, [call.out]),
            "backward": bytes_moved([*call.saved, call.g], call.backward()),
        }
        functions = {"forward": call.forward, "backward": call.backward}
        functions |= {f"copy {part}": _copy(count) for part, count in moved.items()}
        flops = dict.fromkeys(moved, 0)
        if call.op is ops.dense:
            functions["sgemm"] = lambda: left @ right
            flops = {"forward": 2 * call.out.size * len(call.arrays[1])}
            flops["backward"] = 2 * flops["forward"]  # one product each for the gradients of x and weight
        times = timing.medians(functions, rounds, seconds)
        for part in moved:
            row = {"op": name, "pass": part, "seconds": times[part], "bytes": moved[part], "copy": times[f"copy {part}"]}
            rows.append(row | {"flops": flops[part], "gemm": times.get("sgemm", 0) / (2 * GEMM_SIZE**3)})
    return rows


class Call:
    """One op with float32 arguments: its two passes as functions without arguments."""

    def __init__(self, example: Example, sizes: dict[str, int]) -> None:
        self.op, self.options = example.op, example.options
        self.names = list(example.arguments)
        self.arrays = [array.astype(np.float32) for array in example.draw(**sizes).values()]
        self.needs = tuple(name != DATA.get(self.op.name) for name in self.names)
        self.out, self.saved = self.forward()
        self.g = np.asarray(np.random.default_rng(1).standard_normal(self.out.shape), dtype=np.float32)
        self.into = [(tuple(np.empty_like(array) for array in self.arrays))] if self.op.writes_into else []

    def forward(self):
        return self.op.forward(np, *self.arrays, **self.options)

    def backward(self):
        return self.op.backward(np, self.saved, self.g, self.needs, *self.into)

    def verify(self) -> None:
        """Raise ``SystemExit`` unless the result is the reference's and each gradient gives its slope along a line.

        The line follows the signs of the gradient, so that its terms cannot cancel.
        """
        reference = REFERENCES[self.op.name]
        exact = [array.astype(np.float64) for array in self.arrays]
        require_equal(f"{self.op.name}: the result", self.out, reference(*exact, **self.options))
        rng = np.random.default_rng(2)
        for i, gradient in enumerate(self.backward()):
            if not self.needs[i]:
                continue
            direction = np.copysign(rng.uniform(0.5, 1.5, gradient.shape), gradient)

            def value(t, i=i, direction=direction):
                moved = [array + t * direction if i == j else array for j, array in enumerate(exact)]
                return float((reference(*moved, **self.options) * self.g).sum())

            slope, uncertainty = central_difference(value, STEP)
            claimed = float((gradient * direction).sum())
            if not abs(claimed - slope) + uncertainty <= TOLERANCE * claimed:
                raise SystemExit(f"{self.op.name}: the gradient of {self.names[i]} gives a slope of {claimed:.8g}, not {slope:.8g}")


def require_equal(what: str, actual: np.ndarray, expected: np.ndarray) -> None:
    error = np.abs(actual - expected).max() / np.abs(expected).max() if np.shape(actual) == np.shape(expected) else math.inf
    if not error <= TOLERANCE:
        raise SystemExit(f"{what} is off by {error:.2g} of its largest entry")


def bytes_moved(inputs, outputs) -> int:
    """Return the bytes of all distinct arrays among ``inputs`` and ``outputs``, repetitions with stride 0 counted once.

    An output that is a view of an input, or one number repeated, takes no work; where all are such, nothing moves.
    """
    inputs = [array for array in inputs if isinstance(array, np.ndarray)]
    outputs = [np.asarray(out) for out in outputs if out is not None and (np.size(out) == 1 or any(out.strides))]
    fresh = [out for out in outputs if not any(np.may_share_memory(out, array) for array in inputs)]
    if not fresh:
        return 0
    distinct = {(array.ctypes.data, array.shape, array.strides): array.itemsize for array in (*inputs, *fresh)}
    return sum(
        itemsize * math.prod(length for length, stride in zip(shape, strides) if stride)
        for (_, shape, strides), itemsize in distinct.items()
    )


def _copy(count: int):
    source, target = np.ones(count // 8, np.float32), np.ones(count // 8, np.float32)
    return lambda: np.copyto(target, source)


def measure_plain(rounds: int, seconds: float, quick: bool) -> list[tuple[str, float, float]]:
    """Return (what, seconds of the plain form, seconds of the tuned one), both verified, both in float32."""
    sizes = QUICK_SIZES if quick else SIZES
    nll, dense = (Call(FIRST_EXAMPLES[name], sizes) for name in ("bernoulli_nll", "dense"))
    nll.verify()
    dense.verify()
    x, logits = nll.arrays
    require_equal("bernoulli_nll: the plain slope", bernoulli_nll_slope(x, logits, nll.g), nll.backward()[1])
    flat = [np.empty_like(array) for array in dense.arrays]

    def copied():
        for place, gradient in zip(flat, dense.op.backward(np, dense.saved, dense.g, dense.needs)):
            place[...] = gradient

    few = Call(FIRST_EXAMPLES["dense"], sizes | {"n": min(20, sizes["n"])})
    few.verify()

    def slope_of_x():
        return few.op.backward(np, few.saved, few.g, (True, False, False))[0]

    weight = few.arrays[1]
    require_equal("dense: the plain slope of x", few.g @ weight.T, slope_of_x())
    pairs = {
        "bernoulli_nll, forward: logaddexp": (lambda: bernoulli_nll(x, logits), nll.forward),
        "bernoulli_nll, backward: a sigmoid of its own": (lambda: bernoulli_nll_slope(x, logits, nll.g), nll.backward),
        "dense, backward: gradients copied to the flat vector": (copied, dense.backward),
        "dense, backward: the slope of 20 rows as it stands": (lambda: few.g @ weight.T, slope_of_x),
        "Adam: the equations as they stand": _adams(1000 if quick else Minivae(WORKLOADS["A"]).model.parameters_.values.size),
    }
    results = []
    for what, (plain, tuned) in pairs.items():
        times = timing.medians({"plain": plain, "tuned": tuned}, rounds, seconds)
        results.append((what, times["plain"], times["tuned"]))
    return results


def _adams(size: int):
    rng = np.random.default_rng(3)
    g = rng.standard_normal(size, dtype=np.float32)
    exact, plain, tuned = PlainAdam(size, np.float64), PlainAdam(size, np.float32), Adam(size, np, np.float32, LEARNING_RATE)
    values = {optimizer: np.zeros(size, dtype) for optimizer, dtype in ((exact, "f8"), (plain, "f4"), (tuned, "f4"))}
    for scale in (1, -0.3, 2):
        for optimizer in values:
            optimizer.step(values[optimizer], g * np.float32(scale))
    require_equal("Adam", values[tuned], values[exact])
    require_equal("Adam as it stands", values[plain], values[exact])
    return (lambda: plain.step(values[plain], g)), (lambda: tuned.step(values[tuned], g))
