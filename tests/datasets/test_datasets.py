"""Data: what is loaded is what was published, and what is damaged is refused in one line that says how to mend it."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import math
import pickle
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.helpers import MNIST, complaint, needs_mnist

from minivae.checks import DataFileError, InputError, MinivaeError
from minivae.datasets import NAMES, Dataset, load, mnist, read_idx, sprites

# A property writes its file anew for each example, so one folder per test is enough.
drawn = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


# -- Dataset ------------------------------------------------------------------------------------------------------------


def test_x_divides_pixels_by_255():
    values = np.arange(256, dtype=np.uint8).reshape(2, 128)
    x = Dataset(values, None, None, "all").x
    np.testing.assert_array_equal(x, values.astype(np.float32) / np.float32(255))
    assert x.dtype == np.float32
    assert x.max() == 1


def test_x_leaves_real_numbers_as_they_are():
    stored = np.random.default_rng(0).standard_normal((5, 3))
    single = stored.astype(np.float32)
    assert np.shares_memory(Dataset(single, None, None, "single").x, single)
    np.testing.assert_array_equal(Dataset(stored, None, None, "double").x, single)


def test_subset_keeps_rows_together():
    data = Dataset(pixels(7, 3), np.arange(7), (3, 1), "rows", np.arange(14).reshape(7, 2), ("a", "b"), (7, 7))
    odd = data.subset(data.y % 2 == 1)
    assert len(odd) == 3
    np.testing.assert_array_equal(odd.values, data.values[[1, 3, 5]])
    np.testing.assert_array_equal(odd.y, [1, 3, 5])
    np.testing.assert_array_equal(odd.factors, [[2, 3], [6, 7], [10, 11]])
    assert (odd.image_shape, odd.name, odd.factor_names) == ((3, 1), "rows", ("a", "b"))
    assert np.shares_memory(data.subset(slice(2, 5)).values, data.values)


# -- load ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnst", "digits.csv", "", "DIGITS", None, 3, np.zeros((3, 2))])
def test_unknown_name_lists_the_choices(name):
    message = complaint(InputError, load, name)
    assert all(choice in message for choice in (*NAMES, ".npy", ".npz"))


@pytest.mark.parametrize("name", ["digits", "sprites"])
def test_loading_twice_gives_the_same_bytes(name):
    for first, second in zip(load(name), load(name)):
        assert first.values.tobytes() == second.values.tobytes()
        assert first.y.tobytes() == second.y.tobytes()


def test_import_loads_numpy_only():
    heavy = "{'pooch', 'requests', 'matplotlib', 'rich', 'scipy', 'sklearn', 'safetensors', 'cupy'}"
    code = f"import sys, minivae.datasets; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# -- digits -------------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    judge = pytest.importorskip(
        "sklearn.datasets", reason="scikit-learn, the independent copy of the digits, is absent"
    ).load_digits()
    train, test = load("digits")
    rows = [(y, *x) for part in (train, test) for x, y in zip(part.x, part.y)]
    assert sorted(rows) == sorted((y, *x) for x, y in zip(judge.data / 16, judge.target))


def test_digits_split_is_fixed_and_stratified():
    train, test = load("digits")
    assert (len(train), len(test)) == (1437, 360)
    for part in (train, test):
        assert part.x.dtype == np.float32
        assert part.values.shape == (len(part), 64)
        assert part.image_shape == (8, 8)
        assert part.y.shape == (len(part),)
    totals = np.bincount(train.y) + np.bincount(test.y)
    assert np.abs(np.bincount(test.y) - totals / 5).max() < 1
    # the label sequence pins the split and the order: reported figures compare only as long as it stays
    assert hashlib.sha256(test.y.astype(np.uint8).tobytes()).hexdigest()[:16] == "28beeed8f5e51f11"


# -- IDX ----------------------------------------------------------------------------------------------------------------


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
    assert ("directory" if "folder" in name else "No such file") in message


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


# -- MNIST --------------------------------------------------------------------------------------------------------------


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
    message = complaint(DataFileError, load, "mnist")
    for word in ("a download from http://127.0.0.1:9/", "ConnectionError", "--data-dir", "MINIVAE_DATA"):
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


# -- your own arrays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "int32", "bool", ">f4"])
def test_npy_round_trip_with_the_last_fifth_as_test_set(tmp_path, dtype):
    array = (pixels(13, 3) % 2).astype(dtype)
    np.save(tmp_path / "mine.npy", array)
    train, test = load(tmp_path / "mine.npy")
    assert (len(train), len(test)) == (10, 3)
    assert train.values.dtype == array.dtype
    np.testing.assert_array_equal(np.concatenate([train.values, test.values]), array)
    np.testing.assert_array_equal(train.x, array[:10].astype(np.float32) / (255 if dtype == "uint8" else 1))
    assert (train.y, train.image_shape, train.name) == (None, None, "mine")


@pytest.mark.parametrize(("n", "n_test"), [(2, 1), (5, 1), (6, 2), (10, 2)])
def test_last_fifth_is_rounded_up(tmp_path, n, n_test):
    np.save(tmp_path / "mine.npy", np.zeros((n, 3)))
    train, test = load(str(tmp_path / "mine.npy"))
    assert (len(train), len(test)) == (n - n_test, n_test)


def test_npy_larger_than_memory_stays_on_disk(tmp_path):
    path = tmp_path / "huge.npy"
    shape = (2**19, 2048)  # 4 GiB of float32, stored as a hole
    writer = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    writer[-1, -1] = 7
    del writer
    tracemalloc.start()
    train, test = load(path)
    assert (len(train) + len(test), test.x[-1, -1], test.values[-1, 0]) == (2**19, 7, 0)
    assert not train.values.flags.writeable  # a view of the file itself
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_npz_with_classes_and_test_set(tmp_path):
    x, y, x_test, y_test = pixels(7, 3), np.arange(7, dtype=np.uint8), pixels(2, 3), np.array([5, 6])
    np.savez_compressed(tmp_path / "mine.npz", x=x, y=y, x_test=x_test, y_test=y_test, more=np.zeros(2))
    train, test = load(tmp_path / "mine.npz")
    for data, values, labels in ((train, x, y), (test, x_test, y_test)):
        np.testing.assert_array_equal(data.values, values)
        np.testing.assert_array_equal(data.y, labels)
        assert data.y.dtype == np.int64


def test_npz_with_classes_is_split_with_them(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.eye(11), y=np.arange(11))
    train, test = load(tmp_path / "mine.npz")
    np.testing.assert_array_equal(train.y, range(8))
    np.testing.assert_array_equal(test.y, range(8, 11))
    np.testing.assert_array_equal(test.values, np.eye(11)[8:])


X = np.zeros((5, 3))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros(5)}, ["x: expected shape (n, d)", "(5,)"]),
        ({"x": np.zeros((0, 3))}, ["at least one example", "(0, 3)"]),
        ({"x": np.zeros((1, 3))}, ["at least 2 examples", "got 1", "x_test"]),
        ({"x": X + 1j}, ["real numbers", "complex128"]),
        ({"x": X.astype(str)}, ["real numbers", "<U32"]),
        ({"data": X}, ["an array named x", "np.savez"]),
        ({"x": X, "y": np.zeros(4, int)}, ["y: expected", "shape (5,)", "(4,)"]),
        ({"x": X, "y": np.zeros(5)}, ["y: expected", "whole number", "float64", "integers"]),
        ({"x": X, "x_test": np.zeros((2, 4))}, ["x_test: expected 3 features of float64", "4 features"]),
        ({"x": X, "x_test": np.zeros((2, 3), np.uint8)}, ["x_test: expected 3 features of float64", "uint8"]),
        ({"x": X, "x_test": np.zeros((2, 3)), "y_test": np.zeros(3, int)}, ["y_test: expected", "(2,)", "(3,)"]),
        ({"x": X, "y_test": np.zeros(3, int)}, ["y_test together with x_test", "alone"]),
    ],
)
def test_npz_of_the_wrong_form(tmp_path, arrays, words):
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    message = complaint(InputError, load, path)
    for word in (str(path), *words):
        assert word in message


class Exploit:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["pickle.npy", "object.npy", "object.npz"])
def test_pickled_objects_are_never_loaded(tmp_path, form):
    path, proof = tmp_path / form, tmp_path / "executed"
    array = np.array([[Exploit(proof)]], dtype=object)
    if form == "pickle.npy":
        path.write_bytes(pickle.dumps(Exploit(proof)))
    elif form == "object.npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, x=array)
    message = complaint(DataFileError, load, path)
    assert str(path) in message
    assert "without pickled objects" in message
    assert not proof.exists()


@pytest.mark.parametrize("name", ["absent.npy", "folder.npz", "empty.npy", "text.npz"])
def test_file_without_an_array(tmp_path, name):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npz").write_text("1, 2, 3\n")
    message = complaint(DataFileError, load, tmp_path / name)
    assert str(tmp_path / name) in message
    assert "np.save" in message


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the bytes of one array as .npy and, compressed, as .npz."""
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "a.npy", pixels(11, 3))
    np.savez_compressed(folder / "a.npz", x=pixels(11, 3))
    return {suffix: (folder / f"a{suffix}").read_bytes() for suffix in (".npy", ".npz")}


