"""A benchmark in quick mode, and images that are learned in no time."""

from __future__ import annotations

import gzip
import struct
import sys

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks.cpu import scripts


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """``python -m benchmarks`` in quick mode; what it writes goes to a folder of the test's own."""

    def run(name, *args):
        monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--quick", "--results", str(tmp_path / "results"), *args])
        command.main()
        return tmp_path / "results"

    return run


def write_pixels(folder, pixels):
    folder.mkdir(exist_ok=True)
    header = struct.pack(">4I", 0x00000803, len(pixels), 28, 28)
    with gzip.open(folder / scripts.FILE, "wb", compresslevel=1) as file:
        file.write(header + pixels.tobytes())
    return folder / scripts.FILE


@pytest.fixture
def images(tmp_path):
    """A folder with images that are learned in no time: a pattern or its negative."""
    rng = np.random.default_rng(0)
    pattern = rng.random(784) < 0.5
    pixels = (255 * (pattern == (rng.random((2000, 1)) < 0.5))).astype(np.uint8)
    write_pixels(tmp_path, pixels)
    return tmp_path
