"""Data sets in the user's own copies of public files, made here in small: what is read is what they hold, faults are named."""

from __future__ import annotations

import gzip
import hashlib
import struct
import sys

import numpy as np
import pytest
from support.helpers import complaint

from minivae.checks import DataFileError
from minivae.datasets import NAMES, load, omniglot, relatives, static_mnist
from minivae.datasets.relatives import RELATIVES, Relative

FROM_FILES = ("dsprites", "static-mnist", "omniglot", *RELATIVES)


@pytest.fixture(autouse=True)
def no_folder_from_outside(monkeypatch):
    monkeypatch.delenv("MINIVAE_DATA", raising=False)


@pytest.mark.parametrize("name", FROM_FILES)
def test_missing_files_are_named_with_where_to_get_them_and_which_argument_names_the_folder(name, tmp_path, monkeypatch):
    assert name in NAMES
    monkeypatch.chdir(tmp_path)
    for data_dir in (None, tmp_path):
        message = complaint(DataFileError, load, name, data_dir)
        assert "get it from http" in message
        assert "--data-dir (data_dir=...) or set MINIVAE_DATA" in message
    message = complaint(DataFileError, load, name, tmp_path / "absent")
    assert message.startswith("data_dir: expected a folder with ")
    monkeypatch.setenv("MINIVAE_DATA", str(tmp_path / "absent"))
    assert complaint(DataFileError, load, name).startswith("MINIVAE_DATA: expected a folder with ")
    assert not list(tmp_path.iterdir())


# -- static MNIST -------------------------------------------------------------------------------------------------------


def amat(digits: np.ndarray) -> bytes:
    return "".join(" ".join(map(str, row)) + "\n" for row in digits.tolist()).encode()


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Return (folder, digits by file) of three files of 7, 3 and 5 images that are taken for the published ones."""
    digits, files = {}, {}
    for seed, (name, count) in enumerate(zip(static_mnist.FILES, (7, 3, 5))):
        digits[name] = np.random.default_rng(seed).integers(0, 2, (count, 784))
        (tmp_path / name).write_bytes(amat(digits[name]))
        files[name] = (count, hashlib.sha256(amat(digits[name])).hexdigest())
    monkeypatch.setattr(static_mnist, "FILES", files)
    return tmp_path, digits


def test_static_mnist_is_training_then_validation_then_test(drawn):
    folder, digits = drawn
    learned, held_out, scored = digits.values()
    for _ in range(2):
        train, test = load("static-mnist", folder)
        np.testing.assert_array_equal(train.x, np.concatenate([learned, held_out]))
        np.testing.assert_array_equal(test.x, scored)
        assert train.values.dtype == np.uint8
        assert (train.y, train.image_shape, train.name) == (None, (28, 28), "static-mnist")
        for name in digits:  # the second time, the bits are enough
            (folder / name).unlink(missing_ok=True)
    assert [path.name for path in folder.iterdir()] == [static_mnist.BITS]


def test_static_mnist_in_a_folder_that_cannot_be_written_is_read_anew(drawn, monkeypatch):
    folder, digits = drawn
    monkeypatch.setattr(np, "savez", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("read-only")))
    for _ in range(2):
        np.testing.assert_array_equal(load("static-mnist", folder)[1].x, [*digits.values()][2])
    assert sorted(path.name for path in folder.iterdir()) == sorted(digits)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: 1568 * 2 + 8] + b"2" + text[1568 * 2 + 9 :], ["line 3", "0 or 1", "'2 ' at digit 5"]),
        (lambda text: text[:1] + b"," + text[2:], ["line 1", "'0,' at digit 1"]),
        (lambda text: text.replace(b"\n", b"\r\n"), ["line 1", r"'0\r' at digit 784"]),
        (lambda text: text[:-1568], ["7 lines of 784 digits", "got 6 and 0 bytes"]),
        (lambda text: text[:-100], ["7 lines of 784 digits", "got 6 and 1468 bytes"]),
        (lambda text: text + text[:1568], ["got 8 and 0 bytes"]),
        (lambda text: b"", ["got 0 and 0 bytes"]),
        (lambda text: b"1" + text[1:], ["the published file, SHA256 ", "got SHA256 "]),
    ],
    ids=["a two", "comma", "windows", "short", "truncated", "long", "empty", "another draw"],
)
def test_damaged_static_mnist_names_file_and_line_and_leaves_nothing(drawn, damage, words):
    folder, digits = drawn
    name = next(iter(digits))
    text = amat(np.concatenate([np.zeros((1, 784), int), digits[name][1:]]))  # begins with a 0
    (folder / name).write_bytes(damage(text))
    message = complaint(DataFileError, load, "static-mnist", folder)
    for word in (str(folder / name), static_mnist.SOURCE, *words):
        assert word in message
    assert sorted(path.name for path in folder.iterdir()) == sorted(digits)


def test_damaged_bits_are_refused(drawn):
    folder, _ = drawn
    load("static-mnist", folder)
    path = folder / static_mnist.BITS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert "the bits that were written here" in complaint(DataFileError, load, "static-mnist", folder)
    np.savez(path, bits=np.zeros((2, 98), np.uint8))
    assert "uint8 of shape (2, 98); remove it" in complaint(DataFileError, load, "static-mnist", folder)


def test_static_mnist_has_the_published_counts():
    assert [count for count, _ in static_mnist.FILES.values()] == [50_000, 10_000, 10_000]


# -- OMNIGLOT -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def characters(tmp_path, monkeypatch):
    """Return (folder, arrays) of a file like Burda's, of 9 and 4 images, saved by SciPy."""
    savemat = pytest.importorskip("scipy.io", reason="SciPy, which reads and writes MATLAB's format, is absent").savemat
    rng = np.random.default_rng(0)
    arrays = {}
    for images, target, count in (("data", "target", 9), ("testdata", "testtarget", 4)):
        arrays[images] = rng.random((784, count))
        arrays[target] = np.eye(50)[rng.integers(0, 50, count)].T
    monkeypatch.setattr(omniglot, "PARTS", (("data", "target", 9), ("testdata", "testtarget", 4)))

    def save(**changes):
        kept = {name: array for name, array in (arrays | changes).items() if array is not None}
        savemat(tmp_path / omniglot.FILE, kept | {"targetchar": np.arange(9)})

    save()
    return tmp_path, arrays, save


