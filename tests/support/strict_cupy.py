"""A strict stand-in for CuPy: its interface over NumPy, its refusals, and a count of what would cost time on a GPU.

What CuPy refuses is refused here: a NumPy array among the operands, an implicit conversion to NumPy, a host array given to a
device.  Reductions give arrays of shape (), not numbers.  ``counts`` tells how many kernels were launched, how often the host had
to wait for the device, and how many copies went either way.

A stream can be captured.  Then, as on a GPU, nothing is computed: results hold garbage until the graph is launched, and whatever
would make the host wait, or copy from its memory, raises.  A launch repeats every kernel on the same memory; Python numbers keep
the values they had.  CuPy's refusal to capture a matrix product of its own is here too.  What memory is reused for is not imitated.

Kernels written in CUDA C run on the CPU through ``cuda_on_cpu``, products of cuBLAS through ``cublas_on_cpu``.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from support import cuda_on_cpu

__version__ = "14.strict"


@dataclass
class Counts:
    launches: int = 0
    synchronisations: int = 0
    to_host: int = 0
    to_device: int = 0


counts = Counts()
_capture: list[Callable[[], None]] | None = None  # the kernels of the graph that is being captured


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """Yield a count that begins at zero and covers the block."""
    global counts
    before, counts = counts, Counts()
    try:
        yield counts
    finally:
        counts = before


class CaptureError(RuntimeError):
    """What a device answers when a capture meets something that cannot be captured."""


def launch(function: Callable[[], Any], out: ndarray | None = None) -> ndarray:
    """Run a kernel that returns a NumPy result; during a capture only remember it."""
    counts.launches += 1
    with np.errstate(all="ignore"):
        result = np.asarray(function())
    target = np.empty(result.shape, result.dtype) if out is None else out._array

    def kernel() -> None:
        with np.errstate(all="ignore"):
            target[...] = function()

    if _capture is None:
        target[...] = result
    else:
        _capture.append(kernel)
        if out is None:
            target.view(np.uint8 if target.ndim else target.dtype).fill(255)  # NaN
    return ndarray(target) if out is None else out


def run(kernel: Callable[[], None]) -> None:
    """Run a kernel that writes into its arguments; during a capture only remember it."""
    counts.launches += 1
    kernel() if _capture is None else _capture.append(kernel)


def synchronise(what: str) -> None:
    if _capture is not None:
        raise CaptureError(f"cudaErrorStreamCaptureUnsupported: {what} during a capture")
    counts.synchronisations += 1


def _unwrap(value: Any) -> Any:
    """Return the NumPy array behind a device array, and numbers, options and containers as they are."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_unwrap, value))
    return value


def _binary(name: str, swap: bool = False) -> Callable[[ndarray, Any], Any]:
    function = getattr(np, name)

    def method(self: ndarray, other: Any) -> Any:
        if getattr(other, "__array_ufunc__", ...) is None and not isinstance(other, ndarray):
            return NotImplemented  # a type that wants to be asked itself, such as a tensor
        if name == "matmul":
            _refuse_cublas()
        pair = (_unwrap(other), self._array) if swap else (self._array, _unwrap(other))
        return launch(lambda: function(*pair))

    return method


def _in_place(name: str) -> Callable[[ndarray, Any], ndarray]:
    function = getattr(np, name)

    def method(self: ndarray, other: Any) -> ndarray:
        value = _unwrap(other)
        np.broadcast_to(np.empty(np.shape(value), np.uint8), self.shape)  # a result of another shape is an error
        np.can_cast(np.result_type(self.dtype, value), self.dtype, "same_kind") or _no_cast(self.dtype)
        return launch(lambda: function(self._array, value), out=self)

    return method


def _no_cast(dtype: np.dtype) -> None:
    raise TypeError(f"output cannot be cast to {dtype}")


def _refuse_cublas() -> None:
    if _capture is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


