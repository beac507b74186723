"""Training in one launch takes the steps of the ops, to rounding, and says why where it does not apply."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import minivae as mv
from minivae import kernels
from minivae.backend import to_numpy
from minivae.training import batches
from minivae.training import trainer as training
from minivae.training.at_once import only_watches

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU

# Seven batches, the last of them smaller; sizes that four and sixteen do not divide, and others that they do.
ODD = {"latent_dim": 3, "hidden_dims": (7,), "batch_size": 5}
EVEN = {"latent_dim": 4, "hidden_dims": (8, 12), "batch_size": 4, "activation": "tanh"}
CASES = {
    "one hidden layer": ODD,
    "two, sizes that divide": EVEN,
    "two, β rising": {**ODD, "hidden_dims": (11, 6), "beta": 0.5, "warm_up_epochs": 2},
}
PIXELS = np.random.default_rng(0).integers(0, 256, (33, 16)).astype(np.uint8)


@pytest.fixture
def reasons(caplog):
    """Return a function that gives the reasons logged so far for making the steps one by one."""
    caplog.set_level(logging.INFO, "minivae")
    return lambda: [record.getMessage() for record in caplog.records if "many in a launch" in record.getMessage()]


def trained(device: str, settings: dict, x=PIXELS, **hooks) -> mv.VAE:
    dtype = "float64" if device == "cpu" else "float32"
    made = {"epochs": 2, "noise": "counter", "seed": 3, "device": device, "dtype": dtype, "learning_rate": 0.01}
    return mv.VAE(**made | settings).fit(x, **hooks)


@pytest.mark.slow
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_it_takes_the_steps_of_float64_and_of_the_ops(settings, fused, reasons, monkeypatch):
    x = PIXELS[:, :13] if settings is not EVEN else PIXELS
    exact, whole = trained("cpu", settings, x), trained("cuda", settings, x)
    assert reasons() == []
    monkeypatch.setenv("MINIVAE_WHOLE", "0")
    stepwise = trained("cuda", settings, x)
    assert reasons() == ["steps are not made many in a launch: MINIVAE_WHOLE=0"]
    # Adam moves a parameter by its learning rate at first, whatever the gradient; fourteen steps of 0.01 carry a rounding each.
    for model in (whole, stepwise):
        np.testing.assert_allclose(to_numpy(model.parameters_.values), exact.parameters_.values, atol=2e-5)
        for name in ("train_reconstruction", "train_kl", "train_loss"):
            np.testing.assert_allclose(model.history_[name], exact.history_[name], rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_grey_values_as_floats_are_the_same_pixels(order, fused):
    bytes_, floats = (trained("cuda", ODD, x) for x in (PIXELS, (PIXELS / 255).astype(np.float32, order)))
    np.testing.assert_allclose(to_numpy(bytes_.parameters_.values), to_numpy(floats.parameters_.values), atol=2e-6)


@pytest.mark.parametrize("wrong", [np.nan, 3.0])
def test_numbers_of_a_large_file_are_checked_before_they_are_on_the_device(wrong, fused, tmp_path, monkeypatch):
    """On the CPU each batch is, when it is taken; a device that makes steps by itself takes its batches by itself, too."""
    monkeypatch.setattr(batches, "CHECK_AT_ONCE", 0)
    monkeypatch.setattr(batches, "SPREAD_ROWS", 4)  # by whose mean the first biases are chosen
    np.save(tmp_path / "x.npy", (PIXELS / 255).astype(np.float32))
    x = np.load(tmp_path / "x.npy", mmap_mode="r+")
    x[30, 5] = wrong
    started = []
    with pytest.raises(mv.InputError, match=r"x: expected (finite numbers|values in \[0, 1\])"):
        trained("cuda", ODD, x, on_start=started.append)
    assert started == []


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
@pytest.mark.parametrize(("blocks", "threads"), [(2, 32), (5, 64), (23, 32)])
def test_any_number_of_blocks_takes_the_same_steps(blocks, threads, settings, fused, monkeypatch):
    """With few, each has several tiles of a product; with many, some have none, or one of the next batch."""
    monkeypatch.setattr(kernels.library(fused), "multiprocessors", blocks)
    monkeypatch.setattr(kernels, "WIDE_BLOCK", threads)
    exact, whole = trained("cpu", settings), trained("cuda", settings)
    np.testing.assert_allclose(to_numpy(whole.parameters_.values), exact.parameters_.values, atol=2e-5)
    for name in ("train_reconstruction", "train_kl", "train_loss"):
        np.testing.assert_allclose(whole.history_[name], exact.history_[name], rtol=3e-6, atol=1e-6)


def test_the_same_run_gives_the_same_bits(fused):
    first, second = (to_numpy(trained("cuda", ODD).parameters_.values) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_hook_that_only_watches_sees_every_launch_and_others_every_step(fused, reasons, monkeypatch):
    monkeypatch.setattr(training, "CHECK_EVERY", 3)
    seen = []
    whole = trained("cuda", ODD, on_step=only_watches(lambda trainer: seen.append(trainer.step)))
    assert seen == [3, 6, 7, 10, 13, 14]
    seen.clear()
    stepwise = trained("cuda", ODD, on_step=lambda trainer: seen.append(trainer.step))
    assert seen == list(range(1, 15))
    assert reasons() == ["steps are not made many in a launch: on_step may change what the next step does"]
    np.testing.assert_allclose(to_numpy(whole.parameters_.values), to_numpy(stepwise.parameters_.values), atol=2e-5)


def test_another_hook_is_asked_anew_whether_it_only_watches(fused, monkeypatch):
    monkeypatch.setattr(training, "CHECK_EVERY", 3)
    trainers, seen = [], []
    trained("cuda", ODD | {"epochs": 1}, on_start=trainers.append)
    for hook in (lambda trainer: seen.append(trainer.step), only_watches(lambda trainer: seen.append(trainer.step))):
        trainers[0].make_epoch(hook)
    assert seen == [8, 9, 10, 11, 12, 13, 14, 17, 20, 21]


CHANGES_ON_THE_HOST = {
    "noise": ({"noise": "generator"}, "noise='generator' is not a function of what is on the device"),
    "optimiser": ({"optimizer": "sgd"}, "optimizer='sgd' in float32 without its kernel counts steps on the host"),
    "β": ({"warm_up_epochs": 2}, "warm_up_epochs changes the loss from step to step"),
}


@pytest.mark.parametrize(("settings", "reason"), CHANGES_ON_THE_HOST.values(), ids=CHANGES_ON_THE_HOST)
def test_what_changes_on_the_host_is_why_no_step_is_replayed(settings, reason, fused, caplog):
    """``test_graph`` looks at the numbers; here at the words, for each reason alone."""
    caplog.set_level(logging.INFO, "minivae")
    trained("cuda", ODD | settings | {"epochs": 1})
    (message,) = (record.getMessage() for record in caplog.records if "replayed as a graph" in record.getMessage())
    assert reason in message


def test_numbers_that_are_not_finite_are_found(fused):
    weights = {"learning_rate": 1e30}
    with pytest.raises(mv.NonFiniteError, match="in epoch 1"):
        trained("cuda", {**ODD, **weights})


OBSTACLES = {
    "noise": ({"noise": "generator"}, "noise='generator' is not a function"),
    "optimiser": ({"optimizer": "sgd"}, "optimizer='sgd' in float32 has no kernel"),
    "norm": ({"clip_norm": 1.0}, "clip_norm needs all gradients"),
    "binarised": ({"binarize": "dynamic"}, "binarize='dynamic' draws pixels anew"),
    "likelihood": ({"likelihood": "gaussian_fixed"}, "likelihood='gaussian_fixed', where it knows 'bernoulli'"),
    "free bits": ({"free_bits": 0.1}, "free_bits=0.1, where it knows 0"),
    "activation": ({"activation": "elu"}, "activation='elu', where it knows relu and tanh"),
    "depth": ({"hidden_dims": (5, 4, 3)}, "3 hidden layers, where it knows one or two"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_where_it_does_not_apply_the_log_says_why(settings, reason, fused, reasons):
    trained("cuda", ODD | settings | {"epochs": 1})
    (message,) = reasons()
    assert reason in message


@pytest.mark.parametrize(("limit", "value"), [("SMALL", 5 * 16 * 7 - 1), ("LONGEST", 15)])
def test_layers_that_cublas_computes_are_named(limit, value, fused, reasons, monkeypatch):
    monkeypatch.setattr(kernels, limit, value)
    trained("cuda", ODD | {"epochs": 1})
    (message,) = reasons()
    assert message.endswith("a layer with 112 weights and batches of 5 are products that cuBLAS makes faster")


@pytest.mark.parametrize("dtype", ["float64", "bool", "uint16"])
def test_pixels_that_it_does_not_read_are_named(dtype, fused, reasons):
    """Read as floats, the bytes of other numbers would be other pixels."""
    mv.VAE(**ODD, epochs=1, noise="counter", device="cuda").fit((PIXELS > 127).astype(dtype))
    assert reasons() == [f"steps are not made many in a launch: pixels in {dtype}, where it reads 8-bit or float32 ones"]


def test_another_model_is_not_taken_for_a_vae(fused, reasons):
    class Own(mv.VAE):
        def loss(self, terms, epochs_done=1.0):
            return 2.0 * super().loss(terms, epochs_done)

    Own(**ODD, epochs=1, noise="counter", device="cuda").fit(PIXELS)
    assert reasons() == ["steps are not made many in a launch: Own is not the VAE whose loss it knows"]
