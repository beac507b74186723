"""Layers on a device: small ones by ``dense.cu``, large ones by cublasLt, and what cublasLt is told."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from support import strict_cupy
from support.cublas_on_cpu import FakeCublas
from support.helpers import gradients, node_op

from minivae import kernels, ops
from minivae.backend import to_device, to_numpy
from minivae.checks import InputError
from minivae.kernels import cublas
from minivae.kernels.twins import TWINS
from minivae.ops.layer import LAYERS
from minivae.proof.precision import UNITS, compare_precision

pytestmark = pytest.mark.slow  # a compiler makes the kernels for the CPU


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