def _method(name: str) -> Callable[..., ndarray]:
    def method(self: ndarray, *args: Any, out: ndarray | None = None, **kwargs: Any) -> ndarray:
        args, kwargs = _unwrap(args), {key: _unwrap(value) for key, value in kwargs.items()}
        return launch(lambda: getattr(self._array, name)(*args, **kwargs), out)

    return method


def _view(name: str) -> Callable[..., ndarray]:
    return lambda self, *args, **kwargs: ndarray(getattr(self._array, name)(*args, **kwargs))


class ndarray:
    """An array on the device that is not there."""

    __slots__ = ("_array",)
    __module__ = "strict_cupy"  # as CuPy's arrays do, it names the library by its top level, where ``array_module`` looks
    __array_ufunc__ = None  # ``numpy_array + array`` asks this class, which refuses
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array.")

    dtype = property(lambda self: self._array.dtype)
    shape = property(lambda self: self._array.shape)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    strides = property(lambda self: self._array.strides)
    flags = property(lambda self: self._array.flags)
    T = property(lambda self: ndarray(self._array.T))
    data = property(lambda self: SimpleNamespace(ptr=self._array.ctypes.data))

    def get(self) -> np.ndarray:
        synchronise("a copy to the host")
        counts.to_host += 1
        return self._array.copy()

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self) -> bytes:
        return self.get().tobytes()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> ndarray:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, (np.ndarray, list)) for part in parts):
            asarray(np.zeros(0))  # CuPy copies such an index to the device
            return launch(lambda: self._array[index])
        arrays = [part for part in parts if isinstance(part, ndarray)]
        if any(part.dtype == bool for part in arrays):
            synchronise("a mask that says how large the result is")
        host = _unwrap(parts)
        return launch(lambda: self._array[host]) if arrays else ndarray(self._array[(*host, ...) if ... not in host else host])

    def __setitem__(self, index: Any, value: Any) -> None:
        host_index, host_value = _unwrap(index), _unwrap(value)
        np.broadcast_to(np.empty(np.shape(host_value), np.uint8), self._array[host_index].shape)
        run(lambda: self._array.__setitem__(host_index, host_value))

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        return self if not copy and self.dtype == dtype else launch(lambda: self._array.astype(dtype))

    def reshape(self, *shape: Any) -> ndarray:
        result = self._array.reshape(*shape)
        return ndarray(result) if np.shares_memory(result, self._array) else launch(lambda: self._array.reshape(*shape))

    def copy(self) -> ndarray:
        return launch(self._array.copy)

    def fill(self, value: Any) -> None:
        run(lambda: self._array.fill(value))

    sum, mean, var, std = _method("sum"), _method("mean"), _method("var"), _method("std")
    min, max, argmin, argmax = _method("min"), _method("max"), _method("argmin"), _method("argmax")
    any, all, cumsum, prod = _method("any"), _method("all"), _method("cumsum"), _method("prod")
    repeat, take, clip, ravel, dot = _method("repeat"), _method("take"), _method("clip"), _method("ravel"), _method("dot")
    squeeze, transpose, view, swapaxes = _view("squeeze"), _view("transpose"), _view("view"), _view("swapaxes")

    def __neg__(self) -> ndarray:
        return launch(lambda: -self._array)

    def __invert__(self) -> ndarray:
        return launch(lambda: ~self._array)

    def __abs__(self) -> ndarray:
        return launch(lambda: abs(self._array))

    for _sign, _name in {
        "add": "add",
        "sub": "subtract",
        "mul": "multiply",
        "truediv": "true_divide",
        "pow": "power",
        "matmul": "matmul",
        "and": "bitwise_and",
        "or": "bitwise_or",
        "xor": "bitwise_xor",
        "lshift": "left_shift",
        "rshift": "right_shift",
    }.items():
        locals()[f"__{_sign}__"], locals()[f"__r{_sign}__"] = _binary(_name), _binary(_name, swap=True)
        locals()[f"__i{_sign}__"] = _in_place(_name)
    for _sign, _name in {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}.items():
        locals()[f"__{_sign}__"] = _binary(_name)
    __eq__, __ne__ = _binary("equal"), _binary("not_equal")
    del _sign, _name


