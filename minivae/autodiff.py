"""Reverse-mode differentiation: tensors that remember how they were computed, and one walk back over these records.

The chain rule for y = f(x), loss = L(y) reads  ∂L/∂x = (∂y/∂x)ᵀ ∂L/∂y.  Each op supplies that product for its own link;
``backward`` visits the links in reverse topological order and adds up what reaches a tensor along different paths.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, NoReturn

import numpy as np

from minivae.backend import Array, array_module, as_array
from minivae.checks import InputError, WrongGradientError, reject
from minivae.kernels import fused
from minivae.op import Op


class Node:
    """One application of an op: what its backward needs, and the tensors that its gradients go to."""

    __slots__ = ("inputs", "op", "saved", "xp")

    def __init__(self, op: Op, xp: Any, saved: tuple[Any, ...], inputs: list[Tensor | None]) -> None:
        self.op, self.xp, self.saved = op, xp, saved
        self.inputs = inputs  # None where the argument is a constant


class Tensor:
    """An array and its place in the computation.

    Attributes
    ----------
    data : the array (NumPy or CuPy), any shape, a floating dtype.
    requires_grad : whether a gradient is wanted here: true for a leaf that was marked, and for everything computed from one.
    grad : after ``backward``, the gradient at a leaf, of the shape of ``data``.
    buffer : memory that ``grad`` has to be written to, such as a view of one flat vector, or None.
    """

    __slots__ = ("buffer", "data", "grad", "name", "node", "requires_grad")

    def __init__(self, data: Any, requires_grad: bool = False, name: str = "") -> None:
        if not hasattr(data, "dtype"):
            data = np.asarray(data, dtype=np.float64)
        elif type(data) not in (np.ndarray, np.float32, np.float64):
            data = as_array(data, "Tensor")
        if data.dtype.kind != "f":
            reject("Tensor", "a floating dtype", f"dtype {data.dtype}", "convert the data with .astype('float32')")
        self.data: Array = data
        self.requires_grad = requires_grad
        self.name = name
        self.node: Node | None = None
        self.grad: Array | None = None
        self.buffer: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def item(self) -> float:
        """Return the one number of a size-1 tensor."""
        return self.data.item()

    def backward(self, cotangent: Array | None = None) -> None:
        """Leave in ``grad`` of every leaf the gradient of Σ self · cotangent; see ``minivae.autodiff.backward``."""
        backward(self, cotangent)

    def __repr__(self) -> str:
        label = f"{self.name}, " if self.name else ""
        source = f", from {self.node.op.name}" if self.node else ""
        return f"Tensor({label}shape {self.shape}, {self.dtype}{source})"

    # Defined in ops/arithmetic.py and ops/shape.py, because ops may import the tape but not the other way round.
    __add__: ClassVar[Callable[..., Tensor]]
    __radd__: ClassVar[Callable[..., Tensor]]
    __sub__: ClassVar[Callable[..., Tensor]]
    __rsub__: ClassVar[Callable[..., Tensor]]
    __mul__: ClassVar[Callable[..., Tensor]]
    __rmul__: ClassVar[Callable[..., Tensor]]
    __truediv__: ClassVar[Callable[..., Tensor]]
    __rtruediv__: ClassVar[Callable[..., Tensor]]
    __neg__: ClassVar[Callable[..., Tensor]]
    __getitem__: ClassVar[Callable[..., Tensor]]
    __array_ufunc__ = None  # so that ``array + tensor`` asks the tensor, instead of NumPy looping over it


class _Mode(threading.local):
    """Whether this thread records.  The default is a class attribute, so one thread never sees the choice of another."""

    recording = True


_mode = _Mode()


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording: inside this block nothing is saved for a backward pass."""
    before, _mode.recording = _mode.recording, False
    try:
        yield
    finally:
        _mode.recording = before


def apply(op: Op, *inputs: Any, **options: Any) -> Tensor:
    """Run ``op`` on tensors, arrays or numbers and return the result as a tensor that can be differentiated.

    The result has the dtype of the floating-point arrays among them.  Single numbers, Python's or NumPy's, do not influence it, and
    integers become floats before anything is computed with them.

    Raises ``InputError`` when shapes do not fit together and ``DeviceError`` when NumPy and CuPy arrays are mixed.
    """
    arrays = [tensor.data if isinstance(tensor, Tensor) else _constant(tensor, inputs) for tensor in inputs]
    xp = array_module(*arrays)
    if xp is not np:
        op, inputs = fused(op, xp, inputs, arrays, options)
        arrays = [tensor.data if isinstance(tensor, Tensor) else tensor for tensor in inputs]
    try:
        returned = op.forward(xp, *arrays, **options)
    except InputError:
        raise
    except ValueError as error:  # the array library's own error; checking the shapes beforehand would slow down every call
        names = (*op.args, *op.args[-1:] * len(arrays))  # the last name stands for all further parts of ``concat``
        shapes = ", ".join(f"{name} {getattr(a, 'shape', a)}" for name, a in zip(names, arrays, strict=False))
        reject(op.name, "arguments whose shapes fit together", f"{shapes} ({error})")
    if type(returned) is not tuple or len(returned) != 2:
        mend = "return (out, saved), with saved = () if backward needs nothing"
        reject(f"{op.name}: forward", "the result and the tuple of what backward will read", _kind(returned), mend)
    data, saved = returned
    result = Tensor(data)
    if _mode.recording:
        parents = [t if isinstance(t, Tensor) and t.requires_grad else None for t in inputs]
        if parents.count(None) < len(parents):
            result.requires_grad = True
            result.node = Node(op, xp, saved, parents)
    return result


