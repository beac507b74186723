"""The latent space: paths through it, as arrays of points to decode, and planes to look at it in."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np

from minivae.backend import Array, to_device, to_numpy
from minivae.checks import check_choice, check_int, check_real

PATHS = ("linear", "spherical")


def interpolate(xp: ModuleType, start: Array, end: Array, n: int, path: str = "linear") -> Array:
    """Return ``n`` points from ``start`` to ``end``, both included: two (k,) vectors a and b give (n, k).

    (G.3)  z_t = (1 − t) a + t b        or        z_t = [sin((1 − t) ω) a + sin(t ω) b] / sin ω

    "linear" is the first, the straight line.  It passes closer to the origin than its ends, where in many dimensions a standard
    normal has almost no mass; "spherical" moves from a to b along the arc at constant speed instead, with ω the angle between them
    (Shoemake 1985; White 2016).
    """
    check_int("n", n, 2)
    check_choice("path", path, PATHS)
    t = np.linspace(0, 1, n)[:, None]
    weights = 1 - t, t
    if path == "spherical":
        a, b = (to_numpy(x).astype("float64") for x in (start, end))
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        omega = math.acos(max(-1.0, min(1.0, (a * b).sum() / lengths))) if lengths else 0.0
        sine = math.sin(omega)
        if sine >= 1e-4:  # (anti)parallel vectors have no unique arc; the straight line is the limit
            weights = np.sin((1 - t) * omega) / sine, np.sin(t * omega) / sine
    # Rounded to float32 only now: near π the sine of a rounded ω is far off, and the path would miss its end.
    of_start, of_end = (to_device(xp, weight, start.dtype) for weight in weights)
    return of_start * start + of_end * end  # (G.3)


def traverse(xp: ModuleType, z: Array, dim: int, n: int, span: float) -> Array:
    """Return ``n`` copies of z (k,) in which one dimension runs evenly: (n, k).

    (G.4)  z_t = z, but for z_dim = (2t − 1) span,   t from 0 to 1
    """
    check_int("n", n, 2)
    check_int("dim", dim, 0, z.shape[0] - 1)
    check_real("span", span, 0)
    points = xp.repeat(z[None], n, axis=0)
    points[:, dim] = xp.linspace(-span, span, n, dtype=z.dtype)  # (G.4)
    return points


def principal_plane(x: np.ndarray) -> np.ndarray:
    """Return the first two principal components of rows (n, d), as (n, 2); what does not vary has zeros."""
    centred = np.asarray(x, dtype="float64") - np.mean(x, axis=0, dtype="float64")
    n, d = centred.shape
    if n < d:  # the components of the rows themselves, from the (n, n) products
        values, vectors = np.linalg.eigh(centred @ centred.T)
        plane = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :2]
    else:
        plane = centred @ np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))


def neighbour_accuracy(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of points (n, k) whose nearest other point has the same label; NaN where there is no other."""
    points = np.asarray(points, dtype="float64")
    if len(points) < 2:
        return float("nan")
    squares = (points**2).sum(axis=1)
    distances = squares - 2 * points @ points.T  # squared, up to a constant for each row
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(axis=1)] == labels).mean())