@drawn
@given(st.data(), st.sampled_from([".npy", ".npz"]))
def test_truncated_array_file_is_refused(tmp_path, saved, data, suffix):
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(saved[suffix][: data.draw(st.integers(0, len(saved[suffix]) - 1))])
    assert str(path) in complaint(DataFileError, load, path)


@drawn
@given(st.data(), st.sampled_from([".npy", ".npz"]))
@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional header parsing:UserWarning")
def test_array_file_with_one_flipped_bit_loads_or_is_refused_in_one_line(tmp_path, saved, data, suffix):
    path = tmp_path / f"flipped{suffix}"
    path.write_bytes(flip_bit(saved[suffix], data.draw(st.integers(0, 8 * len(saved[suffix]) - 1))))
    parts, message = attempt(load, path)
    assert parts is not None or str(path) in message  # a .npy has no checksum: a flip in its numbers makes another valid file
    assert "\n" not in message


# -- sprites ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sprite_grid():
    """Return every sprite's pixels in [0, 1], indexed by shape, scale, rotation, x, y, row and column."""
    grid = np.full((*sprites.FACTOR_SIZES, 20, 20), np.nan, dtype=np.float32)
    for part in load("sprites"):
        grid[tuple(part.factors.T)] = part.x.reshape(-1, 20, 20)
    return grid


