"""``kernels.cu``: its numbers are those of the ops, and it is taken where it covers them; on the CPU, and on a GPU where one is."""

from __future__ import annotations

import numpy as np
import pytest
from support import kernel_calls, strict_cupy
from support.helpers import gradients, node_op

from minivae import kernels, ops
from minivae.backend import to_device, to_numpy
from minivae.checks import InputError
from minivae.kernels.adam import FusedAdam
from minivae.kernels.counter_noise import CounterGenerator
from minivae.kernels.twins import TWINS
from minivae.ops.examples import EXAMPLES, Example, normal, unit
from minivae.ops.layer import LAYERS
from minivae.optim import Adam, make_optimizer
from minivae.proof.precision import UNITS, compare_precision
from minivae.training.batches import Rows

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU


@pytest.fixture
def fused(fused, monkeypatch):
    """As everywhere, but with two warps in a block on the CPU: some mistakes show between warps only."""
    if fused is strict_cupy:
        monkeypatch.setattr(kernels, "BLOCK", kernel_calls.BLOCK)
    return fused


# ---- Numbers --------------------------------------------------------------------------------------------------------------------

LONG_ROWS = {"n": 7, "d": 307, "m": 5, "s": 2}  # a row is more than two blocks wide, and not a whole number of them
IN_ONE_KERNEL = [example for example in EXAMPLES if example.op.name in TWINS.keys() - {"dense"}]  # whose products are cuBLAS's


@pytest.mark.parametrize("example", IN_ONE_KERNEL, ids=lambda example: example.name)
def test_twins_agree_with_float64_on_long_rows(example: Example, fused):
    for report in compare_precision(example, example.draw(1, **LONG_ROWS), xp=fused):
        assert report.units < UNITS, report


@pytest.mark.parametrize("grid", [1, 3])
def test_a_small_grid_covers_everything(grid, fused, monkeypatch):
    """As a large array would be: each block comes round several times."""
    monkeypatch.setattr(kernels, "GRID", grid)
    for example in (Example(ops.relu, {"x": normal("nd")}), Example(ops.bernoulli_nll, {"x": unit("nd"), "logits": normal("nd")})):
        for report in compare_precision(example, example.draw(2, n=7, d=307), xp=fused):
            assert report.units < UNITS, report


@pytest.mark.parametrize("name", ["bernoulli_nll", "kl_standard_normal", "dense"])
def test_reductions_repeat_to_the_last_bit(name, fused):
    example = next(example for example in EXAMPLES if example.op.name == name)
    arrays = list(example.draw(3, **LONG_ROWS).values())
    cotangent = np.ones(example(*arrays).shape, np.float32)
    first, second = (gradients(fused, example.op, arrays, cotangent) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "softplus"])
def test_activations_at_extreme_points(name, fused):
    x = np.array([-np.inf, -1e4, -100.0, -1e-30, -0.0, 0.0, 1e-30, 100.0, 1e4, np.inf, np.nan])
    op = ops.ALL_OPS[name]
    with np.errstate(all="ignore"):
        expected = gradients(np, op, [x], np.ones(x.shape, np.float32))
    for actual, wanted in zip(gradients(fused, op, [x], np.ones(x.shape, np.float32)), expected, strict=True):
        # CuPy compiles with -ftz=true, and so does the stand-in: what is no normal float32 is 0.
        np.testing.assert_allclose(actual, wanted, rtol=4e-7, atol=np.finfo(np.float32).tiny)


def test_bernoulli_keeps_its_precision_far_out(fused):
    """Where the probability is 1 to the last bit, the likelihood is the logit, not infinity; the exact values are known."""
    logits = np.array([[-1e4, 1e4, -1e4, 1e4], [0.0, 0.0, 40.0, -40.0]])
    x = np.array([[0.0, 1.0, 1.0, 0.0], [0.5, 1.0, 1.0, 0.0]])
    nll, _, slope = gradients(fused, ops.bernoulli_nll, [x, logits], np.ones(2, np.float32))
    np.testing.assert_allclose(nll, [2e4, 2 * np.log(2) + 2 * np.log1p(np.exp(-40))], rtol=2e-7)
    np.testing.assert_allclose(slope[0], [0, 0, -1, 1], atol=1e-30)


