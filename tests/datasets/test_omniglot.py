"""OMNIGLOT from a small file made here by SciPy: what is read is what it holds, and damage is named."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.helpers import complaint

from minivae.checks import DataFileError
from minivae.datasets import load, omniglot


@pytest.fixture
def characters(tmp_path, monkeypatch):
    """Return (folder, arrays, save) of a file like Burda's with 9 and 4 images; ``save(name=array)`` writes it with a change."""
    savemat = pytest.importorskip("scipy.io", reason="SciPy, which reads and writes MATLAB's format, is absent").savemat
    rng = np.random.default_rng(0)
    arrays = {}
    for images, target, count in (("data", "target", 9), ("testdata", "testtarget", 4)):
        arrays[images] = rng.random((784, count))
        arrays[target] = np.eye(50)[rng.integers(0, 50, count)].T
    monkeypatch.setattr(omniglot, "PARTS", (("data", "target", 9), ("testdata", "testtarget", 4)))

    def save(**changes):
        kept = {name: array for name, array in (arrays | changes).items() if array is not None}
        savemat(tmp_path / omniglot.FILE, kept | {"targetchar": np.arange(9)})

    save()
    return tmp_path, arrays, save


def test_omniglot_is_read_row_by_row_upright(characters):
    folder, arrays, _ = characters
    for part, images, target in zip(load("omniglot", folder), ("data", "testdata"), ("target", "testtarget")):
        assert part.values.dtype == np.float32
        assert part.values.flags.c_contiguous
        assert part.image_shape == (28, 28)
        for i, image in enumerate(part.values.reshape(-1, 28, 28)):
            np.testing.assert_array_equal(image, arrays[images][:, i].reshape(28, 28, order="F").astype(np.float32))
        np.testing.assert_array_equal(part.y, arrays[target].argmax(axis=0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": None}, ["data", "no such array"]),
        ({"testdata": np.zeros((784, 5))}, ["testdata", "shape (784, 4)", "shape (784, 5)"]),
        ({"data": np.full((784, 9), 255.0)}, ["from 0 to 1", "from 255.0 to 255.0"]),
        ({"data": np.full((784, 9), np.nan)}, ["from 0 to 1", "from nan to nan"]),
        ({"testtarget": np.array(["a", "b"])}, ["testtarget", "shape (50, 4)"]),
    ],
)
def test_omniglot_with_another_array_is_refused(characters, change, words):
    folder, _, save = characters
    save(**change)
    message = complaint(DataFileError, load, "omniglot", folder)
    for word in (omniglot.FILE, omniglot.SOURCE, *words):
        assert word in message


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_truncated_omniglot_is_refused(characters, kept):
    folder, *_ = characters
    path = folder / omniglot.FILE
    path.write_bytes(path.read_bytes()[:kept])
    assert "a complete file in MATLAB's format" in complaint(DataFileError, load, "omniglot", folder)


def test_omniglot_without_scipy_says_how_to_install_it(characters, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    message = complaint(DataFileError, load, "omniglot", characters[0])
    assert "SciPy, which reads MATLAB's format, got none; pip install" in message
    assert "omniglot" in message


def test_omniglot_has_the_published_counts():
    assert omniglot.PARTS == (("data", "target", 24_345), ("testdata", "testtarget", 8070))
