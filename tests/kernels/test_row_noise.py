"""Noise of a row: normal and uniform as promised, the row's own wherever it stands, and the same on every device."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from minivae.backend import to_device, to_numpy
from minivae.kernels.counter_noise import WORD, box_muller, philox, uniform
from minivae.kernels.row_noise import RowNoise, hash_rows

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU

ROWS = np.random.default_rng(0).random((211, 13)).astype("float32")


def noise(rows: np.ndarray = ROWS, seed: int = 3, stream: str = "evaluate", xp=np) -> RowNoise:
    return RowNoise(xp, to_device(xp, rows), seed, stream)


def test_numbers_are_those_of_the_definition():
    """(N.4), one number at a time, in Python's own arithmetic."""
    factors = [low | high << 32 | 1 for low, high, _, _ in (philox((j, 0, 0, 0), (0, 0)) for j in range(13))]
    row, sample, seed = 5, 2, 2**40 + 3
    key = (seed & WORD, seed >> 32)
    bits = [int(b) for b in ROWS[row].view(np.uint32)]
    h = sum(factor * (b ^ b >> 16) for factor, b in zip(factors, bits, strict=True)) % 2**64
    p, q, _, _ = philox((h & WORD, h >> 32, WORD, 4), key)
    words = [np.array(philox((i, sample, p, q), key), dtype=float).T for i in range(2)]
    for draw, transform in (("standard_normal", box_muller), ("random", lambda _, w: [np.floor(x / 256) / 2**24 for x in w])):
        expected = np.concatenate([np.array(transform(np, part)) for part in words])[:7]
        drawn = getattr(noise(seed=seed), draw)((3, len(ROWS), 7), "float64")[sample, row]
        np.testing.assert_allclose(drawn, expected, rtol=1e-15)
    assert uniform(np, (np.uint64(2**32 - 1),))[0] < 1


def test_a_row_keeps_its_noise_whatever_it_comes_with():
    whole = noise().standard_normal((4, 211, 5), "float32")
    order = np.random.default_rng(1).permutation(211)[:50]
    np.testing.assert_array_equal(noise(ROWS[order]).standard_normal((4, 50, 5), "float32"), whole[:, order])
    np.testing.assert_array_equal(noise(ROWS[7:8]).standard_normal((4, 1, 5), "float32"), whole[:, 7:8])
    in_turn = noise()
    for parts in (whole[:1], whole[1:3], whole[3]):  # samples in chunks of any size are the same samples
        np.testing.assert_array_equal(in_turn.standard_normal(parts.shape, "float32"), parts)
    np.testing.assert_array_equal(noise(ROWS.astype("float64")).random((211, 5), "float64"), noise().random((211, 5), "float64"))
    np.testing.assert_array_equal(noise(np.zeros((1, 3))).random((1, 5)), noise(-np.zeros((1, 3))).random((1, 5)))


def test_seeds_purposes_rows_and_samples_have_noise_of_their_own():
    backwards = np.ascontiguousarray(ROWS[:, ::-1])
    kinds = [noise(seed=3), noise(seed=4), noise(seed=3 + 2**32), noise(stream="binarize"), noise(backwards)]
    draws = np.array([kind.standard_normal((2, 211, 40), "float64") for kind in kinds]).reshape(-1, 211 * 40)
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / np.sqrt(211 * 40)
    between = np.corrcoef(noise().standard_normal((211, 2000))) - np.eye(211)
    assert np.abs(between).max() < 6 / np.sqrt(2000)  # 22,155 pairs


@pytest.mark.parametrize("rows", [ROWS, np.eye(211, 13), np.arange(211.0)[:, None]], ids=["grey", "one-hot", "counts"])
def test_distribution(rows: np.ndarray) -> None:
    rows = np.unique(rows, axis=0)
    normal = noise(rows).standard_normal((20, len(rows), 50))
    assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-4
    assert stats.kstest(noise(rows).random((20, len(rows), 50)).ravel(), "uniform").pvalue > 1e-4


def test_rows_that_differ_in_one_place_have_different_hashes():
    rows = np.concatenate([np.eye(784), np.zeros((1, 784)), 1 - np.eye(784), np.tri(784)[1:-2]])
    assert len(set(hash_rows(np, rows).tolist())) == len(rows)
    assert len(set(hash_rows(np, np.arange(100_000.0)[:, None]).tolist())) == 100_000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_device_draws_the_same(xp, dtype):
    for rows in (ROWS, ROWS.astype("float64")):
        here, there = noise(rows), noise(rows, xp=xp)
        for shape in ((211, 5), (3, 211, 6)):
            drawn = there.standard_normal(shape, dtype)
            assert drawn.dtype == dtype
            np.testing.assert_allclose(to_numpy(drawn), here.standard_normal(shape, dtype), rtol=8 * np.finfo(dtype).eps)
            np.testing.assert_array_equal(to_numpy(there.random(shape, dtype)), here.random(shape, dtype))
        np.testing.assert_array_equal(to_numpy(there.order()), here.order())
