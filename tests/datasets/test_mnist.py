"""MNIST from a folder or a download: its four files, checked; anything else is refused in one line."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from support.files import archived, idx_bytes, pixels
from support.helpers import MNIST, complaint, needs_mnist

from minivae.checks import DataFileError
from minivae.datasets import Dataset, load, mnist


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Return a folder with four small files, two of them compressed, that the loader takes for the originals."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    arrays = {}
    for part, n in (("TRAIN", 11), ("TEST", 4)):
        files = []
        for file, array in zip(getattr(mnist, part), (pixels(n, 5, 3), pixels(n) % 10)):
            content, archive = idx_bytes(array), archived(array)
            sums = (hashlib.sha256(data).hexdigest() for data in (content, archive))
            files.append(mnist.IdxFile(file.name, array.shape, *sums))
            arrays[file.name] = array
            if part == "TRAIN":
                (folder / f"{file.name}.gz").write_bytes(archive)
            else:
                (folder / file.name).write_bytes(content)
        monkeypatch.setattr(mnist, part, tuple(files))
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    return folder, arrays


def assert_small_mnist(parts: tuple[Dataset, Dataset], arrays: dict[str, np.ndarray]) -> None:
    for data, prefix in zip(parts, ("train", "t10k")):
        images, labels = arrays[f"{prefix}-images-idx3-ubyte"], arrays[f"{prefix}-labels-idx1-ubyte"]
        np.testing.assert_array_equal(data.values, images.reshape(len(images), 15))
        np.testing.assert_array_equal(data.y, labels)
        assert data.values.dtype == np.uint8
        assert data.y.dtype == np.int64  # the file's unsigned bytes would wrap around in y − 1
        assert data.image_shape == (5, 3)


def test_mnist_from_a_folder(small_mnist, monkeypatch):
    folder, arrays = small_mnist
    assert_small_mnist(load("mnist", folder), arrays)
    monkeypatch.setenv("MINIVAE_DATA", str(folder))
    assert_small_mnist(load("mnist"), arrays)
    monkeypatch.setenv("MINIVAE_DATA", "/nowhere")
    assert_small_mnist(load("mnist", str(folder)), arrays)  # an argument goes before the environment


def test_mnist_without_its_folder(small_mnist, monkeypatch):
    folder, _ = small_mnist
    for argument in (folder / "absent", folder / "t10k-labels-idx1-ubyte"):
        message = complaint(DataFileError, load, "mnist", argument)
        assert message.startswith("data_dir: ")
        assert str(argument) in message
        assert "--data-dir" in message
    monkeypatch.setenv("MINIVAE_DATA", "/nowhere")
    assert complaint(DataFileError, load, "mnist").startswith("MINIVAE_DATA: ")


@pytest.mark.parametrize("part", ["train", "t10k"])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_mnist_with_a_missing_or_damaged_file(small_mnist, part, kind):
    folder, arrays = small_mnist
    name = f"{part}-{kind}-ubyte"
    path = folder / (f"{name}.gz" if part == "train" else name)
    other = idx_bytes(arrays[name] ^ 1)
    path.write_bytes(gzip.compress(other) if part == "train" else other)
    message = complaint(DataFileError, load, "mnist", folder)
    assert str(path) in message
    assert hashlib.sha256(other).hexdigest() in message
    path.write_bytes(path.read_bytes()[:-3])
    assert str(path) in complaint(DataFileError, load, "mnist", folder)
    path.unlink()
    message = complaint(DataFileError, load, "mnist", folder)
    assert str(folder / name) in message
    assert "MINIVAE_DATA" in message


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Serve a folder over HTTP as the second mirror, after a first one that has nothing; yield the folder and the requests."""
    served, asked = tmp_path / "served", []
    served.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def log_request(self, *_):
            asked.append(self.path)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(mnist, "MIRRORS", (address + "empty/", address))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served, asked
        server.shutdown()
        thread.join()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets XDG_CACHE_HOME move the cache")
def test_mnist_download_falls_back_checks_and_caches(small_mnist, mirror, tmp_path):
    _, arrays = small_mnist
    served, asked = mirror
    for name, array in arrays.items():
        (served / f"{name}.gz").write_bytes(archived(array))
    assert_small_mnist(load("mnist"), arrays)
    paths = [f"/{name}.gz" for name in arrays]
    assert asked == [path for name in paths for path in ("/empty" + name, name)]
    asked.clear()
    assert_small_mnist(load("mnist"), arrays)
    assert asked == []
    (tmp_path / "cache" / "minivae" / "mnist" / paths[0][1:]).write_bytes(b"damaged in the cache")
    assert_small_mnist(load("mnist"), arrays)
    assert asked == ["/empty" + paths[0], paths[0]]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets XDG_CACHE_HOME move the cache")
def test_mnist_download_of_something_else(small_mnist, mirror, tmp_path):
    (mirror[0] / "train-images-idx3-ubyte.gz").write_bytes(b"a page that asks you to log in")
    message = complaint(DataFileError, load, "mnist")
    for word in ("train-images-idx3-ubyte.gz", "hash", "--data-dir", "MINIVAE_DATA"):
        assert word in message
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_mnist_without_a_network(small_mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:9/", "http://127.0.0.1:9/"))  # the discard port: nobody listens
    monkeypatch.setenv("MINIVAE_DATA", "")
    try:
        load("mnist", tmp_path / "nowhere")
    except DataFileError:  # who then has it downloaded is told why that failed, not why the folder did
        message = complaint(DataFileError, load, "mnist")
    for word in ("a download from http://127.0.0.1:9/", "got Connection refused; ", "--data-dir", "MINIVAE_DATA"):
        assert word in message


@pytest.mark.slow
@needs_mnist
def test_mnist_itself():
    tracemalloc.start()
    train, test = load("mnist", MNIST)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 70e6  # 47 MB and 8 MB of pixels stay 8-bit; as float32 they would be 220 MB
    assert (train.values.shape, test.values.shape) == ((60000, 784), (10000, 784))
    assert (train.values.dtype, train.image_shape) == (np.uint8, (28, 28))
    # counts as published with the data set
    np.testing.assert_array_equal(np.bincount(test.y), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    np.testing.assert_array_equal(np.bincount(train.y), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    assert train.values.mean(dtype=float) / 255 == pytest.approx(0.1307, abs=5e-5)
    assert test.x.min() == 0
    assert test.x.max() == 1
