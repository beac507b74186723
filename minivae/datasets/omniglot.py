"""OMNIGLOT as Burda, Grosse and Salakhutdinov use it: 32,415 handwritten characters of 50 alphabets, 28 × 28 grey pixels.

Nothing is downloaded: put their file, ``chardata.mat``, into a folder of your own.  No checksum of it is published; names, shapes
and values of its arrays are checked.  SciPy reads MATLAB's format.

Source: B. Lake, R. Salakhutdinov and J. Tenenbaum, "Human-level concept learning through probabilistic program induction",
Science 350, 2015; the file: https://github.com/yburda/iwae.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from minivae.checks import DataFileError, check_regular, installing, is_there, reason, reject
from minivae.datasets.dataset import Dataset
from minivae.datasets.files import folder_named, mend

FILE = "chardata.mat"
SOURCE = "https://github.com/yburda/iwae/tree/master/datasets/OMNIGLOT"
SIDE = 28
ALPHABETS = 50
PARTS = (("data", "target", 24_345), ("testdata", "testtarget", 8070))


def load(data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return (train, test): 24,345 and 8070 images in [0, 1], float32, in the file's order; ``y`` is the alphabet, 0 … 49.

    The file stores images column by column; here they are row by row, and upright.

    Raises
    ------
    DataFileError
        For a folder or file that is missing, damaged or another, and where SciPy is absent.
    """
    path = (folder_named(data_dir, f"OMNIGLOT's {FILE}") or Path()) / FILE
    if not is_there(path):
        reject(str(path), "OMNIGLOT in MATLAB's format", "none", mend("this file", SOURCE), DataFileError)
    check_regular(path, mend("this file", SOURCE))
    try:
        from scipy.io import loadmat
    except ImportError:
        reject("omniglot", "SciPy, which reads MATLAB's format", "none", installing("omniglot"), DataFileError)
    names = [name for *both, _ in PARTS for name in both]
    try:
        arrays = loadmat(path, variable_names=names)
    except Exception as error:  # SciPy, NumPy and zlib raise some ten types for a damaged file
        reject(str(path), "a complete file in MATLAB's format", reason(error), f"get it from {SOURCE}", DataFileError)
    train, test = (_part(path, arrays, *part) for part in PARTS)
    return train, test


def _part(path: Path, arrays: dict[str, Any], images: str, target: str, count: int) -> Dataset:
    for name, rows in ((images, SIDE * SIDE), (target, ALPHABETS)):
        array = np.asarray(arrays.get(name))
        fits = array.dtype.kind in "fiub" and array.shape == (rows, count) and 0 <= array.min() <= array.max() <= 1  # no NaN is
        if not fits:
            got = f"{array.dtype} of shape {array.shape}" if name in arrays else "no such array"
            got += f" from {array.min()} to {array.max()}" if array.dtype.kind in "fiub" and array.size else ""
            expected = f"numbers from 0 to 1 of shape {(rows, count)}"
            reject(f"{path}: {name}", expected, got, f"get it from {SOURCE}", DataFileError)
    pixels = np.asarray(arrays[images], np.float32).reshape(SIDE, SIDE, count)  # column, row, image
    values = np.ascontiguousarray(pixels.transpose(2, 1, 0)).reshape(count, SIDE * SIDE)
    return Dataset(values, arrays[target].argmax(axis=0).astype(np.int64), (SIDE, SIDE), "omniglot")
