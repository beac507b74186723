"""Pictures for web pages: examples as tiny PNG images, curves and points as SVG that takes its colours from the page.

A page may be read on a phone or in dark mode, so its pictures have to adapt in width and colour; ``plots`` makes fixed pictures.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minivae.pages.markup import Markup, tag
from minivae.pictures.curves import LOG_EPOCHS

CLASSES = 10  # colours that the style sheets have for classes
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 190, 38, 22, 8  # of a chart and its margins


def limits(x: np.ndarray) -> tuple[float, float]:
    """Return the values drawn as black and white: 0 and 1, or for data outside of that range the minimum and the maximum."""
    low, high = float(x.min()), float(x.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def grey(x: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Return values as grey levels from 0 to 255, uint8."""
    low, high = scale
    return np.rint(255 * np.clip((x - low) / ((high - low) or 1), 0, 1)).astype(np.uint8)


def picture(x: np.ndarray, image_shape: tuple[int, int] | None, scale: tuple[float, float], label: str) -> Markup:
    """Return one example (d,) as an image, or as a small line plot for data that are not images."""
    if image_shape:
        source = "data:image/png;base64," + base64.b64encode(_png(grey(x, scale).reshape(image_shape))).decode()
        return tag("img", class_="pixels", src=source, alt=label, width=image_shape[1], height=image_shape[0])
    y = 38 - 36 * (np.asarray(x, dtype=float) - scale[0]) / ((scale[1] - scale[0]) or 1)
    line = tag("polyline", points=_points(np.linspace(2, 58, len(y)), y))
    return tag("svg", line, class_="line", viewBox="0 0 60 40", role="img", aria_label=label)


def _png(image: np.ndarray) -> bytes:
    """Return a grey image (height, width) of uint8 as PNG: a header, the rows each behind a filter byte of 0, an end."""
    height, width = image.shape
    rows = np.insert(image, 0, 0, axis=1).tobytes()
    chunks = ((b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    parts = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def line_chart(title: str, epochs: Sequence[int], series: Mapping[str, Sequence[float]], floor: float | None = None) -> Markup:
    """Return a chart of the series "train" and "test" by epoch; ``floor`` is a line across."""
    values = [value for line in series.values() for value in line] + ([] if floor is None else [floor])
    if min(values) == max(values):
        values.append(0.0)
    ticks = nice_ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)
    bend = np.log if epochs[-1] >= LOG_EPOCHS else np.asarray
    last = max(epochs[-1], 2)

    def right(epoch: Any) -> Any:
        return LEFT + (WIDTH - LEFT - 8) * (bend(epoch) - bend(1)) / (bend(last) - bend(1))

    def down(value: Any) -> Any:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - np.asarray(value, dtype=float)) / ((high - low) or 1)

    parts = []
    for tick in ticks:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - 8, y1=_short(down(tick)), y2=_short(down(tick)), class_="grid"))
        parts.append(tag("text", number(tick), x=LEFT - 6, y=_short(down(tick) + 3.5), text_anchor="end"))
    decades = [10**power for power in range(6) if 10**power <= epochs[-1]]
    for epoch in sorted({*decades, epochs[-1]}):
        if epoch == epochs[-1] or right(epochs[-1]) - right(epoch) > 24:  # closer labels would overlap
            parts.append(tag("text", str(epoch), x=_short(right(epoch)), y=HEIGHT - 6, text_anchor="middle"))
    if floor is not None:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - 8, y1=_short(down(floor)), y2=_short(down(floor)), class_="floor"))
    for name, line in series.items():
        parts.append(tag("polyline", points=_points(right(np.asarray(epochs)), down(line)), class_=f"series {name}"))
    chart = tag("svg", parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"{title} by epoch")
    return tag("figure", tag("figcaption", title), chart, class_="chart")


def scatter(points: np.ndarray, labels: np.ndarray | None, names: tuple[str, str], reach: float) -> Markup:
    """Return points (n, 2) in a square from −reach to reach, coloured by the class numbers in ``labels``."""
    side, margin = 480, 24
    scale = (side / 2 - margin) / reach
    x, y = side / 2 + scale * points[:, 0], side / 2 - scale * points[:, 1]
    parts = []
    for radius in (1, 2, 3):  # standard deviations of N(0, I)
        parts.append(tag("circle", cx=side / 2, cy=side / 2, r=_short(scale * radius), class_="grid"))
    for i in range(len(points)):
        style = "dot" if labels is None else f"dot c{labels[i] % CLASSES}"
        parts.append(tag("circle", cx=_short(x[i]), cy=_short(y[i]), r=3, class_=style))
    parts.append(tag("text", names[0], x=side - 6, y=side / 2 + 4, text_anchor="end", class_="axis"))
    parts.append(tag("text", names[1], x=side / 2, y=14, text_anchor="middle", class_="axis"))
    label = f"{len(points)} posterior means in the plane of {names[0]} and {names[1]}"
    return tag("svg", parts, viewBox=f"0 0 {side} {side}", role="img", aria_label=label, class_="map")


def nice_ticks(low: float, high: float, at_most: int = 5) -> list[float]:
    """Return round numbers from near ``low`` to near ``high``: multiples of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / at_most))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= at_most)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)] or [low]


def number(value: float) -> str:
    """Return a number as text for readers: short, and with a proper minus sign."""
    return f"{value:.4g}".replace("-", "−")


def _short(value: float) -> str:
    return f"{value:.1f}"


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y))
