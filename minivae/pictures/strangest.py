"""The picture of anomaly scores: how far the strange lie from the normal, and which examples lie furthest out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from minivae.pictures.plots import draw_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#4477AA", "#EE6677")  # Paul Tol's "bright" palette, for any colour vision


def strangest(
    scored: Mapping[str, tuple[np.ndarray, np.ndarray]], line: float, image_shape: tuple[int, int] | None, title: str, n: int
) -> Figure:
    """Draw the histogram of each part's scores with the threshold, and under it the ``n`` strangest examples of each part.

    ``scored`` has name → examples (m, d) and their scores (m,), of two parts.
    """
    from matplotlib.figure import Figure

    height = 0.9 if image_shape is None else 9 / n * image_shape[0] / image_shape[1]
    figure = Figure(figsize=(9, 3.2 + (height + 0.45) * len(scored)), layout="constrained")
    top, *below = figure.subplots(1 + len(scored), 1, height_ratios=[3.2, *[height + 0.25] * len(scored)])
    everything = np.concatenate([scores for _, scores in scored.values()])
    finite = everything[np.isfinite(everything)]  # a score is infinite where numbers overflow
    bins = np.histogram_bin_edges(finite, bins=min(60, max(10, math.isqrt(len(everything)))))
    for (name, (_, scores)), colour in zip(scored.items(), COLOURS):
        beyond = len(scores) - np.isfinite(scores).sum()
        label = f"{name} ({len(scores)}{f', {beyond} of them infinite, in the last bar' if beyond else ''})"
        top.hist(np.minimum(scores, bins[-1]), bins, density=True, color=colour, alpha=0.55, label=label)
    if math.isfinite(line):
        top.axvline(line, color="#222222", linewidth=1, linestyle="--", label=f"threshold {line:.1f}")
    top.set_title(title, fontsize=11, loc="left")
    top.set_xlabel("anomaly score, −log p(x) in nats: the further right, the stranger", fontsize=9)
    top.set_ylabel("density", fontsize=9)
    top.tick_params(labelsize=8)
    top.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        top.spines[side].set_visible(False)
    for axes, (name, (x, scores)) in zip(below, scored.items()):
        order = np.argsort(-scores, kind="stable")[:n]
        filled = np.full((1, n, x.shape[1]), np.nan)
        filled[0, : len(order)] = x[order]
        draw_cells(axes, filled, image_shape, f"the strangest of the {name}", (), [f"{score:.1f}" for score in scores[order]])
    return figure
