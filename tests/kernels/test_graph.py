"""A replayed step does what an eager one does, and what cannot be captured runs eagerly, with its reason."""

from __future__ import annotations

import gc
import logging

import numpy as np
import pytest
from support import strict_cupy

import minivae as mv
from minivae.backend import to_numpy
from minivae.kernels.graph import WARM_UP, Replay

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU

SMALL = {"latent_dim": 2, "hidden_dims": (5,), "batch_size": 4, "epochs": 2, "device": "cuda", "noise": "counter", "seed": 3}
PIXELS = np.random.default_rng(0).integers(0, 256, (26, 13)).astype(np.uint8)  # six full batches and a smaller one


@pytest.fixture(autouse=True)
def step_by_step(monkeypatch):
    """Not many steps in a launch, which would leave nothing to replay."""
    monkeypatch.setenv("MINIVAE_WHOLE", "0")


@pytest.fixture
def reasons(caplog):
    """Return a function that gives the reasons logged so far for running eagerly."""
    caplog.set_level(logging.INFO, "minivae")
    return lambda: [record.getMessage() for record in caplog.records if "replayed" in record.getMessage()]


def count_graphs(monkeypatch) -> list[int]:
    """Return a list that gets, for each graph that the stand-in launches, the number of kernels in it."""
    launched = []
    launch = strict_cupy._Graph.launch
    monkeypatch.setattr(
        strict_cupy._Graph, "launch", lambda self, stream: (launched.append(len(self._kernels)), launch(self, stream))
    )
    return launched


@pytest.mark.parametrize(
    ("settings", "launches"),
    [({}, 25), ({"hidden_dims": (5, 3)}, 31), ({"activation": "tanh", "beta": 4.0}, 27)],
    ids=["one hidden layer", "two", "β"],
)
def test_a_replayed_step_is_a_few_launches(settings, launches, fused, monkeypatch):
    """As many for any size; with one hidden layer 8 of them are layers, four forward and four backward."""
    if fused is not strict_cupy:
        pytest.skip("the stand-in counts")
    launched = count_graphs(monkeypatch)
    state_after(**settings)
    assert set(launched) == {launches}


def state_after(x=PIXELS, model=mv.VAE, **settings):
    vae = model(**SMALL | settings).fit(x, np.arange(26) % 3)
    return to_numpy(vae.parameters_.values), vae.history_["train_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"binarize": "dynamic"},
        {"likelihood": "gaussian", "activation": "tanh"},
        {"model": mv.ConditionalVAE},
        {"model": mv.DenoisingAutoencoder},
        {"clip_norm": 0.1},
    ],
    ids=["VAE", "binarised", "gaussian", "conditional", "denoising", "clipped"],
)
def test_replayed_training_is_eager_training_to_the_last_bit(settings, fused, reasons, monkeypatch):
    x = PIXELS if settings.get("likelihood") != "gaussian" else PIXELS / 255.0
    launched = count_graphs(monkeypatch)
    replayed, losses = state_after(x, **settings)
    assert reasons() == []
    if fused is strict_cupy:
        # The first epoch warms up, the second makes its first step eagerly; the smaller last batch is never replayed.
        assert len(launched) == (6 - WARM_UP) + (6 - 1)
    monkeypatch.setenv("MINIVAE_GRAPH", "0")
    eager, eager_losses = state_after(x, **settings)
    np.testing.assert_array_equal(replayed, eager)
    assert losses == eager_losses
    assert reasons() == ["training steps are not replayed as a graph: MINIVAE_GRAPH=0"]


OBSTACLES = {
    "noise": ({"noise": "generator"}, "noise='generator'"),
    "optimiser": ({"optimizer": "sgd"}, "optimizer='sgd'"),
    "dtype": ({"dtype": "float64"}, "in float64"),
    "moving weight": ({"warm_up_epochs": 2}, "warm_up_epochs"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_cannot_be_captured_runs_eagerly_with_its_reason(settings, reason, fused, reasons, monkeypatch):
    launched = count_graphs(monkeypatch)
    settings = {"epochs": 1} | settings
    fallen_back, losses = state_after(**settings)
    assert launched == []
    (message,) = reasons()
    assert reason in message
    monkeypatch.setenv("MINIVAE_GRAPH", "0")
    eager, eager_losses = state_after(**settings)
    np.testing.assert_array_equal(fallen_back, eager)  # the attempt left no trace
    assert losses == eager_losses


def run_epoch(xp, step) -> None:
    order = xp.arange(12)
    with Replay(xp, "").epoch(order, 2, step) as make:
        for start in range(0, 12, 2):
            make(order[start : start + 2])


def test_a_step_that_waits_is_not_captured(fused, reasons):
    made = []

    def step(index):
        made.append(float(index.sum()))

    run_epoch(fused, step)
    assert made == [1, 5, 9, 13, 17, 21]  # each once, the interrupted one included
    (message,) = reasons()
    assert "captur" in message  # CUDA's words change, CuPy's too
    assert gc.isenabled()


def test_a_clipped_step_on_a_device_is_that_of_the_cpu(fused, reasons):
    values, losses = state_after(clip_norm=0.1)
    assert reasons() == []
    here, losses_here = state_after(clip_norm=0.1, device="cpu", dtype="float64")
    free, _ = state_after(device="cpu", dtype="float64")
    np.testing.assert_allclose(values, here, atol=2e-6)
    np.testing.assert_allclose(losses, losses_here, rtol=1e-6)
    assert abs(free - here).max() > 1e-4  # the norm was above what is allowed


def test_a_product_of_cupys_is_not_captured(strict_device, reasons):
    square = strict_device.ones((2, 2), dtype="float32")
    run_epoch(strict_device, lambda index: square @ square)
    (message,) = reasons()
    assert "NotImplementedError: calling cuBLAS API during stream capture" in message


def test_a_faulty_step_says_what_is_wrong_with_it(fused):
    steps = []

    def step(index):
        steps.append(index)
        if len(steps) > WARM_UP:
            raise ZeroDivisionError("a fault of the step's own")

    with pytest.raises(ZeroDivisionError, match="own"):
        run_epoch(fused, step)
    assert fused.cuda.get_current_stream() == fused.cuda.Stream.null


def test_an_interrupted_capture_leaves_the_stream_as_it_was(fused):
    """Otherwise the next training in a notebook would only be recorded."""
    steps = []

    def step(index):
        steps.append(index)
        if len(steps) > WARM_UP:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_epoch(fused, step)
    assert gc.isenabled()
    sums = []
    run_epoch(fused, lambda index: sums.append(index.sum()))
    assert [int(total) for total in sums[:WARM_UP]] == [1, 5, 9]


def test_on_the_cpu_nothing_is_captured_and_nothing_is_said(reasons):
    mv.VAE(**SMALL | {"device": "cpu", "epochs": 1}).fit(PIXELS)
    assert reasons() == []
