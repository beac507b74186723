"""dSprites, from its public file: 737,280 binary images of 64 × 64 pixels that show one shape in all combinations of five factors.

Nothing is downloaded: put the file, 26 MB, into a folder of your own.  Unpacked, its images take 3 GB.  The first call therefore
unpacks them, shuffled, into a .npy file beside it, which all calls map into memory.  Only the images of a batch are then loaded.

Source: L. Matthey, I. Higgins, D. Hassabis and A. Lerchner, "dSprites: Disentanglement testing Sprites dataset", 2017,
https://github.com/google-deepmind/dsprites-dataset.
"""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path

import numpy as np

from minivae.checks import DataFileError, check_regular, is_there, reason, reject
from minivae.datasets.dataset import Dataset
from minivae.datasets.files import appearing_whole, check_digest, folder_named, mend

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
IMAGES = "dsprites_shuffled.npy"
MD5 = "7da33b31b13a06f4b04a70402ce90c2e"
FACTOR_NAMES = ("shape", "scale", "rotation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)  # without the file's first factor, colour, which is always white
SIDE = 64
AT_ONCE = 4096  # number of images unpacked at a time
SOURCE = "https://github.com/google-deepmind/dsprites-dataset"


def load(data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return (train, test): four fifths and one fifth of the images in one fixed random order, mapped, with their ``factors``.

    ``y`` is the shape.  The folder is ``data_dir``, else the one in the environment variable MINIVAE_DATA.

    Raises
    ------
    DataFileError
        If the folder or file is missing, if it is not the public file, or if the images cannot be unpacked beside it.
    """
    folder = folder_named(data_dir, f"dSprites' {FILE}") or Path()
    n = math.prod(FACTOR_SIZES)
    order = np.random.RandomState(0).permutation(n)  # NumPy guarantees that this stream never changes
    images = _images(folder, n, order)
    factors = np.stack(np.unravel_index(order, FACTOR_SIZES), axis=1)
    dsprites = Dataset(images, factors[:, 0], (SIDE, SIDE), "dsprites", factors, FACTOR_NAMES, FACTOR_SIZES)
    return dsprites.subset(slice(n * 4 // 5)), dsprites.subset(slice(n * 4 // 5, None))


def _images(folder: Path, n: int, order: np.ndarray) -> np.ndarray:
    """Return the images (n, SIDE²) as 8-bit pixels in this order, mapped; unpack them first if that has not been done."""
    path = folder / IMAGES
    if not is_there(path):
        packed = folder / FILE
        if not is_there(packed):
            reject(str(packed), "the public file of dSprites", "none", mend("this file", SOURCE), DataFileError)
        check_digest(packed, "md5", MD5, "the public file", SOURCE)
        try:
            _unpack(packed, path, n, np.argsort(order))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            room = f"room for {n * SIDE * SIDE:,} bytes beside {FILE}"
            reject(str(path), room, reason(error), "copy it elsewhere", DataFileError)
    check_regular(path, "remove it")
    try:
        images = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        reject(str(path), "the images that were unpacked here", f"{type(error).__name__}: {error}", "remove it", DataFileError)
    if images.shape != (n, SIDE * SIDE) or images.dtype != np.uint8:
        got = f"{images.dtype} of shape {images.shape}"
        reject(str(path), f"uint8 of shape {(n, SIDE * SIDE)}", got, "remove it", DataFileError)
    return images


def _unpack(packed: Path, path: Path, n: int, place: np.ndarray) -> None:
    """Write image i to row ``place[i]`` of the .npy at ``path``, which appears whole or not at all; 1 becomes 255, full white."""
    with appearing_whole(path) as draft, zipfile.ZipFile(packed) as archive, archive.open("imgs.npy") as stored:
        version = np.lib.format.read_magic(stored)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stored)
        if (shape, fortran, dtype) != ((n, SIDE, SIDE), False, np.dtype("uint8")):
            raise ValueError(f"images of shape {shape} and {dtype}")
        out = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=(n, SIDE * SIDE))
        for start in range(0, n, AT_ONCE):
            rows = place[start : start + AT_ONCE]
            pixels = np.frombuffer(stored.read(len(rows) * SIDE * SIDE), dtype=np.uint8)
            out[rows] = 255 * pixels.reshape(len(rows), -1)
        out.flush()
        del out
