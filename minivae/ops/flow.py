"""The planar flow: a layer that bends a density and gives the factor by which it changes volumes.

(F.3)  log q_K(z_K) = log q_0(z_0) − Σ_k log |det ∂z_k/∂z_{k−1}|

Why: a map moves probability mass and creates none, so q_K(z_K) dz_K = q_0(z_0) dz_0, and |det ∂z_K/∂z_0| says how the volume has
grown.
"""

from __future__ import annotations

from minivae.checks import reject
from minivae.op import Op
from minivae.ops.broadcast import shape_of, unbroadcast


def planar_forward(xp, z, u, w, b):
    """One planar step: each point is shifted along u, by an amount that depends on its position relative to a plane.

    (F.1)  z' = z + u tanh(a),   a = wᵀz + b

        ∂L/∂z = g + s w      ∂L/∂u = tanh(a) g      ∂L/∂w = s z      ∂L/∂b = s
        with g = ∂L/∂z' and s = ∂L/∂a = (uᵀg) (1 − tanh² a)

    Why: dz' = dz + du tanh a + u (1 − tanh² a) da and da = wᵀdz + zᵀdw + db.  Collect what multiplies each differential in gᵀdz'.
    Shapes: z, u and w (…, k), b (…), with leading axes that broadcast; the result (…, k).
    Saved: z, u, w, tanh a, 1 − tanh² a and the shape of b.
    Errors: InputError when z, u and w have different numbers of coordinates.
    Source: Rezende & Mohamed 2015, section 4.1.
    """
    _check_coordinates("planar", z, u, w)
    a = (z * w).sum(axis=-1) + b
    t = xp.tanh(a)
    return z + u * t[..., None], (z, u, w, t, _slope(xp, a), shape_of(b))  # (F.1)


def planar_backward(xp, saved, g, needs):
    z, u, w, t, slope, b_shape = saved
    s = (g * u).sum(axis=-1) * slope
    return (
        unbroadcast(g + s[..., None] * w, z.shape) if needs[0] else None,
        unbroadcast(t[..., None] * g, u.shape) if needs[1] else None,
        unbroadcast(s[..., None] * z, w.shape) if needs[2] else None,
        unbroadcast(s, b_shape) if needs[3] else None,
    )


def planar_log_det_forward(xp, z, u, w, b):
    """Logarithm of the factor by which a planar step changes volumes, one value per row.

    (F.2)  l = log |det ∂z'/∂z| = log |D|,   D = 1 + (1 − tanh² a) uᵀw,   a = wᵀz + b

        ∂l/∂a = −2 tanh a (1 − tanh² a) uᵀw / D        ∂l/∂(uᵀw) = (1 − tanh² a) / D
        and from there, with s = g ∂l/∂a and c = g ∂l/∂(uᵀw):
        ∂L/∂z = s w      ∂L/∂u = c w      ∂L/∂w = s z + c u      ∂L/∂b = s

    Why: ∂z'/∂z = I + (1 − tanh² a) u wᵀ, and det(I + p qᵀ) = 1 + pᵀq: the step stretches space along one direction only.
    The absolute value is part of the formula: a step that mirrors space has a negative determinant but a positive volume.
    Shapes: z, u and w (…, k), b (…), with leading axes that broadcast; the result (…).
    Saved: z, u, w, tanh a, 1 − tanh² a, D − 1 and the shape of b.
    Numerics: |D| is 1 + (D − 1) or, where that is negative, 1 + (−2 − (D − 1)), the larger of the two: one log1p serves both signs.
    Minus infinity where D = 0, a step that flattens space; uᵀw > −1 keeps it away (see ``minivae.models.flow``).
    Errors: InputError when z, u and w have different numbers of coordinates.
    Source: Rezende & Mohamed 2015, equations 11 and 12.
    """
    _check_coordinates("planar_log_det", z, u, w)
    a = (z * w).sum(axis=-1) + b
    slope = _slope(xp, a)
    growth = slope * (u * w).sum(axis=-1)  # D − 1
    return xp.log1p(xp.maximum(growth, -2 - growth)), (z, u, w, xp.tanh(a), slope, growth, shape_of(b))  # (F.2)


def planar_log_det_backward(xp, saved, g, needs):
    z, u, w, t, slope, growth, b_shape = saved
    share = g / (1 + growth)
    s, c = -2 * t * growth * share, (slope * share)[..., None]
    return (
        unbroadcast(s[..., None] * w, z.shape) if needs[0] else None,
        unbroadcast(c * w, u.shape) if needs[1] else None,
        unbroadcast(s[..., None] * z + c * u, w.shape) if needs[2] else None,
        unbroadcast(s, b_shape) if needs[3] else None,
    )


def _check_coordinates(name, z, u, w):
    """Refuse a last axis that would stretch: of a point with one coordinate wᵀz is one product, not k."""
    if not z.shape[-1:] == u.shape[-1:] == w.shape[-1:] != ():
        shapes = ", ".join(str(array.shape) for array in (z, u, w))
        reject(f"{name}: z, u, w", "points and vectors with the same number of coordinates", f"shapes {shapes}")


def _slope(xp, a):
    """Return 1 − tanh² a as 4 e^{−2|a|} / (1 + e^{−2|a|})², which stays accurate where tanh a rounds to ±1."""
    decay = xp.exp(-2 * xp.abs(a))
    return 4 * decay / (1 + decay) ** 2


planar = Op("planar", planar_forward, planar_backward, args=("z", "u", "w", "b"))
planar_log_det = Op("planar_log_det", planar_log_det_forward, planar_log_det_backward, args=("z", "u", "w", "b"))
