"""Sprites: small grey images of one shape each, drawn from five known factors, to measure how well a latent space separates them.

| factor   | classes | meaning                                                                               |
|----------|---------|---------------------------------------------------------------------------------------|
| shape    | 3       | square, ellipse (twice as long as wide), equilateral triangle                         |
| scale    | 4       | square root of the area, 3, 4, 5 or 6 pixels: the same for every shape               |
| rotation | 8       | 0° to 78.75° from the x axis towards the y axis; below 90°, where a square would recur |
| x        | 10      | the centre is 5.5 to 14.5 pixels from the left edge, one pixel apart                  |
| y        | 10      | the centre is 5.5 to 14.5 pixels from the top edge, one pixel apart                   |

All 9600 combinations occur once, and no two look the same: the factors can be read from the image.

Source: the idea is that of dSprites (L. Matthey, I. Higgins, D. Hassabis and A. Lerchner, 2017); shapes, sizes and
drawing are this package's own.
"""

from __future__ import annotations

import math

import numpy as np

from minivae.datasets.dataset import Dataset

FACTOR_NAMES = ("shape", "scale", "rotation", "x", "y")
SHAPES = ("square", "ellipse", "triangle")
SCALES = (3, 4, 5, 6)
ANGLES = np.arange(8) * (math.pi / 16)
N_POSITIONS = 10
FACTOR_SIZES = (len(SHAPES), len(SCALES), len(ANGLES), N_POSITIONS, N_POSITIONS)
SIDE = 20
CANVAS = SIDE + N_POSITIONS - 1  # a shape at the centre of this canvas is at each of its positions in one window of SIDE²
SUBPIXELS = 8


def load() -> tuple[Dataset, Dataset]:
    """Return (train, test): 7680 and 1920 images of 20 × 20 8-bit pixels with their ``factors``; ``y`` is the shape.

    The order and the split are one fixed permutation of all combinations.
    """
    canvases = np.array([[[_draw(shape, scale, angle) for angle in ANGLES] for scale in SCALES] for shape in SHAPES])
    windows = np.lib.stride_tricks.sliding_window_view(canvases, (SIDE, SIDE), axis=(-2, -1))  # shape scale angle row column …
    images = windows[..., ::-1, ::-1, :, :].swapaxes(3, 4)  # … a later window shows the shape nearer the edge; x before y
    factors = np.indices(FACTOR_SIZES).reshape(len(FACTOR_SIZES), -1).T
    order = np.random.RandomState(0).permutation(len(factors))  # NumPy keeps this stream the same for ever, not default_rng's
    values, factors = images.reshape(len(factors), SIDE * SIDE)[order], factors[order]
    sprites = Dataset(values, factors[:, 0], (SIDE, SIDE), "sprites", factors, FACTOR_NAMES, FACTOR_SIZES)
    n_train = len(sprites) * 4 // 5
    return sprites.subset(slice(n_train)), sprites.subset(slice(n_train, None))


def _draw(shape: str, scale: float, angle: float) -> np.ndarray:
    """Return a uint8 canvas with the shape at its centre: a pixel's grey is the part of its 8 × 8 points that lie inside."""
    points = (np.arange(CANVAS * SUBPIXELS) + 0.5) / SUBPIXELS - CANVAS / 2
    x, y = points[None, :], points[:, None]
    inside = np.ones((len(points), len(points)), dtype=bool)
    for normal, distance in _edges(shape):
        inside &= x * math.cos(angle + normal) + y * math.sin(angle + normal) <= scale * distance
    covered = inside.reshape(CANVAS, SUBPIXELS, CANVAS, SUBPIXELS).mean(axis=(1, 3))
    return np.rint(255 * covered).astype(np.uint8)


def _edges(shape: str) -> list[tuple[float, float]]:
    """Return the edges of the convex shape of area 1 around the origin: each one's normal angle and distance from there."""
    n_edges = {"square": 4, "ellipse": 24, "triangle": 3}[shape]
    normals = [2 * math.pi * k / n_edges for k in range(n_edges)]
    if shape == "ellipse":  # its tangents, for semi-axes a = 2b and area π a b = 1
        a, b = math.sqrt(2 / math.pi), math.sqrt(0.5 / math.pi)
        return [(normal, math.hypot(a * math.cos(normal), b * math.sin(normal))) for normal in normals]
    apothem = 1 / math.sqrt(n_edges * math.tan(math.pi / n_edges))  # a regular n-gon has the area n · tan(π/n) · apothem²
    return [(normal, apothem) for normal in normals]
