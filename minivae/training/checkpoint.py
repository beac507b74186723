"""Read and write one file: arrays as safetensors, everything else as JSON in its header.  Nothing is pickled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minivae.checks import DataFileError, DeviceError, MinivaeError, check_path, check_regular, reason, reject

FORMAT, VERSION = "minivae", 1


class Kind(NamedTuple):
    """The dtype and shape of an array, known before it is read."""

    dtype: str  # as safetensors names it, such as "F32"
    shape: tuple[int, ...]


def save(path: Any, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
    """Write named arrays and a record of values that JSON can hold to ``path``, completely or not at all.

    Raises ``DataFileError`` if the file cannot be written or reads back differently; an older file of that name is then kept.
    """
    write_whole(path, packed(arrays, record), prove=load)


def packed(arrays: dict[str, np.ndarray], record: dict[str, Any]) -> bytes:
    """Return the bytes of a file: the same for the same arrays and record."""
    from safetensors.numpy import save as serialize

    text = json.dumps(record, default=plain)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "record": text, "sha256": checksum(contiguous, text)}
    content = serialize(contiguous, metadata=metadata)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True).encode()  # safetensors writes the entries in any order
    header += b" " * (-len(header) % 8)
    return b"".join((len(header).to_bytes(8, "little"), header, memoryview(content)[end:]))


def kind_of(dtype: Any, shape: tuple[int, ...]) -> Kind:
    """Return the kind that an array of this dtype and shape has in a file."""
    dtype = np.dtype(dtype)
    return Kind(f"{dtype.kind.upper()}{8 * dtype.itemsize}", tuple(shape))


def check_kinds(expected: dict[str, Kind], found: dict[str, Kind]) -> None:
    """Refuse missing arrays, unknown ones, and those of another kind."""
    for name in sorted(expected.keys() ^ found.keys()):  # the same complaint every time
        reject(f"array {name}", "one" if name in expected else "none of this name", "none" if name in expected else "one")
    for name, kind in found.items():
        if kind != expected[name]:
            reject(f"array {name}", "{} of shape {}".format(*expected[name]), "{} of shape {}".format(*kind))


def check_finite(arrays: dict[str, np.ndarray]) -> None:
    """Refuse NaN and ±inf."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            reject(f"array {name}", "finite numbers", "NaN or an infinite one")


class Kept(NamedTuple):
    """What is in a file, before its arrays are read."""

    record: dict[str, Any]
    kinds: dict[str, Kind]  # of each array
    arrays: Callable[[], dict[str, np.ndarray]]


def load(path: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the record that ``save`` wrote.

    Raises ``DataFileError`` for a file that is missing, damaged, or not one of ours.
    """
    with reading(path) as kept:
        return kept.arrays(), kept.record


@contextlib.contextmanager
def reading(path: Any, what: str = "a readable safetensors file", mend: str = "take another copy") -> Iterator[Kept]:
    """Yield what is in a file before its arrays are read; reading the arrays compares them with their checksum.

    Any error in the block becomes a ``DataFileError`` that names the file and says that it should have been ``what``.
    """
    from safetensors import safe_open

    path = check_path("path", path)
    check_regular(path)
    try:
        open(path, "rb").close()  # its error says why; safetensors calls every file that it cannot open missing
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != str(VERSION):
                kind = f"{metadata.get('format', 'another format')} {metadata.get('version', '')}".strip()
                reject(str(path), f"a {FORMAT} file of version {VERSION}", kind, "save the model anew", DataFileError)
            record = json.loads(metadata["record"])
            if not isinstance(record, dict):
                reject(str(path), "a record of names and values", type(record).__name__, "save the model anew", DataFileError)

            def arrays() -> dict[str, np.ndarray]:
                read = {name: file.get_tensor(name) for name in kinds}
                if metadata["sha256"] != checksum(read, metadata["record"]):
                    reject(str(path), "contents that match their checksum", "others", "take another copy", DataFileError)
                return read

            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            kinds = {name: Kind(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            yield Kept(record, kinds, arrays)
    except (DataFileError, DeviceError):
        raise
    except Exception as error:  # safetensors, NumPy and json raise some ten types, and a damaged record may hold anything
        mended = isinstance(error, MinivaeError) and "; " in str(error)
        reject(str(path), what, reason(error), "" if mended else mend, DataFileError)


def checksum(arrays: dict[str, np.ndarray], record: str) -> str:
    """Return the SHA-256 of arrays and record: safetensors has no checksum, and a weight with a flipped bit is still a number."""
    digest = hashlib.sha256(record.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view("uint8").data)
    return digest.hexdigest()


LEFTOVER = r"\..+\.[0-9a-f]{8}"  # the name of a file or folder that is still being written


def beside(path: Path) -> Path:
    """Return a hidden name in the same folder as a path, for a file that takes the path's name when it is complete."""
    return path.parent / f".{path.name[:50]}.{secrets.token_hex(4)}"


def write_whole(path: Any, content: bytes, prove: Callable[[Path], Any] | None = None) -> None:
    """Put ``content`` at ``path`` in one step: a reader sees the old file or the new one, also after a crash.

    The bytes go to a temporary file in the same folder, are forced to the disk, and take the name in one rename.  Before that,
    ``prove`` reads the temporary file and raises ``DataFileError`` if it is not what it should be.
    """
    check_path("path", path)
    try:
        target = Path(os.path.realpath(path))  # a symbolic link stays a link
    except OSError as error:  # of the working folder, which may be gone
        reject(str(path), "a place that can be written", reason(error), "choose another folder", DataFileError)
    check_regular(target)
    # Not from ``tempfile``: only the owner may read what it creates, and the rename would keep these permissions.
    temporary = beside(target)
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if prove and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that ``prove`` reads from the disk
        if prove:
            prove(temporary)
        os.replace(temporary, target)
        with contextlib.suppress(OSError):  # CIFS cannot sync a folder and Windows cannot open one; the rename is made all the same
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # only now is the rename itself on the disk
            finally:
                os.close(folder)
    except DataFileError:
        raise
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        reject(str(path), "a place that can be written", reason(error), "choose another folder, or make room", DataFileError)
    finally:
        with contextlib.suppress(OSError, ValueError):  # after the rename there is nothing left to remove
            temporary.unlink()


def plain(value: Any) -> Any:
    """Return a NumPy number, as a setting may be, as a Python number."""
    return value.item()
