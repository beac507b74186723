"""Files that are not what they should be: always a complaint with the file's name and the reason; no crash, hang, or bomb.

Every case runs in a child process that may ask for one more gigabyte of memory and has a limited time.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as serialize
from support.helpers import complaint
from support.limits import in_child

import minivae as mv
from minivae.checks import DataFileError, InputError, MinivaeError
from minivae.command.cli import main
from minivae.datasets import dsprites, omniglot, static_mnist
from minivae.runs.run import Run
from minivae.training import checkpoint
from minivae.training.keeper import Keeper

X = np.random.default_rng(0).random((40, 6)).astype(np.float32)
SMALL = {"latent_dim": 2, "hidden_dims": (5,), "epochs": 1, "batch_size": 20, "device": "cpu"}
CASES = 600  # of each kind of file

Read = Callable[[Path], object]


def refused(read: Read, path: Path, content: bytes, errors: tuple = (DataFileError,)) -> bool:
    """Return whether the content is refused; assert that it is done properly, or else that the content is read."""
    path.write_bytes(content)
    try:
        read(path)
    except errors as error:
        message = str(error)
        assert str(path) in message, message
        assert ": expected " in message
        assert ", got " in message
        assert "\n" not in message
        assert len(message) < 1500
        return True
    return False


def damaged(content: bytes, n: int, seed: int) -> Iterator[bytes]:
    """Yield ``n`` damaged copies: cut, with flipped bits, with bytes put in, taken out or overwritten, with a part twice."""
    rng = random.Random(seed)
    head = min(len(content), 256)  # headers are where damage does most
    for i in range(n):
        copy = bytearray(content)
        at = rng.randrange(head if rng.random() < 0.5 else len(content))
        kind = i % 7
        if kind == 0:
            del copy[at:]
        elif kind == 1:
            copy[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            for _ in range(rng.randrange(2, 30)):
                copy[rng.randrange(len(copy))] = rng.randrange(256)
        elif kind == 3:
            copy[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif kind == 4:
            del copy[at : at + rng.randrange(1, 20)]
        elif kind == 5:
            copy[at : at + 8] = rng.choice([b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, struct.pack("<Q", 2**40)])
        else:
            copy[at:at] = copy[at : at + rng.randrange(1, 200)]
        yield bytes(copy)


def fuzz(read: Read, path: Path, content: bytes, errors: tuple = (DataFileError,), n: int = CASES) -> str:
    path.write_bytes(content)
    read(path)  # the undamaged file is fine, so what is refused is the damage
    count = sum(refused(read, path, copy, errors) for copy in damaged(content, n, 0))
    assert count > n // 3
    return f"{n} damaged files tried, {count} refused, the others could be read"


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> bytes:
    """The file of a training's state."""
    path = tmp_path_factory.mktemp("state") / "file"
    keeper = Keeper(path, "1")
    mv.VAE(**SMALL).fit(X, on_start=keeper.on_start, on_epoch=keeper.on_epoch)
    return path.read_bytes()


def resume(path: Path) -> None:
    mv.VAE(**SMALL | {"epochs": 2}).fit(X, on_start=Keeper(path).on_start)


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


