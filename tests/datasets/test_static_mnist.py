"""Statically binarised MNIST from small files made here: what is read is what they hold, and damage is named."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from support.helpers import complaint

from minivae.checks import DataFileError
from minivae.datasets import load, static_mnist


def amat(digits: np.ndarray) -> bytes:
    """Return the text of a file of static MNIST: a line for each image, a digit and a blank for each pixel."""
    return "".join(" ".join(map(str, row)) + "\n" for row in digits.tolist()).encode()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Return (folder, digits by file) of three files of 7, 3 and 5 images that the loader takes for the published ones."""
    digits, files = {}, {}
    for seed, (name, count) in enumerate(zip(static_mnist.FILES, (7, 3, 5))):
        digits[name] = np.random.default_rng(seed).integers(0, 2, (count, 784))
        (tmp_path / name).write_bytes(amat(digits[name]))
        files[name] = (count, hashlib.sha256(amat(digits[name])).hexdigest())
    monkeypatch.setattr(static_mnist, "FILES", files)
    return tmp_path, digits


def test_static_mnist_keeps_the_order_of_its_files_and_needs_them_once(small):
    folder, digits = small
    learned, held_out, scored = digits.values()
    for _ in range(2):
        train, test = load("static-mnist", folder)
        np.testing.assert_array_equal(train.x, np.concatenate([learned, held_out]))
        np.testing.assert_array_equal(test.x, scored)
        assert train.values.dtype == np.uint8
        assert (train.y, train.image_shape, train.name) == (None, (28, 28), "static-mnist")
        for name in digits:  # the second time it reads the bits that it has kept
            (folder / name).unlink(missing_ok=True)
    assert [path.name for path in folder.iterdir()] == [static_mnist.BITS]


def test_static_mnist_in_a_folder_that_cannot_be_written_is_read_anew_each_time(small, monkeypatch):
    folder, digits = small

    def refuse(*_, **__):
        raise OSError("read-only")

    monkeypatch.setattr(np, "savez", refuse)
    for _ in range(2):
        np.testing.assert_array_equal(load("static-mnist", folder)[1].x, [*digits.values()][2])
    assert sorted(path.name for path in folder.iterdir()) == sorted(digits)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: 1568 * 2 + 8] + b"2" + text[1568 * 2 + 9 :], ["line 3", "0 or 1", "'2 ' at digit 5"]),
        (lambda text: text[:1] + b"," + text[2:], ["line 1", "'0,' at digit 1"]),
        (lambda text: text.replace(b"\n", b"\r\n"), ["line 1", r"'0\r' at digit 784"]),
        (lambda text: text[:-1568], ["7 lines of 784 digits", "got 6 and 0 bytes"]),
        (lambda text: text[:-100], ["7 lines of 784 digits", "got 6 and 1468 bytes"]),
        (lambda text: text + text[:1568], ["got 8 and 0 bytes"]),
        (lambda text: b"", ["got 0 and 0 bytes"]),
        (lambda text: b"1" + text[1:], ["the published file, SHA256 ", "got SHA256 "]),
    ],
    ids=["a two", "comma", "windows", "short", "truncated", "long", "empty", "another draw"],
)
def test_damaged_static_mnist_names_file_and_line_and_leaves_nothing(small, damage, words):
    folder, digits = small
    name = next(iter(digits))
    text = amat(np.concatenate([np.zeros((1, 784), int), digits[name][1:]]))  # begins with a 0
    (folder / name).write_bytes(damage(text))
    message = complaint(DataFileError, load, "static-mnist", folder)
    for word in (str(folder / name), static_mnist.SOURCE, *words):
        assert word in message
    assert sorted(path.name for path in folder.iterdir()) == sorted(digits)


def test_damaged_bits_are_refused(small):
    folder, _ = small
    load("static-mnist", folder)
    path = folder / static_mnist.BITS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert "the bits that were written here" in complaint(DataFileError, load, "static-mnist", folder)
    np.savez(path, bits=np.zeros((2, 98), np.uint8))
    assert "uint8 of shape (2, 98); remove it" in complaint(DataFileError, load, "static-mnist", folder)


def test_static_mnist_has_the_published_counts():
    assert [count for count, _ in static_mnist.FILES.values()] == [50_000, 10_000, 10_000]
