"""How far estimates of the parts of the KL from a batch are from the exact parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.report import COLOURS, Table, machine, say
from minivae import datasets
from minivae.evaluation.aggregate import batch_log_density, decompose, log_weights, split
from minivae.models import VAE
from minivae.runs.selection import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCHES = (16, 65, 256, 1024)
ESTIMATORS = ("weighted", "stratified", "shared matrix")
EXAMPLES = 2000  # posteriors of a trained model; the exact parts need all of them for every draw
STD = 0.3  # of the simulated posteriors


class Parts(NamedTuple):
    """Mutual information, total correlation and dimension-wise KL, each a mean and its standard error."""

    values: np.ndarray
    errors: np.ndarray


def posteriors(epochs: int, data_dir: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return name → means and log-variances (N, k): simulated ones with q(z) → N(0, C), and those of trained models."""
    found = {}
    for name, correlation in (("independent", 0.0), ("correlated", 0.5)):
        c = np.full((5, 5), correlation) + (1 - correlation) * np.eye(5)
        mean = np.random.default_rng(0).standard_normal((EXAMPLES, 5)) @ np.linalg.cholesky(c - STD**2 * np.eye(5)).T
        found[name] = mean, np.full(mean.shape, 2 * math.log(STD))
    for name in ("digits", "mnist") if data_dir else ("digits",):
        train, _ = datasets.load(name, data_dir)
        part = train.subset(spread(len(train), 10 * EXAMPLES))
        model = VAE(
            latent_dim=10, hidden_dims=(200,), epochs=epochs if name == "mnist" else 5 * epochs, output_bias="data", device="cpu"
        )
        model.fit(part.values)
        found[f"VAE on {name}"] = model.encode(part.subset(spread(len(part), EXAMPLES)).values)
    return found


def shared_matrix(n: int, n_data: int) -> np.ndarray:
    """Return the logarithms of the weights as in widely used code, where 1/N is in the first column and not on the diagonal.

    A matrix of n = M + 1 rows is filled by its flat view with a stride of M + 1, which is its width: a column.
    """
    m = n - 1
    rest = (n_data - m) / (n_data * m)
    weights = np.full((n, n), 1 / m)
    weights.reshape(-1)[:: m + 1] = 1 / n_data
    weights.reshape(-1)[1 :: m + 1] = rest
    weights[m - 1, 0] = rest
    return np.log(weights)


def estimate(mean: np.ndarray, log_var: np.ndarray, n: int, estimator: str, rounds: int) -> Parts:
    """Return the parts as ``rounds`` batches of ``n`` examples estimate them on average."""
    rng, found = np.random.default_rng(0), []
    shared = estimator == "shared matrix"
    weights = shared_matrix(n, len(mean)) if shared else log_weights(np, n, len(mean), estimator)
    for _ in range(rounds):
        rows = rng.permutation(len(mean))[:n]
        mu, s = mean[rows], log_var[rows]
        z = mu + np.exp(0.5 * s) * rng.standard_normal(mu.shape)  # (R.1)
        found.append([part.mean() for part in split(z, mu, s, *batch_log_density(z, mu, s, weights))])
    return Parts(np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / math.sqrt(rounds))


