"""Rows come out scaled, binarised as declared, on the right device, and data larger than memory stay where they are."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.helpers import Uniform, complaint

from minivae.backend import array_module, generator, to_device, to_numpy
from minivae.checks import InputError, NonFiniteError
from minivae.training import batches
from minivae.training.batches import CHUNK_ROWS, Rows, chunks

GREY = np.random.default_rng(0).random((2003, 13)).astype(np.float32)
ALL = slice(None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.integers(0, 5000), st.integers(1, 700))
def test_chunks_cover_every_row_once(n, size):
    parts = list(chunks(n, size))
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    assert all(part.stop - part.start <= size for part in parts)
    assert len(parts) == math.ceil(n / size)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_are_their_value_over_255_to_the_last_bit(xp, dtype):
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 64)
    rows = Rows(to_device(xp, pixels), xp, dtype, unit_interval=True)
    taken = rows.take(xp.asarray([3, 1]), None)
    assert array_module(taken) is xp
    assert taken.dtype == dtype
    np.testing.assert_array_equal(to_numpy(taken), pixels[[3, 1]].astype(dtype) / np.dtype(dtype).type(255))


@pytest.mark.parametrize("stored", ["bool", "int64", "uint16", "float16", "float32", "float64"])
def test_other_numbers_are_taken_as_they_are(stored):
    x = np.arange(15).reshape(5, 3).astype(stored)
    taken = Rows(x, np, "float32").take(np.array([4, 0, 4]), None)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, x[[4, 0, 4]].astype(np.float32))


def test_floats_of_the_right_dtype_are_not_copied():
    rows = Rows(GREY, np, "float32")
    assert np.shares_memory(rows.take(slice(3, 9), None), GREY)
    assert len(rows) == 2003
    assert rows.n_features == 13


def test_some_rows_are_from_all_over_and_keep_their_condition():
    """The first chunk of sorted data would be of one class."""
    rows = Rows(GREY, np, "float32")
    rows.attach(np.arange(2003.0)[:, None])
    some = rows.some()
    assert (len(rows), len(some)) == (2003, CHUNK_ROWS)
    index = some.condition(ALL)[:, 0].astype(int)
    assert index[0] == 0
    assert index[-1] == 2002
    assert set(np.diff(index)) == {1, 2}
    np.testing.assert_array_equal(some.take(ALL, None), GREY[index])
    np.testing.assert_array_equal(rows.condition(np.array([2002, 5])), [[2002], [5]])
    assert Rows(GREY, np, "float32").some().condition(ALL) is None
    assert len(Rows(GREY[:7], np, "float32").some()) == 7


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("binarize", ["fixed", "dynamic"])
def test_binarised_pixels_are_bernoulli_draws_of_the_grey_values(dtype, binarize):
    greys = np.linspace(12, 243, 13).round()
    p = np.repeat((greys if dtype == "uint8" else greys / 255).astype(dtype)[None], 20_000, axis=0)
    number = (np.arange(20_000)[:, None] >> np.arange(15) & 1).astype(dtype) * p.dtype.type(255 if dtype == "uint8" else 1)
    p = np.hstack([p, number])  # black and white pixels make the rows different: equal rows have equal draws
    drawn = Rows(p, np, "float32", binarize).take(ALL, rng())[:, :13]
    assert drawn.dtype == np.float32
    assert set(np.unique(drawn)) == {0, 1}
    mean = greys / 255
    z = (drawn.mean(axis=0) - mean) / np.sqrt(mean * (1 - mean) / len(p))
    assert np.abs(z).max() < 4  # 13 standard normals
    beside = np.corrcoef(drawn.T) - np.eye(13)
    below = np.array([np.corrcoef(drawn[1:, j], drawn[:-1, j])[0, 1] for j in range(13)])
    assert max(np.abs(beside).max(), np.abs(below).max()) < 5 / math.sqrt(len(p))  # every pixel of every row has its own draw


@pytest.mark.parametrize("stored", ["bool", "int64", "float32"])
def test_certain_pixels_stay_as_they_are(stored, xp):
    x = (GREY > 0.5).astype(stored)
    for binarize in ("none", "fixed", "dynamic"):
        drawn = Rows(x, xp, "float32", binarize).take(ALL, generator(xp, 0, "noise"))
        np.testing.assert_array_equal(to_numpy(drawn), x)


def test_fixed_binarisation_is_the_same_for_ever():
    rows = Rows(GREY, np, "float32", "fixed", seed=5)
    first = rows.take(ALL, rng(1)).copy()
    np.testing.assert_array_equal(rows.take(ALL, rng(2)), first)
    np.testing.assert_array_equal(rows.take(np.arange(2003)[::-1], rng(3))[::-1], first)
    np.testing.assert_array_equal(Rows(GREY, np, "float64", "fixed", seed=5).take(ALL, None), first)
    assert (Rows(GREY, np, "float32", "fixed", seed=6).take(ALL, None) != first).mean() > 0.2


def test_the_fixed_draw_of_a_row_is_its_own():
    """Alone, elsewhere, among others, as floats or as 8-bit pixels, and in an evaluation of dynamically binarised data."""
    pixels = rng().integers(0, 256, (300, 13), dtype=np.uint8)
    drawn = Rows(pixels, np, "float32", "fixed", seed=5).take(ALL, None)
    order = rng().permutation(300)[:77]
    np.testing.assert_array_equal(Rows(pixels[order], np, "float32", "fixed", seed=5).take(ALL, None), drawn[order])
    np.testing.assert_array_equal(Rows(pixels[7:8], np, "float32", "fixed", seed=5).take(ALL, None), drawn[7:8])
    floats = pixels / np.float32(255)
    np.testing.assert_array_equal(Rows(floats, np, "float32", "fixed", seed=5).take(ALL, None), drawn)
    ((x, _, _),) = Rows(pixels, np, "float32", "dynamic").evaluation(5)
    np.testing.assert_array_equal(x, drawn)


def test_evaluation_goes_through_all_rows_in_order(xp):
    rows = Rows(to_device(xp, GREY), xp, "float32")
    rows.attach(np.arange(2003.0)[:, None])
    chunks = list(rows.evaluation(0))
    np.testing.assert_array_equal(np.concatenate([to_numpy(x) for x, _, _ in chunks]), GREY)
    np.testing.assert_array_equal(np.concatenate([to_numpy(y) for _, y, _ in chunks])[:, 0], np.arange(2003))
    together = np.concatenate([to_numpy(noise.standard_normal((len(x), 3), "float32")) for x, _, noise in chunks])
    _, _, noise = next(Rows(to_device(xp, GREY[1500:1501]), xp, "float32").evaluation(0))
    np.testing.assert_array_equal(together[1500:1501], to_numpy(noise.standard_normal((1, 3), "float32")))


def test_dynamic_binarisation_differs_at_each_take():
    rows, noise = Rows(GREY, np, "float32", "dynamic"), rng()
    first, second = rows.take(ALL, noise), rows.take(ALL, noise)
    assert abs((first != second).mean() - (2 * GREY * (1 - GREY)).mean()) < 0.02
    np.testing.assert_array_equal(rows.take(ALL, rng()), first)  # and yet it is the generator's doing


def test_mean_of_the_features():
    """Of 2,003 numbers added in float64; a pixel is the float32 nearest to value/255, half a unit of 2⁻²⁴ from it at most."""
    x = np.random.default_rng(1).integers(0, 256, (2003, 7), dtype=np.uint8)
    for binarize in ("none", "dynamic"):
        mean = Rows(x, np, "float32", binarize).mean()
        np.testing.assert_allclose(mean, (x / np.float32(255)).mean(axis=0, dtype=np.float64), rtol=1e-13)
        np.testing.assert_allclose(mean, x.mean(axis=0) / 255, rtol=2**-24)
    fixed = Rows(x, np, "float32", "fixed")
    np.testing.assert_allclose(fixed.mean(), fixed.take(ALL, None).mean(axis=0, dtype=np.float64), rtol=1e-13)
    large = np.full((3000, 2), 1 + 2**-20, np.float32)
    large[0] = 1e7
    np.testing.assert_allclose(Rows(large, np, "float32").mean(), large.astype(np.float64).mean(axis=0), rtol=1e-13)
    assert Rows(GREY, np, "float32").mean().dtype == np.float64


def test_mapped_file_is_not_loaded_whole(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(200_000, 50))  # 40 MB
    x[-1] = 0.25
    tracemalloc.start()
    rows = Rows(x, np, "float32", "dynamic", unit_interval=True)
    taken = rows.take(np.array([199_999, 0]), rng())
    mean = rows.mean()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # a few chunks of 1024 rows, 205 kB each
    assert taken.shape == (2, 50)
    np.testing.assert_allclose(mean, 0.25 / 200_000)
    assert np.shares_memory(rows.values, x)


def test_mean_of_a_large_mapped_file_is_that_of_rows_from_all_over(tmp_path, monkeypatch):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(3000, 5))
    x[...] = np.linspace(0, 1, 3000)[:, None]  # sorted: the first rows alone would give 0
    monkeypatch.setattr(batches, "CHECK_AT_ONCE", 0)
    monkeypatch.setattr(batches, "SPREAD_ROWS", 101)
    np.testing.assert_allclose(Rows(x, np, "float32").mean(), 0.5, rtol=1e-2)
    for end in (-1, 0):  # the first and the last are among them
        x[end] = math.nan
        assert "nan at row " in complaint(InputError, Rows(x, np, "float32").mean)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("row", [0, CHUNK_ROWS - 1, CHUNK_ROWS, 2002])
def test_one_value_that_is_not_finite_is_found_with_its_position(wrong, row):
    x = GREY.copy()
    x[row, 12] = wrong
    assert f"train: expected finite numbers, got {wrong} at row {row}, column 12" in complaint(
        InputError, Rows, x, np, "float32", argument="train"
    )


def test_pixels_out_of_range_are_refused_wherever_they_are():
    x = GREY * 255
    x[:-1] /= 255
    Rows(x, np, "float32")
    for options in ({"unit_interval": True}, {"binarize": "fixed"}, {"binarize": "dynamic"}):
        assert "values in [0, 1]" in complaint(InputError, lambda options=options: Rows(x, np, "float32", **options))


def test_an_unknown_binarisation_or_another_width_is_refused():
    assert "none, fixed, dynamic" in complaint(InputError, Rows, GREY, np, "float32", "sometimes")
    assert "13" in complaint(InputError, lambda: Rows(GREY, np, "float32", n_features=12))


def test_a_black_pixel_stays_black_even_when_zero_is_drawn(monkeypatch):
    """One uniform float32 number in 17 million is exactly 0: three in an epoch of MNIST."""
    x = np.array([[0.0, 1e-9, 1.0]], np.float32)
    np.testing.assert_array_equal(Rows(x, np, "float32", "dynamic").take(ALL, Uniform(0.0)), [[0, 1, 1]])
    almost_one = float(np.nextafter(np.float32(1), np.float32(0)))
    np.testing.assert_array_equal(Rows(x, np, "float32", "dynamic").take(ALL, Uniform(almost_one)), [[0, 0, 1]])
    monkeypatch.setattr(batches.RowNoise, "random", lambda self, shape, dtype: np.zeros(shape, dtype))
    for binarize in ("fixed", "dynamic"):
        ((drawn, _, _),) = Rows(x, np, "float32", binarize).evaluation(0)
        np.testing.assert_array_equal(drawn, [[0, 1, 1]])


def test_rows_that_were_checked_at_once_are_not_checked_again(monkeypatch):
    """It would cost each step another pass over its batch; of a large mapped file that is the price of not reading it twice."""
    looks = []
    monkeypatch.setattr(batches, "check_values", lambda *_: looks.append(1))
    rows = Rows(GREY, np, "float32", unit_interval=True)
    at_once = len(looks)
    rows.take(np.array([3, 1]), None)
    assert len(looks) == at_once == math.ceil(len(GREY) / CHUNK_ROWS)


@pytest.mark.slow
def test_pixels_are_gathered_by_a_kernel_where_there_is_one(fused):
    pixels = np.random.default_rng(0).integers(0, 256, (11, 5), dtype=np.uint8)
    index = fused.asarray([10, 0, 10])
    taken = Rows(to_device(fused, pixels), fused, "float32").take(index, None)
    np.testing.assert_array_equal(to_numpy(taken), pixels[[10, 0, 10]].astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("row", [0, -1])
def test_fingerprint_sees_the_first_row_and_the_last(row):
    """A training that goes on must notice that a row was put before its data, or after them."""
    x = GREY.copy()
    x[row, 3] += 0.5
    assert Rows(x, np, "float32").fingerprint() != Rows(GREY, np, "float32").fingerprint()


def test_fingerprint_reads_no_more_than_256_rows():
    """So it takes no longer for a file of millions of rows than for one of a thousand."""
    x = GREY[:600].copy()
    rows = Rows(x, np, "float32")
    whole, noticed = rows.fingerprint(), 0
    for row in range(600):
        x[row] += 0.125
        noticed += rows.fingerprint() != whole
        x[row] = GREY[row]
    assert noticed == 256


def test_evaluation_is_in_the_dtype_of_the_model():
    (x, _, _), *_ = Rows(GREY.astype(np.float64), np, "float32").evaluation(0)
    assert x.dtype == np.float32


def test_rows_that_are_drawn_once_are_stored_as_truth_values():
    """A byte for each pixel: as floats, a data set of 8-bit pixels would take four or eight times its memory."""
    assert Rows(GREY, np, "float32", binarize="fixed").values.dtype == bool


def test_fingerprint_sees_another_shape_of_the_same_numbers():
    four, six = (Rows(np.linspace(0, 1, 24).reshape(n, -1), np, "float32") for n in (4, 6))
    assert four.fingerprint() != six.fingerprint()


@pytest.mark.parametrize(
    ("figures", "says", "mend"),
    [
        (
            [1.0, np.nan, 2.0],
            "x: expected rows for which the model gives finite numbers, got p = nan at row 1, whose numbers are "
            "from 0.25 to 0.5; leave such rows out",
            True,
        ),
        ([1.0, -np.inf, np.nan], "p = -inf at row 1, whose numbers are from 0.25 to 0.5, and in 1 other row;", True),
        ([np.nan] * 3, "p = nan at row 0, whose numbers are from 0 to 0.125, and in 2 other rows;", False),
    ],
    ids=["one row", "two", "all"],
)
def test_rows_that_a_model_cannot_judge_are_named(figures, says, mend):
    rows = Rows(np.array([[0, 0.125], [0.5, 0.25], [1, 1]]), np, "float32")
    message = complaint(NonFiniteError, rows.check_finite, {"q": np.ones((3, 2)), "p": np.array(figures)})
    assert says in message
    assert ("leave such rows out" in message) == mend
    assert ("lower learning_rate" in message) != mend