# ---- Functions -----------------------------------------------------------------------------------------------------------------


def asarray(value: Any, dtype: Any = None) -> ndarray:
    """Return ``value`` on the device; what was on the host is copied."""
    if isinstance(value, ndarray):
        return value if dtype is None else value.astype(dtype, copy=False)
    if _capture is not None:
        raise CaptureError("cudaErrorStreamCaptureUnsupported: a copy from the host during a capture")
    counts.to_device += 1
    return ndarray(np.array(value, dtype=dtype))


array = asarray


def ascontiguousarray(value: ndarray, dtype: Any = None) -> ndarray:
    value = value.astype(value.dtype if dtype is None else dtype, copy=False)
    return value if value.flags.c_contiguous else value.copy()


def copyto(target: ndarray, source: ndarray) -> None:
    run(lambda: np.copyto(_unwrap(target), _unwrap(source)))


def where(condition: ndarray, *choices: Any) -> Any:
    if not choices:
        synchronise("where with one argument")
    return launch(lambda: np.where(_unwrap(condition), *_unwrap(choices)))


_VIEWS = {"broadcast_to", "expand_dims", "split", "squeeze", "transpose", "swapaxes", "ravel"}
_CUBLAS = {"matmul", "dot", "vdot", "tensordot", "inner"}
_MADE = {"zeros", "ones", "full", "empty", "arange", "linspace", "eye"}
_LIKE = {"zeros_like", "ones_like", "full_like", "empty_like"}
_COMPUTED = {
    *{"concatenate", "stack", "repeat", "tile", "sum", "mean", "prod", "clip", "take", "amax", "amin", "cumsum", "sort", "argsort"},
    *{"take_along_axis", "triu", "tril", "diag", "outer", "argmax", "argmin", "var", "std", "flip", "roll", "round", "max", "min"},
}


def __getattr__(name: str) -> Any:
    """Find NumPy's function of a name, and make it one of the device; numbers and types are shared."""
    if name.startswith("__") or not hasattr(np, name):
        raise AttributeError(name)
    function = getattr(np, name)
    if isinstance(function, (float, type)):
        return function
    if not (isinstance(function, np.ufunc) or name in _VIEWS | _CUBLAS | _MADE | _LIKE | _COMPUTED):
        raise AttributeError(f"{name} is not part of this stand-in")

    def call(*args: Any, out: ndarray | None = None, **kwargs: Any) -> Any:
        host_args, host_kwargs = _unwrap(args), {key: _unwrap(value) for key, value in kwargs.items()}
        arrays = [a for arg in (*args, *kwargs.values()) for a in (arg if isinstance(arg, (list, tuple)) else (arg,))]
        if name in _VIEWS:
            result = function(*host_args, **host_kwargs)
            return [ndarray(part) for part in result] if isinstance(result, list) else ndarray(result)
        if name not in _MADE and not any(isinstance(a, ndarray) for a in arrays):
            raise TypeError(f"{name} needs an array of this module, got {[type(arg) for arg in args]}")
        if name in _CUBLAS:
            _refuse_cublas()
        return launch(lambda: function(*host_args, **host_kwargs), out)

    return call


def empty(shape: Any, dtype: Any = float) -> ndarray:
    """Return memory as it is found: full of NaN, so that reading it before writing shows."""
    result = np.empty(shape, dtype)
    result.reshape(-1).view(np.uint8).fill(255)
    return ndarray(result)


def empty_like(prototype: ndarray) -> ndarray:
    return empty(prototype.shape, prototype.dtype)


linalg = SimpleNamespace(norm=lambda x: launch(lambda: np.linalg.norm(_unwrap(x))))


