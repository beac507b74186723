"""IDX files: what was written is read, and what is damaged is refused in one line that says how to mend it."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.files import GZ, IMAGE, RAW, SHA256, attempt, drawn, flip_bit, idx_bytes, pixels
from support.helpers import complaint

from minivae.checks import DataFileError
from minivae.datasets import read_idx


@drawn
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans())
@example([2, 0, 3], True)
def test_idx_round_trip(tmp_path, shape, compressed):
    array = pixels(*shape)
    path = tmp_path / ("array.gz" if compressed else "array")
    path.write_bytes(gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array))
    found = read_idx(path, tuple(shape), hashlib.sha256(idx_bytes(array)).hexdigest())
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(read_idx(str(path)), array)


@drawn
@given(st.integers(0, len(RAW) - 1), st.integers(0, len(GZ) - 1))
@example(3, 0)
@example(15, 9)
def test_truncated_idx_is_refused_at_every_length(tmp_path, raw_length, gz_length):
    raw, gz = tmp_path / "cut", tmp_path / "cut.gz"
    raw.write_bytes(RAW[:raw_length])
    gz.write_bytes(GZ[:gz_length])
    for path in (raw, gz):
        message = complaint(DataFileError, read_idx, path)
        assert str(path) in message
        assert "fresh copy" in message


@drawn
@given(st.integers(0, 8 * len(RAW) - 1))
def test_one_flipped_bit_never_passes_the_checksum(tmp_path, position):
    path = tmp_path / "flipped"
    path.write_bytes(flip_bit(RAW, position))
    assert str(path) in complaint(DataFileError, read_idx, path, IMAGE.shape, SHA256)


@drawn
@given(st.integers(0, 8 * len(GZ) - 1))
def test_one_flipped_bit_in_gzip_is_refused_or_harmless(tmp_path, position):
    path = tmp_path / "flipped.gz"
    path.write_bytes(flip_bit(GZ, position))
    found, message = attempt(read_idx, path)
    if found is None:
        assert str(path) in message
    else:  # a bit of gzip's time stamp or padding, say, has no bearing on the content
        np.testing.assert_array_equal(found, IMAGE)


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"", {}, ["starting 00 00 08", "an empty file"]),
        (b"PK\x03\x04 and so on", {}, ["starting 00 00 08", "50 4b 03 04"]),
        (b"\0\0\x0d" + RAW[3:], {}, ["unsigned bytes", "00 00 0d 03"]),
        (b"\0\0\x08\x07" + RAW[4:], {}, ["01 to 04", "00 00 08 07"]),
        (RAW[:9], {}, ["a header of 16 bytes", "a file of 9 bytes"]),
        (RAW[:-2], {}, ["105 bytes after the header", "got 103"]),
        (RAW + b"!", {}, ["105 bytes after the header", "got more"]),
        (RAW, {"shape": (7, 3, 5)}, ["shape (7, 3, 5)", "(7, 5, 3)"]),
        (flip_bit(RAW, 900), {"sha256": SHA256}, [SHA256, hashlib.sha256(flip_bit(RAW, 900)).hexdigest()]),
        (b"\0\0\x08\x04" + b"\xff" * 16, {}, ["fits in memory", f"{(2**32 - 1) ** 4} bytes"]),
    ],
    ids=["empty", "magic", "type", "axes", "header", "short", "long", "shape", "checksum", "absurd"],
)
def test_wrong_idx_says_what_was_expected_and_what_came(tmp_path, content, options, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    message = complaint(DataFileError, read_idx, path, **options)
    for word in (str(path), "replace the file with a fresh copy", *words):
        assert word in message


def test_gz_that_is_not_gzip(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(RAW)
    message = complaint(DataFileError, read_idx, path)
    assert "complete, undamaged" in message
    assert "Not a gzipped file" in message


@pytest.mark.parametrize("name", ["absent", "absent.gz", "folder", "folder.gz"])
def test_idx_that_cannot_be_opened(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.gz").mkdir()
    message = complaint(DataFileError, read_idx, tmp_path / name)
    assert "permissions" in message
    assert ("got a folder" if "folder" in name else "No such file") in message


@pytest.mark.parametrize("members", [1, 64], ids=["one stream", "many streams"])
def test_gzip_bomb_does_not_expand(tmp_path, members):
    zeros = bytes(2**26 // members)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 10000)) + gzip.compress(zeros, 1) * (4 * members))
    del zeros
    tracemalloc.start()
    message = complaint(DataFileError, read_idx, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "got more" in message
    assert peak < 1e6  # 10 kB of array and gzip's buffers, where the whole content is 268 MB
