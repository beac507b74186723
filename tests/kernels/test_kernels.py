"""``kernels.cu``: compiled for the device, and run on the CPU, where its numbers, races and bounds are checked.

On a GPU the tests that take ``fused`` run there too.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import cuda_on_cpu, kernel_calls, strict_cupy
from support.cublas_on_cpu import FakeCublas
from support.device import needs_compiler

from minivae import kernels, ops
from minivae.autodiff import Tensor, backward
from minivae.backend import to_device, to_numpy
from minivae.checks import InputError
from minivae.kernels import cublas, source
from minivae.kernels.adam import FusedAdam
from minivae.kernels.twins import TWINS
from minivae.ops.examples import EXAMPLES, Example, normal, unit
from minivae.ops.layer import LAYERS
from minivae.optim import Adam
from minivae.proof.precision import UNITS, compare_precision
from minivae.training.batches import Rows

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU


@pytest.fixture
def fused(fused, monkeypatch):
    """As everywhere, but with two warps in a block on the CPU: some mistakes show between warps only."""
    if fused is strict_cupy:
        monkeypatch.setattr(kernels, "BLOCK", kernel_calls.BLOCK)
    return fused


TEXT = source("kernels.cu", "product.cu", "dense.cu", "whole.cu")
NAMES = re.findall(r"KERNEL (?:__launch_bounds__\(.*?\) )?(\w+)\(", TEXT)


# ---- Compiled for sm_90 ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nvcc_compiles_the_kernels_without_spilling_registers(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    (tmp_path / "kernels.cu").write_text(TEXT, encoding="utf-8")
    command = [nvcc, "-cubin", "-arch=sm_90", "-Xptxas", "-v", "-Werror", "all-warnings", "-o", str(tmp_path / "kernels.cubin")]
    report = subprocess.run([*command, str(tmp_path / "kernels.cu")], capture_output=True, text=True, check=True).stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) >= len(NAMES)
    assert set(spills) == {("0", "0")}, report


def test_nvrtc_compiles_the_kernels_as_cupy_would():
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        nvrtc = ctypes.CDLL(load_nvidia_dynamic_lib("nvrtc").abs_path)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"NVRTC is not installed: {error}".splitlines()[0])
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), TEXT.encode(), b"kernels.cu", 0, None, None) == 0
    options = (ctypes.c_char_p * 2)(b"--gpu-architecture=sm_90", b"-std=c++17")
    status = nvrtc.nvrtcCompileProgram(program, 2, options)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()


# ---- Races and bounds -----------------------------------------------------------------------------------------------------------


def sanitized(kind: str, source: str) -> subprocess.CompletedProcess[str]:
    """Call every kernel of ``source`` under a sanitizer: "thread" or "address"."""
    needs_compiler()
    name = {"thread": "libtsan.so", "address": "libasan.so"}[kind]
    runtime = subprocess.run([cuda_on_cpu.COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    if not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip(f"{name} is not installed")
    library = cuda_on_cpu.build(source, ("-O0", f"-fsanitize={kind}"))
    environment = {"LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}
    command = [sys.executable, "-m", kernel_calls.__name__, str(library), str(library.with_name("kernels.cu"))]
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(kernel_calls.__file__).parents[1])}
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["thread", "address"])
def test_no_kernel_races_or_leaves_its_arrays(kind):
    done = sanitized(kind, TEXT)
    assert done.returncode == 0, done.stderr


def without(text: str, following: str) -> tuple[str, int]:
    """Return the kernels without the ``__syncthreads();`` line that comes before ``following``, and the number of that line."""
    pattern = re.compile(r"\n +__syncthreads\(\);[^\n]*(?=\n" + re.escape(following) + ")")
    assert len(pattern.findall(text)) == 1
    return pattern.sub("\n", text), text[: pattern.search(text).start()].count("\n") + 2


@pytest.mark.slow
@pytest.mark.parametrize("following", ["    double total", "    return total", "    Adam rule = *(Adam*)shared"])
def test_a_missing_barrier_is_found(following):
    mutant, line = without(TEXT, following)
    done = sanitized("thread", mutant)
    assert done.returncode != 0
    assert "data race" in done.stderr
    places = [int(place) for place in re.findall(r"kernels\.cu:(\d+)", done.stderr)]
    assert any(abs(place - line) <= 6 for place in places), f"a race around line {line}, found at {places}"


OUT_OF_BOUNDS = {
    "one number after the result": ("*out = (float)(sum / n)", "out[1] = (float)(sum / n)", "WRITE of size 4", "mean"),
    "16 bytes beyond a row": (
        "load_wide(row + min(line, from.columns - 4))",
        "load_wide(row + line)",
        "READ of size",
        "load_terms",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("right", "wrong", "what", "where"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_an_index_out_of_bounds_is_found(right, wrong, what, where):
    assert TEXT.count(right) == 1
    done = sanitized("address", TEXT.replace(right, wrong))
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert what in done.stderr
    assert where in done.stderr


def test_the_sanitizers_see_every_kernel():
    needs_compiler()
    for kernel in cuda_on_cpu.parse(TEXT):
        for sizes in kernel_calls.ALL_SIZES:
            kernel.check(kernel_calls.arguments(kernel.name, sizes)[1])


# ---- Numbers --------------------------------------------------------------------------------------------------------------------

LONG_ROWS = {"n": 7, "d": 307, "m": 5, "s": 2}  # a row is more than two blocks wide, and not a whole number of them
IN_ONE_KERNEL = [example for example in EXAMPLES if example.op.name in TWINS.keys() - {"dense"}]  # whose products are cuBLAS's


@pytest.mark.slow
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


def gradients(xp, op, arrays, cotangent, **options):
    leaves = [Tensor(to_device(xp, array, "float32"), requires_grad=True) for array in arrays]
    output = op(*leaves, **options)
    backward(output, to_device(xp, cotangent), leaves)
    return [to_numpy(array) for array in (output.data, *(leaf.grad for leaf in leaves))]


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


def node_op(xp, op, *arrays):
    return op(*(Tensor(to_device(xp, array), requires_grad=True) for array in arrays)).node.op


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


# ---- Adam, batches, products ----------------------------------------------------------------------------------------------------


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


def test_gathered_pixels_are_those_of_numpy_to_the_last_bit(fused):
    pixels = np.random.default_rng(8).integers(0, 256, (11, 37)).astype(np.uint8)
    index = np.array([10, 0, 3, 3, 7])
    taken = Rows(pixels, fused, "float32").take(to_device(fused, index), None)
    np.testing.assert_array_equal(to_numpy(taken), Rows(pixels, np, "float32").take(index, None))


@pytest.mark.parametrize("size", [(9, 7, 5), (3, 9, 5), (3, 4, 8)], ids=["rows", "inputs", "outputs"])
def test_layers_too_long_for_the_kernel_are_cublas_s(size, fused, monkeypatch):
    if fused is not strict_cupy:
        pytest.skip("the stand-in counts")
    n, d, m = size
    x, w, b = (fused.ones_like(fused.empty(shape, "float32")) for shape in ((n, d), (d, m), (m,)))
    product = cublas.cublas(fused).matmul
    used = []
    monkeypatch.setattr(cublas.Cublas, "matmul", lambda self, *args, **options: used.append(1) or product(*args, **options))
    for longest, times in ((max(size), 0), (max(size) - 1, 1)):
        used.clear()
        monkeypatch.setattr(kernels, "LONGEST", longest)
        TWINS["dense"].op.forward(fused, x, w, b)
        assert len(used) == times


@pytest.mark.parametrize("blocks", [1, 3, 40])
def test_a_layer_is_the_same_however_many_blocks_share_its_tiles(blocks, fused, monkeypatch):
    monkeypatch.setattr(kernels.library(fused), "multiprocessors", blocks)
    rng = np.random.default_rng(10)
    x, w, b, g = (rng.standard_normal(shape).astype(np.float32) for shape in ((37, 50), (50, 70), 70, (37, 70)))
    y, dx, dw, db = gradients(fused, LAYERS["relu"], [x, w, b], g)
    slope = g * (y > 0)
    # Two factors in 11 + 11 bits are off by a rounding of 2^-22 each; a sum of t terms has t roundings of 2^-24 in any order.
    for actual, left, right, more in ((y, x, w, b), (dx, slope, w.T, 0), (dw, x.T, slope, 0), (db, np.ones(37), slope, 0)):
        exact, size = (f(left).astype(float) @ f(right).astype(float) + f(more) for f in (np.asarray, np.abs))
        exact = np.maximum(exact, 0) if actual is y else exact
        assert np.all(abs(actual - exact) <= (2 * 2**-22 + len(right) * 2**-24) * size)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("n", "d", "m", "small"), [(3, 20, 40, kernels.SMALL), (2048, 256, 512, 0)], ids=["kernel", "cuBLAS"])
def test_a_number_that_is_not_finite_comes_out_of_a_layer_as_one(n, d, m, small, bad, fused, monkeypatch):
    """For this size cublasLt recommended an algorithm whose ReLU turns a NaN into 0."""
    monkeypatch.setattr(kernels, "SMALL", small)
    x = np.ones((n, d), np.float32)
    x[1, 7] = bad
    w = np.random.default_rng(11).standard_normal((d, m)).astype(np.float32) ** 2  # so that no infinity ends as ReLU's 0
    y, *_ = gradients(fused, LAYERS["relu"], [x, w, np.zeros(m, np.float32)], np.ones((n, m), np.float32))
    np.testing.assert_array_equal(np.isfinite(y), np.arange(n)[:, None] != np.ones((1, m)))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_products_in_every_transposition_with_every_epilogue(with_bias, relu, fused):
    rng = np.random.default_rng(9)
    product = cublas.cublas(fused).matmul
    for n, k, m in ((3, 5, 7), (1, 5, 7), (3, 1, 7), (3, 5, 1), (1, 1, 1), (64, 32, 48)):
        bias = rng.standard_normal(m).astype(np.float32) if with_bias else None
        options = {"relu": relu} | ({"bias": to_device(fused, bias)} if with_bias else {})
        for a_transposed in (False, True):
            for b_transposed in (False, True):
                a = rng.standard_normal((k, n) if a_transposed else (n, k)).astype(np.float32)
                b = rng.standard_normal((m, k) if b_transposed else (k, m)).astype(np.float32)
                a_there, b_there = to_device(fused, a), to_device(fused, b)
                out = fused.zeros((n, m), dtype="float32")
                a, a_there = (a.T, a_there.T) if a_transposed else (a, a_there)
                b, b_there = (b.T, b_there.T) if b_transposed else (b, b_there)
                assert product(a_there, b_there, out=out, **options) is out
                expected = a @ b + (0 if bias is None else bias)
                np.testing.assert_allclose(to_numpy(out), np.maximum(expected, 0) if relu else expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", cublas.COMPUTE)
def test_products_of_parameters_that_begin_anywhere(precision, fused, monkeypatch):
    """A product reads each matrix at its own address, which may be a multiple of 4 bytes and of nothing more."""
    monkeypatch.setenv("MINIVAE_MATMUL", precision)
    product = cublas.cublas(fused).matmul
    n, k, m, rng = 64, 32, 48, np.random.default_rng(10)
    a, b, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((n, k), (k, m), m))  # exact in each precision
    vector = fused.empty(6000, dtype="float32")
    for places in ((0, 0, 0), (1, 1, 1), (4, 0, 2), (0, 3, 0), (0, 0, 1)):  # in floats, of b, the bias and the result
        views, end = [], 0
        for place, size in zip(places, (k * m, m, n * m), strict=True):
            begin = -(-end // 64) * 64 + place
            end = begin + size
            views.append(vector[begin:end])
        b_there, bias_there, out = views[0].reshape(k, m), views[1], views[2].reshape(n, m)
        b_there[...], bias_there[...] = to_device(fused, b), to_device(fused, bias)
        product(to_device(fused, a), b_there, out=out, bias=bias_there, relu=True)
        np.testing.assert_array_equal(to_numpy(out), np.maximum(a @ b + bias, 0))


LARGE_LAYERS = {"identity": (ops.dense, 1), "relu": (LAYERS["relu"], 1), "tanh": (LAYERS["tanh"], 2)}  # and launches forward


@pytest.mark.parametrize(("op", "launches"), LARGE_LAYERS.values(), ids=LARGE_LAYERS)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_large_layers_are_products_with_their_bias_and_relu(op, launches, transpose, with_bias, fused, monkeypatch):
    monkeypatch.setattr(kernels, "SMALL", 0)
    rng = np.random.default_rng(12)
    arrays = {"x": rng.standard_normal((7, 33)), "weight": rng.standard_normal((5, 33) if transpose else (33, 5)) / 6}
    arrays |= {"bias": rng.standard_normal(5)} if with_bias else {}
    there = [to_device(fused, array, "float32") for array in arrays.values()]
    forward = TWINS[op.name].op.forward
    forward(fused, *there, transpose=transpose)  # which allocates the workspace
    with strict_cupy.counting() as counts:
        forward(fused, *there, transpose=transpose)
    if fused is strict_cupy:
        assert counts.launches == launches
    for report in compare_precision(lambda *leaves: op(*leaves, transpose=transpose), arrays, xp=fused):
        assert report.units < 2 * UNITS, report  # two products in a row, with an activation between


@pytest.mark.parametrize(("precision", "compute"), [("fp32", 68), ("tf32", 77), ("bf16", 75)])
def test_products_follow_the_stream_and_the_precision(precision, compute):
    api = FakeCublas()
    handle = cublas.Cublas(strict_cupy, api, precision)
    a = strict_cupy.ones_like(strict_cupy.empty((2, 2), "float32"))
    handle.matmul(a, a)
    handle.matmul(a, a)
    with strict_cupy.cuda.Stream(non_blocking=True) as stream:
        handle.matmul(a, a)
    assert {product[:5] for product in api.products} == {(2, 2, 2, compute, 1)}
    assert [product[5] for product in api.products] == [0, 0, stream.ptr]
    first, second, other = (product[6] for product in api.products)
    assert first == second != other  # two streams may be at work at the same time


def test_an_algorithm_is_asked_for_once_and_takes_the_bias_of_each_product():
    api = FakeCublas()
    handle = cublas.Cublas(strict_cupy, api, "fp32")
    a, biases = strict_cupy.ones((64, 64), dtype="float32"), strict_cupy.asarray(np.arange(256, dtype=np.float32).reshape(4, 64))
    out = strict_cupy.empty((64, 64), "float32")
    for bias in biases:
        handle.matmul(a, a, out=out, bias=bias)
        np.testing.assert_array_equal(to_numpy(out)[0], 64 + to_numpy(bias))
    assert len(api.questions) == len({cublas._alignment(bias) for bias in biases})
    asked = len(api.questions)
    handle.matmul(a, a, out=out, bias=biases[0], relu=True)
    handle.matmul(a, a.T, out=out, bias=biases[0], relu=True)
    assert len(api.questions) == asked + 2


def test_a_factor_is_transposed_beforehand_where_a_tensor_core_would_have_to(fused, monkeypatch):
    if fused is not strict_cupy:
        pytest.skip("the stand-in counts")
    monkeypatch.setattr(cublas, "ROWS", 6)
    a, b = (to_device(fused, np.random.default_rng(11).standard_normal(shape), "float32") for shape in ((6, 4), (4, 35)))
    expected = to_numpy(a) @ to_numpy(b)
    cases = {"few rows": (a[:5], b, 1), "by rows": (a, b, 2), "by columns": (a, fused.ascontiguousarray(b.T).T, 1)}
    for precision, more in (("tf32", 0), ("fp32", 1)):
        handle = cublas.Cublas(fused, FakeCublas(), precision)
        handle.matmul(a, b)  # which also allocates the workspace
        for name, (left, right, launches) in cases.items():
            out = fused.empty((len(left), 35), dtype="float32")
            with strict_cupy.counting() as counts:
                handle.matmul(left, right, out=out)
            assert counts.launches == max(launches - more, 1), (precision, name)
            np.testing.assert_allclose(to_numpy(out), expected[: len(left)], rtol=1e-5, atol=1e-6)


def test_cublas_constants_are_those_of_its_headers():
    folders = [*Path(sys.prefix).glob("lib/python*/site-packages/nvidia/*/include"), *Path("/usr/local").glob("cuda*/include")]
    folders = [folder for folder in folders if (folder / "cublasLt.h").exists()]
    if not folders:
        pytest.skip("cuBLAS's headers are not installed")
    text = "".join((folders[0] / name).read_text() for name in ("cublas_api.h", "cublasLt.h"))
    values = dict(re.findall(r"(CUBLAS(?:LT)?_\w+) = (-?\d+)", text))
    names = {"fp32": "CUBLAS_COMPUTE_32F", "tf32": "CUBLAS_COMPUTE_32F_FAST_TF32", "bf16": "CUBLAS_COMPUTE_32F_FAST_16BF"}
    assert {key: int(values[name]) for key, name in names.items()} == cublas.COMPUTE
    prefixes = {"EPILOGUE_": cublas.EPILOGUE, "MATMUL_DESC_": cublas.ATTRIBUTES["MatmulDesc"]}
    for prefix, numbers in (prefixes | {"MATMUL_PREF_": cublas.ATTRIBUTES["MatmulPreference"]}).items():
        assert {name: int(values[f"CUBLASLT_{prefix}{name}"]) for name in numbers} == numbers
    assert "CUBLASLT_EPILOGUE_RELU_BIAS = (CUBLASLT_EPILOGUE_RELU | CUBLASLT_EPILOGUE_BIAS)" in text


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="MINIVAE_MATMUL"):
        cublas.Cublas(strict_cupy, FakeCublas(), "fp8")


def test_without_cublas_products_are_cupys(fused, monkeypatch, caplog):
    class Refusing(FakeCublas):
        def cublasLtCreate(self, handle):
            return 1

    monkeypatch.setattr(cublas, "load_library", Refusing)
    cublas.cublas.cache_clear()
    cublas.usable.cache_clear()
    single = np.ones((3, 3), np.float32)
    assert node_op(fused, ops.dense, single, single) is ops.dense
    assert "RuntimeError: cublasLtCreate: status 1" in caplog.text


def test_a_product_without_an_algorithm_is_an_error():
    class Helpless(FakeCublas):
        def cublasLtMatmulAlgoGetHeuristic(self, *arguments):
            return 0  # and has found none

    a = strict_cupy.ones((2, 2), dtype="float32")
    with pytest.raises(RuntimeError, match="cublasLt has no algorithm for Stored"):
        cublas.Cublas(strict_cupy, Helpless(), "fp32").matmul(a, a)
