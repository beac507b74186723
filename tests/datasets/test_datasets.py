"""Data sets by name: rows, classes and splits, the same every time; the digits are those that others have."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from support.files import pixels
from support.helpers import complaint

from minivae.checks import DataFileError, InputError
from minivae.datasets import NAMES, Dataset, load
from minivae.datasets.relatives import RELATIVES


def test_x_divides_pixels_by_255():
    values = np.arange(256, dtype=np.uint8).reshape(2, 128)
    x = Dataset(values, None, None, "all").x
    np.testing.assert_array_equal(x, values.astype(np.float32) / np.float32(255))
    assert x.dtype == np.float32
    assert x.max() == 1


def test_x_leaves_real_numbers_as_they_are():
    stored = np.random.default_rng(0).standard_normal((5, 3))
    single = stored.astype(np.float32)
    assert np.shares_memory(Dataset(single, None, None, "single").x, single)
    np.testing.assert_array_equal(Dataset(stored, None, None, "double").x, single)


def test_subset_keeps_rows_together():
    data = Dataset(pixels(7, 3), np.arange(7), (3, 1), "rows", np.arange(14).reshape(7, 2), ("a", "b"), (7, 7))
    odd = data.subset(data.y % 2 == 1)
    assert len(odd) == 3
    np.testing.assert_array_equal(odd.values, data.values[[1, 3, 5]])
    np.testing.assert_array_equal(odd.y, [1, 3, 5])
    np.testing.assert_array_equal(odd.factors, [[2, 3], [6, 7], [10, 11]])
    assert (odd.image_shape, odd.name, odd.factor_names) == ((3, 1), "rows", ("a", "b"))
    assert np.shares_memory(data.subset(slice(2, 5)).values, data.values)


@pytest.mark.parametrize("name", ["mnst", "digits.csv", "", "DIGITS", None, 3, np.zeros((3, 2))])
def test_unknown_name_lists_the_choices(name):
    message = complaint(InputError, load, name)
    assert all(choice in message for choice in (*NAMES, ".npy", ".npz"))


@pytest.mark.parametrize("name", ["dsprites", "static-mnist", "omniglot", *RELATIVES])
def test_missing_files_are_named_with_where_to_get_them_and_how_to_name_their_folder(name, tmp_path, monkeypatch):
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    for data_dir in (None, tmp_path):
        message = complaint(DataFileError, load, name, data_dir)
        assert "get it from http" in message
        assert "--data-dir (data_dir=...) or set MINIVAE_DATA" in message
    message = complaint(DataFileError, load, name, tmp_path / "absent")
    assert message.startswith("data_dir: expected a folder with ")
    monkeypatch.setenv("MINIVAE_DATA", str(tmp_path / "absent"))
    assert complaint(DataFileError, load, name).startswith("MINIVAE_DATA: expected a folder with ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["digits", "sprites"])
def test_loading_twice_gives_the_same_bytes(name):
    for first, second in zip(load(name), load(name)):
        assert first.values.tobytes() == second.values.tobytes()
        assert first.y.tobytes() == second.y.tobytes()


def test_import_loads_numpy_only():
    heavy = "{'pooch', 'requests', 'matplotlib', 'rich', 'scipy', 'sklearn', 'safetensors', 'cupy'}"
    code = f"import sys, minivae.datasets; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_digits_are_those_of_scikit_learn():
    judge = pytest.importorskip(
        "sklearn.datasets", reason="scikit-learn, the independent copy of the digits, is absent"
    ).load_digits()
    train, test = load("digits")
    rows = [(y, *x) for part in (train, test) for x, y in zip(part.x, part.y)]
    assert sorted(rows) == sorted((y, *x) for x, y in zip(judge.data / 16, judge.target))


def test_digits_split_is_fixed_and_stratified():
    train, test = load("digits")
    assert (len(train), len(test)) == (1437, 360)
    for part in (train, test):
        assert part.x.dtype == np.float32
        assert part.values.shape == (len(part), 64)
        assert part.image_shape == (8, 8)
        assert part.y.shape == (len(part),)
    totals = np.bincount(train.y) + np.bincount(test.y)
    assert np.abs(np.bincount(test.y) - totals / 5).max() < 1
    # the label sequence pins the split and the order: reported figures compare only as long as it stays
    assert hashlib.sha256(test.y.astype(np.uint8).tobytes()).hexdigest()[:16] == "28beeed8f5e51f11"
