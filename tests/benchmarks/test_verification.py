"""No benchmark lets a wrong result through to the clock: a planted error ends it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from support.cpu_benchmark import write_pixels

from benchmarks.cpu import memory, ops, scaling, scripts, step
from benchmarks.cpu.references import REFERENCES
from benchmarks.cpu.workloads import Workload
from minivae import VAE
from minivae.checks import NonFiniteError
from minivae.ops import ALL_OPS

TINY = Workload("tiny", 31, (17,), 3, 13, "tanh")


def call(name, **changes):
    example = ops.FIRST_EXAMPLES[name]
    return ops.Call(dataclasses.replace(example, op=dataclasses.replace(example.op, **changes)), ops.QUICK_SIZES)


def test_every_op_has_a_reference():
    assert set(REFERENCES) == set(ops.FIRST_EXAMPLES) == set(ALL_OPS)
    assert set(ops.DATA) <= set(ALL_OPS)


@pytest.mark.parametrize("name", ALL_OPS)
def test_ops_agree_with_their_references(name):
    call(name).verify()


@pytest.mark.parametrize("name", ALL_OPS)
def test_an_error_of_a_thousandth_is_found_in_every_result_and_gradient(name):
    def forward(*args, **options):
        out, saved = ALL_OPS[name].forward(*args, **options)
        return 1.001 * out, saved

    with pytest.raises(SystemExit, match=f"{name}: the result"):
        call(name, forward=forward).verify()
    right = call(name)
    for i, argument in enumerate(right.names):
        if not right.needs[i]:
            continue

        def backward(*args, i=i):
            gradients = list(ALL_OPS[name].backward(*args))
            gradients[i] = 1.001 * gradients[i]
            return tuple(gradients)

        with pytest.raises(SystemExit, match=f"{name}: the gradient of {argument} gives"):
            call(name, backward=backward).verify()


@pytest.mark.parametrize("wrong", [math.nan, 0.0])
def test_a_gradient_of_nan_or_of_nothing_is_found(wrong):
    with pytest.raises(SystemExit, match="the gradient of x"):
        call("tanh", backward=lambda xp, saved, g, needs: (np.full_like(g, wrong),)).verify()


def test_a_result_of_another_shape_is_found():
    with pytest.raises(SystemExit, match="off by inf"):
        ops.require_equal("it", np.ones((3, 1)), np.ones(3))


def test_a_wrong_adam_is_found(monkeypatch):
    class Slow(ops.Adam):
        def __init__(self, *args):
            super().__init__(*args)
            self.learning_rate *= 0.999

    assert len(ops._adams(101)) == 2
    monkeypatch.setattr(ops, "Adam", Slow)
    with pytest.raises(SystemExit, match="Adam is off"):
        ops._adams(101)


@pytest.mark.parametrize(
    ("wrong", "error", "words"), [(1.1, SystemExit, "tiny: losses"), (math.nan, NonFiniteError, "expected a finite loss, got nan")]
)
def test_a_wrong_training_step_is_found(wrong, error, words):
    step.Training(TINY, 50).verify()
    training = step.Training(TINY, 50)
    training.trainer.optimizer.learning_rate *= wrong
    with pytest.raises(error, match=words):
        training.verify()


def test_taking_a_step_apart_does_not_change_it():
    training, watch = step.Training(TINY, 50), step.Stopwatch()
    with step.taken_apart(training, watch):
        training.verify()
        spent = watch.lap(training.step)
    assert all(spent[part] > 0 for part in step.PARTS)


@pytest.mark.slow
def test_training_that_has_not_learned_is_found(benchmark, images, monkeypatch):
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: True if name == "minivae" else None)
    monkeypatch.setattr(memory, "loss_bounds", lambda path: (0.0, 1.0))
    with pytest.raises(SystemExit, match="minivae: has not learned"):
        benchmark("memory", "--epochs", "1", "--data-dir", str(images))


def test_loss_bounds_are_the_entropies_of_the_pixels_and_of_their_mean(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (256, 784), dtype=np.uint8)
    pixels[:, :100], pixels[:, 100:200] = 0, 255
    grey = pixels / 255
    expected = [stats.entropy([p, 1 - p]).sum(axis=0) for p in (grey, grey.mean(axis=0))]
    low, high = scripts.loss_bounds(write_pixels(tmp_path, pixels))
    assert low == pytest.approx(expected[0].sum() / len(pixels), rel=1e-12)
    assert high == pytest.approx(expected[1].sum(), rel=1e-12)


def test_a_wrong_log_likelihood_is_found(monkeypatch):
    right = VAE.importance_estimate
    assert scaling.likelihood(50, 200) > 0

    def shifted(*args, **options):
        estimate = right(*args, **options)
        return estimate._replace(log_likelihood=estimate.log_likelihood - 0.5)

    monkeypatch.setattr(VAE, "importance_estimate", shifted)
    with pytest.raises(SystemExit, match=r"log p\(x\) is off"):
        scaling.likelihood(50, 200)