def test_slices_and_repeated_cotangents_are_read_where_they_lie(fused):
    """The two heads of an encoder are halves of one matrix; the mean over a batch gives every row the same cotangent."""
    heads = np.random.default_rng(4).standard_normal((5, 14))
    noise = np.random.default_rng(5).standard_normal((5, 7)).astype(np.float32)

    def objective(h, noise):
        mean, log_var = h[:, :7], h[:, 7:]
        return ops.mean(ops.kl_standard_normal(mean, log_var) + ops.sum_(ops.reparameterize(mean, log_var, noise), axis=1))

    for report in compare_precision(objective, {"heads": heads, "noise": noise}, xp=fused):
        assert report.units < UNITS, report


def test_a_float64_cotangent_is_not_read_as_float32(fused):
    example = next(example for example in EXAMPLES if example.name == "kl_standard_normal")
    arrays = list(example.draw(6).values())
    cotangent = np.linspace(1, 2, 5)
    single = gradients(fused, example.op, arrays, cotangent.astype(np.float32))
    double = gradients(fused, example.op, arrays, cotangent)
    np.testing.assert_allclose(double[1], single[1], rtol=1e-6)


# ---- Dispatch -------------------------------------------------------------------------------------------------------------------


def test_apply_takes_the_twin_of_what_it_covers_and_else_the_op(fused, monkeypatch):
    single = np.ones((3, 5), np.float32)
    for name in ("relu", "kl_standard_normal"):
        op, twin = ops.ALL_OPS[name], TWINS[name].op
        count = len(op.args)
        assert node_op(fused, op, *[single] * count) is twin
        assert node_op(fused, op, *[single.astype("float64")] * count) is op
        assert node_op(np, op, *[single] * count) is op
    assert node_op(fused, ops.kl_standard_normal, single, single[:1]) is ops.kl_standard_normal  # broadcasting
    assert node_op(fused, ops.elu, single) is ops.elu  # has no twin
    assert node_op(fused, ops.dense, single, single.T.copy()) is TWINS["dense"].op
    with pytest.raises(InputError, match="dense: weight"):  # what does not fit is left to the op, which says what is wrong
        node_op(fused, ops.dense, single, single)
    monkeypatch.setenv("MINIVAE_FUSED", "0")
    assert node_op(fused, ops.relu, single) is ops.relu


def test_what_32_bit_indices_cannot_count_is_computed_without_kernels(fused, monkeypatch):
    """The limit is 2^30 numbers, of arguments and of results; here it is 15."""
    monkeypatch.setattr(kernels, "LARGEST", 15)
    for rows, covered in ((2, True), (3, False)):
        one, five = fused.ones((rows, 1), dtype="float32"), fused.ones((rows, 5), dtype="float32")
        assert (node_op(fused, ops.relu, five) is TWINS["relu"].op) is covered
        assert (node_op(fused, ops.dense, one, five[:1]) is TWINS["dense"].op) is covered
        apart = fused.ones((rows, 10), dtype="float32")[:, :2]
        assert (node_op(fused, ops.kl_standard_normal, apart, apart) is TWINS["kl_standard_normal"].op) is covered
        assert isinstance(make_optimizer("adam", five.size, fused, five.dtype, 0.1), FusedAdam if covered else Adam)
    monkeypatch.setattr(kernels.Library, "elementwise", None)
    pixels, index = np.arange(20).astype(np.uint8).reshape(4, 5), np.array([3, 0, 2])
    taken = Rows(pixels, fused, "float32").take(to_device(fused, index), None)
    np.testing.assert_allclose(to_numpy(taken), pixels[index] / 255, rtol=1e-7)
    here, there = (CounterGenerator(xp, 3, "noise").standard_normal((3, 5), "float32") for xp in (np, fused))
    np.testing.assert_array_max_ulp(here, to_numpy(there), maxulp=1)


