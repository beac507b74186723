"""The files of a VAE, whole and damaged, and the devices that it is on."""

from __future__ import annotations

import numpy as np
import pytest
from support.helpers import blank_vae, complaint, rewritten
from support.small_vae import SMALL, D, X

import minivae as mv
from minivae.backend import to_device, to_numpy
from minivae.checks import DataFileError, DeviceError, InputError


@pytest.mark.slow
def test_saved_model_comes_back_whole(small, tmp_path):
    small.save(tmp_path / "model.safetensors")
    loaded = mv.load(tmp_path / "model.safetensors", device="cpu")
    assert type(loaded) is mv.VAE
    assert loaded.get_params() == small.get_params()
    assert loaded.history_ == small.history_
    assert loaded.n_features_in_ == D
    np.testing.assert_array_equal(loaded.parameters_.values, small.parameters_.values)
    for name in ("encode", "elbo", "log_likelihood", "reconstruct"):
        np.testing.assert_array_equal(getattr(loaded, name)(X), getattr(small, name)(X))
    np.testing.assert_array_equal(loaded.sample(5, 0, "draw"), small.sample(5, 0, "draw"))
    loaded.fit(X)  # and it can be trained anew
    np.testing.assert_array_equal(loaded.parameters_.values, small.parameters_.values)


def test_save_of_a_model_with_numpy_settings(tmp_path):
    vae = mv.VAE(latent_dim=np.int64(2), hidden_dims=(np.int32(4),), learning_rate=np.float32(1e-3), epochs=1, batch_size=20)
    vae.fit(X).save(tmp_path / "model")
    assert mv.load(tmp_path / "model").hidden_dims == (4,)


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content[:-1] + b"!", lambda content: b""])
def test_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "model"
    blank_vae(X, **SMALL).save(path)
    path.write_bytes(damage(path.read_bytes()))
    assert str(path) in complaint(DataFileError, mv.load, path)


def test_missing_file(tmp_path):
    assert str(tmp_path / "absent") in complaint(DataFileError, mv.load, tmp_path / "absent")


RECORDS = {
    "record.n_features: expected a value, got none": lambda record: record.pop("n_features"),
    "record.params: expected an object with names, got 7": lambda record: record.update(params=7),
    "epochs: expected a whole number of at least 1, got 0": lambda record: record["params"].update(epochs=0),
    "record.n_features: expected a whole number of at least 1, got 0": lambda record: record.update(n_features=0),
    "array decoder.2": lambda record: record["params"].update(hidden_dims=[10**5, 10**5]),
    "model: expected one of the models": lambda record: record.update(model=["VAE"]),
    "learned: expected nothing, got classes_": lambda record: record["learned"].update(classes_=[0, 1]),
    "history: expected figures of 20 latent dimensions": lambda record: record["history"].update(active_units=[21]),
    "history: expected figures of 20 latent dimensions, got": lambda record: record["history"].update(kl_per_dimension=[[0.0]]),
}


@pytest.mark.parametrize("words", RECORDS)
def test_a_file_that_is_no_model_says_what_is_wrong_with_it(tmp_path, words):
    """It names the place in the file, and does so before the memory is taken that the settings ask for, here 80 GB."""
    path = tmp_path / "vae.safetensors"
    blank_vae(X).save(path)
    message = complaint(DataFileError, mv.load, rewritten(path, RECORDS[words]), device="cpu")
    assert message.startswith(f"{path}: expected a model, got {words}")


def test_a_file_with_more_numbers_than_the_model_has_is_refused(tmp_path):
    """Whatever a training keeps beside the parameters is no larger than all of them: nobody is made to read 80 GB."""
    path = tmp_path / "vae.safetensors"
    vae = blank_vae(X)
    vae.save(path)
    most = vae.parameters_.values.size
    rewritten(path, lambda record: None, **{"training.mean": np.zeros(most)})
    mv.load(path, device="cpu")
    rewritten(path, lambda record: None, **{"training.mean": np.zeros(most + 1)})
    message = complaint(DataFileError, mv.load, path, device="cpu")
    assert f"array training.mean: expected at most {most} numbers, got {most + 1}" in message


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
def test_a_file_with_numbers_that_are_not_finite_is_refused(wrong, tmp_path):
    path, vae = tmp_path / "vae.safetensors", blank_vae(X)
    vae.save(path)
    rewritten(path, lambda record: None, **{"decoder.0.bias": np.full(400, wrong)})
    assert "array decoder.0.bias: expected finite numbers" in complaint(DataFileError, mv.load, path, device="cpu")


# -- devices -----------------------------------------------------------------------------------------------------------


def test_cuda_without_a_device_is_refused_with_the_reason():
    available, reason = mv.backend.probe_cuda()
    if available:
        pytest.skip("there is a CUDA device here")
    message = complaint(DeviceError, mv.VAE(**SMALL | {"device": "cuda"}, batch_size=20).fit, X)
    assert reason in message


def test_fit_and_use_on_each_device(device):
    """What a model computes from given numbers is the same everywhere; what it draws is not."""
    here = mv.VAE(**SMALL, epochs=2, batch_size=20, likelihood="gaussian_shared").fit(X)
    there = mv.VAE(**SMALL | {"device": device}, epochs=2, batch_size=20, likelihood="gaussian_shared").fit(X, x_test=X)
    assert len(there.history_["test_loss"]) == 2
    there.parameters_.values[...] = to_device(there.xp_, here.parameters_.values)
    for mine, other in zip(here.encode(X), there.encode(X)):
        assert type(other) is np.ndarray
        np.testing.assert_allclose(other, mine, atol=1e-5)
    on_device = to_device(there.xp_, X)
    for call in (there.transform, there.elbo, there.log_likelihood, there.reconstruct):
        assert type(call(X)) is np.ndarray
        assert type(call(on_device)) is type(on_device)
        np.testing.assert_allclose(to_numpy(call(on_device)), call(X), atol=1e-5)
    assert type(there.sample(3)) is type(there.sample(3, pixels="draw")) is np.ndarray
    elbo = here.elbo(np.repeat(X, 50, axis=0)).mean()
    assert there.elbo(np.repeat(X, 50, axis=0)).mean() == pytest.approx(elbo, abs=0.2)


def test_a_device_is_chosen_by_the_user_and_not_by_the_file(tmp_path, monkeypatch):
    """What is wrong with the device is not wrong with the file: nobody should save the model anew for it."""
    path = tmp_path / "vae.safetensors"
    blank_vae(X).save(path)
    assert "device: expected one of" in complaint(InputError, mv.load, path, device="gpu")
    monkeypatch.setattr("minivae.backend.probe_cuda", lambda: (False, "no driver"))
    message = complaint(DeviceError, mv.load, path, device="cuda")
    assert "no driver" in message
    assert str(path) not in message
