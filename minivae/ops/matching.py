"""How far the codes of a whole batch are from the prior N(0, I): by the maximum mean discrepancy, and by their covariance."""

from __future__ import annotations

from minivae.checks import check_choice, check_real, reject
from minivae.op import Op

KERNELS = ("gaussian", "inverse_multiquadratic")


def mmd_forward(xp, x, y, kernel="gaussian", scale=1.0):
    """Unbiased estimate of the squared maximum mean discrepancy of two samples: one number, 0 on average for equal distributions.

    (D.2)  out = Σ_{i≠i'} k(x_i, x_i')/(n (n−1)) + Σ_{j≠j'} k(y_j, y_j')/(m (m−1)) − 2 Σ_ij k(x_i, y_j)/(n m)
           gaussian                  k(a, b) = e^{−u}         u = ‖a − b‖²/(2 s)
           inverse_multiquadratic    k(a, b) = 1/(1 + u)      s: ``scale``, a squared length

        ∂out/∂x_i = 2 Σ_{i'≠i} k'(u) (x_i − x_i')/(s n (n−1)) − 2 Σ_j k'(u) (x_i − y_j)/(s n m)         k' = −k or −k²

    Why: MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y) is the squared distance of the two means in the kernel's space, and 0 only
    for equal distributions.  A pair of a point with itself is not a pair of two draws, so it is left out: with it the
    estimate would be too high by about (1 − E k)/n.  Since its mean can be 0, the estimate may be negative.  ∂u/∂a = (a − b)/s.
    Shapes: x (n, k), y (m, k), the result ().  A single row has no pair, and its sum is 0.  Saved: the arguments, kernel and scale.
    Numerics: in float64.  Differences, not an expanded square, which cancels for close points.
    Errors: InputError for an empty sample, different widths, an unknown kernel, and a scale that is not above 0.
    Source: Gretton et al. 2012; Zhao, Song & Ermon 2019 and Tolstikhin et al. 2018 for its use here.
    """
    check_choice("mmd: kernel", kernel, KERNELS)
    check_real("mmd: scale", scale, 0, open_low=True)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y):
        reject("mmd", "two samples (n, k) and (m, k) of at least one row", f"shapes {x.shape} and {y.shape}")
    n, m = len(x), len(y)
    within_x, within_y, across = (_kernel(xp, a, b, kernel, scale)[0].sum() for a, b in ((x, x), (y, y), (x, y)))
    out = (within_x - n) / _pairs(n) + (within_y - m) / _pairs(m) - 2 * across / (n * m)  # (D.2): k(a, a) = 1
    return out.astype(x.dtype), (x, y, kernel, scale)


def mmd_backward(xp, saved, g, needs):
    x, y, kernel, scale = saved

    def pull(a, b):
        within = _slope(xp, a, a, kernel, scale).sum(axis=1) / _pairs(len(a))
        return (2 * g * (within - _slope(xp, a, b, kernel, scale).sum(axis=1) / (len(a) * len(b)))).astype(a.dtype)

    return pull(x, y) if needs[0] else None, pull(y, x) if needs[1] else None


def _pairs(n: int) -> int:
    """Return the number of ordered pairs of different rows, or 1 where there is none, since an empty sum is divided by it."""
    return max(1, n * (n - 1))


def _kernel(xp, a, b, kernel, scale):
    """Return k(a_i, b_j), (n, m), and a_i − b_j, (n, m, k)."""
    distance = a[:, None].astype("float64") - b
    u = xp.square(distance).sum(axis=-1) / (2 * scale)
    return xp.exp(-u) if kernel == "gaussian" else 1 / (1 + u), distance


def _slope(xp, a, b, kernel, scale):
    """Return ∂k(a_i, b_j)/∂a_i, (n, m, k)."""
    value, distance = _kernel(xp, a, b, kernel, scale)
    return -(value if kernel == "gaussian" else value * value)[..., None] * distance / scale


def covariance_forward(xp, x):
    """Covariance of the columns over the rows, (k, k).

    (D.4)  out_ab = (1/n) Σ_i c_ia c_ib,   c_i = x_i − (1/n) Σ_i x_i          ∂L/∂x_i = (1/n) (G + Gᵀ) c_i,   G = ∂L/∂out

    Why: ∂out_ab/∂c_ia = c_ib/n, once for each factor.  Centring would subtract the mean of that gradient over the rows, which is
    already 0 because the c_i add up to 0.
    Shapes: x (n, k), the result (k, k).  Saved: c.
    Numerics: in float64, centred before it is multiplied: E[x xᵀ] − E[x] E[x]ᵀ would cancel.
    Errors: InputError for no row and for anything but a matrix.
    Source: Kumar, Sattigeri & Balakrishnan 2018 for its use as a penalty.
    """
    if x.ndim != 2 or not len(x):
        reject("covariance", "a matrix (n, k) with at least one row", f"shape {x.shape}")
    centred = x - x.mean(axis=0, dtype="float64")
    return (centred.T @ centred / len(x)).astype(x.dtype), (centred, x.dtype)  # (D.4)


def covariance_backward(xp, saved, g, needs):
    centred, dtype = saved
    return ((centred @ (g + g.T) / len(centred)).astype(dtype),)


mmd = Op("mmd", mmd_forward, mmd_backward, args=("x", "y"))
covariance = Op("covariance", covariance_forward, covariance_backward, args=("x",))
