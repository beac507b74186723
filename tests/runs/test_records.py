"""Records that make no sense in files whose checksums fit: only sense can find them, and it does before anything large is made.

Every value in a record is in turn replaced by values of all kinds, and left out.  What comes of it is a complaint that names the
file, or, where the new value is as possible as the old one, an object that works.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.helpers import complaint
from support.limits import GIGABYTE, in_child

import minivae as mv
from minivae.checks import DataFileError, NonFiniteError
from minivae.command.cli import main
from minivae.pages.report import report
from minivae.runs.run import Run
from minivae.training import checkpoint
from minivae.training.interruption import Interruption, Latch
from minivae.training.keeper import PREFIX, Keeper

X = np.random.default_rng(0).random((40, 6)).astype(np.float32)
Y = np.arange(40) % 3
SMALL = {"latent_dim": 2, "hidden_dims": (5,), "epochs": 2, "batch_size": 10, "device": "cpu"}
NAN, INF = float("nan"), float("inf")
VALUES = [None, True, "x", "", [], {}, -1, 0, 3, 1.5, 10**9, 10**30, NAN, INF, -INF, [1], [None], ["x"], {"a": 1}, [3e7], [10**9]]
SHARE = 3  # every so manieth change is tried
# Where another value of the same kind is as good: what a training does from now on, figures that were measured, and the user's own.
FREE = ("params", "history", "context", "training.learning_rate", "training.in_epoch", "learned")
FREE += ("model", "settings", "data", "command", "versions", "figures")  # in config.json


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def changed(record: dict[str, Any], first: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of a change, and the record with it."""
    changes = [(path, value) for path in places(record) for value in (*VALUES, ...)]
    for path, value in changes[first::SHARE]:
        other = copy.deepcopy(record)
        inner: Any = other
        for key in path[:-1]:
            inner = inner[key]
        if value is ...:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        if json.dumps(other) != json.dumps(record):
            yield ".".join(map(str, path)), other


def attack(read: Callable[[Path], object], path: Path, content: Callable[[dict], bytes], record: dict, first: int = 0) -> str:
    """Return how many changed records were tried and refused, after a look at each answer."""
    path.write_bytes(content(record))
    read(path)
    tried = refused = 0
    for place, other in changed(record, first):
        tried += 1
        path.write_bytes(content(other))
        try:
            read(path)
        except DataFileError as error:
            message = str(error)
            refused += 1
            assert str(path) in message, (place, message)
            assert "\n" not in message
        except NonFiniteError:
            assert place == "training.learning_rate"  # a million may be asked for
        else:
            assert place.startswith(FREE), place
    return f"{tried} changed records tried, {refused} refused, {tried - refused} as good as the first"


def state(path: Path, kind: str, settings: dict[str, Any]) -> tuple[dict, dict]:
    """Return the arrays and the record of a training that stopped in the middle of its second epoch."""
    latch = Latch()
    keeper = Keeper(path, "1000", latch=latch)

    def on_step(trainer):
        latch.signum = 15 if trainer.step == 6 else 0
        keeper.on_step(trainer)

    with contextlib.suppress(Interruption):
        mv.MODELS[kind](**SMALL | settings).fit(X, Y, X[:9], Y[:9], on_step=on_step)
    return checkpoint.load(path)


