"""How cost grows: of a training step with batch, width, depth, latents and data size, and of log p(x) with data size.

The sizes along an axis take turns, and the exponent p of  cost ∝ size^p  is the slope of a straight line through the logarithms,
by least squares, with its standard error.  Every size must first reproduce the losses of a float64 reference.  log p(x) is
estimated by a model for which it is known in closed form, in a fresh process for each data size: there the peak of memory counts.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.cpu.step import Training
from benchmarks.cpu.workloads import WORKLOADS
from benchmarks.report import COLOURS, Table

BASE = WORKLOADS["A"]
ROWS = 4096  # of the data set, unless its size is what varies
LEVEL = 0.05  # an exponent that exceeds its goal by no more than this, 3.5 % for twice the size, counts as reaching it


@dataclass(frozen=True)
class Axis:
    """What varies, what its cost is to be fitted against, and the exponent that it should not exceed."""

    sizes: tuple[int, ...]
    change: Callable[[int], dict[str, Any]]
    cost: str
    against: str
    goal: float


AXES = {
    "batch": Axis((16, 32, 64, 128, 256, 512, 1024), lambda size: {"batch": size}, "µs an example", "size", 0),
    "width": Axis((64, 128, 256, 512, 1024, 2048), lambda size: {"hidden": (size,)}, "µs a step", "parameters", 1),
    "depth": Axis((1, 2, 3, 4, 6, 8), lambda size: {"hidden": BASE.hidden * size}, "µs a step", "parameters", 1),
    "latents": Axis((2, 8, 32, 128, 512), lambda size: {"latent": size}, "µs a step", "parameters", 1),
    "rows": Axis((1024, 4096, 16384, 65536), lambda size: {}, "µs an example", "size", 0),
}
LIKELIHOOD = "log p(x)"
LIKELIHOOD_ROWS, SAMPLES = (256, 1024, 4096, 16384), 5000
FEATURES, LATENTS, VARIANCE = 32, 4, 0.5


def add_arguments(parser):
    names = [*AXES, LIKELIHOOD]
    parser.add_argument("--axis", nargs="+", choices=names, default=names, help="what to vary")
    timing.add_arguments(parser, rounds=7, seconds=0.2)


def run(args):
    table = Table("scaling", ("axis", "size", "parameters", "cost", "unit"), timing.header(args), args.results)
    fits = Table("scaling_fits", ("axis", "cost", "against", "exponent", "±", "goal", "met"), timing.header(args), args.results)
    curves = []
    for name in args.axis:
        for unit, against, goal, points in _likelihood(args) if name == LIKELIHOOD else [_steps(args, name)]:
            for size, count, cost in points:
                table.add(name, size, count, cost, unit)
            sizes, counts, costs = zip(*points)
            grows = counts if against == "parameters" else sizes
            power, error = exponent(grows, costs)
            fits.add(name, unit, against, power, error, f"at most {goal}", verdict(power, error, goal))
            curves.append((f"{name}: {unit} ∝ {against}$^{{{power:.2f}}}$", grows, costs))
    table.finish()
    fits.finish()
    table.plot(_curves(curves))


def _steps(args, name: str):
    """Return unit, what to fit against, goal, and points (size, parameters, cost)."""
    axis = AXES[name]
    points = timing.in_child(measure, name, axis.sizes[:3] if args.quick else axis.sizes, *timing.effort(args)).value
    return axis.cost, axis.against, axis.goal, points


def _likelihood(args):
    """Return the same for the time of log p(x), which should be proportional to the rows, and for its memory, which should not."""
    seconds, peaks = [], []
    for rows in LIKELIHOOD_ROWS[:3] if args.quick else LIKELIHOOD_ROWS:
        outcome = timing.in_child(likelihood, rows, SAMPLES // 100 if args.quick else SAMPLES)
        seconds.append((rows, "", outcome.value))
        peaks.append((rows, "", outcome.peak - 4e-6 * rows * FEATURES))
    return [("s", "size", 1, seconds), ("peak MB beside the data", "size", 0, peaks)]


def exponent(sizes, costs) -> tuple[float, float]:
    """Return p of cost ∝ size^p and its standard error."""
    x, y = np.log(sizes), np.log(costs)
    x, y = x - x.mean(), y - y.mean()
    slope = x @ y / (x @ x)
    residuals = y - slope * x
    return float(slope), math.sqrt(residuals @ residuals / (len(x) - 2) / (x @ x))


def verdict(power: float, error: float, goal: float) -> str:
    """Return whether the exponent is at most ``goal``, as far as two standard errors can tell."""
    excess = power - goal - LEVEL
    return "yes" if excess + 2 * error <= 0 else "no" if excess > 2 * error else "unclear"


def _curves(curves):
    from matplotlib.figure import Figure

    columns = min(3, len(curves))
    figure = Figure(figsize=(3.3 * columns, 2.6 * math.ceil(len(curves) / columns)), layout="constrained")
    for i, (title, sizes, costs) in enumerate(curves):
        axes = figure.add_subplot(math.ceil(len(curves) / columns), columns, i + 1)
        power, _ = exponent(sizes, costs)
        line = np.exp(np.log(costs).mean() + power * (np.log(sizes) - np.log(sizes).mean()))
        axes.loglog(sizes, costs, "o", color=COLOURS[0])
        axes.loglog(sizes, line, color=COLOURS[1], linewidth=1)
        middle = math.exp(np.log(costs).mean())
        axes.set_ylim(min(middle / 3, min(costs) / 1.3), max(middle * 3, max(costs) * 1.3))  # a constant cost looks constant
        axes.set_title(title, fontsize=8, loc="left")
        for axis, values in ((axes.xaxis, sizes), (axes.yaxis, costs)):
            ends = sorted({min(values), max(values)} if max(values) > 1.5 * min(values) else {values[-1]})
            axis.set_ticks(ends, [_short(value) for value in ends], fontsize=7)
            axis.set_ticks([], minor=True)
    return figure


def _short(value: float) -> str:
    size, letter = (1e6, "M") if value >= 1e6 else (1e3, "k") if value >= 1e3 else (1, "")
    return f"{value / size:.3g}{letter}"


# In a child process ---------------------------------------------------------------------------------------------------------------


def measure(name: str, sizes: list[int], rounds: int, seconds: float) -> list[tuple[int, int, float]]:
    """Return (size, parameters, cost) for each size."""
    axis, trainings = AXES[name], {}
    for size in sizes:
        training = trainings[size] = Training(dataclasses.replace(BASE, **axis.change(size)), size if name == "rows" else ROWS)
        training.verify()
    times = timing.medians({size: training.step for size, training in trainings.items()}, rounds, seconds)
    points = []
    for size, training in trainings.items():
        units = training.workload.batch if axis.cost == "µs an example" else 1
        points.append((size, training.trainer.model.parameters_.values.size, times[size] * 1e6 / units))
    return points


def likelihood(rows: int, samples: int) -> float:
    """Return the seconds of ``importance_estimate``, after checking it against the truth.

    x = z W + b + noise, with orthogonal rows w_j of W, is normal with the variance s² + ‖w_j‖² along each w_j and s² elsewhere.
    The posterior is known as well: Var(z_j|x) = 1/(1 + ‖w_j‖²/s²).  The encoder gets its mean, but 1.2 times its variance, since
    otherwise all importance weights would be equal.
    """
    from minivae import VAE

    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((FEATURES, LATENTS)))
    lengths, bias = np.linspace(1, 2, LATENTS), rng.standard_normal(FEATURES)
    weight = lengths[:, None] * axes.T
    x = rng.standard_normal((rows, LATENTS)) @ weight + bias + math.sqrt(VARIANCE) * rng.standard_normal((rows, FEATURES))
    x = x.astype(np.float32)
    along = (x - bias) @ axes
    total = VARIANCE + lengths**2
    exact = -0.5 * (FEATURES * math.log(2 * math.pi) + np.log(total).sum() + (FEATURES - LATENTS) * math.log(VARIANCE))
    exact = exact - 0.5 * (((x - bias) ** 2).sum(axis=1) / VARIANCE - (along**2 * (1 / VARIANCE - 1 / total)).sum(axis=1))

    vae = VAE(latent_dim=LATENTS, hidden_dims=(), likelihood="gaussian_fixed", variance=VARIANCE, device="cpu")
    vae._build(FEATURES)
    (encoder,), (decoder,) = vae.encoder_.layers, vae.decoder_.layers
    to_mean = (weight / total[:, None]).T
    encoder.weight.data[...] = np.hstack([to_mean, np.zeros_like(to_mean)])
    encoder.bias.data[...] = np.hstack([-bias @ to_mean, np.log(1.2 * VARIANCE / total)])
    decoder.weight.data[...], decoder.bias.data[...] = weight, bias

    started = time.perf_counter()
    estimate = vae.importance_estimate(x, n_samples=samples)
    seconds = time.perf_counter() - started
    worst = (np.abs(estimate.log_likelihood - exact) / (6 * estimate.standard_error + 1e-5 * np.abs(exact))).max()
    if not worst < 1:
        raise SystemExit(f"log p(x) is off by {6 * worst:.2g} standard errors")
    return seconds
