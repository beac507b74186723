"""Fashion-MNIST, KMNIST and EMNIST letters: images of 28 × 28 grey pixels in the file format of MNIST.  Nothing is downloaded.

Fashion-MNIST's and KMNIST's files have the names of MNIST's own, so the folder decides, and the published MD5 checksums of the
compressed files (as in torchvision) tell them apart.  EMNIST has a published checksum of the whole archive only, MD5
58c8d27c78d21e728a6bc7b3cc06412e; of its four files for letters, shapes and labels are checked, and by gzip the bytes.

Sources: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
arXiv:1708.07747; T. Clanuwat et al., "Deep Learning for Classical Japanese Literature", arXiv:1812.01718;
G. Cohen, S. Afshar, J. Tapson and A. van Schaik, "EMNIST: an extension of MNIST to handwritten letters", arXiv:1702.05373.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minivae.checks import DataFileError, is_there, reject
from minivae.datasets.dataset import Dataset
from minivae.datasets.files import check_digest, folder_named, mend
from minivae.datasets.idx import read_idx

SIDE = 28


@dataclass(frozen=True)
class Relative:
    """A data set in IDX files; ``prefixes`` begin the names of the training and the test files, ``md5`` is of images and labels."""

    title: str
    source: str
    classes: tuple[int, ...]
    prefixes: tuple[str, str] = ("train", "t10k")
    counts: tuple[int, int] = (60_000, 10_000)
    md5: tuple[tuple[str, str], ...] = ()
    transposed: bool = False


RELATIVES = {
    "fashion-mnist": Relative(
        "Fashion-MNIST",
        "https://github.com/zalandoresearch/fashion-mnist",
        tuple(range(10)),
        md5=(
            ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
            ("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "kmnist": Relative(
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist",
        tuple(range(10)),
        md5=(
            ("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344"),
            ("5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134"),
        ),
    ),
    "emnist-letters": Relative(
        "EMNIST letters",
        "https://www.nist.gov/itl/products-and-services/emnist-dataset",
        tuple(range(1, 27)),  # A or a to Z or z
        ("emnist-letters-train", "emnist-letters-test"),
        (124_800, 20_800),
        transposed=True,
    ),
}


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return (train, test) of one of ``RELATIVES`` as 8-bit pixels (n, 784), in the files' order and upright.

    Raises
    ------
    DataFileError
        For a folder or file that is missing, damaged or of another data set.
    """
    relative = RELATIVES[name]
    folder = folder_named(data_dir, f"the four files of {relative.title}") or Path()
    parts = []
    for prefix, count, sums in zip(relative.prefixes, relative.counts, relative.md5 or ((None, None),) * 2):
        names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        paths = [_find(folder, file, relative, md5) for file, md5 in zip(names, sums)]
        images, labels = (read_idx(path, shape) for path, shape in zip(paths, ((count, SIDE, SIDE), (count,))))
        if set(np.unique(labels)) != set(relative.classes):
            expected = f"the labels {relative.classes[0]} to {relative.classes[-1]}, all of them"
            reject(str(paths[1]), expected, f"{set(np.unique(labels).tolist())}", f"get it from {relative.source}", DataFileError)
        if relative.transposed:
            images = images.swapaxes(1, 2)
        parts.append(Dataset(images.reshape(count, SIDE * SIDE), labels.astype(np.int64), (SIDE, SIDE), name))
    return parts[0], parts[1]


def _find(folder: Path, name: str, relative: Relative, md5: str | None) -> Path:
    """Return the path of the compressed file, or where no checksum is known, of the one that is there."""
    paths = [path for path in (folder / f"{name}.gz", folder / name) if is_there(path)]
    if not paths or (md5 and paths[0].suffix != ".gz"):
        what = f"a file of {relative.title}" + (", compressed as it was published" if md5 else ", raw or as .gz")
        reject(str(folder / f"{name}.gz"), what, "none", mend("its four files", relative.source), DataFileError)
    if md5:
        check_digest(paths[0], "md5", md5, f"the file of {relative.title}", relative.source)
    return paths[0]
