"""Arrays of your own, in .npy and .npz: shapes, classes, splits; nothing is unpickled, and damage is refused in one line."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files import attempt, drawn, flip_bit, pixels
from support.helpers import complaint

from minivae.checks import DataFileError, InputError
from minivae.datasets import load


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "int32", "bool", ">f4"])
def test_npy_round_trip_with_the_last_fifth_as_test_set(tmp_path, dtype):
    array = (pixels(13, 3) % 2).astype(dtype)
    np.save(tmp_path / "mine.npy", array)
    train, test = load(tmp_path / "mine.npy")
    assert (len(train), len(test)) == (10, 3)
    assert train.values.dtype == array.dtype
    np.testing.assert_array_equal(np.concatenate([train.values, test.values]), array)
    np.testing.assert_array_equal(train.x, array[:10].astype(np.float32) / (255 if dtype == "uint8" else 1))
    assert (train.y, train.image_shape, train.name) == (None, None, "mine")


@pytest.mark.parametrize(("n", "n_test"), [(2, 1), (5, 1), (6, 2), (10, 2)])
def test_last_fifth_is_rounded_up(tmp_path, n, n_test):
    np.save(tmp_path / "mine.npy", np.zeros((n, 3)))
    train, test = load(str(tmp_path / "mine.npy"))
    assert (len(train), len(test)) == (n - n_test, n_test)


def test_npy_larger_than_memory_stays_on_disk(tmp_path):
    path = tmp_path / "huge.npy"
    shape = (2**19, 2048)  # 4 GiB of float32, stored as a hole
    writer = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    writer[-1, -1] = 7
    del writer
    tracemalloc.start()
    train, test = load(path)
    assert (len(train) + len(test), test.x[-1, -1], test.values[-1, 0]) == (2**19, 7, 0)
    assert not train.values.flags.writeable  # a view of the file itself
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_npz_with_classes_and_test_set(tmp_path):
    x, y, x_test, y_test = pixels(7, 3), np.arange(7, dtype=np.uint8), pixels(2, 3), np.array([5, 6])
    np.savez_compressed(tmp_path / "mine.npz", x=x, y=y, x_test=x_test, y_test=y_test, more=np.zeros(2))
    train, test = load(tmp_path / "mine.npz")
    for data, values, labels in ((train, x, y), (test, x_test, y_test)):
        np.testing.assert_array_equal(data.values, values)
        np.testing.assert_array_equal(data.y, labels)
        assert data.y.dtype == np.int64


def test_npz_with_classes_is_split_with_them(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.eye(11), y=np.arange(11))
    train, test = load(tmp_path / "mine.npz")
    np.testing.assert_array_equal(train.y, range(8))
    np.testing.assert_array_equal(test.y, range(8, 11))
    np.testing.assert_array_equal(test.values, np.eye(11)[8:])


X = np.zeros((5, 3))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros(5)}, ["x: expected shape (n, d)", "(5,)"]),
        ({"x": np.zeros((0, 3))}, ["at least one example", "(0, 3)"]),
        ({"x": np.zeros((1, 3))}, ["at least 2 examples", "got 1", "x_test"]),
        ({"x": X + 1j}, ["real numbers", "complex128"]),
        ({"x": X.astype(str)}, ["real numbers", "<U32"]),
        ({"data": X}, ["an array named x", "np.savez"]),
        ({"x": X, "y": np.zeros(4, int)}, ["y: expected", "shape (5,)", "(4,)"]),
        ({"x": X, "y": np.zeros(5)}, ["y: expected", "whole number", "float64", "integers"]),
        ({"x": X, "x_test": np.zeros((2, 4))}, ["x_test: expected 3 features of float64", "4 features"]),
        ({"x": X, "x_test": np.zeros((2, 3), np.uint8)}, ["x_test: expected 3 features of float64", "uint8"]),
        ({"x": X, "x_test": np.zeros((2, 3)), "y_test": np.zeros(3, int)}, ["y_test: expected", "(2,)", "(3,)"]),
        ({"x": X, "y_test": np.zeros(3, int)}, ["y_test together with x_test", "alone"]),
    ],
)
def test_npz_of_the_wrong_form(tmp_path, arrays, words):
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    message = complaint(InputError, load, path)
    for word in (str(path), *words):
        assert word in message


class Exploit:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["pickle.npy", "object.npy", "object.npz"])
def test_pickled_objects_are_never_loaded(tmp_path, form):
    path, proof = tmp_path / form, tmp_path / "executed"
    array = np.array([[Exploit(proof)]], dtype=object)
    if form == "pickle.npy":
        path.write_bytes(pickle.dumps(Exploit(proof)))
    elif form == "object.npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, x=array)
    message = complaint(DataFileError, load, path)
    assert str(path) in message
    assert "without pickled objects" in message
    assert not proof.exists()


@pytest.mark.parametrize("name", ["absent.npy", "folder.npz", "empty.npy", "text.npz"])
def test_file_without_an_array(tmp_path, name):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npz").write_text("1, 2, 3\n")
    message = complaint(DataFileError, load, tmp_path / name)
    assert str(tmp_path / name) in message
    assert "np.save" in message


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the bytes of one array as .npy and, compressed, as .npz."""
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "a.npy", pixels(11, 3))
    np.savez_compressed(folder / "a.npz", x=pixels(11, 3))
    return {suffix: (folder / f"a{suffix}").read_bytes() for suffix in (".npy", ".npz")}


@drawn
@given(st.data(), st.sampled_from([".npy", ".npz"]))
def test_truncated_array_file_is_refused(tmp_path, saved, data, suffix):
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(saved[suffix][: data.draw(st.integers(0, len(saved[suffix]) - 1))])
    assert str(path) in complaint(DataFileError, load, path)


@drawn
@given(st.data(), st.sampled_from([".npy", ".npz"]))
@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional header parsing:UserWarning")
def test_array_file_with_one_flipped_bit_loads_or_is_refused_in_one_line(tmp_path, saved, data, suffix):
    path = tmp_path / f"flipped{suffix}"
    path.write_bytes(flip_bit(saved[suffix], data.draw(st.integers(0, 8 * len(saved[suffix]) - 1))))
    parts, message = attempt(load, path)
    assert parts is not None or str(path) in message  # a .npy has no checksum: a flip in its numbers makes another valid file
    assert "\n" not in message
