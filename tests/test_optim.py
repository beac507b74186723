"""Optimisers against the text of the papers, step by step in float64, and against what they are for: finding a minimum."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.helpers import complaint

from minivae import optim
from minivae.backend import to_device, to_numpy
from minivae.checks import InputError
from minivae.kernels.adam import _compiled
from minivae.optim import BLOCK, FLUSH_EVERY, OPTIMIZERS, SGD, WORTH_COMPILING, Adam, clip_by_norm, make_optimizer


class PaperAdam:
    """Algorithm 1 of Kingma & Ba 2015, line by line, one number at a time."""

    def __init__(self, alpha, beta1, beta2, eps):
        self.alpha, self.beta1, self.beta2, self.eps = alpha, beta1, beta2, eps
        self.t, self.m, self.v = 0, 0.0, 0.0

    def update(self, theta: float, g: float) -> float:
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        m_hat = self.m / (1 - self.beta1**self.t)
        v_hat = self.v / (1 - self.beta2**self.t)
        return theta - self.alpha * m_hat / (math.sqrt(v_hat) + self.eps)


SETTINGS = {
    "defaults": {"learning_rate": 1e-3},
    "large epsilon": {"learning_rate": 0.1, "eps": 0.3},
    "epsilon of Burda": {"learning_rate": 1e-2, "eps": 1e-4},
    "short memory": {"learning_rate": 1e-2, "beta1": 0.5, "beta2": 0.7},
    "no memory": {"learning_rate": 1e-2, "beta1": 0.0, "beta2": 0.9},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_adam_is_the_papers_at_every_step(xp, settings):
    """150 steps pass two flushes of denormal numbers; gradients of every size, and zero, are among them."""
    rng = np.random.default_rng(1)
    scales = np.array([0, 1e-30, 1e-12, 1e-8, 1e-4, 1e-2, 1, 1, 30, 1e4, 1e15])
    adam = Adam(scales.size, xp, "float64", **settings)
    rate = settings["learning_rate"]
    papers = [PaperAdam(rate, *(settings.get(k, d) for k, d in (("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8)))) for _ in scales]
    expected = rng.standard_normal(scales.size)
    values = to_device(xp, expected.copy())
    for step in range(1, 151):
        g = scales * (rng.standard_normal(scales.size) + 0.3) * (rng.random(scales.size) < 0.7)
        adam.step(values, to_device(xp, g))
        expected = np.array([paper.update(*pair) for paper, pair in zip(papers, zip(expected, g))])
        assert adam.steps == step
        # both sides add a few roundings of 1e-16 per step to numbers of order 1
        np.testing.assert_allclose(to_numpy(values), expected, rtol=0, atol=1e-12)
    assert FLUSH_EVERY < 75


@given(st.floats(1e-3, 1e12), st.booleans(), st.floats(1e-5, 1.0))
def test_first_step_of_adam_has_the_length_of_the_learning_rate(size, negative, rate):
    """With m̂ = g and √v̂ = |g| it is η g/|g| whatever the scale of g; without the hats it would be η · 0.1/√0.001."""
    values = np.zeros(1)
    Adam(1, np, "float64", rate).step(values, np.array([-size if negative else size]))
    assert values[0] == pytest.approx(rate if negative else -rate, rel=2e-5)  # ε/|g| is at most 1e-5


@pytest.mark.parametrize("kind", [Adam, SGD])
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 17])
def test_blocks_do_not_show(kind, size):
    rng = np.random.default_rng(2)
    optimizer = kind(size, np, "float64", learning_rate=0.1)
    values = rng.standard_normal(size)
    singles = {i: (kind(1, np, "float64", learning_rate=0.1), values[i : i + 1].copy()) for i in {0, size // 2, size - 1}}
    before = values.copy()
    for _ in range(3):
        g = rng.standard_normal(size)
        optimizer.step(values, g)
        for i, (single, value) in singles.items():
            single.step(value, g[i : i + 1])
            assert value[0] == values[i]
    assert (values != before).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("eps", [1e-8, 0.0])
def test_compiled_adam_gives_the_bits_of_numpys_passes(dtype, eps, monkeypatch):
    """For gradients of every size that a dtype has, and zeros, over two flushes; without ε some weights become 0/0."""
    pytest.importorskip("numba", reason="numba is not installed (pip install -e '.[compiled]')")
    monkeypatch.delenv("MINIVAE_FUSED", raising=False)
    size, rng = WORTH_COMPILING + 17, np.random.default_rng(5)
    compiled = Adam(size, np, dtype, eps=eps)
    assert compiled._compiled
    monkeypatch.setenv("MINIVAE_FUSED", "0")
    in_passes = Adam(size, np, dtype, eps=eps)
    start = rng.standard_normal(size).astype(dtype)
    values = [start, start.copy()]
    sizes = np.logspace(-44, 25, size)
    for _ in range(2 * FLUSH_EVERY + 3):
        g = (rng.standard_normal(size) * sizes * (rng.random(size) < 0.7)).astype(dtype)
        with np.errstate(all="ignore"):
            for adam, array in zip((compiled, in_passes), values, strict=True):
                adam.step(array, g)
        arrays = [[array, *adam.state().values()] for adam, array in zip((compiled, in_passes), values, strict=True)]
        for ours, theirs in zip(*arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_adam_is_compiled_only_where_it_pays_and_is_wanted(monkeypatch):
    """Not for few parameters, not under MINIVAE_FUSED=0, and, without a word, not where numba is missing."""
    monkeypatch.delenv("MINIVAE_FUSED", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    _compiled.cache_clear()
    try:
        assert Adam(WORTH_COMPILING, np, "float32")._compiled is None
    finally:
        _compiled.cache_clear()
    monkeypatch.undo()
    assert Adam(WORTH_COMPILING - 1, np, "float32")._compiled is None
    monkeypatch.setenv("MINIVAE_FUSED", "0")
    assert Adam(WORTH_COMPILING, np, "float32")._compiled is None


def test_float32_follows_float64():
    rng = np.random.default_rng(3)
    gradients = rng.standard_normal((200, 97)) * np.logspace(-6, 3, 97)
    start = rng.standard_normal(97)
    results = []
    for dtype in ("float32", "float64"):
        values, adam = start.astype(dtype), Adam(97, np, dtype)
        for g in gradients:
            adam.step(values, g.astype(dtype))
        assert {values.dtype, *(array.dtype for array in adam.state().values())} == {np.dtype(dtype)}
        results.append(values)
    # 200 roundings of values of order 1, which add up like a random walk
    np.testing.assert_allclose(*results, rtol=0, atol=5 * math.sqrt(200) * np.finfo(np.float32).eps)


def test_moments_never_stay_denormal():
    """A gradient that falls silent leaves moments that decay for ever: they become zero, and no update notices."""
    first = np.array([1e-17, 1e-12, 1e-6, 1.0, 1e6], np.float32)
    adam, exact = Adam(5, np, "float32"), Adam(5, np, "float64")
    values, expected = np.zeros(5, np.float32), np.zeros(5)
    tiny = np.finfo(np.float32).tiny
    for step in range(30 * FLUSH_EVERY):
        g = first if step == 0 else np.zeros(5, np.float32)
        adam.step(values, g)
        exact.step(expected, g.astype(np.float64))
    first_moment, second_moment = adam.state().values()
    assert (first_moment == 0).all()
    assert ((second_moment == 0) | (second_moment >= tiny)).all()
    assert second_moment[-1] > 0
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_with_momentum(xp, momentum):
    rng = np.random.default_rng(4)
    sgd = SGD(7, xp, "float64", 0.05, momentum)
    start = rng.standard_normal(7)
    values, gradients = to_device(xp, start.copy()), []
    for _ in range(20):
        gradients.append(rng.standard_normal(7))
        sgd.step(values, to_device(xp, gradients[-1]))
    # unrolled: the gradient of step s acts at every later step t with weight momentum^(t − s)
    expected = start - 0.05 * sum(momentum ** (t - s) * gradients[s] for t in range(20) for s in range(t + 1))
    np.testing.assert_allclose(to_numpy(values), expected, rtol=1e-12)


CURVATURES = np.array([0.1, 0.7, 1.0, 3.0, 9.0])
MINIMUM = np.array([3.0, -1.0, 0.5, 2.0, -4.0])


@pytest.mark.parametrize(
    ("name", "settings", "steps", "error"),
    [
        ("sgd", {"learning_rate": 0.2}, 1500, 1e-12),  # the slowest direction shrinks by 1 − 0.2 · 0.1 a step: e^−30
        ("sgd", {"learning_rate": 0.2, "momentum": 0.8}, 350, 1e-12),  # √0.8 a step at best
        ("adam", {"learning_rate": 0.05}, 2000, 1e-4),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_optimisers_find_the_minimum_of_a_quadratic(name, settings, steps, error):
    values = np.zeros(5)
    optimizer = OPTIMIZERS[name](5, np, "float64", **settings)
    for _ in range(steps):
        optimizer.step(values, CURVATURES * (values - MINIMUM))
    np.testing.assert_allclose(values, MINIMUM, atol=error)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_work_in_place_and_leave_gradients_alone(name):
    values, g = np.ones(3), np.array([1.0, -2.0, 0.5])
    before = values
    optimizer = OPTIMIZERS[name](3, np, "float64")
    assert optimizer.steps == 0
    optimizer.step(values, g)
    assert optimizer.steps == 1  # what a resumed training counts on
    assert values is before
    np.testing.assert_array_equal(g, [1.0, -2.0, 0.5])
    np.testing.assert_array_equal(np.sign(1 - values), np.sign(g))
    assert all(array.shape == (3,) and array.any() for array in optimizer.state().values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_continues_a_run(name):
    gradients = np.random.default_rng(5).standard_normal((9, 4))
    whole, values = OPTIMIZERS[name](4, np, "float64"), np.zeros(4)
    for g in gradients:
        whole.step(values, g)
    first, second, again = OPTIMIZERS[name](4, np, "float64"), OPTIMIZERS[name](4, np, "float64"), np.zeros(4)
    for g in gradients[:5]:
        first.step(again, g)
    for key, array in second.state().items():
        array[...] = first.state()[key]
    second.steps = first.steps
    for g in gradients[5:]:
        second.step(again, g)
    np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SGD, {"learning_rate": 0}),
        (SGD, {"learning_rate": math.nan}),
        (SGD, {"momentum": 1.5}),
        (Adam, {"learning_rate": -1e-3}),
        (Adam, {"learning_rate": 0}),
        (Adam, {"learning_rate": math.inf}),
        (Adam, {"beta1": -0.1}),
        (Adam, {"beta2": 1.1}),
        (Adam, {"eps": -1e-8}),
    ],
)
def test_settings_out_of_range(kind, settings):
    (name,) = settings
    assert complaint(InputError, lambda: kind(3, np, "float64", **settings)).startswith(f"{name}: ")


# -- clipping -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.floats(-6, 6), st.floats(-6, 6))
def test_clipping_bounds_the_norm_and_keeps_the_direction(size, log_scale, log_max):
    g = np.random.default_rng(size).standard_normal(size) * 10**log_scale
    before, norm, bound = g.copy(), float(np.linalg.norm(g)), 10**log_max
    clip_by_norm(np, g, bound)
    if norm <= bound * (1 - 1e-12):
        np.testing.assert_array_equal(g, before)
    else:
        assert np.linalg.norm(g) == pytest.approx(min(norm, bound), rel=1e-12)
        np.testing.assert_allclose(g, before * (np.linalg.norm(g) / norm), rtol=1e-12)


def test_clipping_keeps_the_dtype_and_shows_what_is_not_finite(xp):
    g = to_device(xp, np.array([3.0, 4.0], np.float32))
    clip_by_norm(xp, g, 1)
    assert g.dtype == np.float32
    np.testing.assert_allclose(to_numpy(g), [0.6, 0.8], rtol=1e-6)
    g = to_device(xp, np.array([3.0, np.nan], np.float32))
    clip_by_norm(xp, g, 1)
    assert np.isnan(to_numpy(g)).all()
    g = to_device(xp, np.zeros(3))
    clip_by_norm(xp, g, 1.0)
    np.testing.assert_array_equal(to_numpy(g), 0)


def test_only_adam_in_float32_has_a_kernel(monkeypatch):
    """With a device there, who asks for SGD gets SGD, and float64 is not computed in float32."""
    monkeypatch.setattr(optim, "usable", lambda xp, size: True)
    monkeypatch.setattr(optim, "FusedAdam", lambda size, xp, learning_rate: "the kernel")
    assert make_optimizer("adam", 3, np, np.dtype("float32"), 0.1) == "the kernel"
    assert isinstance(make_optimizer("sgd", 3, np, np.dtype("float32"), 0.1), SGD)
    assert isinstance(make_optimizer("adam", 3, np, np.dtype("float64"), 0.1), Adam)
    monkeypatch.setattr(optim, "usable", lambda xp, size: False)
    assert isinstance(make_optimizer("adam", 3, np, np.dtype("float32"), 0.1), Adam)


@pytest.mark.parametrize("size", [1e-3, 1e19, 1e25, 1e38])
def test_clipping_of_gradients_whose_squares_are_no_float32(size: float) -> None:
    gradients = np.array([3, -4, 0, 12], "float32") * np.float32(size / 13)
    expected = np.array([3, -4, 0, 12]) / 13 * min(1, size)
    clip_by_norm(np, gradients, 1.0)
    assert gradients.dtype == np.float32
    np.testing.assert_allclose(gradients, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_learning_rate_that_is_a_numpy_number_gives_the_same_steps(name: str) -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal((2, 50)).astype("float32")
    steps = []
    for kind in (float, np.float64):
        values, optimizer = start.copy(), make_optimizer(name, 50, np, "float32", 0.1)
        optimizer.learning_rate = kind(0.037)
        for _ in range(3):
            optimizer.step(values, gradients)
        steps.append(values)
    np.testing.assert_array_equal(*steps)
