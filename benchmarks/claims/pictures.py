"""The pictures of claims: figures with their spread over seeds, curves, and rows of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.claims.record import Values, interval
from benchmarks.report import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 10  # examples in a row


def panels(n: int = 1, width: float = 4.2, height: float = 3.0) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of ``n`` panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n, height), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
        panel.xaxis.label.set_size(8)
        panel.yaxis.label.set_size(8)
    return figure, axes


def points(axes: Axes, values: Values, names: dict[str, str], title: str, xlabel: str = "") -> None:
    """Draw a row for each figure in ``names`` (figure → label): a dot per seed, and the mean with its 95 % interval."""
    for row, name in enumerate(names):
        mean, half = interval(values[name])
        axes.plot(values[name], [row] * len(values[name]), "o", color=COLOURS[0], alpha=0.4, markersize=5, markeredgewidth=0)
        axes.errorbar(mean, row, xerr=half if len(values[name]) > 1 else 0, fmt="|", color="black", capsize=3, markersize=9)
    axes.set_yticks(range(len(names)), list(names.values()))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(xlabel)


def curve(axes: Axes, values: Values, names: dict[float, str], label: str = "", colour: int = 0) -> None:
    """Draw the figures in ``names`` (place on the x axis → figure): a line through the means, and a dot per seed."""
    means = [interval(values[name]).mean for name in names.values()]
    axes.plot(list(names), means, color=COLOURS[colour], label=label or None)
    for x, name in names.items():
        axes.plot([x] * len(values[name]), values[name], "o", color=COLOURS[colour], alpha=0.4, markersize=4, markeredgewidth=0)


def images(rows: Any, image_shape: tuple[int, int], title: str, labels: Sequence[str], columns: Sequence[str] = ()) -> Figure:
    """Draw rows of images, each row with its label."""
    from minivae.pictures.plots import cells

    return cells(rows, image_shape, title, labels, columns)
