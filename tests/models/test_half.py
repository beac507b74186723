"""Files with parameters in float16: half the size, each rounded to its nearest neighbour, and read as any other model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from support.helpers import complaint

import minivae as mv
from minivae.checks import DataFileError, InputError
from minivae.training import checkpoint


@pytest.fixture(scope="module")
def model():
    x = np.random.default_rng(0).random((200, 30), dtype=np.float32)
    return mv.VAE(latent_dim=3, hidden_dims=(40,), epochs=2, batch_size=50, device="cpu").fit(x)


def test_half_precision_halves_the_file_and_moves_each_parameter_by_its_rounding(model, tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    model.save(whole)
    model.save(half, half=True)
    n = model.parameters_.values.size
    assert whole.stat().st_size - half.stat().st_size == pytest.approx(2 * n, rel=0.05)
    again = mv.load(half, device="cpu")
    assert again.parameters_.values.dtype == np.float32
    assert again.get_params() == mv.load(whole, device="cpu").get_params()
    off, size = np.abs(again.parameters_.values - model.parameters_.values), np.abs(model.parameters_.values)
    assert (off <= np.maximum(2.0**-11 * size, 2.0**-25)).all()
    assert off.any()
    for name, array in checkpoint.load(half)[0].items():
        np.testing.assert_array_equal(array, model.parameters_.state()[name].astype(np.float16))


def test_a_file_in_both_precisions_is_refused(model, tmp_path):
    path = tmp_path / "mixed.safetensors"
    arrays = {name: array.astype(np.float16) for name, array in model.parameters_.state().items()}
    first = next(iter(arrays))
    checkpoint.save(path, arrays | {first: arrays[first].astype(np.float32)}, model.record())
    assert "F32 of shape" in complaint(DataFileError, mv.load, path)


def test_a_parameter_beyond_float16_is_refused_and_no_file_is_written(model, tmp_path):
    twin = copy.deepcopy(model)
    twin.parameters_.values[7] = 7e4
    path = tmp_path / "large.safetensors"
    assert "an infinite one" in complaint(InputError, twin.save, path, half=True)
    assert not path.exists()
    assert "True or False" in complaint(InputError, model.save, path, half="yes")
