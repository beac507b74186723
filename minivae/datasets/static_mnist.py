"""Statically binarised MNIST: Larochelle's fixed draw of black and white pixels, on which many published figures were computed.

Nothing is downloaded: put the three text files, 110 MB, into a folder of your own.  The first call checks them and writes
their pixels as bits, 7 MB, into a file beside them, which later calls read.

Source: H. Larochelle and I. Murray, "The Neural Autoregressive Distribution Estimator", AISTATS 2011; R. Salakhutdinov and
I. Murray, "On the quantitative analysis of deep belief networks", ICML 2008, drew the pixels.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np

from minivae.checks import DataFileError, check_regular, is_there, reason, reject
from minivae.datasets.arrays import read_npz
from minivae.datasets.dataset import Dataset
from minivae.datasets.files import appearing_whole, check_digest, folder_named, mend

SOURCE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
SIDE = 28
FILES = {  # number of images, and the SHA-256 checksum that TensorFlow Datasets publishes
    "binarized_mnist_train.amat": (50_000, "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"),
    "binarized_mnist_valid.amat": (10_000, "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"),
    "binarized_mnist_test.amat": (10_000, "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"),
}
BITS = "binarized_mnist_bits.npz"
WHAT = f"the files {', '.join(FILES)}"


def load(data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return (train, test): the 50,000 images to train on with the 10,000 to validate on after them, and the 10,000 to test on.

    Who validates holds out the last 10,000 of ``train``.  Pixels are 8-bit, 0 or 255; there are no labels.

    Raises
    ------
    DataFileError
        For a folder or file that is missing, or another than the published one.
    """
    folder = folder_named(data_dir, WHAT) or Path()
    counts = [count for count, _ in FILES.values()]
    kept = folder / BITS
    if is_there(kept):
        bits = _read_bits(kept, sum(counts))
    else:
        bits = np.concatenate([_read(folder / name, *expected) for name, expected in FILES.items()])
        with contextlib.suppress(OSError), appearing_whole(kept) as draft:  # a folder that cannot be written is read anew each time
            np.savez(draft, bits=bits)
    pixels = np.unpackbits(bits, axis=1, count=SIDE * SIDE)
    pixels *= 255
    data = Dataset(pixels, None, (SIDE, SIDE), "static-mnist")
    n_train = counts[0] + counts[1]
    return data.subset(slice(n_train)), data.subset(slice(n_train, None))


def _read(path: Path, count: int, sha256: str) -> np.ndarray:
    """Return the images of a text file as bits (count, 98): each line is 784 digits with a blank between them."""
    if not is_there(path):
        reject(str(path), "a file of statically binarised MNIST", "none", mend(WHAT, SOURCE), DataFileError)
    check_regular(path, mend(WHAT, SOURCE))
    width = 2 * SIDE * SIDE  # bytes of a line, with its end
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        reject(str(path), "a readable file", reason(error), "check its permissions", DataFileError)
    whole = content[: len(content) // width * width].reshape(-1, SIDE * SIDE, 2)
    form = np.full(SIDE * SIDE, ord(" "), np.uint8)
    form[-1] = ord("\n")
    wrong = ((whole[:, :, 0] | 1) != ord("1")) | (whole[:, :, 1] != form)
    if wrong.any():
        line = int(wrong.any(axis=1).argmax())
        pixel = int(wrong[line].argmax())
        got = repr(whole[line, pixel].tobytes().decode("latin-1"))
        expected = f"{SIDE * SIDE} digits, 0 or 1, each followed by a blank, the last by the line's end"
        reject(f"{path}, line {line + 1}", expected, f"{got} at digit {pixel + 1}", f"get it from {SOURCE}", DataFileError)
    if len(content) != count * width:
        got = f"{len(content) // width:,} and {len(content) % width} bytes"
        reject(str(path), f"{count:,} lines of {SIDE * SIDE} digits", got, f"get it from {SOURCE}", DataFileError)
    check_digest(path, "sha256", sha256, "the published file", SOURCE)
    return np.packbits(whole[:, :, 0] & 1, axis=1)


def _read_bits(path: Path, count: int) -> np.ndarray:
    check_regular(path, "remove it")
    try:
        bits = read_npz(path, ("bits",))["bits"]
        if (bits.shape, bits.dtype) != ((count, SIDE * SIDE // 8), np.uint8):
            raise ValueError(f"{bits.dtype} of shape {bits.shape}")
    except Exception as error:  # NumPy, zipfile and zlib raise some ten types for a damaged file
        reject(str(path), "the bits that were written here", reason(error), "remove it", DataFileError)
    return bits