def test_omniglot_is_read_row_by_row_upright(characters):
    folder, arrays, _ = characters
    for part, images, target in zip(load("omniglot", folder), ("data", "testdata"), ("target", "testtarget")):
        assert part.values.dtype == np.float32
        assert part.values.flags.c_contiguous
        assert part.image_shape == (28, 28)
        for i, image in enumerate(part.values.reshape(-1, 28, 28)):
            np.testing.assert_array_equal(image, arrays[images][:, i].reshape(28, 28, order="F").astype(np.float32))
        np.testing.assert_array_equal(part.y, arrays[target].argmax(axis=0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": None}, ["data", "no such array"]),
        ({"testdata": np.zeros((784, 5))}, ["testdata", "shape (784, 4)", "shape (784, 5)"]),
        ({"data": np.full((784, 9), 255.0)}, ["from 0 to 1", "from 255.0 to 255.0"]),
        ({"data": np.full((784, 9), np.nan)}, ["from 0 to 1", "from nan to nan"]),
        ({"testtarget": np.array(["a", "b"])}, ["testtarget", "shape (50, 4)"]),
    ],
)
def test_omniglot_with_another_array_is_refused(characters, change, words):
    folder, _, save = characters
    save(**change)
    message = complaint(DataFileError, load, "omniglot", folder)
    for word in (omniglot.FILE, omniglot.SOURCE, *words):
        assert word in message


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_truncated_omniglot_is_refused(characters, kept):
    folder, *_ = characters
    path = folder / omniglot.FILE
    path.write_bytes(path.read_bytes()[:kept])
    assert "a complete file in MATLAB's format" in complaint(DataFileError, load, "omniglot", folder)


