"""Small data files, whole and damaged, for the tests of what reads them."""

from __future__ import annotations

import gzip
import hashlib
import struct

import numpy as np
from hypothesis import HealthCheck, settings

from minivae.checks import MinivaeError

# A property writes its file anew for each example, so one folder per test is enough.
drawn = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


def attempt(call, *args):
    """Return (result, "") or, where the call refuses, (None, message); any other exception goes through."""
    try:
        return call(*args), ""
    except MinivaeError as error:
        return None, str(error)


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def archived(array: np.ndarray) -> bytes:
    return gzip.compress(idx_bytes(array), mtime=0)  # without the time, so that the same array gives the same bytes


def flip_bit(content: bytes, position: int) -> bytes:
    damaged = bytearray(content)
    damaged[position // 8] ^= 1 << position % 8
    return bytes(damaged)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


IMAGE = pixels(7, 5, 3)
RAW = idx_bytes(IMAGE)
GZ = gzip.compress(RAW)
SHA256 = hashlib.sha256(RAW).hexdigest()
