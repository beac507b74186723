"""Fashion-MNIST, KMNIST and EMNIST letters from small files made here: what is read is what they hold, and damage is named."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from support.files import archived, idx_bytes, pixels
from support.helpers import complaint

from minivae.checks import DataFileError
from minivae.datasets import load, relatives
from minivae.datasets.relatives import RELATIVES


@pytest.fixture(params=list(RELATIVES))
def small(request, tmp_path, monkeypatch):
    """Return (name, folder, arrays by file) of small files, with all classes, that the loader takes for the published ones."""
    known, counts = RELATIVES[request.param], (31, 27)
    arrays, sums = {}, []
    for prefix, count in zip(known.prefixes, counts):
        both = {
            f"{prefix}-images-idx3-ubyte.gz": pixels(count, 28, 28),
            f"{prefix}-labels-idx1-ubyte.gz": np.resize(known.classes, count).astype(np.uint8)[::-1],
        }
        for file, array in both.items():
            (tmp_path / file).write_bytes(archived(array))
        sums.append(tuple(hashlib.md5(archived(array)).hexdigest() for array in both.values()))
        arrays |= both
    changed = replace(known, counts=counts, md5=tuple(sums) if known.md5 else ())
    monkeypatch.setitem(relatives.RELATIVES, request.param, changed)
    return request.param, tmp_path, arrays


def test_relatives_are_read_as_they_are_stored_but_emnist_is_turned_upright(small):
    name, folder, arrays = small
    images, labels = [*arrays.values()][::2], [*arrays.values()][1::2]
    for part, stored, y in zip(load(name, folder), images, labels, strict=True):
        upright = stored.swapaxes(1, 2) if name == "emnist-letters" else stored
        np.testing.assert_array_equal(part.values.reshape(-1, 28, 28), upright)
        np.testing.assert_array_equal(part.y, y)
        assert (part.values.dtype, part.y.dtype, part.image_shape, part.name) == (np.uint8, np.int64, (28, 28), name)


def test_an_l_of_emnist_has_its_foot_at_the_bottom_right(tmp_path, monkeypatch):
    """NIST stores an image column by column: an L's stem is in a stored row, and its foot is at the end of the stored rows."""
    monkeypatch.setitem(relatives.RELATIVES, "emnist-letters", replace(RELATIVES["emnist-letters"], counts=(26, 26)))
    stored = np.zeros((26, 28, 28), np.uint8)
    stored[:, 4, 4:24] = 255  # the column x = 4, from y = 4 to y = 23
    stored[:, 4:20, 23] = 255  # the row y = 23
    for part in ("train", "test"):  # unpacked files serve too
        (tmp_path / f"emnist-letters-{part}-images-idx3-ubyte").write_bytes(idx_bytes(stored))
        (tmp_path / f"emnist-letters-{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(1, 27, dtype=np.uint8)))
    image = load("emnist-letters", tmp_path)[0].values[11].reshape(28, 28)
    assert (image[4:24, 4] == 255).all()
    assert (image[23, 4:20] == 255).all()
    assert (image == 255).sum() == 20 + 15


@pytest.mark.parametrize("damage", ["truncated", "other images", "other labels", "missing"])
def test_a_damaged_file_of_a_relative_is_named(small, damage):
    """By its MD5 where one was published, and else by its shape and its labels."""
    name, folder, arrays = small
    known, images, labels = relatives.RELATIVES[name], *list(arrays)[::3]  # of training, and of test
    path = folder / (labels if damage == "other labels" else images)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
        says = ""
    elif damage == "other images":
        path.write_bytes(archived(arrays[images][1:]))
        says = f"the file of {known.title}, MD5 " if known.md5 else "a header that says (30, 28, 28)"
    elif damage == "other labels":
        path.write_bytes(archived(np.zeros_like(arrays[labels])))
        says = f"the file of {known.title}, MD5 " if known.md5 else "the labels 1 to 26, all of them, got {0}"
    else:
        path.unlink()
        says = f"expected a file of {known.title}, "
    message = complaint(DataFileError, load, name, folder)
    assert str(path) in message
    assert says in message


def test_files_with_a_published_checksum_have_to_be_compressed_as_published(small):
    name, folder, arrays = small
    for file, array in arrays.items():
        (folder / file).unlink()
        (folder / file.removesuffix(".gz")).write_bytes(idx_bytes(array))
    if relatives.RELATIVES[name].md5:
        assert "compressed as it was published, got none" in complaint(DataFileError, load, name, folder)
    else:
        assert len(load(name, folder)[0]) == 31


def test_mnist_in_the_place_of_fashion_mnist_is_told_apart(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(archived(np.zeros((3, 28, 28), np.uint8)))
    message = complaint(DataFileError, load, "fashion-mnist", tmp_path)
    assert "expected the file of Fashion-MNIST, MD5 8d4fb7e6c68d591d4c3dfef9ec88bf0d, got MD5 " in message


def test_relatives_have_the_published_counts():
    assert {name: known.counts for name, known in RELATIVES.items()} == {
        "fashion-mnist": (60_000, 10_000),
        "kmnist": (60_000, 10_000),
        "emnist-letters": (124_800, 20_800),
    }
