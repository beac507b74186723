"""Data sets: handwritten digits that come with the package, MNIST, generated sprites, dSprites, and your own arrays."""

from __future__ import annotations

import os
from pathlib import Path

from minivae.checks import check_path, reject
from minivae.datasets import arrays, digits, dsprites, mnist, sprites
from minivae.datasets.dataset import Dataset
from minivae.datasets.idx import read_idx

__all__ = ["NAMES", "Dataset", "load", "read_idx"]

NAMES = ("digits", "mnist", "sprites", "dsprites")


def load(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return (train, test) of a data set; a name always gives the same examples in the same order.

    Parameters
    ----------
    name : "digits" (embedded), "mnist" (a folder or a download), "sprites" (generated), "dsprites" (a folder with
        the public file), or the path of a .npy or .npz file
    data_dir : the folder with MNIST's four files, or with dSprites' one; None looks at the environment variable MINIVAE_DATA.
        MNIST alone is then downloaded if it is not there.
        The other data sets ignore it.

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
    if name == "digits":
        return digits.load()
    if name == "mnist":
        return mnist.load(data_dir)
    if name == "sprites":
        return sprites.load()
    if name == "dsprites":
        return dsprites.load(data_dir)
    return arrays.load(name)
