"""The IDX format of the MNIST files: a header that announces an array's shape, then its bytes.

A header is two zero bytes, a code for the type of the elements (8: unsigned byte), the number of axes, and one big-endian
32-bit size per axis.  The size of everything that follows is therefore known before it is read, and nothing longer is ever
decompressed: a small file that would expand without end takes no more memory than the array it announces, which is limited.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from typing import IO, NoReturn

import numpy as np

from minivae.checks import DataFileError, check_path, check_regular, reject

LIMIT = 600_000_000  # bytes; the largest of the MNIST family has 547,178,688
MAGICS = [bytes((0, 0, 8, axes)) for axes in (1, 2, 3, 4)]


def read_idx(path: str | os.PathLike[str], shape: tuple[int, ...] | None = None, sha256: str | None = None) -> np.ndarray:
    """Return the array of unsigned bytes in an IDX file, raw or (named ``.gz``) compressed with gzip; read-only.

    Parameters
    ----------
    shape : the shape that the header has to announce; None accepts any shape up to the limit
    sha256 : hexadecimal SHA-256 checksum that the decompressed file, header included, has to have; None asks for none

    Raises
    ------
    DataFileError
        For a file that is missing, unreadable, truncated, corrupted, too long, of another kind, shape or content.
    """
    path = check_path("path", path)
    with _open(path) as stream:
        magic = _read(stream, 4, path)
        if magic not in MAGICS:
            _refuse(path, "an IDX file of unsigned bytes (starting 00 00 08 and 01 to 04)", magic.hex(" ") or "an empty file")
        header = _read(stream, 4 * magic[3], path)
        if len(header) < 4 * magic[3]:
            _refuse(path, f"a header of {4 + 4 * magic[3]} bytes", f"a file of {4 + len(header)} bytes")
        found = struct.unpack(f">{magic[3]}I", header)
        if shape is not None and found != shape:
            _refuse(path, f"an array of shape {shape}", f"a header that says {found}")
        size = math.prod(found)
        if size > LIMIT:
            _refuse(path, f"an array that fits in memory, of at most {LIMIT} bytes", f"a header that announces {size} bytes")
        content = _read(stream, size + 1, path)  # one byte more than announced shows that there is more
    if len(content) != size:
        came = "more" if len(content) > size else f"{len(content)}"
        _refuse(path, f"{size} bytes after the header of an array of shape {found}", came)
    if sha256 is not None:
        digest = hashlib.sha256(magic + header)
        digest.update(content)
        if digest.hexdigest() != sha256:
            _refuse(path, f"content with the SHA-256 checksum {sha256}", digest.hexdigest())
    return np.frombuffer(content, dtype=np.uint8).reshape(found)


def _open(path: str) -> IO[bytes] | gzip.GzipFile:
    check_regular(path, "check the path and its permissions")
    try:
        return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        cause = getattr(error, "strerror", None) or str(error)
        reject(path, "a readable IDX file", cause, "check the path and its permissions", DataFileError)


def _read(stream: IO[bytes] | gzip.GzipFile, size: int, path: str) -> bytes:
    """Return up to ``size`` bytes; fewer only at the end of the file."""
    try:
        return stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        _refuse(path, "a complete, undamaged file", f"{type(error).__name__}: {error}")
    except (MemoryError, OverflowError):
        _refuse(path, "an array that fits in memory", f"a header that announces {size - 1} bytes")


def _refuse(path: str, expected: str, got: str) -> NoReturn:
    reject(path, expected, got, "replace the file with a fresh copy of the original", DataFileError)
