"""The curves of a training: each term by epoch, and which latent dimensions are used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.pictures.plots import latent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, TEST, FLOOR, RULE = "#4477AA", "#EE6677", "#777777", "#EEEEEE"  # Paul Tol's "bright" palette, for any colour vision
RUN_COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377")  # of runs that are compared
LOG_EPOCHS = 20  # from this many epochs on their axis is logarithmic, since most happens early
NAMES = {"elbo": "ELBO", "kl": "KL", "iw_bound": "importance-weighted bound", "mmd": "MMD²"}
NAMES |= {"dimension_wise_kl": "dimension-wise KL", "batch_dimension_wise_kl": "dimension-wise KL by batch"}
NAMES |= {"mutual_information": "mutual information", "covariance_penalty": "covariance penalty"}
NAMES |= {"total_correlation": "total correlation", "batch_total_correlation": "total correlation by batch"}


def curves(history: dict[str, list[Any]], floor: float | None = None) -> Figure:
    """Draw a training: each term by epoch, on training and test data, and the KL of every latent dimension.

    ``floor`` is the entropy of grey pixels, which is a lower bound of the reconstruction term.
    """
    from matplotlib.figure import Figure

    terms = [name.removeprefix("train_") for name in history if name.startswith("train_")]
    if "elbo" in terms:
        terms.remove("loss")  # it differs from −ELBO only by the weight of the KL, which has its own panel
    panels = len(terms) + ("kl_per_dimension" in history)
    rows = math.ceil(panels / 2)
    figure = Figure(figsize=(9, 3 * rows), layout="constrained")
    all_axes = [figure.add_subplot(rows, 2, i + 1) for i in range(panels)]
    epochs = np.asarray(history["epoch"])
    for axes, term in zip(all_axes, terms):
        for part, color in (("train", TRAIN), ("test", TEST)):
            if values := history.get(f"{part}_{term}"):
                axes.plot(epochs, values, color=color, linewidth=1.6, label=part, marker="o" if len(values) == 1 else None)
        if term == "reconstruction" and floor is not None:
            axes.axhline(floor, color=FLOOR, linewidth=1, linestyle=":", label="entropy floor")
        _label(axes, NAMES.get(term, term))
        axes.grid(axis="y", color=RULE)
        axes.legend(frameon=False, fontsize=8)
    if "kl_per_dimension" in history:
        _draw_kl(all_axes[-1], epochs, np.asarray(history["kl_per_dimension"]))
    for axes in all_axes:
        _scale(axes, epochs)
    return figure


def overlaid(histories: dict[str, dict[str, list[Any]]]) -> Figure:
    """Draw the terms of several trainings over each other: on test data where there are any, else on training data."""
    from matplotlib.figure import Figure

    names = dict.fromkeys(name for history in histories.values() for name in history if name.startswith("train_"))
    panels = [*(name.removeprefix("train_") for name in names), "active_units"]
    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(9, 3 * rows + 0.4), layout="constrained")
    epochs = np.unique(np.concatenate([history["epoch"] for history in histories.values()]))
    lines = {}
    for i, term in enumerate(panels):
        axes = figure.add_subplot(rows, 2, i + 1)
        for (name, history), colour in zip(histories.items(), RUN_COLOURS):
            values = history.get(f"test_{term}") or history.get(f"train_{term}") or history.get(term)
            if values:
                marker = "o" if len(values) == 1 else None
                (lines[name],) = axes.plot(history["epoch"], values, color=colour, linewidth=1.6, marker=marker)
        _label(axes, NAMES.get(term, term.replace("_", " ")), "" if term == "active_units" else "nats")
        axes.grid(axis="y", color=RULE)
        _scale(axes, epochs)
    figure.legend(lines.values(), lines.keys(), loc="outside upper left", ncols=len(lines), frameon=False, fontsize=9)
    return figure


def _draw_kl(axes: Axes, epochs: np.ndarray, kl: np.ndarray) -> None:
    """Draw (epochs, k) as bands of colour, the strongest dimension at the end on top."""
    order = np.argsort(-kl[-1], kind="stable")
    edges = np.arange(len(order) + 1)
    mesh = axes.pcolormesh(np.append(epochs, epochs[-1] + 1) - 0.5, edges, kl[:, order].T, cmap="cividis", vmin=0)
    axes.set_yticks(edges[:-1] + 0.5, [latent(j) for j in order], fontsize=max(4, min(8, 160 // len(order))))
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    _label(axes, "KL of each latent dimension")
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)


def _scale(axes: Axes, epochs: np.ndarray) -> None:
    """Let the axis go from the first epoch to the last, by their logarithm where there are many."""
    from matplotlib.ticker import MaxNLocator

    if len(epochs) >= LOG_EPOCHS:  # equal ratios are equal lengths
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda epoch, _: f"{epoch:g}")
        axes.xaxis.set_minor_formatter(lambda epoch, _: "")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    around = 1 if len(epochs) == 1 else 0
    axes.set_xlim(epochs[0] - around, epochs[-1] + around)


def _label(axes: Axes, title: str, unit: str = "nats") -> None:
    axes.set_title(f"{title} ({unit})" if unit else title, fontsize=11, loc="left")
    axes.set_xlabel("epoch", fontsize=9)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