def _constant(value: Any, inputs: tuple[Any, ...]) -> Any:
    """Return an argument that is not a tensor as a Python number or as an array of floats."""
    if value is None or type(value) in (float, int):
        return value
    if isinstance(value, np.generic):
        return value.item()
    array = as_array(value)
    if array.dtype.kind == "f":
        return array
    if array.dtype.kind not in "biu":
        reject("an op's argument", "real numbers", f"dtype {array.dtype}", "convert it to float32")
    # An 8-bit difference wraps around at 256, and NumPy's exp of 8 bits is a float16.
    dtypes = [other.dtype for other in inputs if hasattr(other, "dtype") and not isinstance(other, np.generic)]
    floats = [dtype for dtype in dtypes if dtype.kind == "f"]
    return array.astype(np.result_type(*floats) if floats else np.float64)


Op.__call__ = apply


def has_kernel(op: Op, *inputs: Any, **options: Any) -> bool:
    """Return whether ``op`` of these inputs would be computed by a twin of its own (``minivae.kernels``)."""
    arrays = [tensor.data if isinstance(tensor, Tensor) else tensor for tensor in inputs]
    xp = array_module(*arrays)
    return fused(op, xp, inputs, arrays, options)[0] is not op


def backward(output: Tensor, cotangent: Array | None = None, leaves: Iterable[Tensor] = ()) -> None:
    """Leave in ``grad`` of every leaf the gradient of Σ output · cotangent.

    Each call is a pass of its own: it adds up the contributions of all paths, and it overwrites the gradients of earlier passes.

    Parameters
    ----------
    output : a tensor computed from at least one leaf with ``requires_grad``.
    cotangent : array of the shape of ``output``; for a single number it defaults to 1.
    leaves : tensors that get a gradient in any case: zero where ``output`` does not depend on them.
    """
    if not output.requires_grad:
        reject("backward", "an output that depends on a tensor with requires_grad", repr(output), "mark a leaf, and leave no_grad")
    if cotangent is None:
        if output.data.size != 1:
            reject("backward: cotangent", f"an array of shape {output.shape}", "none", "only a single number has a default")
        cotangent = array_module(output.data).ones_like(output.data)
    elif cotangent.shape != output.shape:
        reject("backward: cotangent", f"an array of shape {output.shape}", f"shape {cotangent.shape}")

    gradients: dict[Tensor, Array] = {output: cotangent}
    order = topological_order(output)
    for tensor in reversed(order):
        g = gradients.pop(tensor)
        node = tensor.node
        if node is None:
            _keep(tensor, g)
            continue
        needs = [parent is not None for parent in node.inputs]
        if node.op.writes_into:  # a tensor's first gradient may be written straight to its final place; a second one is added to it
            into = [None if t is None or t in gradients else t.buffer for t in node.inputs]
            partials = node.op.backward(node.xp, node.saved, g, needs, into)
        else:
            partials = node.op.backward(node.xp, node.saved, g, needs)
        if type(partials) not in (tuple, list) or len(partials) != len(node.inputs):
            expected = f"{len(node.inputs)} gradients in a tuple, one for each argument"
            mend = "return None where no gradient is needed"
            reject(f"{node.op.name}: backward", expected, _kind(partials), mend, WrongGradientError)
        for parent, partial in zip(node.inputs, partials):
            if parent is not None:
                if getattr(partial, "shape", None) != parent.data.shape:
                    _reject_partial(node, partials)
                # Never in place: a partial may be g itself, or a view that another tensor's gradient shares.
                gradients[parent] = gradients[parent] + partial if parent in gradients else partial
    reached = set(order)
    for leaf in leaves:
        if leaf not in reached:
            _keep(leaf, array_module(leaf.data).zeros_like(leaf.data))


def _keep(leaf: Tensor, g: Array) -> None:
    """Leave ``g`` in a leaf: in memory of its own, since g may be the caller's cotangent, or another leaf's gradient too."""
    if leaf.buffer is None:
        leaf.grad = array_module(leaf.data).array(g, dtype=leaf.data.dtype)
        return
    if g is not leaf.buffer:
        leaf.buffer[...] = g
    leaf.grad = leaf.buffer


def _kind(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"{type(value).__name__} alone"


def _reject_partial(node: Node, partials: Iterable[Any]) -> NoReturn:
    """Raise an error naming the argument whose gradient has the wrong shape, which adding up would silently broadcast."""
    names = (*node.op.args, *node.op.args[-1:] * len(node.inputs))  # the last one serves for all further parts of ``concat``
    wrong = ((n, t, p) for n, t, p in zip(names, node.inputs, partials) if t is not None and getattr(p, "shape", None) != t.shape)
    name, tensor, partial = next(wrong)
    place, got = f"{node.op.name}: backward: gradient with respect to {name}", getattr(partial, "shape", partial)
    mend = "sum over the axes along which forward broadcast the argument (minivae.ops.broadcast.unbroadcast)"
    reject(place, f"an array of shape {tensor.shape}", f"{got}", mend, WrongGradientError)


def topological_order(output: Tensor) -> list[Tensor]:
    """Return every tensor that gradients of ``output`` pass through, each after all the tensors it was computed from."""
    order: list[Tensor] = []
    seen = {output}
    stack = [(output, iter(output.node.inputs if output.node else ()))]
    while stack:  # depth first, with our own stack: a long chain must not meet Python's recursion limit
        tensor, parents = stack[-1]
        for parent in parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append((parent, iter(parent.node.inputs if parent.node else ())))
                break
        else:
            order.append(tensor)
            stack.pop()
    return order