def test_omniglot_without_scipy_says_how_to_install_it(characters, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    message = complaint(DataFileError, load, "omniglot", characters[0])
    assert "SciPy, which reads MATLAB's format, got none; pip install" in message
    assert "omniglot" in message


def test_omniglot_has_the_published_counts():
    assert omniglot.PARTS == (("data", "target", 24_345), ("testdata", "testtarget", 8070))


# -- relatives of MNIST -------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes(), mtime=0)


@pytest.fixture(params=list(RELATIVES))
def small(request, tmp_path, monkeypatch):
    """Return (name, folder, arrays) of a relative in small files, with all its classes, that are taken for the published ones."""
    known, counts = RELATIVES[request.param], (31, 27)
    arrays, sums = {}, []
    for prefix, count in zip(known.prefixes, counts):
        rng = np.random.default_rng(count)
        both = {
            f"{prefix}-images-idx3-ubyte.gz": rng.integers(0, 256, (count, 28, 28), np.uint8),
            f"{prefix}-labels-idx1-ubyte.gz": rng.permutation(np.resize(known.classes, count)).astype(np.uint8),
        }
        for file, array in both.items():
            (tmp_path / file).write_bytes(idx(array))
        sums.append(tuple(hashlib.md5((tmp_path / file).read_bytes()).hexdigest() for file in both))
        arrays |= both
    fields = {name: getattr(known, name) for name in Relative.__dataclass_fields__}
    changed = Relative(**fields | {"counts": counts, "md5": tuple(sums) if known.md5 else ()})
    monkeypatch.setitem(relatives.RELATIVES, request.param, changed)
    return request.param, tmp_path, arrays


def test_relatives_are_read_as_they_are_stored_but_emnist_is_turned_upright(small):
    name, folder, arrays = small
    images, labels = [*arrays.values()][::2], [*arrays.values()][1::2]
    for part, stored, y in zip(load(name, folder), images, labels, strict=True):
        upright = np.array([image.T for image in stored]) if name == "emnist-letters" else stored
        np.testing.assert_array_equal(part.values.reshape(-1, 28, 28), upright)
        np.testing.assert_array_equal(part.y, y)
        assert (part.values.dtype, part.y.dtype, part.image_shape, part.name) == (np.uint8, np.int64, (28, 28), name)


def test_emnist_l_has_its_foot_at_the_bottom_right(tmp_path):
    """NIST stores an image column by column: an L's stem is the first stored row, and its foot the end of the stored rows."""
    stored = np.zeros((28, 28), np.uint8)
    stored[4, 4:24] = 255  # the column x = 4, from y = 4 to y = 23
    stored[4:20, 23] = 255  # the row y = 23
    arrays = {"images": np.repeat(stored[None], 26, axis=0), "labels": np.arange(1, 27, dtype=np.uint8)}
    for part in ("train", "test"):
        for kind, array in arrays.items():
            code = "idx3" if kind == "images" else "idx1"
            path = tmp_path / f"emnist-letters-{part}-{kind}-{code}-ubyte"
            path.write_bytes(gzip.decompress(idx(array)))  # unpacked files serve too
    with pytest.MonkeyPatch.context() as patch:
        fields = {name: getattr(RELATIVES["emnist-letters"], name) for name in Relative.__dataclass_fields__}
        patch.setitem(relatives.RELATIVES, "emnist-letters", Relative(**fields | {"counts": (26, 26)}))
        image = load("emnist-letters", tmp_path)[0].values[11].reshape(28, 28)
    assert (image[4:24, 4] == 255).all()
    assert (image[23, 4:20] == 255).all()
    assert (image == 255).sum() == 20 + 15


def test_damaged_relatives_are_named(small):
    name, folder, arrays = small
    known, files = relatives.RELATIVES[name], list(arrays)
    path = folder / files[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert str(path) in complaint(DataFileError, load, name, folder)
    path.write_bytes(idx(arrays[files[0]] ^ 1) if known.md5 else idx(arrays[files[0]][1:]))
    message = complaint(DataFileError, load, name, folder)
    assert (f"{known.title}'s file, MD5 " if known.md5 else "a header that says (30, 28, 28)") in message
    path.write_bytes(whole)
    labels = folder / files[3]
    labels.write_bytes(idx(np.zeros_like(arrays[files[3]])))
    message = complaint(DataFileError, load, name, folder)
    assert str(labels) in message
    assert ("MD5" if known.md5 else "the labels 1 to 26, all of them, got {0}") in message
    labels.unlink()
    assert f"{labels}: expected {known.title}'s file" in complaint(DataFileError, load, name, folder)


def test_relatives_with_a_checksum_are_asked_for_as_published(small):
    name, folder, arrays = small
    for file in arrays:
        (folder / file.removesuffix(".gz")).write_bytes(gzip.decompress((folder / file).read_bytes()))
        (folder / file).unlink()
    if relatives.RELATIVES[name].md5:
        assert "compressed as it was published, got none" in complaint(DataFileError, load, name, folder)
    else:
        assert len(load(name, folder)[0]) == 31


def test_mnist_in_the_place_of_fashion_mnist_is_told_apart(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(idx(np.zeros((3, 28, 28), np.uint8)))
    message = complaint(DataFileError, load, "fashion-mnist", tmp_path)
    assert "expected Fashion-MNIST's file, MD5 8d4fb7e6c68d591d4c3dfef9ec88bf0d, got MD5 " in message


def test_relatives_have_the_published_counts():
    assert {name: known.counts for name, known in RELATIVES.items()} == {
        "fashion-mnist": (60_000, 10_000),
        "kmnist": (60_000, 10_000),
        "emnist-letters": (124_800, 20_800),
    }
