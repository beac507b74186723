"""The traced training step: it is the library's own, its numbers are right, and a wrong one would show."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from support.helpers import Noise

from minivae.autodiff import backward
from minivae.op import Op
from minivae.ops import kl_standard_normal
from minivae.study import trace
from minivae.training.trainer import Trainer


@pytest.fixture(scope="module")
def it() -> trace.Trace:
    return trace.trace()


def gradients_of(it: trace.Trace, name: str) -> np.ndarray:
    return np.reshape([row.gradient for row in it.gradients if row.name == name], it.values[name].shape)


def test_every_quantity_has_its_gradient_once_beside_a_finite_difference_that_agrees(it):
    names = [(row.name, row.index) for row in it.gradients]
    computed = [link.name for link in trace.FORWARD]
    assert set(names) == {(name, index) for name in (*computed, *it.parameters) for index in np.ndindex(it.values[name].shape)}
    assert len(names) == len(set(names))
    for row in it.gradients:
        # Fourth order at a step of 1/1000 leaves 1e-12, rounding 1e-13; the gradients are of the size of 0.1.
        assert row.slope == pytest.approx(row.gradient, rel=0, abs=1e-10), row


def test_every_gradient_stands_below_those_it_is_computed_from(it):
    order = list(dict.fromkeys(row.name for row in it.gradients))
    for row in it.gradients[1:]:
        assert all(order.index(link) < order.index(row.name) for link in row.through), row
        assert sum(row.through.values()) == pytest.approx(row.gradient, rel=1e-15)


def test_forward_is_what_one_computes_by_hand(it):
    """Textbook formulas, one number at a time, from the rounded weights."""
    w = {name: it.values[name].tolist() for name in it.parameters}
    x, epsilon = it.values["x"][0].tolist(), it.values["noise"].item()

    def layer(inputs, name):
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        return [sum(a * row[j] for a, row in zip(inputs, weight, strict=True)) + b for j, b in enumerate(bias)]

    mean, log_var = layer([math.tanh(a) for a in layer(x, "encoder.0")], "encoder.1")
    z = mean + math.sqrt(math.exp(log_var)) * epsilon
    logits = layer([math.tanh(b) for b in layer([z], "decoder.0")], "decoder.1")
    p = [1 / (1 + math.exp(-logit)) for logit in logits]
    reconstruction = -sum(t * math.log(q) + (1 - t) * math.log(1 - q) for t, q in zip(x, p, strict=True))
    kl = -0.5 * (1 + log_var - mean**2 - math.exp(log_var))
    for name, value in {"z": z, "reconstruction": reconstruction, "kl": kl, "loss": reconstruction + kl}.items():
        assert it.values[name].item() == pytest.approx(value, rel=1e-13), name


def test_the_step_is_the_one_that_the_library_makes(it):
    model = trace.tiny_vae()
    x, noise = (np.array(trace.EXAMPLE[name]) for name in ("x", "noise"))
    loss = model.loss(model.terms(x, Noise(noise)))
    backward(loss, leaves=model.parameters_.parameters.values())
    assert loss.item() == pytest.approx(float(it.values["loss"]), rel=1e-15)
    for name, parameter in model.parameters_.parameters.items():
        np.testing.assert_allclose(gradients_of(it, name), parameter.grad, rtol=1e-14, atol=1e-16)
    trainer = Trainer(model, model._rows(x))
    trainer.train_step(x, Noise(noise))
    after = {(row.name, row.index): row.after for row in it.gradients}
    for name, array in model.parameters_.state().items():
        for index, value in np.ndenumerate(array):
            assert after[name, index] == pytest.approx(value, rel=1e-14)


def test_a_wrong_backward_would_show(monkeypatch):
    """The finite difference beside a gradient tells of the bug in the one link that has it."""

    def halved(xp, saved, g, needs):
        mean, log_var = kl_standard_normal.backward(xp, saved, g, needs)
        return mean, 0.5 * log_var

    wrong = Op("wrong", kl_standard_normal.forward, halved, args=kl_standard_normal.args)
    links = [dataclasses.replace(link, function=wrong) if link.name == "kl" else link for link in trace.FORWARD]
    monkeypatch.setattr(trace, "FORWARD", tuple(links))
    off = {row.name for row in trace.trace().gradients if abs(row.slope - row.gradient) > 1e-3}
    assert {"log_var", "heads", "encoder.1.weight"} <= off
    assert not off & {"mean", "z", "logits", "decoder.0.weight", "decoder.1.weight"}


def test_tables_say_all_of_it(it):
    forward, back, update = [list(rows) for _, rows, _ in trace.tables(it)]
    assert [row[0] for row in forward] == [*trace.EXAMPLE, *it.parameters, *(link.name for link in trace.FORWARD)]
    assert len(back) == len(it.gradients)
    assert len(update) == sum(it.values[name].size for name in it.parameters)
    log_var = next(row for row in back if row[0] == "log_var")
    assert "z: ½ g σ ε (R.2) = " in log_var[2]
    assert "kl: ½ g (σ² − 1) (K.2) = " in log_var[2]
    assert log_var[3] == log_var[4]
    for _, rows, header in trace.tables(it):
        assert all(len(row) == len(header) for row in rows)


def test_rules_are_the_derivatives_that_they_say(it):
    """The written rules, typed in once more as numbers."""
    v = {name: array.ravel() for name, array in it.values.items()}
    through = {(row.name, row.index): row.through for row in it.gradients}
    (g_z,) = gradients_of(it, "z").ravel()
    sigma = math.exp(0.5 * v["log_var"][0])
    assert through["log_var", (0, 0)]["z"] == pytest.approx(0.5 * g_z * sigma * v["noise"][0], rel=1e-12)
    assert through["log_var", (0, 0)]["kl"] == pytest.approx(0.5 * (sigma**2 - 1), rel=1e-12)
    assert through["mean", (0, 0)] == pytest.approx({"z": g_z, "kl": v["mean"][0]}, rel=1e-12)
    np.testing.assert_allclose(gradients_of(it, "logits").ravel(), 1 / (1 + np.exp(-v["logits"])) - v["x"], rtol=1e-12)
    np.testing.assert_allclose(gradients_of(it, "a"), gradients_of(it, "h") * (1 - v["h"] ** 2), rtol=1e-12)
