"""MNIST: 70,000 handwritten digits of 28 × 28 grey pixels, from a folder or from a public mirror.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998.  From either source, the decompressed bytes of the four files have to match the
checksums below, so figures reported for MNIST really are about MNIST.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minivae.checks import DataFileError, is_there, reason, reject
from minivae.datasets.dataset import Dataset
from minivae.datasets.files import folder_named, mend
from minivae.datasets.idx import read_idx

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
WHAT = "the four MNIST files"
MEND = mend(WHAT)


class IdxFile(NamedTuple):
    name: str  # without .gz
    shape: tuple[int, ...]
    sha256: str  # of the decompressed bytes
    gz_sha256: str  # of the compressed file as the mirrors serve it


TRAIN = (
    IdxFile(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    IdxFile(
        "train-labels-idx1-ubyte",
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
)
TEST = (
    IdxFile(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    IdxFile(
        "t10k-labels-idx1-ubyte",
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)


def load(data_dir: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Return (train, test): 60,000 and 10,000 images as 8-bit pixels, in the files' order.

    The files come from ``data_dir``, else from the folder in the environment variable MINIVAE_DATA, else from the user's
    cache, where the first call downloads them (11 MB).

    Raises
    ------
    DataFileError
        For a folder or file that is missing or damaged, and for a download that no mirror could serve.
    """
    folder = folder_named(data_dir, WHAT)
    parts = []
    for files in (TRAIN, TEST):
        paths = (_download(file) if folder is None else _find(folder, file.name) for file in files)
        images, labels = (read_idx(path, file.shape, file.sha256) for path, file in zip(paths, files))
        _, height, width = images.shape
        parts.append(Dataset(images.reshape(len(images), -1), labels.astype(np.int64), (height, width), "mnist"))
    return parts[0], parts[1]


def _find(folder: Path, name: str) -> Path:
    paths = [path for path in (folder / name, folder / f"{name}.gz") if is_there(path)]
    if not paths:
        reject(str(folder / name), "this file, raw or as .gz", "neither", MEND, DataFileError)
    return paths[0]


def _download(file: IdxFile) -> str:
    """Return where the file lies in the user's cache, after fetching it from the first mirror that has it."""
    import pooch

    name, handled = f"{file.name}.gz", sys.exc_info()[1]  # what the caller is handling is no cause of what fails here
    for mirror in MIRRORS:
        try:
            path = pooch.retrieve(mirror + name, file.gz_sha256, fname=name, path=pooch.os_cache("minivae") / "mnist")
            break
        except (OSError, ValueError) as error:  # no network, a refusal or a full disk; another content than expected
            cause = _first_cause(error, handled)
    else:
        reject(name, f"a download from {' or '.join(MIRRORS)}", cause, MEND, DataFileError)
    return path


def _first_cause(error: BaseException, handled: BaseException | None) -> str:
    """Return what the system said: requests wraps that several times, and its own message quotes every wrap."""
    inner = error.__context__
    return reason(error) if inner is None or inner is handled else _first_cause(inner, handled)
