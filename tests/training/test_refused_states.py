"""A training goes on from no state that is another training's, or that no training can have had."""

from __future__ import annotations

import numpy as np
import pytest
from support.helpers import complaint
from support.small_training import SMALL, X, Y, fit

import minivae as mv
from minivae.checks import DataFileError
from minivae.training import checkpoint
from minivae.training.interruption import Interruption
from minivae.training.keeper import PREFIX, Keeper

OTHERS = {
    "model": (lambda: mv.IWAE(**SMALL), X, "VAE"),
    "setting": (lambda: mv.VAE(**SMALL | {"learning_rate": 0.5}), X, "learning_rate"),
    "widths": (lambda: mv.VAE(**SMALL | {"hidden_dims": (12,)}), X, "hidden_dims"),
    "data": (lambda: mv.VAE(**SMALL), X * 0.5, "data"),
    "number of rows": (lambda: mv.VAE(**SMALL), X[:-1], "data"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_state_of_another_training_is_refused(case, tmp_path):
    make, x, word = OTHERS[case]
    keeper = Keeper(tmp_path / "file")
    mv.VAE(**SMALL | {"epochs": 1}).fit(X, on_start=keeper.on_start, on_epoch=keeper.on_epoch)
    before = (tmp_path / "file").read_bytes()
    message = complaint(DataFileError, make().fit, x, on_start=Keeper(tmp_path / "file").on_start)
    assert word in message
    assert str(tmp_path / "file") in message
    assert (tmp_path / "file").read_bytes() == before


def test_finished_model_is_no_state_of_a_training(tmp_path):
    mv.VAE(**SMALL | {"epochs": 1}).fit(X).save(tmp_path / "file")
    assert "without" in complaint(DataFileError, mv.VAE(**SMALL).fit, X, on_start=Keeper(tmp_path / "file").on_start)


POSITIONS = {
    "rows that are missing": lambda numbers: numbers["in_epoch"].update(seen=59),
    "more rows than there are": lambda numbers: numbers["in_epoch"].update(seen=104),
    "steps without their rows": lambda numbers: numbers.pop("in_epoch"),
    "fewer steps than epochs": lambda numbers: (numbers.pop("in_epoch"), numbers.update(epoch=1)),
    "more steps than an epoch has": lambda numbers: numbers.update(step=7),
    "more steps than an epoch has, and all its rows": lambda numbers: (
        numbers.update(step=7),
        numbers["in_epoch"].update(seen=103),
    ),
}


@pytest.mark.parametrize("case", POSITIONS)
def test_position_that_no_training_can_have_led_to_is_refused(case, tmp_path):
    """Taken up, it would train on some rows twice and on others not at all, or stop with a traceback in the middle."""
    path = tmp_path / "file"
    with pytest.raises(Interruption):
        fit(mv.VAE(**SMALL), path, 3)
    arrays, record = checkpoint.load(path)
    POSITIONS[case](record["training"])
    checkpoint.save(path, arrays, record)
    message = complaint(DataFileError, mv.VAE(**SMALL).fit, X, Y, X[:31], Y[:31], on_start=Keeper(path).on_start)
    assert "the state of a training" in message
    assert "step: expected" in message


SOME = np.ones(3, np.float32)


BIAS, SUMS, SQUARES = "decoder.1.bias", PREFIX + "sums", PREFIX + "square_sums"


DAMAGES = {
    "no history": ("history: expected", lambda arrays, record: record.update(history={})),
    "a column less": ("history: expected", lambda arrays, record: record["history"].pop("test_kl")),
    "an epoch left out": ("history: expected", lambda arrays, record: record["history"]["epoch"].__setitem__(-1, 9)),
    "negative squares": (f"{SQUARES}: expected sums of squares", lambda arrays, record: arrays[SQUARES].fill(-1)),
    "one negative square": (f"{SQUARES}: expected", lambda arrays, record: arrays[SQUARES].put(3, -1e-9)),
    "a weight that is none": (f"array {BIAS}: expected finite", lambda arrays, record: arrays[BIAS].put(1, np.nan)),
    "a moment that is none": (f"array {SUMS}: expected finite", lambda arrays, record: arrays[SUMS].put(1, np.inf)),
    "no moments": (f"array {SUMS}: expected one, got none", lambda arrays, record: arrays.pop(SUMS)),
    "an unknown array": ("array more: expected none of this name", lambda arrays, record: arrays.update(more=SOME)),
    "a shorter moment": (f"array {SUMS}: expected F32 of shape", lambda arrays, record: arrays.update({SUMS: SOME})),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_state_that_no_training_can_have_had_is_refused(case, tmp_path):
    says, damage = DAMAGES[case]
    path = tmp_path / "file"
    with pytest.raises(Interruption):
        fit(mv.VAE(**SMALL), path, 9)
    arrays, record = checkpoint.load(path)
    damage(arrays, record)
    checkpoint.save(path, arrays, record)
    message = complaint(DataFileError, mv.VAE(**SMALL).fit, X, Y, X[:31], Y[:31], on_start=Keeper(path).on_start)
    assert f"expected the state of a training, got {says}" in message
    assert message.endswith("; train anew")
