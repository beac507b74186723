"""Where arrays live: NumPy on the CPU or CuPy on a CUDA device.

This file holds the package's only ``import cupy``.  Everything else is written against ``xp``, the module that
``array_module`` finds for the arrays at hand, so every equation is written once for both devices.
"""

from __future__ import annotations

import functools
import logging
import sys
from types import ModuleType
from typing import Any

import numpy as np

from minivae.checks import DeviceError, check_choice, installing, reason, reject

Array = Any  # numpy.ndarray or cupy.ndarray: the two share the interface used here, but no base class

DEVICES = ("cpu", "cuda", "auto")
log = logging.getLogger("minivae")

# glibc returns freed memory to the system page by page, unless it has already seen a block of that size allocated and freed.  This
# line does just that, at no cost since the block is never written to.  After it, a training step with large temporaries no longer
# waits for thousands of fresh pages.
np.empty(33_000_000, dtype=np.uint8)


@functools.cache
def probe_cuda() -> tuple[bool, str]:
    """Return (available, reason) after a small computation on the device; the answer is cached for the process.

    Importing CuPy succeeds without a driver, and ``is_available`` without a working compiler or cuBLAS, so nothing short
    of a kernel, a product and a copy back proves that training can run.
    """
    try:
        import cupy
    except ImportError:
        return False, f"CuPy is not installed ({installing('cuda12')}, or cuda13)"
    try:
        if not cupy.is_available():
            return False, "CuPy finds no CUDA device or driver"
        square = cupy.arange(4, dtype=cupy.float32).reshape(2, 2)
        if (square @ square + 1).sum().item() != 26.0:
            return False, "the device computed a wrong 2 x 2 product"
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except Exception as error:  # CuPy raises a different type for each missing library: any of them means "no device"
        return False, f"{type(error).__name__}: {error}".splitlines()[0]
    return True, f"{name}, CuPy {cupy.__version__}"


def blas_threads() -> int | None:
    """Return how many threads a matrix product on the CPU may take, or None where BLAS is one that does not tell."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=None)


def resolve_device(device: str) -> ModuleType:
    """Return the array module of "cpu", "cuda" or "auto".

    Raises
    ------
    InputError
        For an unknown name.
    DeviceError
        For "cuda" without a usable device, with the probe's reason.  "auto" falls back to the CPU and logs that reason once.
    """
    check_choice("device", device, DEVICES)
    if device == "cpu":
        return np
    available, reason = probe_cuda()
    if available:
        import cupy

        return cupy
    if device == "cuda":
        reject("device", "a usable CUDA device", "none: " + reason, "use device='cpu' or 'auto'", DeviceError)
    _log_fallback(reason)
    return np


@functools.cache
def _log_fallback(reason: str) -> None:
    log.info("device 'auto' is the CPU: %s", reason)


def array_module(*arrays: Any) -> ModuleType:
    """Return the module all ``arrays`` belong to; Python and NumPy numbers belong to any.  Mixed devices raise ``DeviceError``."""
    types = {type(array) for array in arrays}
    if types <= _HOST_TYPES:  # the everyday case, decided by one set comparison: this runs at every op
        return np
    device = {package_of(kind) for kind in types if is_of_device(kind)}
    if not device:
        return np
    if np.ndarray in types:
        reject("arrays", "all on one device", "NumPy and CuPy arrays mixed", "move them with to_device", DeviceError)
    return sys.modules[device.pop()]


_HOST_TYPES = {np.ndarray, np.float32, np.float64, float, int, type(None)}


def package_of(kind: type) -> str:
    """Return the name of the package that a type comes from."""
    return kind.__module__.partition(".")[0]


def is_of_device(kind: type) -> bool:
    """Return whether arrays of this type are CuPy's; all others are the host's."""
    return "cupy" in package_of(kind)


def as_array(value: Any, argument: str = "array") -> Array:
    """Return whatever holds numbers as a plain array, without a copy where it can be a view.

    A list, a data frame, a series, a sparse matrix, a dataset in a file or a subclass of NumPy's array is converted by NumPy.  An
    array on a device stays where it is.

    Raises ``InputError`` for what cannot be converted, and for arrays with masked entries, which have no value.
    """
    if (type(value) is np.ndarray and value.dtype != object) or is_of_device(type(value)):
        return value
    if value is None:
        reject(argument, "an array of real numbers", "None", "pass a NumPy or CuPy array")
    if hasattr(value, "toarray"):  # a sparse matrix
        value = value.toarray()
    if isinstance(value, np.ma.MaskedArray) and (masked := np.ma.count_masked(value)):
        mend = "fill them with x.filled(value), or leave their rows out"
        reject(argument, "an array without masked entries", f"{masked} of {value.size}", mend)
    try:
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype == object else array
    except (TypeError, ValueError) as error:  # rows of different lengths, or things that are no numbers
        mend = "pass numbers alone, as in a NumPy array, and fill in what is missing"
        reject(argument, "an array of real numbers", f"{type(value).__name__} ({reason(error)})", mend)


def to_device(xp: ModuleType, array: Any, dtype: Any = None) -> Array:
    """Return ``array`` as an array of module ``xp``: itself where it is one already, else one copy across."""
    if xp is np:
        array = to_numpy(array)
    return xp.asarray(array, dtype=dtype)


def to_numpy(array: Any) -> np.ndarray:
    """Return ``array`` in host memory."""
    return array.get() if is_of_device(type(array)) else as_array(array)


STREAMS = ("init", "order", "noise", "binarize", "evaluate", "sample", "certificate")


def generator(xp: ModuleType, seed: int, stream: str, *path: int) -> Any:
    """Return the random generator of one purpose: streams of one seed are independent, and so are those of different paths.

    A path is a position such as the epoch: with it, what an epoch draws does not depend on what was drawn before.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream), *path))  # a list [seed, …] would pad and so collide
    if xp is np:
        return np.random.default_rng(sequence)
    return xp.random.Generator(xp.random.Philox4x3210(int(sequence.generate_state(1, np.uint64)[0])))


def standard_normal(rng: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw ε ~ N(0, I) of the given shape in the given dtype from a generator of either device."""
    return rng.standard_normal(shape, dtype=dtype)


def standard_gumbel(rng: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw g = −log(−log u), u uniform, of the given shape in the given dtype: the noise of Q.1.

    Generators draw u from [0, 1), and in float32 one in 17 million is 0, whose logarithm is −∞: it becomes the smallest number.
    """
    u = rng.random(shape, dtype=dtype)
    xp = array_module(u)
    return -xp.log(-xp.log(xp.maximum(u, np.finfo(u.dtype).tiny)))


def generator_state(rng: Any) -> Any:
    """Return the state of a generator: for NumPy's a dict of integers, for others the array that holds it."""
    if isinstance(rng, np.random.Generator):
        return rng.bit_generator.state
    return rng.draw if hasattr(rng, "draw") else rng.bit_generator._state  # CuPy's has no public name


def restore_generator(rng: Any, state: Any) -> None:
    """Give a generator the state that ``generator_state`` returned for another of its kind."""
    if isinstance(state, dict):
        rng.bit_generator.state = state
    else:
        place = generator_state(rng)
        place[...] = to_device(array_module(place), state)
