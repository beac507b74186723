"""Data sets: handwritten digits that come with the package, MNIST and its relatives, sprites, dSprites, and your own arrays."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from minivae.checks import check_path, reject
from minivae.datasets import arrays, digits, dsprites, mnist, omniglot, relatives, sprites, static_mnist
from minivae.datasets.dataset import Dataset
from minivae.datasets.idx import read_idx

__all__ = ["NAMES", "Dataset", "load", "read_idx"]

LOADERS: dict[object, Callable[..., tuple[Dataset, Dataset]]] = {  # each takes ``data_dir``
    "digits": lambda data_dir: digits.load(),
    "mnist": mnist.load,
    "sprites": lambda data_dir: sprites.load(),
    "dsprites": dsprites.load,
    "static-mnist": static_mnist.load,
    "omniglot": omniglot.load,
    **{name: partial(relatives.load, name) for name in relatives.RELATIVES},
}
NAMES = tuple(map(str, LOADERS))


def load(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return (train, test) of a data set; a name always gives the same examples in the same order.

    Parameters
    ----------
    name : "digits" (embedded), "sprites" (generated), "mnist" (from a folder, or downloaded), the path of a .npy or .npz file, or
        one that is read from a folder with its public files: "dsprites", "static-mnist" (train: 50,000 images to train on, then
        10,000 to validate on), "omniglot", "fashion-mnist", "kmnist", "emnist-letters"
    data_dir : the folder with the files; None looks at the environment variable MINIVAE_DATA, and then in the current folder or,
        for MNIST alone, downloads what is not in the user's cache.  The data sets without files ignore it.

    Raises
    ------
    InputError
        For an unknown name, and for an array in a file that has another shape or kind than (n, d) real numbers.
    DataFileError
        For a file that is missing, damaged or not the original, and for a download that failed.
    """
    choices = f"one of {', '.join(NAMES)}, or the path of a .npy or .npz file"
    check_path("data set", name, choices)
    if name not in NAMES and Path(name).suffix not in arrays.SUFFIXES:
        reject("data set", choices, repr(name))
    return LOADERS[name](data_dir) if name in LOADERS else arrays.load(name)
