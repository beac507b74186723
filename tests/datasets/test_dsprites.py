"""dSprites, from a small file of the public one's form: unpacked once, shuffled, mapped, checked, and never downloaded."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import DataFileError
from minivae.datasets import dsprites

SIZES = (3, 2, 4, 5, 5)
N = 3 * 2 * 4 * 5 * 5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file like the public one, of 600 images: white where the number of the image has a bit set."""
    bits = np.unpackbits(np.arange(N, dtype=">u4").view(np.uint8).reshape(N, 4), axis=1)  # (N, 32)
    images = np.zeros((N, 64, 64), np.uint8)
    images[:, 0, :32] = bits
    classes = np.stack(np.unravel_index(np.arange(N), (1, *SIZES)), axis=1)
    path = tmp_path / dsprites.FILE
    metadata = np.array({"an": "object"}, dtype=object)  # the public file has one, which must not be unpickled
    np.savez_compressed(path, imgs=images, latents_classes=classes, latents_values=classes.astype(float), metadata=metadata)
    monkeypatch.setattr(dsprites, "FACTOR_SIZES", SIZES)
    monkeypatch.setattr(dsprites, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(dsprites, "AT_ONCE", 47)
    return tmp_path


def number_of(image):
    return int("".join(map(str, (np.asarray(image)[:32] // 255).tolist())), 2)


def test_images_and_factors_belong_together_and_every_image_is_there_once(folder):
    train, test = mv.datasets.load("dsprites", folder)
    assert (len(train), len(test)) == (480, 120)
    numbers = []
    for part in (train, test):
        assert part.image_shape == (64, 64)
        assert part.values.dtype == np.uint8
        assert set(np.unique(part.values)) == {0, 255}
        for image, factors, y in zip(part.values, part.factors, part.y, strict=True):
            numbers.append(number_of(image))
            np.testing.assert_array_equal(factors, np.unravel_index(numbers[-1], SIZES))
            assert y == factors[0]
    assert sorted(numbers) == list(range(N))
    assert numbers != sorted(numbers)
    assert train.factor_sizes == SIZES


def test_images_are_mapped_and_unpacked_once(folder):
    train, _ = mv.datasets.load("dsprites", folder)
    assert train.values._mmap is not None
    unpacked = folder / dsprites.IMAGES
    stamp = unpacked.stat().st_mtime_ns
    (folder / dsprites.FILE).unlink()  # of no use any more
    again, _ = mv.datasets.load("dsprites", folder)
    assert unpacked.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(again.values, train.values)
    assert not list(folder.glob(".*"))


def test_a_model_trains_on_it(folder):
    train, test = mv.datasets.load("dsprites", folder)
    model = mv.VAE(latent_dim=2, hidden_dims=(16,), epochs=2, batch_size=60, device="cpu").fit(train.values, x_test=test.values)
    assert model.history_["test_loss"][1] < model.history_["test_loss"][0]


def test_nothing_is_downloaded_and_what_is_wrong_is_named(folder, tmp_path_factory, monkeypatch):
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    empty = tmp_path_factory.mktemp("empty")
    assert "the public file of dSprites, got none; get it from" in complaint(DataFileError, mv.datasets.load, "dsprites", empty)
    monkeypatch.setattr(dsprites, "MD5", "0" * 32)
    assert "expected the public file, MD5 000" in complaint(DataFileError, mv.datasets.load, "dsprites", folder)


def test_what_cannot_be_unpacked_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(dsprites, "FACTOR_SIZES", (3, 2, 4, 5, 6))
    assert "images of shape (600, 64, 64)" in complaint(DataFileError, mv.datasets.load, "dsprites", folder)
    assert [path.name for path in folder.iterdir()] == [dsprites.FILE]


@pytest.mark.parametrize("content", [b"", b"no array", np.lib.format.MAGIC_PREFIX])
def test_damaged_images_are_named(folder, content):
    (folder / dsprites.IMAGES).write_bytes(content)
    assert "the images that were unpacked here" in complaint(DataFileError, mv.datasets.load, "dsprites", folder)


def test_images_of_another_set_are_named(folder):
    np.save(folder / dsprites.IMAGES, np.zeros((3, 4), np.uint8))
    assert "expected uint8 of shape (600, 4096), got uint8 of shape (3, 4)" in complaint(
        DataFileError, mv.datasets.load, "dsprites", folder
    )


def test_the_factors_are_those_of_the_public_file():
    assert np.prod(dsprites.FACTOR_SIZES) == 737_280
    assert len(dsprites.FACTOR_NAMES) == len(dsprites.FACTOR_SIZES)