IDX = struct.pack(">4B3I", 0, 0, 8, 3, 10, 4, 5) + bytes(range(200))
KINDS: dict[str, tuple[Read, str, Callable[[], bytes], tuple]] = {
    "npz": (mv.datasets.load, "it.npz", lambda: npz(x=X, y=np.arange(40), x_test=X[:9]), (DataFileError, InputError)),
    "npy": (mv.datasets.load, "it.npy", lambda: npy(X), (DataFileError, InputError)),
    "idx": (mv.datasets.read_idx, "it", lambda: IDX, (DataFileError,)),
    "idx.gz": (mv.datasets.read_idx, "it.gz", lambda: gzip.compress(IDX, mtime=0), (DataFileError,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_data_files(kind, tmp_path):
    read, name, content, errors = KINDS[kind]
    print(kind, in_child(lambda: fuzz(read, tmp_path / name, content(), errors)))


def flipped(content: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """Yield a copy for every single bit at the places that differs from the content in that bit alone."""
    for at in places:
        for bit in range(8):
            copy = bytearray(content)
            copy[at] ^= 1 << bit
            yield bytes(copy)


def examples(loaded: tuple) -> list[tuple]:
    return [(p.values.shape, p.values.dtype, p.values.tobytes(), None if p.y is None else p.y.tolist()) for p in loaded]


WIDE = np.random.default_rng(0).random((9600, 6)).astype(np.float32)
ARCHIVES: dict[str, tuple[Callable, dict, Callable[[bytes], range]]] = {
    "array header": (np.savez, {"x": WIDE}, lambda content: range(200)),
    "directory": (np.savez, {"x": X, "y": np.arange(40), "other": X[:1]}, lambda content: range(len(content) - 250, len(content))),
    "compressed": (np.savez_compressed, {"x": X[:9], "x_test": X[:2]}, lambda content: range(0, len(content), 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ARCHIVES)
def test_one_flipped_bit_in_an_archive_is_refused_or_changes_nothing(case, tmp_path):
    """Every bit of the places: dates, versions and the like may change, but no other data is read without a word."""
    save, arrays, places = ARCHIVES[case]
    buffer, path = io.BytesIO(), tmp_path / "it.npz"
    save(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    sound = examples(mv.datasets.load(path))
    tried = refusals = 0
    for copy in flipped(buffer.getvalue(), places(buffer.getvalue())):
        tried += 1
        if refused(mv.datasets.load, path, copy, (DataFileError, InputError)):
            refusals += 1
        else:
            assert examples(mv.datasets.load(path)) == sound
    print(f"{case}: {tried} flipped bits tried, {refusals} refused, {tried - refusals} without effect, none read as other data")
    assert refusals > tried // 4


def test_npy_of_another_size_than_its_header_says_is_refused(tmp_path):
    """The format has no checksum; what a flipped bit in the shape can be told by is that bytes are left over, or missing."""
    path, header = tmp_path / "it.npy", npy(X)[:128]
    tried = other = 0
    for copy in flipped(npy(X), range(len(header))):
        tried += 1
        if not refused(mv.datasets.load, path, copy, (DataFileError, InputError)):
            train, test = mv.datasets.load(path)
            assert (len(train) + len(test)) * train.values.shape[1] * train.values.itemsize == X.nbytes
            other += len(train) + len(test) != len(X)
    print(f"{tried} flipped bits of a .npy header tried, {other} leave another shape of the same size")
    assert other < 5


@pytest.mark.slow
@pytest.mark.parametrize("read", [mv.load, resume], ids=["model", "resume"])
def test_damaged_states(read, state, tmp_path):
    answer = in_child(lambda: fuzz(read, tmp_path / "file", state))
    print(read.__name__, answer)
    tried, refusals = (int(word) for word in answer.split() if word.isdigit())
    assert refusals > 0.97 * tried  # the checksum sees to it; a changed gap in the header is all that may pass


@pytest.mark.slow
def test_damaged_configurations(state, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(state)
    config = {
        "model": "VAE",
        "settings": {},
        "data": {"source": "digits", "data_dir": None, "name": "digits", "n_train": 1437, "n_test": 360},
        "command": ["minivae", "train"],
        "versions": {"numpy": "2.0"},
        "figures": {"conditional": False, "test_loss": 1.5, "seconds": None},
    }

    def read(path):
        Run(str(folder)).data()

    content = json.dumps(config).encode()
    print("config.json", in_child(lambda: count_refusals(read, folder / "config.json", content)))


def count_refusals(read: Read, path: Path, content: bytes) -> str:
    """A changed source is another name of a data set: then the complaint is about that."""

    def wrapped(path):
        try:
            read(path)
        except MinivaeError as error:
            if str(path) in str(error) or ": expected " not in str(error):
                raise

    count = sum(refused(wrapped, path, copy) for copy in damaged(content, CASES, 1))
    assert count > CASES // 3
    return f"{CASES} damaged files tried, {count} refused as such"


KEYS = st.sampled_from(["data", "source", "data_dir", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=9,
)
drawn = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
def test_configurations_of_another_form(state, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(state)
    tried = []

    @drawn
    @given(JSON)
    def attempt(value):
        tried.append(1)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(value))
        with contextlib.suppress(MinivaeError):
            Run(str(tmp_path)).data()

    in_child(attempt)
    attempt()
    print(f"{len(tried)} configurations of another form tried")


def with_record(state: bytes, tmp_path: Path, **changes) -> bytes:
    """Return the file with another record (and arrays), and a checksum that fits: damage that only sense can find."""
    path = tmp_path / "source"
    path.write_bytes(state)
    arrays, record = checkpoint.load(path)
    arrays |= changes.pop("arrays", {})
    for name, value in changes.items():
        head, _, rest = name.partition("__")
        if rest:
            record[head] = record[head] | {rest: value}
        else:
            record[head] = value
    checkpoint.save(path, arrays, record)
    return path.read_bytes()


HUGE = 10**9
SENSELESS = {
    "model": [None, 3, "VEA", "Model", "__class__", ["VAE"], "IWAE", "ConditionalVAE", "VAEClassifier"],
    "params": [None, [], {}, "x", {"__class__": 1}, {"latent_dim": 2, "unknown": 3}],
    "params__latent_dim": [None, -1, 0, 3, HUGE, 10**30, "2", 2.0, True, [2]],
    "params__hidden_dims": [None, 5, [], [4], [HUGE], [HUGE] * 5, [[5]], ["5"], [5, 5], [-5], [10**30]],
    "params__activation": [None, 3, "", "rleu", ["relu"], "__init__"],
    "params__likelihood": [None, "gaussian", "poisson"],
    "params__dtype": [None, "float16", "object", "int8", "float64,float64"],
    "params__epochs": [None, 0, -1, "1"],
    "params__seed": [None, -1, 1.5, "0"],
    "params__learning_rate": [None, 0, -1, float("nan"), float("inf"), "1"],
    "n_features": [None, 0, -1, 5, HUGE, 10**30, "6", 6.0, [6]],
    "learned": [None, 3, [3], {"fit": 1}, {"__class__": "x"}, {"parameters_": [1]}],
}


@pytest.mark.slow
def test_states_that_make_no_sense(state, tmp_path):
    def attempt() -> int:
        tried = 0
        for name, values in SENSELESS.items():
            for value in values:
                content = with_record(state, tmp_path, **{name: value})
                harmless = name in ("params__dtype",) or (name, value) in (("model", "IWAE"), ("params__likelihood", "gaussian"))
                # IWAE has all the settings and arrays of a VAE but beta and its like, so it is refused for these.
                assert refused(mv.load, tmp_path / "file", content) or harmless, (name, value)
                tried += 1
        return tried

    print(in_child(attempt), "states that make no sense tried")


def test_arrays_of_other_names_shapes_and_types(state, tmp_path):
    def attempt() -> int:
        arrays = [
            {"encoder.0.weight": np.zeros((5, 6), np.float32)},
            {"encoder.0.weight": np.zeros((6, 5, 1), np.float32)},
            {"encoder.0.weight": np.zeros(30, np.float32)},
            {"encoder.0.weight": np.zeros((0,), np.float32)},
            {"encoder.0.weight": np.zeros((6, 5), np.float32), "encoder.9.weight": np.zeros(3)},
            {"surplus": np.zeros(3)},
        ]
        for change in arrays:
            content = with_record(state, tmp_path, arrays=change)
            assert refused(mv.load, tmp_path / "file", content)
            assert refused(resume, tmp_path / "file", content)
        for change in ({"training.sums": np.zeros(3, np.float32)}, {"training.square_sums": np.zeros((2, 2), np.float32)}):
            assert refused(resume, tmp_path / "file", with_record(state, tmp_path, arrays=change))
        return 2 * len(arrays) + 2

    print(in_child(attempt), "files with other arrays tried")


TRAINING = {
    "training": [None, 3, [], {}, "x"],
    "training__epoch": [None, "1", -1, 1.5, 10**30],
    "training__step": [None, "1", -1],
    "training__learning_rate": [None, 0, -1, float("nan"), "x"],
    "training__in_epoch": [3, "x", {"totals": {}}, {"totals": 3, "seen": 1, "seconds": 1}],
}


def test_trainings_that_make_no_sense(state, tmp_path):
    def attempt() -> int:
        tried = 0
        for name, values in TRAINING.items():
            for value in values:
                assert refused(resume, tmp_path / "file", with_record(state, tmp_path, **{name: value})), (name, value)
                tried += 1
        return tried

    print(in_child(attempt), "trainings that make no sense tried")


def test_headers_that_promise_too_much_and_other_versions(tmp_path):
    meta = {"format": "minivae", "version": "1", "record": "{}", "sha256": "0"}
    senseless = ("[]", "3", "", "{", "null", "9" * 9999)
    deep = "[" * 100_000 + "]" * 100_000
    tensor = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}

    def header(content: dict | bytes, size: int | None = None) -> bytes:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        return struct.pack("<Q", len(text) if size is None else size) + text

    contents = [
        *(header(b"{}", size) for size in (2**63, 2**64 - 1, 2**40, 10**8, 3)),
        header({"__metadata__": meta, "w": tensor}),
        header({"__metadata__": meta, "w": tensor | {"shape": [2**62, 2**62]}}),
        header({"__metadata__": meta, "w": tensor | {"data_offsets": [2**42, 0]}}),
        header({"__metadata__": meta, "w": tensor | {"dtype": "O"}}),
        header(deep.encode()),
        *(serialize({}, meta | {"version": version}) for version in ("0", "2", "1.0", "", "x" * 9999, "\x1b[31m")),
        serialize({}, meta | {"record": deep, "sha256": checkpoint.checksum({}, deep)}),
        *(serialize({}, meta | {"record": text, "sha256": checkpoint.checksum({}, text)}) for text in senseless),
        b"\x80\x04\x95" + pickle.dumps({"encoder": 1}),
    ]

    def attempt() -> int:
        for content in contents:
            assert refused(mv.load, tmp_path / "file", content), content[:80]
        return len(contents)

    print(in_child(attempt), "headers tried")


# Bombs and pickles ----------------------------------------------------------------------------------------------------------


def zeros_in_gzip(header: bytes, size: int) -> bytes:
    """Return ``size`` zeros behind a header, as gzip: a thousandth of the size."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(2**24)
    parts = [deflate.compress(header)]
    parts += [deflate.compress(block[: min(len(block), size - start)]) for start in range(0, size, len(block))]
    return b"".join(parts) + deflate.flush()


BOMBS = {
    "more than announced": ((10, 4, 5), 2**30),
    "more than a large array": ((2**13, 2**8, 2**8), 2**30),
    "announced in full": ((2**14, 2**9, 2**8), 2**28),
    "announced beyond reason": ((2**32 - 1,) * 3, 2**20),
}


@pytest.mark.slow
@pytest.mark.parametrize(("announced", "size"), BOMBS.values(), ids=BOMBS)
def test_gzip_bomb(tmp_path, announced, size):
    path = tmp_path / "it.gz"
    path.write_bytes(zeros_in_gzip(struct.pack(">4B3I", 0, 0, 8, 3, *announced), size))
    assert path.stat().st_size < size / 900
    assert in_child(lambda: refused(mv.datasets.read_idx, path, path.read_bytes())) == "True"


def test_idx_header_that_announces_more_than_there_is(tmp_path):
    header = struct.pack(">4B4I", 0, 0, 8, 4, 1, 1, 1, 599_000_000)
    assert in_child(lambda: refused(mv.datasets.read_idx, tmp_path / "it", header + b"12")) == "True"
    assert in_child(lambda: refused(mv.datasets.read_idx, tmp_path / "it.gz", gzip.compress(header + b"12"))) == "True"


@pytest.mark.slow
@pytest.mark.parametrize("announced", ["true", "short", "long"])
def test_zip_bomb(tmp_path, announced):
    """A gigabyte of zeros in a .npz, announced as such, as less, or by an array's header without the bytes."""
    path, size = tmp_path / "it.npz", 2**30
    shape = {"true": (2**15, 2**15), "short": (40, 6), "long": (2**20, 2**20)}[announced]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as file:
        file.write(header.getvalue())
        for _ in range(size >> 24 if announced == "true" else 1):
            file.write(bytes(2**24))
    if announced == "short":  # the directory says 100 bytes, the stream holds 16 million
        content = path.read_bytes()
        real = struct.pack("<I", 2**24 + len(header.getvalue()))
        assert real in content
        path.write_bytes(content.replace(real, struct.pack("<I", 100)))
    assert in_child(lambda: refused(mv.datasets.load, path, path.read_bytes())) == "True"


class Payload:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_objects_are_not_loaded(tmp_path, suffix):
    objects = np.empty((3, 2), dtype=object)
    objects[...] = Payload(tmp_path / "executed")
    path = tmp_path / f"it{suffix}"
    (np.save if suffix == ".npy" else lambda path, x: np.savez(path, x=x))(path, objects)
    assert refused(mv.datasets.load, path, path.read_bytes())
    bare = pickle.dumps(Payload(tmp_path / "executed"))
    for read in (mv.datasets.load, mv.load):
        assert refused(read, path, bare)
    assert not (tmp_path / "executed").exists()
    pickle.loads(bare)
    assert (tmp_path / "executed").exists()  # it would have been


@pytest.mark.parametrize("name", ["it.npy", "it.npz", "it", "it.gz", "config.json", "model.safetensors", "checkpoint.safetensors"])
def test_pipe_does_not_keep_the_reader_waiting(tmp_path, name, capfd):
    os.mkfifo(tmp_path / name)
    if name == "config.json":
        (tmp_path / "model.safetensors").touch()
    read = {
        "config.json": lambda path: Run(str(tmp_path)),
        "model.safetensors": mv.load,
        "checkpoint.safetensors": lambda path: Keeper(path).on_start(None),
        "it": mv.datasets.read_idx,
        "it.gz": mv.datasets.read_idx,
    }.get(name, mv.datasets.load)

    def attempt():
        with pytest.raises(DataFileError):
            read(tmp_path / name)

    in_child(attempt, seconds=10)


FOUR = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
PUBLIC = [  # data sets that are looked for by their names, each with the names of its files
    ("mnist", FOUR),
    ("fashion-mnist", [f"{name}.gz" for name in FOUR]),
    ("emnist-letters", [f"emnist-letters-{name.replace('t10k', 'test')}" for name in FOUR]),
    ("static-mnist", list(static_mnist.FILES)),
    ("static-mnist", [static_mnist.BITS]),
    ("omniglot", [omniglot.FILE]),
    ("dsprites", [dsprites.FILE]),
    ("dsprites", [dsprites.IMAGES]),
]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize(("data", "names"), PUBLIC)
def test_a_pipe_or_a_folder_in_place_of_a_public_file_is_refused_in_one_line(tmp_path, make, data, names, capfd):
    for name in names:
        make(tmp_path / name)
    in_child(lambda: complaint(DataFileError, mv.datasets.load, data, tmp_path), seconds=20)


@pytest.mark.slow
def test_command_line_user_sees_one_line(state, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.makedirs("runs/it")
    for copy in damaged(state, 28, 3):
        Path("runs/it/checkpoint.safetensors").write_bytes(copy)
        assert main(["train", "--resume", "it"]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "runs/it/checkpoint.safetensors" in err
    assert os.listdir("runs/it") == ["checkpoint.safetensors"]