class _Generator:
    """A generator whose state is on the device, so that drawing is a launch."""

    def __init__(self, bits: np.random.Generator) -> None:
        self._bits = bits
        self.bit_generator = SimpleNamespace(_state=ndarray(np.zeros(4, np.int8)))  # where CuPy's keeps its position

    def standard_normal(self, size: Any = None, dtype: Any = float, out: ndarray | None = None) -> ndarray:
        return launch(lambda: self._bits.standard_normal(size, dtype), out)

    def random(self, size: Any = None, dtype: Any = float, out: ndarray | None = None) -> ndarray:
        return launch(lambda: self._bits.random(size, dtype), out)


random = SimpleNamespace(Generator=_Generator, Philox4x3210=np.random.default_rng)


class RawModule:
    """Kernels in CUDA C, compiled for the CPU.  Their arguments are checked against the source, which CuPy does not do."""

    def __init__(self, code: str, options: tuple[str, ...] = (), enable_cooperative_groups: bool = False) -> None:
        self._kernels, self._together = cuda_on_cpu.compile_kernels(code), enable_cooperative_groups

    def get_function(self, name: str) -> Callable[..., None]:
        kernel = replace(self._kernels[name], together=self._together)

        def call(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
            host = _unwrap(args)
            kernel.check(host)
            if not (grid[0] > 0 and 0 < block[0] <= 1024):
                raise ValueError(f"CUDA_ERROR_INVALID_VALUE: {grid[0]} blocks of {block[0]} threads")
            run(lambda: kernel(grid[0], block[0], *host))

        return call


# ---- The device: streams, graphs, memory -------------------------------------------------------------------------------------


class _Stream:
    null: _Stream

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = id(self) if non_blocking else 0

    def __enter__(self) -> _Stream:
        self._before = cuda.current
        cuda.current = self
        return self

    def __exit__(self, *error: Any) -> None:
        cuda.current = self._before

    def synchronize(self) -> None:
        synchronise("waiting for a stream")

    def begin_capture(self) -> None:
        global _capture
        if self.ptr == 0 or cuda.current is not self:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        _capture = []

    def end_capture(self) -> _Graph:
        global _capture
        kernels, _capture = _capture, None
        return _Graph(kernels or [])


class _Event:
    """A moment in a stream.  There is no clock behind it: a launch is taken for a millisecond."""

    moment = 0

    def record(self) -> None:
        self.moment = counts.launches

    def synchronize(self) -> None:
        synchronise("waiting for an event")


class _Graph:
    def __init__(self, kernels: list[Callable[[], None]]) -> None:
        self._kernels = kernels

    def launch(self, stream: _Stream | None = None) -> None:
        counts.launches += 1
        for kernel in self._kernels:
            kernel()

    def debug_dot_str(self) -> str:
        """Draw the graph in the language of Graphviz, as CUDA does: a node a line, and an arrow from each to the next."""
        nodes = [f"graph_1_node_{i}" for i in range(len(self._kernels))]
        drawn = [f'"{node}"[style="bold" shape="octagon" label="a kernel"];' for node in nodes]
        arrows = [f'"{before}" -> "{after}" [headlabel=0];' for before, after in itertools.pairwise(nodes)]
        return "\n".join(['digraph dot {subgraph cluster_1 {label="graph_1" graph[style="dashed"];', *drawn, *arrows, "}}"])


_Stream.null = _Stream()
cuda = SimpleNamespace(
    Stream=_Stream,
    Event=_Event,
    get_elapsed_time=lambda start, stop: float(stop.moment - start.moment),
    current=_Stream.null,
    get_current_stream=lambda: cuda.current,
    MemoryPool=lambda: SimpleNamespace(malloc=None),
    using_allocator=lambda allocator: contextlib.nullcontext(),
    runtime=SimpleNamespace(getDeviceProperties=lambda index: {"name": b"strict stand-in", "multiProcessorCount": 1}),
)


def is_available() -> bool:
    return True


sys.modules["strict_cupy"] = sys.modules[__name__]
