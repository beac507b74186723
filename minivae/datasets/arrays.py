"""Your own data: the .npy and .npz files that ``numpy.save`` and ``numpy.savez`` write.

Examples are rows (n, d) or images (n, height, width), also with a channel.  A .npy is mapped and never read completely, so it may
be larger than memory.  A .npz holds ``x`` and, if you like, the classes ``y`` (n,), -1 where there is none, and a test set of your
own, ``x_test`` and ``y_test``; it is read into memory.  Pickled objects are never loaded, since loading one can run any code.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from minivae.checks import DataFileError, check_matrix, check_regular, reject
from minivae.datasets.dataset import Dataset

SUFFIXES = (".npy", ".npz")
LIMIT = 2**29  # bytes that the arrays of a .npz may have: it is read into memory, and a small one can expand a thousandfold
NAMES = ("x", "y", "x_test", "y_test")


def load(path: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Return (train, test) from a .npy or .npz file.

    Without ``x_test`` in the file, the last fifth of the examples (rounded up) is the test set: both parts are then views,
    and nothing is copied.  Data that are sorted in some way need to be shuffled before they are saved.

    Raises
    ------
    DataFileError
        For a file that cannot be read as an array, and for one with pickled objects.
    InputError
        For arrays of another shape or kind.  Values are not checked here; ``fit`` does that chunk by chunk.
    """
    arrays = _read(os.fspath(path))
    if "x" not in arrays:
        reject(f"{path}", "an array named x", "none", "save it with np.savez(path, x=...)")
    train = _dataset(path, arrays, "x", "y")
    if "x_test" in arrays:
        test = _dataset(path, arrays, "x_test", "y_test")
        kinds = [f"{part.values.shape[1]} features of {part.values.dtype}" for part in (train, test)]
        if kinds[0] != kinds[1]:
            reject(f"{path}: x_test", f"{kinds[0]}, as in x", kinds[1], "save both in the same form")
        return train, test
    if "y_test" in arrays:
        reject(f"{path}", "y_test together with x_test", "y_test alone", "save x_test too")
    if len(train) < 2:
        reject(f"{path}: x", "at least 2 examples, to split them", f"{len(train)}", "save x_test too")
    n_train = len(train) * 4 // 5
    return train.subset(slice(n_train)), train.subset(slice(n_train, None))


def _read(path: str) -> dict[str, Any]:
    mend = "check the path, or save plain arrays of numbers again with np.save or np.savez"
    check_regular(path, mend)
    try:
        return {"x": _map_npy(path)} if path.endswith(".npy") else read_npz(path, NAMES)
    except Exception as error:  # NumPy, zipfile and zlib raise some ten types for a missing or damaged file
        cause = f"{type(error).__name__}: {error}".partition("\n")[0]
        reject(path, "a readable .npy or .npz file without pickled objects", cause, mend, DataFileError)


def read_npz(path: str | os.PathLike[str], names: Collection[str]) -> dict[str, np.ndarray]:
    """Return the arrays of these names that a .npz has, each compared with its checksum.

    NumPy's own reader stops where an array's header says that the array ends.  The checksum of a zip member is compared only
    when the member is read to its end, so an array that a flipped bit has made smaller would pass.  The names and the number of
    the members have no checksum, but each is in the file twice, and opening a member compares its names.
    """
    with zipfile.ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        with open(path, "rb") as file:
            file.seek(-12 - len(archive.comment), os.SEEK_END)
            announced = int.from_bytes(file.read(2), "little")
        if len(members) != announced:
            raise ValueError(f"{len(members)} different arrays in a file that announces {announced}")
        size = sum(member.file_size for name, member in members.items() if name in names)
        if size > LIMIT:
            raise ValueError(f"{size} bytes of arrays, {LIMIT} at most; a .npy of x alone is never read whole")
        arrays = {}
        for name, member in members.items():
            with archive.open(member) as stream:
                if name in names:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
                    if stream.read(1):
                        raise ValueError(f"{name} has more bytes than an array of shape {arrays[name].shape}")
    return arrays


def _map_npy(path: str) -> np.ndarray:
    array = np.lib.format.open_memmap(path, mode="r")
    if array.offset + array.nbytes != os.path.getsize(path):
        raise ValueError(f"the file has more bytes than an array of shape {array.shape}")
    return array


def _dataset(path: str | os.PathLike[str], arrays: dict[str, Any], x: str, y: str) -> Dataset:
    values, labels = arrays[x], None
    image_shape = image_shape_of(values.shape)
    if values.ndim > 2 and values.size:
        values = values.reshape(len(values), -1)
    check_matrix(f"{path}: {x}", values)
    if y in arrays:
        labels = np.asarray(arrays[y])
        if labels.dtype.kind not in "iu" or labels.shape != (len(values),):
            expected, got = f"one whole number per example, shape ({len(values)},)", f"{labels.dtype} of shape {labels.shape}"
            reject(f"{path}: {y}", expected, got, "save the classes as integers")
        labels = labels.astype(np.int64)
    return Dataset(values, labels, image_shape, Path(path).stem)


def image_shape_of(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return (height, width) of grey images (n, height, width), with an axis of length 1 for the channel or without; else None."""
    sizes = [length for length in shape[1:] if length != 1] if len(shape) == 4 else list(shape[1:])
    return (sizes[0], sizes[1]) if len(shape) > 2 and len(sizes) == 2 else None
