"""A planar step far from its plane, where tanh a has rounded to ±1 and 1 − tanh² a to 0."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from minivae.ops import planar, planar_log_det

FAR = [-1000.0, -100.0, -12.0, 12.0, 100.0, 1000.0]  # a


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_from_the_plane_a_step_is_a_shift(dtype: str) -> None:
    """Points move by almost ±u, volumes stay almost as they are, and the logarithm says how nearly: no exponential overflows."""
    z, u, w = (np.array(x, dtype) for x in ([[a, 0.5] for a in FAR], [0.3, 2.0], [1.0, 0.0]))
    b, g = np.zeros(len(FAR), dtype), np.ones(len(FAR), dtype)
    with mp.workdps(2000):
        shifts = np.array([float(mp.tanh(a)) for a in FAR])
        slopes = [float(mp.sech(a) ** 2) for a in FAR]
        logs = [float(mp.log1p(mp.mpf(float(u[0])) * mp.sech(a) ** 2)) for a in FAR]
    moved, saved = planar.forward(np, z, u, w, b)
    np.testing.assert_allclose(moved, z + shifts[:, None] * u, rtol=4 * np.finfo(dtype).eps)
    *_, db = planar.backward(np, saved, np.tile(g[:, None], 2), (True,) * 4)
    rounding = {"rtol": 16 * np.finfo(dtype).eps, "atol": float(np.finfo(dtype).smallest_subnormal)}
    np.testing.assert_allclose(db, np.array(slopes) * float(u.sum()), **rounding)
    log_det, saved = planar_log_det.forward(np, z, u, w, b)
    np.testing.assert_allclose(log_det, logs, **rounding)
    growth = np.array(slopes) * float(u[0])
    *_, db = planar_log_det.backward(np, saved, g, (True,) * 4)
    np.testing.assert_allclose(db, -2 * shifts * growth / (1 + growth), **rounding)