def test_twins_have_the_names_and_arguments_of_their_ops():
    known = ops.ALL_OPS | {op.name: op for op in LAYERS.values()}
    for name, twin in TWINS.items():
        op = known[name]
        assert (twin.op.name, twin.op.args, twin.op.writes_into) == (op.name, op.args, op.writes_into)


def test_kernels_that_do_not_compile_are_done_without(monkeypatch, caplog):
    class Broken:
        RawModule = staticmethod(lambda code: (_ for _ in ()).throw(RuntimeError("no NVRTC\nsecond line")))

    monkeypatch.delenv("MINIVAE_FUSED", raising=False)
    assert not kernels.usable(Broken)
    assert "no fused kernels: RuntimeError: no NVRTC" in caplog.text
    assert "second line" not in caplog.text


def test_arguments_of_a_wrong_type_are_refused_by_the_stand_in(fused):
    if fused is not strict_cupy:
        pytest.skip("CuPy passes the bits of whatever it is given")
    x = fused.zeros(4, dtype="float32")
    with pytest.raises(TypeError, match="argument 2 is int"):
        kernels.library(fused)["relu_forward"]((1,), (32,), (x, x, np.float32(4)))
    with pytest.raises(TypeError, match=r"argument 1 is float\*"):
        kernels.library(fused).elementwise("relu_forward", 4, x, fused.zeros(4), 4)
    with pytest.raises(TypeError, match="3 arguments expected"):
        kernels.library(fused).elementwise("relu_forward", 4, x, x)


# ---- Adam, batches --------------------------------------------------------------------------------------------------------------


def test_adam_takes_the_steps_of_its_twin(fused):
    rng = np.random.default_rng(7)
    start, settings = rng.standard_normal(301), {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6}
    exact, single = start.copy(), to_device(fused, start, "float32")
    reference, adam = Adam(301, np, "float64", **settings), FusedAdam(301, fused, **settings)
    for step in range(1, 21):
        if step == 11:
            reference.learning_rate = adam.learning_rate = 0.003
        g = rng.standard_normal(301)
        reference.step(exact, g)
        adam.step(single, to_device(fused, g, "float32"))
        assert adam.steps == step
        # A step is at most a few learning rates long and each carries a few roundings of its own size, and of the value's.
        np.testing.assert_allclose(to_numpy(single), exact, atol=step * 1e-8, rtol=step * 1.2e-7)
    for name, array in adam.state().items():
        np.testing.assert_allclose(to_numpy(array), reference.state()[name], rtol=2e-5, atol=1e-5)
    adam.steps = 5
    assert adam.steps == 5


LAYOUTS = {
    "by rows": lambda xp, pixels: pixels,
    "by columns": lambda xp, pixels: np.asfortranarray(pixels),
    "by columns, there": lambda xp, pixels: to_device(xp, np.ascontiguousarray(pixels.T)).T,
    "with gaps, there": lambda xp, pixels: to_device(xp, np.repeat(pixels, 2, axis=1))[:, ::2],
}


@pytest.mark.parametrize("index", [[10, 0, 3, 3, 7], []], ids=["some", "none"])
@pytest.mark.parametrize("lay_out", LAYOUTS.values(), ids=LAYOUTS)
def test_gathered_pixels_are_those_of_numpy_to_the_last_bit(lay_out, index, fused):
    pixels, index = np.random.default_rng(8).integers(0, 256, (11, 37)).astype(np.uint8), np.array(index, int)
    taken = Rows(lay_out(fused, pixels), fused, "float32").take(to_device(fused, index), None)
    np.testing.assert_array_equal(to_numpy(taken), Rows(pixels, np, "float32").take(index, None))
