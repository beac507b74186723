"""Pictures of examples and of the latent space: arrays in, a matplotlib ``Figure`` out, and ``save`` to write one.

Figures are made by the object-oriented interface: no window, no display and no global state, so this works on a server and
beside a notebook's own plots.  matplotlib is imported by the first picture.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.checks import one_line
from minivae.training.checkpoint import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Paul Tol's "muted" palette, which can be distinguished with any colour vision.
LINE, RULE = "#4477AA", "#DDDDDD"
CLASSES = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#777777")
GAP = 0.08  # between cells, as a share of a cell
PRIOR_REACH = 3.0  # a latent map shows at least this many standard deviations of the prior
DPI = 150


def save(figure: Figure, path: Any) -> None:
    """Write a figure as PNG, whole or not at all; ``DataFileError`` where that is impossible."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if words := text.get_text():  # a name in it may have letters of no encoding, and dollars that begin no formula
            text.set(text=one_line(words), parse_math=False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that matplotlib's font lacks is shown as a box
        figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.15, facecolor="white")
    write_whole(path, buffer.getvalue())


def cells(
    rows: Any,
    image_shape: tuple[int, int] | None,
    title: str,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    gap: float = GAP,
) -> Figure:
    """Draw a grid of examples (rows, columns, d): as grey images, or as small line plots for data that are not images.

    All cells share one scale: 0 is black and 1 white for values in [0, 1], otherwise the minimum is black and the maximum white,
    and a bar beside the images shows the scale.
    """
    data = np.asarray(rows, dtype="float64")
    n_rows, n_columns, _ = data.shape
    height, width = image_shape or (2, 3)
    cell = min(0.75, 9 / n_columns)
    figure, axes = _figure(max(3.0, cell * n_columns + 0.8), max(1.5, cell * height / width * n_rows + 0.6))  # room for labels
    draw_cells(axes, data, image_shape, title, row_labels, column_labels, gap)
    return figure


def draw_cells(
    axes: Axes,
    data: np.ndarray,
    image_shape: tuple[int, int] | None,
    title: str,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    gap: float = GAP,
) -> None:
    """Draw a grid of examples (rows, columns, d) as ``cells`` does, into axes that there are."""
    n_rows, n_columns, _ = data.shape
    height, width = image_shape or (2, 3)
    axes.set_title(title, fontsize=11, loc="left", pad=18 if len(column_labels) else 8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=8, labeltop=True, labelbottom=False)
    axes.set_xticks(np.arange(len(column_labels)) + 0.5, column_labels)
    axes.set_yticks(np.arange(len(row_labels)) + 0.5, row_labels)
    if image_shape:
        _draw_images(axes, data.reshape(n_rows, n_columns, height, width), gap)
    else:
        _draw_lines(axes, data)
    axes.set(xlim=(0, n_columns), ylim=(n_rows, 0), aspect=height / width)


def gallery(x: Any, image_shape: tuple[int, int] | None, title: str, column_labels: Sequence[str] = ()) -> Figure:
    """Draw examples (n, d) row by row in a grid: a column for each label, if there are several, else as square as it can be."""
    n, d = np.shape(x)
    columns = min(n, len(column_labels)) if len(column_labels) > 1 else math.ceil(math.sqrt(n))
    filled = np.full((math.ceil(n / columns) * columns, d), np.nan)
    filled[:n] = x
    if len(column_labels) == 1:
        title, column_labels = f"{title}, class {column_labels[0]}", ()
    return cells(filled.reshape(-1, columns, d), image_shape, title, column_labels=column_labels[:columns])


def _draw_images(axes: Axes, images: np.ndarray, gap: float) -> None:
    """Draw (rows, columns, height, width) as one picture: pixels enlarged, so that the gap can be thinner than one of them."""
    (n_rows, n_columns, _, width), (low, high) = images.shape, _limits(images)
    enlarge = max(1, round(60 / width))
    frame = max(1, round(gap / 2 * width * enlarge))
    large = images.repeat(enlarge, axis=2).repeat(enlarge, axis=3)
    framed = np.pad(large, ((0, 0), (0, 0), (frame, frame), (frame, frame)), constant_values=np.nan)  # NaN is drawn as nothing
    mosaic = framed.swapaxes(1, 2).reshape(n_rows * framed.shape[2], n_columns * framed.shape[3])
    drawn = axes.imshow(mosaic, cmap="gray", vmin=low, vmax=high, extent=(0, n_columns, n_rows, 0), interpolation="nearest")
    if (low, high) != (0.0, 1.0):
        bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02, shrink=0.8)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7)


def _draw_lines(axes: Axes, data: np.ndarray) -> None:
    from matplotlib.collections import LineCollection

    (n_rows, n_columns, d), (low, high) = data.shape, _limits(data)
    row, column = np.indices((n_rows, n_columns))
    x = column[..., None] + GAP + (1 - 2 * GAP) * np.linspace(0, 1, d)
    y = row[..., None] + 1 - GAP - (1 - 2 * GAP) * (data - low) / (high - low)
    axes.add_collection(LineCollection(list(np.stack([x, y], axis=-1).reshape(-1, d, 2)), colors=LINE, linewidths=0.8))
    axes.vlines(np.arange(1, n_columns), 0, n_rows, colors=RULE, linewidths=0.5)
    axes.hlines(np.arange(1, n_rows), 0, n_columns, colors=RULE, linewidths=0.5)


