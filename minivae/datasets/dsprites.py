"""dSprites, from its public file: 737,280 binary images of 64 × 64 pixels that show one shape in all combinations of five factors.

Nothing is downloaded: put the file, 26 MB, into a folder of your own.  Unpacked, its images take 3 GB.  The first call therefore
unpacks them, shuffled, into a .npy file beside it, which all calls map into memory.  Only the images of a batch are then loaded.

Source: L. Matthey, I. Higgins, D. Hassabis and A. Lerchner, "dSprites: Disentanglement testing Sprites dataset", 2017,
https://github.com/google-deepmind/dsprites-dataset.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from minivae.checks import DataFileError, check_path, is_there, reject
from minivae.datasets.dataset import Dataset
from minivae.datasets.mnist import FOLDER_VARIABLE

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
IMAGES = "dsprites_shuffled.npy"
MD5 = "7da33b31b13a06f4b04a70402ce90c2e"
FACTOR_NAMES = ("shape", "scale", "rotation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)  # without the file's first factor, colour, which is always white
SIDE = 64
AT_ONCE = 4096  # number of images unpacked at a time
MEND = f"pass --data-dir (data_dir=...) or set {FOLDER_VARIABLE} to a folder with this file"


def load(data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return (train, test): four fifths and one fifth of the images in one fixed random order, mapped, with their ``factors``.

    ``y`` is the shape.  The folder is ``data_dir``, else the one in the environment variable MINIVAE_DATA.

    Raises
    ------
    DataFileError
        If the folder or file is missing, if it is not the public file, or if the images cannot be unpacked beside it.
    """
    source = "data_dir" if data_dir is not None else FOLDER_VARIABLE
    folder = Path(check_path(source, data_dir if data_dir is not None else os.environ.get(FOLDER_VARIABLE) or "."))
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
            reject(str(packed), "the public file of dSprites", "none", MEND, DataFileError)
        with packed.open("rb") as file:
            digest = _md5(file)
            if digest != MD5:
                reject(str(packed), f"the public file, MD5 {MD5}", f"MD5 {digest}", "download it again", DataFileError)
            try:
                _unpack(file, path, n, np.argsort(order))
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                cause = f"{type(error).__name__}: {error}".partition("\n")[0]
                reject(str(path), f"room for {n * SIDE * SIDE:,} bytes beside {FILE}", cause, "copy it elsewhere", DataFileError)
    try:
        images = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        reject(str(path), "the images that were unpacked here", f"{type(error).__name__}: {error}", "remove it", DataFileError)
    if images.shape != (n, SIDE * SIDE) or images.dtype != np.uint8:
        got = f"{images.dtype} of shape {images.shape}"
        reject(str(path), f"uint8 of shape {(n, SIDE * SIDE)}", got, "remove it", DataFileError)
    return images


def _unpack(file: IO[bytes], path: Path, n: int, place: np.ndarray) -> None:
    """Write image i to row ``place[i]`` of the .npy at ``path``, which appears whole or not at all; 1 becomes 255, full white."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(file) as archive, archive.open("imgs.npy") as stored:
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
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _md5(file: IO[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for block in iter(lambda: file.read(2**20), b""):
        digest.update(block)
    return digest.hexdigest()
