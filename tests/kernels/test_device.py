"""On a device nothing goes to the host and back by accident, and nothing waits; shown on the strict stand-in for CuPy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from support import strict_cupy
from support.device import install

import minivae as mv
from minivae.autodiff import Tensor, backward
from minivae.backend import to_device, to_numpy
from minivae.kernels.counter_noise import noise_source
from minivae.models.likelihoods import LIKELIHOODS
from minivae.ops.examples import EXAMPLES, Example
from minivae.proof.finite_differences import away_from_zero
from minivae.proof.precision import UNITS, compare_precision
from minivae.training.batches import Rows
from minivae.training.trainer import CHECK_EVERY, Trainer

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


# ---- The stand-in refuses and counts --------------------------------------------------------------------------------------------

HERE, THERE = np.arange(6.0).reshape(2, 3), strict_cupy.asarray(np.arange(6.0).reshape(2, 3))
REFUSED = {
    "a NumPy array on the right": lambda: THERE + HERE,
    "a NumPy array on the left": lambda: HERE + THERE,
    "a NumPy array in a function": lambda: strict_cupy.maximum(THERE, HERE),
    "a function without an array of its own": lambda: strict_cupy.exp(HERE),
    "a NumPy array among the parts": lambda: strict_cupy.concatenate([THERE, HERE]),
    "a NumPy array in place": lambda: THERE.__iadd__(HERE),
    "a NumPy array as a value": lambda: THERE.__setitem__(..., HERE),
    "an implicit copy to the host": lambda: np.asarray(THERE),
    "a NumPy function": lambda: np.exp(THERE),
    "a narrower type in place": lambda: strict_cupy.asarray([1]).__iadd__(1.5),
}


@pytest.mark.parametrize("mistake", REFUSED.values(), ids=REFUSED)
def test_what_cupy_refuses_is_refused(mistake):
    with pytest.raises(TypeError):
        mistake()


WAITS = {
    "item": lambda: THERE.sum().item(),
    "float": lambda: float(THERE.sum()),
    "int": lambda: int(THERE.sum()),
    "bool": lambda: bool(THERE.sum() > 0),
    "get": lambda: THERE.get(),
    "print": lambda: repr(THERE),
    "a mask": lambda: THERE[THERE > 2],
    "one-argument where": lambda: strict_cupy.where(THERE > 2),
    "Python's min": lambda: min(1.0, THERE.sum()),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_what_waits_for_the_device_is_counted_and_cannot_be_captured(wait):
    with strict_cupy.counting() as counts:
        wait()
    assert counts.synchronisations == 1
    with strict_cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        try:
            with pytest.raises(strict_cupy.CaptureError):
                wait()
        finally:
            stream.end_capture()


def test_reductions_give_arrays_and_launches_are_counted():
    with strict_cupy.counting() as counts:
        total = (THERE * 2).sum()
    assert isinstance(total, strict_cupy.ndarray)
    assert total.shape == ()
    assert (counts.launches, counts.synchronisations) == (2, 0)


# ---- Every op -------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_example
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_op_runs_on_a_device_without_waiting(example: Example, dtype, strict_device):
    leaves = [Tensor(to_device(strict_cupy, array, dtype), requires_grad=True) for array in example.draw().values()]
    cotangent = away_from_zero(np.random.default_rng(0), example(*leaves).shape)
    cotangent = to_device(strict_cupy, cotangent, dtype)
    with strict_cupy.counting() as counts:
        backward(example(*leaves), cotangent, leaves)
    assert counts.launches > 0 or example.op.name in ("identity", "reshape")  # which only look at their argument
    assert (counts.synchronisations, counts.to_host, counts.to_device) == (0, 0, 0)
    assert all(leaf.grad.dtype == dtype for leaf in leaves)


@every_example
def test_every_op_agrees_with_float64_on_a_device_with_kernels(example: Example, fused):
    for report in compare_precision(example, example.draw(), xp=fused):
        assert report.units < UNITS, report


# ---- Training -------------------------------------------------------------------------------------------------------------------

SMALL = {"latent_dim": 2, "hidden_dims": (5,), "batch_size": 4, "device": "cuda", "seed": 3}
PIXELS = np.random.default_rng(0).integers(0, 256, (26, 13)).astype(np.uint8)
MODELS = {
    **{name: (mv.VAE, {"likelihood": name}) for name in LIKELIHOODS},
    "dynamic binarisation": (mv.VAE, {"binarize": "dynamic"}),
    "clipped, sgd": (mv.VAE, {"clip_norm": 1.0, "optimizer": "sgd"}),
    "counter noise": (mv.VAE, {"noise": "counter"}),
    "tanh, two layers": (mv.VAE, {"activation": "tanh", "hidden_dims": (5, 3)}),
    "sigmoid": (mv.VAE, {"activation": "sigmoid"}),
    "IWAE": (mv.IWAE, {}),
    "autoencoder": (mv.Autoencoder, {}),
    "denoising": (mv.DenoisingAutoencoder, {}),
    "sparse": (mv.SparseAutoencoder, {}),
    "contractive": (mv.ContractiveAutoencoder, {}),
}


def trainer_of(model, settings) -> Trainer:
    made = model(**SMALL | settings)
    made.check_settings()
    rows = made._rows(PIXELS)
    made._build(rows.n_features)
    return Trainer(made, rows)


def steps(trainer: Trainer, order, noise, n: int) -> None:
    for start in range(0, 4 * n, 4):
        index = order[start : start + 4]
        trainer.train_step(trainer.train.take(index, noise), noise)


@pytest.mark.parametrize(("model", "settings"), MODELS.values(), ids=MODELS)
def test_a_training_step_never_waits_for_the_device(model, settings, strict_device):
    trainer = trainer_of(model, settings)
    order = strict_cupy.asarray(np.random.default_rng(1).permutation(26))
    noise = noise_source(trainer.model.noise, strict_cupy, 0, "noise", 0)
    with strict_cupy.counting() as counts:
        steps(trainer, order, noise, 2)
    assert counts.launches > 20
    assert (counts.synchronisations, counts.to_host, counts.to_device) == (0, 0, 0)
    with strict_cupy.counting() as counts:
        trainer.running  # noqa: B018 - whoever asks waits
    assert counts.synchronisations >= 2


def test_losses_are_read_back_only_every_so_many_steps(monkeypatch):
    """An epoch waits once at its end and once per ``CHECK_EVERY`` steps, and there also to keep a copy of its sums."""

    install(monkeypatch, with_kernels=False)

    def waits(n: int) -> int:
        trainer = trainer_of(mv.VAE, {"batch_size": 1})
        trainer.train.values = trainer.train.values[np.arange(n) % 26]
        with strict_cupy.counting() as counts:
            trainer.make_epoch()
        return counts.synchronisations

    terms = 3  # reconstruction, KL, loss
    assert waits(1) == waits(CHECK_EVERY - 1) == 1
    assert waits(CHECK_EVERY + 1) == 2 + terms


def test_the_data_set_is_copied_to_the_device_once_as_it_is_stored(strict_device):
    with strict_cupy.counting() as counts:
        rows = Rows(PIXELS, strict_cupy, "float32")
    assert (counts.to_device, counts.to_host, counts.synchronisations) == (1, 0, 0)
    assert rows.values.dtype == np.uint8
    order = strict_cupy.asarray(np.arange(26))
    with strict_cupy.counting() as counts:
        for start in range(0, 26, 4):
            assert isinstance(rows.take(order[start : start + 4], None), strict_cupy.ndarray)
    assert (counts.to_device, counts.to_host, counts.synchronisations) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", mv.MODELS)
def test_every_model_does_on_a_device_what_it_does_on_the_cpu(name, strict_device, tmp_path):
    x, y = PIXELS / 255.0, np.arange(26) % 3
    settings = SMALL | {"noise": "counter", "epochs": 2, "batch_size": 8}
    here, there = (mv.MODELS[name](**settings | {"device": device}) for device in ("cpu", "cuda"))
    for model in (here, there):
        model.fit(x, y, x_test=x[:5], y_test=y[:5])
    assert isinstance(there.parameters_.values, strict_cupy.ndarray)
    np.testing.assert_allclose(to_numpy(there.parameters_.values), here.parameters_.values, atol=2e-5)
    for figure, values in here.history_.items():
        if figure != "seconds":
            np.testing.assert_allclose(there.history_[figure], values, rtol=1e-4, atol=1e-5, err_msg=figure)
    code = there.transform(x, y)
    assert isinstance(code, np.ndarray)  # NumPy in, NumPy out
    np.testing.assert_allclose(code, here.transform(x, y), atol=1e-4)
    there.save(tmp_path / "model.safetensors")
    loaded = mv.load(tmp_path / "model.safetensors", device="cpu")
    np.testing.assert_allclose(loaded.transform(x, y), code, atol=1e-4)


@pytest.mark.slow
def test_a_run_begun_on_the_cpu_goes_on_on_a_device(strict_device):
    settings = {"noise": "counter", "learning_rate": 0.01}
    here, there = (trainer_of(mv.VAE, settings | {"device": device}) for device in ("cpu", "cuda"))
    here.run(1)
    arrays, numbers = here.state()
    there.restore({name: array.copy() for name, array in arrays.items()}, copy.deepcopy(numbers))
    for trainer in (here, there):
        trainer.run(2)
    np.testing.assert_allclose(to_numpy(there.model.parameters_.values), here.model.parameters_.values, atol=2e-5)
    assert there.optimizer.steps == here.optimizer.steps == 14
    np.testing.assert_allclose(there.history["train_loss"], here.history["train_loss"], rtol=1e-5)
