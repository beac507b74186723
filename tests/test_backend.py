"""Devices are found or refused with a reason, arrays stay where they are, and random streams do not touch."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.helpers import complaint

from minivae import backend
from minivae.backend import STREAMS, array_module, generator, probe_cuda, resolve_device, standard_normal, to_device, to_numpy
from minivae.checks import DeviceError, InputError


def toy_cupy(**changes) -> SimpleNamespace:
    """A stand-in for CuPy on a machine with a device, computing with NumPy."""
    runtime = SimpleNamespace(getDeviceProperties=lambda index: {"name": b"Toy GPU"})
    parts = {"is_available": lambda: True, "arange": np.arange, "float32": np.float32, "__version__": "14.2"}
    return SimpleNamespace(**parts | {"cuda": SimpleNamespace(runtime=runtime)} | changes)


class ToyArray:
    """What this package knows of a CuPy array: its module's name, a dtype, and ``get``."""

    __module__ = "cupy._core.core"
    dtype = np.dtype("float32")

    def get(self) -> np.ndarray:
        return np.arange(3.0)


def broken(*args, **kwargs):
    raise RuntimeError("libcublas.so is missing\nand a second line")


@pytest.fixture
def install(monkeypatch):
    """Return a function that makes its argument what ``import cupy`` finds (None: nothing)."""

    def put(module):
        monkeypatch.setitem(sys.modules, "cupy", module)
        monkeypatch.setattr(backend, "probe_cuda", probe_cuda)  # the real one, even under MINIVAE_TEST_AUTO
        probe_cuda.cache_clear()
        backend._log_fallback.cache_clear()

    yield put
    probe_cuda.cache_clear()
    backend._log_fallback.cache_clear()


ABSENT = {
    "not installed": (None, "CuPy is not installed"),
    "no driver": (toy_cupy(is_available=lambda: False), "no CUDA device or driver"),
    "wrong product": (toy_cupy(arange=lambda n, dtype: np.zeros(n)), "wrong 2 x 2 product"),
    "no library": (toy_cupy(arange=broken), "RuntimeError: libcublas.so is missing"),
}


@pytest.mark.parametrize(("module", "reason"), ABSENT.values(), ids=ABSENT)
def test_missing_device_is_refused_with_its_reason(install, module, reason):
    install(module)
    message = complaint(DeviceError, resolve_device, "cuda")
    assert reason in message
    assert "device='cpu'" in message


@pytest.mark.parametrize(("module", "reason"), ABSENT.values(), ids=ABSENT)
def test_auto_falls_back_and_says_so_once(install, caplog, module, reason):
    install(module)
    caplog.set_level(logging.INFO, "minivae")
    assert resolve_device("auto") is resolve_device("auto") is np
    assert [reason in record.getMessage() for record in caplog.records] == [True]


def test_present_device_is_taken(install):
    install(toy_cupy())
    assert probe_cuda() == (True, "Toy GPU, CuPy 14.2")
    assert resolve_device("cuda") is resolve_device("auto") is sys.modules["cupy"]


def test_cpu_does_not_look_for_a_device(install):
    install(toy_cupy(is_available=broken, arange=broken))
    assert resolve_device("cpu") is np


@pytest.mark.parametrize("name", ["gpu", "CPU", "", None, 0, ["cpu"]])
def test_unknown_device(name):
    assert "cpu, cuda, auto" in complaint(InputError, resolve_device, name)


def test_numpy_is_the_module_of_what_is_on_the_host(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(3, 2))
    assert array_module(np.zeros(3), np.float32(2), np.int64(3), 4, 5.0, None, mapped) is np
    assert array_module(3.0) is array_module() is np


def test_module_of_device_arrays(install):
    install(toy_cupy())
    assert array_module(ToyArray(), 2.0, None, np.float32(3)) is sys.modules["cupy"]
    assert "to_device" in complaint(DeviceError, array_module, ToyArray(), np.zeros(3))


def test_transfer_copies_only_when_it_must():
    array = np.arange(6, dtype=np.float32)
    assert to_device(np, array) is array
    assert to_device(np, array, "float32") is array
    assert to_device(np, array, "float64").dtype == np.float64
    assert to_numpy(array) is array
    np.testing.assert_array_equal(to_numpy(ToyArray()), [0, 1, 2])
    np.testing.assert_array_equal(to_device(np, ToyArray(), "float32"), [0, 1, 2])


def test_transfer_there_and_back(xp):
    array = np.arange(6.0).reshape(2, 3)
    there = to_device(xp, array, "float32")
    assert array_module(there) is xp
    np.testing.assert_array_equal(to_numpy(there), array)


places = st.tuples(
    st.integers(0, 3) | st.integers(2**32 - 1, 2**32 + 3) | st.integers(0, 2**80),
    st.sampled_from(STREAMS),
    st.lists(st.integers(0, 3), max_size=3),
)


@given(places, places)
def test_streams_differ_wherever_seed_purpose_or_path_do(first, second):
    def draw(place):
        seed, stream, path = place
        return generator(np, seed, stream, *path).integers(2**63)

    assert draw(first) == draw(first)
    assume(first != second)
    assert draw(first) != draw(second)


def test_streams_are_uncorrelated():
    n = 40_000
    draws = np.array([generator(np, 7, stream, epoch).standard_normal(n) for stream in STREAMS for epoch in range(3)])
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / np.sqrt(n)  # each has a standard deviation of 1/√n, and there are 153 pairs


def test_standard_normal(xp):
    rng = generator(xp, 3, "noise", 0)
    for dtype in ("float32", np.dtype("float64")):
        noise = standard_normal(rng, (211, 307), dtype)
        assert noise.dtype == dtype
        assert array_module(noise) is xp
        n = noise.size
        assert abs(float(noise.mean())) < 5 / np.sqrt(n)
        assert abs(float((noise**2).mean()) - 1) < 5 * np.sqrt(2 / n)  # a squared normal has variance 2
        assert abs(float((noise**4).mean()) - 3) < 5 * np.sqrt(96 / n)  # and a fourth power 105 − 3²
