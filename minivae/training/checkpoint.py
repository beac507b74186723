"""One safe file in, one safe file out: arrays in safetensors, everything else as JSON in its header.  No pickle anywhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minivae.checks import DataFileError, check_path, reject

FORMAT, VERSION = "minivae", 1


def save(path: Any, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
    """Write named arrays and a JSON-able record to ``path``, whole or not at all.

    Raises ``DataFileError`` when the place cannot be written, or gives back something else; what was there before is then still
    there.
    """
    from safetensors.numpy import save as serialize

    text = json.dumps(record, default=_plain)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "record": text, "sha256": _checksum(contiguous, text)}
    write_whole(path, serialize(contiguous, metadata=metadata), prove=load)


def load(path: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the record that ``save`` wrote.

    Raises ``DataFileError`` for a file that is missing, damaged, or not one of ours.
    """
    from safetensors import safe_open

    path = check_path("path", path)
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would keep us waiting
        reject(str(path), "a file", "something else of this name", "", DataFileError)
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != str(VERSION):
                kind = f"{metadata.get('format', 'another format')} {metadata.get('version', '')}".strip()
                reject(str(path), f"a {FORMAT} file of version {VERSION}", kind, "save the model anew", DataFileError)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            if metadata["sha256"] != _checksum(arrays, metadata["record"]):
                reject(str(path), "contents that match their checksum", "others", "take another copy", DataFileError)
            record = json.loads(metadata["record"])
            if not isinstance(record, dict):
                reject(str(path), "a record of names and values", type(record).__name__, "save the model anew", DataFileError)
            return arrays, record
    except DataFileError:
        raise
    except Exception as error:  # safetensors, NumPy and json raise some ten types for a missing or damaged file
        cause = str(error).partition("\n")[0] or type(error).__name__
        reject(str(path), "a readable safetensors file", cause, "take another copy", DataFileError)


def _checksum(arrays: dict[str, np.ndarray], record: str) -> str:
    """Return the SHA-256 of all that is kept: the format has none of its own, and a weight with a flipped bit is still a number."""
    digest = hashlib.sha256(record.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_whole(path: Any, content: bytes, prove: Callable[[Path], Any] | None = None) -> None:
    """Put ``content`` at ``path`` in one step: a reader sees the old file or the new one, also after a crash.

    The bytes go to a temporary file in the same folder, are forced to the disk, and take the name in one rename.  Before that,
    ``prove`` reads the temporary file and raises ``DataFileError`` if it is not what it should be.
    """
    check_path("path", path)
    target = Path(os.path.realpath(path))  # through a link, which is to stay one
    if os.path.exists(target) and not os.path.isfile(target):  # a device or a pipe would be replaced by a file
        reject(str(path), "the name of a file", "something else of this name", "choose another name", DataFileError)
    # Not from ``tempfile``: what it creates is for its owner alone, and the rename would keep it so.
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if prove and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # to be read from the disk, not from memory
        if prove:
            prove(temporary)
        os.replace(temporary, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself is on the disk only now
        finally:
            os.close(folder)
    except DataFileError:
        raise
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        cause = getattr(error, "strerror", None) or str(error)
        reject(str(path), "a place that can be written", cause, "choose another folder, or make room", DataFileError)
    finally:
        with contextlib.suppress(OSError, ValueError):  # after the rename there is nothing left to remove
            temporary.unlink()


def _plain(value: Any) -> Any:
    """Return a NumPy number, which a setting may be, as Python's own."""
    return value.item()