@pytest.mark.slow
def test_sprites_are_all_combinations_of_their_factors():
    train, test = load("sprites")
    assert (len(train), len(test)) == (7680, 1920)
    assert train.factor_names == ("shape", "scale", "rotation", "x", "y")
    assert train.factor_sizes == (3, 4, 8, 10, 10)
    assert train.image_shape == (20, 20)
    assert train.values.dtype == np.uint8
    for part in (train, test):
        np.testing.assert_array_equal(part.y, part.factors[:, 0])
        for column, size in zip(part.factors.T, part.factor_sizes):  # neither part misses a class
            assert set(column) == set(range(size))
    factors, values = (np.concatenate([getattr(part, name) for part in (train, test)]) for name in ("factors", "values"))
    assert len(np.unique(factors, axis=0)) == math.prod(train.factor_sizes) == len(factors)
    assert len(np.unique(values, axis=0)) == len(values)  # no two look the same
    # pins the order and the split
    assert hashlib.sha256(test.factors.astype(np.uint8).tobytes()).hexdigest()[:16] == "e23df6e1250707bb"


@pytest.mark.slow
def test_sprites_are_light():
    tracemalloc.start()
    load("sprites")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_sprite_area_is_the_square_of_its_scale(sprite_grid):
    area = sprite_grid.sum(axis=(-2, -1))
    expected = np.array([3, 4, 5, 6])[None, :, None, None, None] ** 2
    # 8 x 8 points per pixel misplace an edge by less than 1/16 pixel at worst, 4 · side / 16: 8 % for the smallest square
    assert np.abs(area / expected - 1).max() < 0.08
    assert (np.diff(area, axis=1) > 0).all()


