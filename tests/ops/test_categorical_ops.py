"""The ops of categories where they are hardest: far out, almost uniform, and at a low temperature."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from minivae.ops import gumbel_softmax, kl_uniform

FAR = [[1e4, 0.0, -1e4], [1e4 + 1, 1e4, -1e4], [-1e4, -1e4, -1e4], [3.0, 2.0, -1.0]]
NEAR = [[1e-3, 0.0, -1e-3], [1 + 2**-12, 1.0, 1.0]]
G = np.array([1.0, 2.0, 4.0])


def softmax(logits) -> list:
    grown = [mp.exp(logit) for logit in logits]
    return [part / mp.fsum(grown) for part in grown]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_a_relaxed_category(dtype: str, temperature: float) -> None:
    """No exponential overflows, and a low temperature magnifies no rounding of ℓ + g."""
    logits, noise = np.array(FAR, dtype), np.array([0.1, -1.3, 0.7], dtype)
    z, saved = gumbel_softmax.forward(np, logits, noise, temperature=temperature)
    slopes = gumbel_softmax.backward(np, saved, np.tile(G, (len(FAR), 1)).astype(dtype), (True, True))
    assert {z.dtype, *(slope.dtype for slope in slopes)} == {np.dtype(dtype)}
    with mp.workdps(50):
        sums = [[mp.mpf(float(v)) + mp.mpf(float(e)) for v, e in zip(row, noise)] for row in logits]
        exact = [softmax([a / mp.mpf(temperature) for a in row]) for row in sums]
        means = [mp.fsum(p * c for p, c in zip(row, G)) for row in exact]
        slope = [[p * (c - mean) / temperature for p, c in zip(row, G)] for row, mean in zip(exact, means)]
    rounding = 4 * np.finfo(dtype).eps + 1e4 / temperature * np.finfo("float64").eps  # of the result, and of an exponent of 1e4 / τ
    np.testing.assert_allclose(z, np.array(exact, float), rtol=rounding, atol=1e-30)
    np.testing.assert_allclose(slopes[0], np.array(slope, float), rtol=2 * rounding, atol=1e-15 / temperature)
    np.testing.assert_allclose(slopes[1], slopes[0].sum(axis=0), rtol=rounding)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_divergence_from_uniform(dtype: str) -> None:
    """Also where all categories but one have rounded to 0, and where the terms cancel because π is almost uniform."""
    logits = np.array(FAR + NEAR, dtype)
    kl, saved = kl_uniform.forward(np, logits)
    (slope,) = kl_uniform.backward(np, saved, np.ones(len(logits), dtype), (True,))
    assert (kl.dtype, slope.dtype) == (np.dtype(dtype),) * 2
    with mp.workdps(50):
        exact = [softmax([mp.mpf(float(v)) for v in row]) for row in logits]
        excess = [[mp.log(3 * p) for p in row] for row in exact]
        values = [mp.fsum(p * e for p, e in zip(*rows)) for rows in zip(exact, excess)]
        slopes = [[p * (e - value) for p, e in zip(*rows)] for *rows, value in zip(exact, excess, values)]
    rounding = {"rtol": 4 * np.finfo(dtype).eps, "atol": 1e-15}
    np.testing.assert_allclose(kl, np.array(values, float), **rounding)
    np.testing.assert_allclose(slope, np.array(slopes, float), **rounding)