STATES = {
    "VAE with patience": ("VAE", {"patience": 5}),
    "semi-supervised, counted noise": ("SemiSupervisedVAE", {"noise": "counter", "optimizer": "sgd"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", STATES)
def test_state_of_a_training(case, tmp_path):
    kind, settings = STATES[case]
    arrays, record = state(tmp_path / "file", kind, settings)

    @np.errstate(all="ignore")
    def resume(path):
        model = mv.MODELS[kind](**SMALL | settings | {"epochs": 3})
        model.fit(X, Y, X[:9], Y[:9], on_start=Keeper(path).on_start)

    def work():
        return attack(resume, tmp_path / "file", lambda other: checkpoint.packed(arrays, other), record)

    print(f"state, {case}:", in_child(work))


MODELS = [
    ("VAE", {}),
    ("ConditionalVAE", {"likelihood": "gaussian_shared"}),
    ("SparseAutoencoder", {"tied": True, "likelihood": "gaussian_fixed", "init": "he"}),
    ("VAEClassifier", {"dtype": "float64"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), MODELS)
def test_model(kind, settings, tmp_path):
    model = mv.MODELS[kind](**SMALL | settings).fit(X, Y)
    model.save(tmp_path / "file")
    arrays, record = checkpoint.load(tmp_path / "file")

    def read(path):
        loaded = mv.load(path)
        labels = getattr(loaded, "classes_", [None])
        y = labels[0] if len(labels) else np.ones((3, loaded.condition_width_))  # without classes, the condition is numbers
        assert loaded.decode(np.zeros((3, 2), np.float32), y).shape == (3, 6)

    def work():
        return attack(read, tmp_path / "file", lambda other: checkpoint.packed(arrays, other), record)

    print(f"model, {kind}:", in_child(work))


def test_a_setting_of_an_earlier_version_is_left_out_and_an_unknown_one_is_refused(tmp_path):
    """Files of earlier versions have ``processes``, the setting of a kind of training that is gone."""
    path = tmp_path / "file"
    arrays, record = state(path, "VAE", {})

    def resume():
        return mv.VAE(**SMALL).fit(X, Y, X[:9], Y[:9], on_start=Keeper(path).on_start)

    whole = resume()
    path.write_bytes(checkpoint.packed(arrays, record | {"params": record["params"] | {"processes": 2}}))
    assert mv.load(path, "cpu").get_params() == whole.get_params()
    assert resume().parameters_.values.tobytes() == whole.parameters_.values.tobytes()
    path.write_bytes(checkpoint.packed(arrays, record | {"params": record["params"] | {"threads": 2}}))
    for read in (resume, lambda: mv.load(path)):
        words = complaint(DataFileError, read)
        assert words.startswith(str(path))
        assert words.endswith("params: expected settings of VAE, got 'threads'; take the version of VAE that wrote it")


ARRAYS = {
    "missing": lambda array: None,
    "cut": lambda array: array[:-1],
    "of another shape": lambda array: array.reshape(-1, 1),
    "of another type": lambda array: array.astype("float16"),
    "with NaN": lambda array: np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array).astype(array.dtype),
    "with inf": lambda array: np.where(np.arange(array.size).reshape(array.shape) == 0, np.inf, array).astype(array.dtype),
}


def test_arrays_of_a_state(tmp_path):
    path = tmp_path / "file"
    arrays, record = state(path, "VAE", {"patience": 5})
    tried = 0

    def resume():
        mv.VAE(**SMALL | {"patience": 5}).fit(X, Y, X[:9], Y[:9], on_start=Keeper(path).on_start)

    for name in arrays:
        for change in ARRAYS.values():
            other = {key: change(array) if key == name else array for key, array in arrays.items()}
            path.write_bytes(checkpoint.packed({key: array for key, array in other.items() if array is not None}, record))
            for read in (resume, *([] if name.startswith(PREFIX) else [lambda: mv.load(path)])):
                with pytest.raises(DataFileError, match="expected"):
                    read()
                tried += 1
    path.write_bytes(checkpoint.packed(arrays | {PREFIX + "square_sums": -arrays[PREFIX + "square_sums"]}, record))
    with pytest.raises(DataFileError, match="square"):
        resume()
    print(f"{tried + 1} changed arrays tried, all refused")


def test_large_file_with_a_small_record_is_refused_before_it_is_read(tmp_path):
    """Two gigabytes that take no room on the disk."""
    path = tmp_path / "file"
    mv.VAE(**SMALL).fit(X).save(path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    last = max((part["data_offsets"], name) for name, part in header.items() if name != "__metadata__")[1]
    begin = header[last]["data_offsets"][0]
    header[last] |= {"shape": [2**29], "data_offsets": [begin, begin + 2**31]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + begin + 2**31)

    def work():
        with pytest.raises(DataFileError, match=f"array {last}: expected"):
            mv.load(path)

    in_child(work, GIGABYTE // 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    np.savez(folder / "it.npz", x=X, y=Y)
    tiny = ["--latent-dim", "2", "--hidden-dims", "5", "--epochs", "2", "--batch-size", "8", "--eval-samples", "2", "--quiet"]
    options = ["--likelihood", "gaussian", "--data", str(folder / "it.npz"), "--runs-dir", str(folder), "--name", "it"]
    assert main(["train", *tiny, *options]) == 0
    return folder / "it"


@pytest.mark.slow
def test_configuration_of_a_run(run, monkeypatch):
    monkeypatch.setattr("minivae.pages.report._objective", lambda objective: ())  # the slow parts, which ask nothing of it
    monkeypatch.setattr("minivae.pages.report._traversals", lambda *_: ())
    path = run / "config.json"
    config = json.loads(path.read_text())

    def read(path):
        it = Run(str(run))
        try:
            test = it.data()[1]
        except mv.MinivaeError as error:
            assert it.config["data"] != config["data"]  # another source is another name of a data set
            raise DataFileError(f"{path}: {error}") from None
        report(it, it.model("cpu"), test)

    print("config.json:", in_child(lambda: attack(read, path, lambda other: json.dumps(other).encode(), config, 1)))
    path.write_text(json.dumps(config))