def _limits(data: np.ndarray) -> tuple[float, float]:
    low, high = float(np.nanmin(data)), float(np.nanmax(data))  # a NaN is an empty cell
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, max(high, low + 1e-6))


def prior_grid(n: int) -> np.ndarray:
    """Return n² points (n·n, 2) that cut the plane's standard normal into equal shares, row by row from the top.

    A step of the grid is 1/n of the probability of its axis, so the manifold shows samples of the prior as often as they occur.
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    return np.array([(z0, z1) for z1 in reversed(quantiles) for z0 in quantiles])


def manifold(decoded: Any, image_shape: tuple[int, int] | None, note: str = "") -> Figure:
    """Draw the decodings (n·n, d) of ``prior_grid(n)``."""
    n = math.isqrt(len(decoded))
    title = f"Decoded latent plane{note}: z₀ to the right, z₁ upwards, equal shares of the prior"
    figure = cells(np.reshape(decoded, (n, n, -1)), image_shape, title, gap=GAP / 2)
    ticks = (-2, -1, 0, 1, 2)
    share = n * np.array([NormalDist().cdf(z) for z in ticks])
    axes = figure.axes[0]
    axes.set_xticks(share, [number(z) for z in ticks])
    axes.set_yticks(n - share, [number(z) for z in ticks])
    axes.set_title(title, fontsize=11, loc="left", pad=18)
    return figure


def latent_map(mean: Any, labels: np.ndarray | None, name: str) -> Figure:
    """Draw posterior means (n, 2), coloured by class, with each class's number at its median."""
    mean = np.asarray(mean)
    mixed = np.random.default_rng(0).permutation(len(mean))  # so that no class is drawn on top of all others
    figure, axes = _figure(6.5, 6)
    classes, code = np.unique(np.zeros(len(mean)) if labels is None else labels, return_inverse=True)
    known = labels is not None and len(classes) <= len(CLASSES)
    colours: dict[str, Any] = {"c": code[mixed], "cmap": "cividis"}  # a colour bar where there are more classes than colours
    if labels is None or known:
        colours = {"color": np.array(CLASSES if known else [LINE])[code[mixed]]}
    x, y = mean[mixed].T
    axes.scatter(x, y, s=max(3.0, min(14.0, 20_000 / len(mean))), linewidths=0, alpha=0.75, **colours)
    for k in range(len(classes) if known else 0):
        box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": CLASSES[k], "linewidth": 1.5}
        axes.annotate(str(classes[k]), np.median(mean[code == k], axis=0), ha="center", va="center", fontsize=9, bbox=box)
    coloured = ", coloured by class" if labels is not None else ""
    axes.set_title(f"Posterior means of {name}{coloured}", fontsize=11, loc="left")
    axes.set_xlabel("z₀")
    axes.set_ylabel("z₁", rotation=0)
    reach = max(PRIOR_REACH, float(np.abs(mean).max()) * 1.05)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8)
    for spine in axes.spines.values():
        spine.set_color("#CCCCCC")
    return figure


def latent(dim: int) -> str:
    """Return a latent dimension's name, such as z₁₂."""
    return "z" + str(dim).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")


def beside(panels: Sequence[tuple[str, np.ndarray, tuple[str, str]]], labels: np.ndarray | None, title: str) -> Figure:
    """Draw maps of the same examples side by side, coloured by class: title, points (n, 2) and names of the axes of each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(panels), 5.4), layout="constrained")
    classes, code = np.unique(np.zeros(len(panels[0][1])) if labels is None else labels, return_inverse=True)
    known = labels is not None and len(classes) <= len(CLASSES)
    colours: dict[str, Any] = {"c": code, "cmap": "cividis"}  # a scale, where there are more classes than colours
    if labels is None or known:
        colours = {"color": np.array(CLASSES if known else [LINE])[code]}
    mixed = np.random.default_rng(0).permutation(len(code))  # so that no class is drawn on top of all others
    colours = {name: value[mixed] if isinstance(value, np.ndarray) else value for name, value in colours.items()}
    for axes, (name, points, (across, up)) in zip(figure.subplots(1, len(panels)), panels):
        axes.scatter(*points[mixed].T, s=8, linewidths=0, alpha=0.75, **colours)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel(across, fontsize=9)
        axes.set_ylabel(up, fontsize=9)
        axes.tick_params(labelsize=8)
        for spine in axes.spines.values():
            spine.set_color("#CCCCCC")
    if known:
        from matplotlib.lines import Line2D

        marks = [Line2D([], [], linestyle="", marker="o", markersize=5, color=CLASSES[k]) for k in range(len(classes))]
        figure.legend(marks, map(str, classes), title="class", loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()
