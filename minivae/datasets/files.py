"""The user's own copies of public files: where they lie, whether they are the originals, and what is written beside them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from minivae.checks import DataFileError, check_path, check_regular, is_there, reason, reject

FOLDER_VARIABLE = "MINIVAE_DATA"


def folder_named(data_dir: str | os.PathLike[str] | None, what: str) -> Path | None:
    """Return the folder ``data_dir``, else that in the environment variable MINIVAE_DATA, else None; refuse one that is not there.

    ``what`` tells which files belong there, such as "the four MNIST files".
    """
    source = "data_dir" if data_dir is not None else FOLDER_VARIABLE
    folder = check_path(source, data_dir) if data_dir is not None else os.environ.get(FOLDER_VARIABLE) or None
    if folder is not None and not (is_there(folder) and os.path.isdir(folder)):
        reject(source, f"a folder with {what}", f"no folder at {os.fspath(folder)!r}", mend(what), DataFileError)
    return None if folder is None else Path(folder)


def mend(what: str, source: str = "") -> str:
    """Return how to tell which folder has the files, and where they can be downloaded."""
    download = f"get it from {source}; then " if source else ""
    return f"{download}pass --data-dir (data_dir=...) or set {FOLDER_VARIABLE} to a folder with {what}"


def check_digest(path: Path, algorithm: str, expected: str, what: str, source: str) -> None:
    """Refuse a file that has another checksum, by ``hashlib``'s algorithm of that name, than the published file."""
    check_regular(path, f"get it from {source}")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(2**20), b""):
                digest.update(block)
    except OSError as error:
        reject(str(path), "a readable file", reason(error), "check its permissions", DataFileError)
    name = algorithm.upper()
    if digest.hexdigest() != expected:
        reject(str(path), f"{what}, {name} {expected}", f"{name} {digest.hexdigest()}", f"get it from {source}", DataFileError)


@contextlib.contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """Give the name of a draft beside ``path``, which takes its place at the end, and is removed if that is not reached."""
    draft = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