def measure_biases(folder: Path, rounds: int, epochs: int, data_dir: str | None) -> None:
    columns = (
        "posteriors",
        "N",
        "k",
        "estimate",
        "batch",
        "mutual information",
        "±",
        "total correlation",
        "±",
        "dimension-wise KL",
        "±",
    )
    table = Table("surgery_biases", columns, machine() | {"batches": f"{rounds} batches of each size"}, folder)
    shown: dict[str, dict[str, Any]] = {}
    for name, (mean, log_var) in posteriors(epochs, data_dir).items():
        n_data, k = mean.shape
        exact = decompose(mean, log_var, np.random.default_rng(0), EXAMPLES)
        parts = exact.mutual_information, exact.total_correlation, exact.dimension_wise_kl
        table.add(name, n_data, k, "exact", n_data, *(figure for part in parts for figure in part))
        shown[name] = {"exact": [part.value for part in parts], "log N": math.log(n_data)}
        for estimator in ESTIMATORS:
            sizes = [n for n in BATCHES if n <= n_data]
            found = [estimate(mean, log_var, n, estimator, max(10, rounds * 65 // max(n, 65))) for n in sizes]
            for n, part in zip(sizes, found, strict=True):
                table.add(name, n_data, k, estimator, n, *np.stack(part, axis=1).ravel().tolist())
            shown[name][estimator] = (sizes, np.array([part.values for part in found]))
    table.finish()
    table.plot(bias_picture(shown))
    page = folder / "total_correlation.md"
    text = PAGE.format(table=markdown(table), log_n=math.log(EXAMPLES), rounds=rounds, epochs=epochs)
    page.write_text(text, encoding="utf-8")
    say(f"written: {page}")


def bias_picture(shown: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw both figures against batch size; an estimate that is off the scale everywhere is only named, with its range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(shown), 5.4), layout="constrained")
    axes = figure.subplots(2, len(shown), sharex=True, squeeze=False)
    for column, (name, found) in zip(axes.T, shown.items(), strict=True):
        for part, (panel, title) in enumerate(zip(column, ("mutual information", "total correlation"), strict=True)):
            panel.axhline(found["exact"][part], color="black", linewidth=1, label="exact")
            for colour, estimator in zip(COLOURS, ESTIMATORS, strict=False):
                sizes, values = found[estimator]
                if estimator == "weighted":
                    low, high = values[:, part].min(), values[:, part].max()
                    note = f"weighted: {low:.1f} to {high:.1f} ↑"
                    panel.text(0.98, 0.97, note, color=colour, fontsize=8, ha="right", va="top", transform=panel.transAxes)
                else:
                    panel.plot(sizes, values[:, part], marker="o", markersize=3, color=colour, label=estimator)
            limit = (found["log N"] if part == 0 else 0.0, "no further: log N above, 0 below")
            panel.axhline(limit[0], color="grey", linewidth=1, linestyle=":", label=limit[1])
            low, high = panel.get_ylim()
            panel.set_ylim(low, high + 0.15 * (high - low))
            panel.set_xscale("log")
            panel.set_xticks(BATCHES, [str(n) for n in BATCHES])
            panel.set_xticks([], minor=True)
            panel.set_title(f"{name}: {title}", fontsize=9, loc="left")
        column[1].set_xlabel("batch")
    named = {label: handle for panel in axes[:, 0] for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside upper center", ncols=len(named), frameon=False, fontsize=8)
    return figure


def markdown(table: Table) -> str:
    """Return the rows of a table for a page, each figure with its error."""
    lines = [
        "| posteriors | estimate | batch | mutual information | total correlation | dimension-wise KL |",
        "|---|---|---|---|---|---|",
    ]
    for name, _, _, estimator, n, *figures in table.rows:
        cells = [f"{value:.2f} ± {error:.2f}" for value, error in zip(figures[::2], figures[1::2], strict=True)]
        lines.append(f"| {name} | {estimator} | {n} | {' | '.join(cells)} |")
    return "\n".join(lines)


PAGE = """# Can the total correlation be negative?

The total correlation cannot: it is the divergence KL(q(z) ‖ Π_j q(z_j)) (T.1). Its estimate from a batch can, and often is.

q(z) depends on all N posteriors (T.2), and a batch has only a few of them. Weighted by how many examples each represents (T.4,
"stratified"), they give an unbiased estimate of q(z), and of each q(z_j). But the total correlation contains the logarithms of
these densities, and the logarithm of an unbiased estimate is too low on average (Jensen), by about half its relative variance
where that is small. So the mutual information is too high and the dimension-wise KL too low. The sum of all three parts, the KL,
does not involve q(z) and has no bias. The total correlation is log q(z) minus the k logarithms log q(z_j), so its bias depends on
which of them is further off. As a rule it is the joint density, which in several dimensions is almost 0 under most posteriors of a
batch: then the estimate is too low, and where the true value is near 0 it is negative. Where posteriors hardly overlap (mutual
information near log N), log q(z) comes from the example's own posterior alone and is nearly exact; then the errors of the k
marginals remain, and in small batches the estimate is too high. Larger batches help; a batch of all N is exact.

Plain minibatch weighting (T.3, "weighted") divides by n N. It is a lower bound of log q(z), not an estimate: log q(z) and each
log q(z_j) are too low by up to log N = {log_n:.1f}. The mutual information then exceeds log N, which is impossible; the total
correlation is too high by up to (k − 1) log N. It can serve as a penalty, since a constant has no slope; as a figure it means
nothing.

"Shared matrix" is what several public implementations of the β-TC-VAE compute: the weights of T.4, but with 1/N in the first column
instead of on the diagonal. So the weight 1/N that belongs to an example's own posterior goes to the first example of the batch, and
its own posterior, by far the largest term, is weighted by 1/(n − 1) instead of 1/N. The result describes the aggregate
posterior of the batch: the mutual information is hardly more than log n, and the total correlation is too high.

So do not estimate a total correlation from a batch. `minivae evaluate` uses all posteriors of the data.

![Estimates by batch size, beside the exact figures](surgery_biases.png)

Nats; ± is the standard error of the mean over batches, or of the exact figure over its draws of z.

{table}

Measured by `python -m benchmarks surgery --part biases --rounds {rounds} --epochs {epochs} --data-dir MNIST`.
"""
