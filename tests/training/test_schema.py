"""A record of a file is compared with its schema: what fits passes in silence, and what does not is named by its place."""

from __future__ import annotations

import pytest
from support.helpers import complaint

from minivae.checks import InputError
from minivae.training.schema import FINISHED, STATE, compare, each, history, labels, maybe, number, text, whole

HISTORY = {
    "epoch": [1, 2],
    "train_loss": [2.5, 2.0],
    "active_units": [0, 1],
    "seconds": [0.1, 0.0],
    "kl_per_dimension": [[1.0, 2.0]] * 2,
}
MODEL = {"model": "VAE", "params": {"beta": None}, "n_features": 7, "learned": {}, "history": HISTORY}
STEP = {"epoch": 2, "step": 5, "learning_rate": 0.1, "in_epoch": {"totals": {"kl": 1.5}, "seen": 3, "seconds": 0.5}}

FITTING = {
    "an object": (1, lambda name, value: compare(name, {"k": value}, {"k": whole(0), "other?": text})),
    "entries": ([1, 2], lambda name, value: compare(name, value, [whole(0)])),
    "null": (None, lambda name, value: maybe(whole(0))(name, value)),
    "a value that may be null": (3, lambda name, value: maybe(whole(0))(name, value)),
    "any names": ({"a": 1, "b": 2}, lambda name, value: each(whole(0))(name, value)),
    "no epoch": ({}, history),
    "two epochs": (HISTORY, history),
    "two epochs of four": (HISTORY | {"epoch": [1, 4]}, history),
    "no classes": ([], labels),
    "numbers": ([-(2**63), 0, 2**63 - 1], labels),
    "names": (["a", "b"], labels),
    "truth values": ([False, True], labels),
    "a model": (MODEL, FINISHED),
    "a state": (MODEL | {"history": {}, "training": STEP, "data": "", "context": {}}, STATE),
}


@pytest.mark.parametrize("case", FITTING)
def test_what_fits_passes(case):
    value, schema = FITTING[case]
    compare("r", value, schema)


MISFITS = {
    "no object": ("r: expected an object with names, got 3", 3, {"k?": whole(0)}),
    "no list": ("r: expected a list, got 3", 3, [whole(0)]),
    "an entry": ("r[1]: expected", [1, -1], [whole(0)]),
    "a missing key": ("r.k: expected a value, got none", {}, {"k": whole(0)}),
    "below a key": ("r.k: expected", {"k": -1}, {"k?": whole(0)}),
    "not even null": ("r: expected", "x", lambda name, value: maybe(whole(0))(name, value)),
    "no names": ("r: expected an object with names", [1], lambda name, value: each(whole(0))(name, value)),
    "one of the values": ("r[1]: expected", {"a": 1, "b": -1}, lambda name, value: each(whole(0))(name, value)),
    "an open bound": ("r: expected a finite number above 0", 0.0, lambda name, value: number(0, open_low=True)(name, value)),
    "no history": ("r: expected an object with names", [], history),
    "no epoch of a finished one": ("r.epoch: expected a value, got none", {}, lambda name, value: history(name, value, 1)),
    "a missing column": ("r.seconds: expected a value", {k: v for k, v in HISTORY.items() if k != "seconds"}, history),
    "epochs out of order": ("r.epoch: expected at least one, in order", HISTORY | {"epoch": [2, 1]}, history),
    "an epoch twice": ("r.epoch: expected at least one, in order, none twice", HISTORY | {"epoch": [2, 2]}, history),
    "a word in a column": ("r.test_loss[1]: expected", HISTORY | {"test_loss": [1.0, "x"]}, history),
    "a word for a dimension": ("r.kl_per_dimension[1][0]: expected", HISTORY | {"kl_per_dimension": [[1.0], ["x"]]}, history),
    "columns of no epoch": ("r.epoch: expected at least one", {name: [] for name in HISTORY}, history),
    "an empty column": ("r.kl_per_dimension: expected as much for each of 2", HISTORY | {"kl_per_dimension": []}, history),
    "a short column": ("r.test_loss: expected as much for each of 2 epochs", HISTORY | {"test_loss": [1.0]}, history),
    "ragged dimensions": ("r.kl_per_dimension: expected as much", HISTORY | {"kl_per_dimension": [[1.0], [1.0, 2.0]]}, history),
    "no list of classes": ("r: expected a list", "ab", labels),
    "classes twice": ("r: expected labels in order, none twice", [1, 1], labels),
    "classes out of order": ("r: expected labels in order", [2, 1], labels),
    "a class beyond 64 bits": ("r[0]: expected a whole number from -9223372036854775808 to 9223372036854775807", [2**63], labels),
    "a class below them": ("r[0]: expected a whole number", [-(2**63) - 1], labels),
    "mixed classes": ("r[1]: expected a text", ["a", 1], labels),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_named_by_its_place(case):
    says, value, schema = MISFITS[case]
    assert says in complaint(InputError, compare, "r", value, schema)
