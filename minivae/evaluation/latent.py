"""Paths through the latent space, as arrays of points to decode."""

from __future__ import annotations

from types import ModuleType

from minivae.backend import Array
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
    t = xp.linspace(0, 1, n, dtype=start.dtype)[:, None]
    if path == "linear":
        return (1 - t) * start + t * end
    lengths = float(xp.linalg.norm(start)) * float(xp.linalg.norm(end))
    cosine = float(xp.dot(start, end)) / lengths if lengths else 1.0
    omega = xp.arccos(xp.clip(xp.asarray(cosine, dtype=start.dtype), -1, 1))
    sine = xp.sin(omega)
    if float(sine) < 1e-4:  # (anti)parallel vectors have no unique arc; the straight line is the limit
        return (1 - t) * start + t * end
    return (xp.sin((1 - t) * omega) * start + xp.sin(t * omega) * end) / sine  # (G.3)


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