def test_sprite_centre_of_mass_is_its_position(sprite_grid):
    area = sprite_grid.sum(axis=(-2, -1))
    centres = np.arange(20) + 0.5
    from_left = (sprite_grid.sum(axis=-2) @ centres) / area
    from_top = (sprite_grid.sum(axis=-1) @ centres) / area
    position = 5.5 + np.arange(10)
    assert np.abs(from_left - position[:, None]).max() < 0.05
    assert np.abs(from_top - position[None, :]).max() < 0.05


def test_sprite_one_class_further_is_the_same_picture_one_pixel_further(sprite_grid):
    np.testing.assert_array_equal(sprite_grid[:, :, :, 1:], np.roll(sprite_grid[:, :, :, :-1], 1, axis=-1))
    np.testing.assert_array_equal(sprite_grid[:, :, :, :, 1:], np.roll(sprite_grid[:, :, :, :, :-1], 1, axis=-2))


def complex_moment(images: np.ndarray, order: int) -> np.ndarray:
    """Return E[(u + i v)^order] over each image's ink, u to the right and v down from a centre at (9.5, 9.5)."""
    offsets = np.arange(20) - 9.0
    powers = (offsets[None, :] + 1j * offsets[:, None]) ** order
    return (images * powers).sum(axis=(-2, -1)) / images.sum(axis=(-2, -1))


@pytest.mark.parametrize(("shape", "order", "direction"), [(0, 4, 45), (1, 2, 0), (2, 3, 60)], ids=sprites.SHAPES)
def test_sprite_rotation_is_the_phase_of_its_moment(sprite_grid, shape, order, direction):
    """A figure that repeats ``order`` times per turn has its corners, or its long axis, at the phase of that moment.

    At rotation 0 they are at ``direction`` degrees, and half a class is 5.6 degrees: the class can be read from the image.
    """
    moments = complex_moment(sprite_grid[shape, :, :, 4, 4], order)
    degrees = np.rad2deg(np.angle(moments)) / order - direction - 11.25 * np.arange(8)
    period = 360 / order
    assert np.abs((degrees + period / 2) % period - period / 2).max() < 5.6


def test_sprite_shapes_have_the_moments_of_their_names(sprite_grid):
    """The second moments are those of a square, an ellipse and an equilateral triangle of area s².

    Ink counted at pixel centres adds 1/12 to a variance along an axis on average, and takes 1/12 from it where edges and
    pixels coincide: ± 1/6 around the mean per axis, 1/3 for their sum.
    """
    area = np.array([9, 16, 25, 36])
    images = sprite_grid[:, :, :, 4, 4]
    offsets = np.arange(20) - 9.0
    squares = offsets[None, :] ** 2 + offsets[:, None] ** 2
    spread = (images * squares).sum(axis=(-2, -1)) / images.sum(axis=(-2, -1)) - 1 / 6
    elongation = np.abs(complex_moment(images, 2))
    a2, b2 = 2 / math.pi, 0.5 / math.pi  # the squared semi-axes of an ellipse of area 1
    for index, (spread_1, elongation_1) in enumerate([(1 / 6, 0), ((a2 + b2) / 4, (a2 - b2) / 4), (1 / (3 * math.sqrt(3)), 0)]):
        assert np.abs(spread[index] - spread_1 * area[:, None]).max() < 1 / 3 + 1e-6
        assert np.abs(elongation[index] - elongation_1 * area[:, None]).max() < 1 / 3 + 1e-6
