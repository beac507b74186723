"""Judges the solution of an exercise: whether it is right, and if not, which of the usual mistakes it looks like.

A gradient check decides; the explanations come from comparing values and gradients with those of the package's own op.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minivae.autodiff import Tensor
from minivae.checks import MinivaeError, reject
from minivae.op import Op
from minivae.ops import ALL_OPS
from minivae.ops.examples import EXAMPLES, Example
from minivae.proof.finite_differences import away_from_zero
from minivae.proof.gradcheck import gradcheck
from minivae.study.exercises import TODO

FAR = 30  # times the usual inputs: there a clip or an overflow shows


@dataclass(frozen=True)
class Judgement:
    """The verdict on a solution, and the sentences that explain it."""

    right: bool
    words: tuple[str, ...]


def judge(name: str, file: Path) -> Judgement:
    """Judge the solution in a file."""
    if not file.is_file():
        reject("--check", f"the file {file}", "none", f"make it: minivae exercise {name}")
    try:
        module = _loaded(file)
        op = Op(name, module.forward, module.backward, ALL_OPS[name].args)
        words = list(_complaints(op))
    except NotImplementedError:
        return Judgement(False, (f"{file}: the backward is still to be written, at the line with {TODO}.",))
    except MinivaeError as error:
        return Judgement(False, (str(error),))
    except Exception as error:  # a solution may raise anything; it is reported in one line
        return Judgement(False, (f"{file} stops with {type(error).__name__}: {error}",))
    done = f"Right: {name} agrees with finite differences in every argument, however it is called, and with the equation."
    return Judgement(not words, tuple(words) or (done,))


def _loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("exercise", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _complaints(op: Op) -> Iterator[str]:
    """Yield what is wrong, for each argument the first mistake found."""
    said = set()
    for example in (example for example in EXAMPLES if example.op.name == op.name):
        inputs = example.draw(seed=1)
        where = f" (called as: {example.variant})" if example.variant else ""
        own, right = Example(op, example.arguments, example.options), example
        result, expected = (np.asarray(call(*map(Tensor, inputs.values())).data) for call in (own, right))
        if result.shape != expected.shape or not np.allclose(result, expected, rtol=1e-9, atol=1e-12):
            if "forward" not in said:
                yield f"The forward is not the equation{where}: {_apart(result, expected)}.  No gradient check can see that."
            said.add("forward")
        cotangent = away_from_zero(np.random.default_rng(2), result.shape)
        ours = _gradients(own, inputs, cotangent)
        for argument, verdict in _verdicts(own, inputs, ours, _gradients(right, inputs, cotangent), cotangent):
            if verdict and argument not in said:
                said.add(argument)
                yield f"The gradient in {argument}{where}: {verdict}."
        if not said:
            said |= set(far := list(_far_out(own, right, inputs)))
            yield from far
        if _overwrites(own, inputs, cotangent) and "writes" not in said:
            said.add("writes")
            yield "The backward overwrites its cotangent or a saved array: whatever reads it next gets wrong numbers."


def _far_out(own: Example, right: Example, inputs: dict[str, np.ndarray]) -> Iterator[str]:
    """Yield a complaint if the forward is wrong at large inputs, where no gradient check looks."""
    far = {name: array * FAR if array.min() < 0 else array for name, array in inputs.items()}
    result, expected = (np.asarray(call.op.forward(np, *far.values(), **call.options)[0]) for call in (own, right))
    known = np.isfinite(expected)
    if not np.allclose(result[known], expected[known], rtol=1e-6):
        words = _apart(result[known], expected[known])
        yield f"At inputs {FAR} times as large the forward is not the equation: {words}.  Gradient checks only use inputs near 0."


def _overwrites(own: Example, inputs: dict[str, np.ndarray], cotangent: np.ndarray) -> bool:
    _, saved = own.op.forward(np, *(array.copy() for array in inputs.values()), **own.options)
    before, g = copy.deepcopy(saved), cotangent.copy()
    own.op.backward(np, saved, g, [True] * len(inputs))
    arrays = zip((g, *saved), (cotangent, *before))
    return any(isinstance(now, np.ndarray) and not np.array_equal(now, then, equal_nan=True) for now, then in arrays)


def _gradients(call: Example, inputs: dict[str, np.ndarray], cotangent: np.ndarray) -> dict[str, np.ndarray]:
    _, saved = call.op.forward(np, *(array.copy() for array in inputs.values()), **call.options)
    found = call.op.backward(np, saved, cotangent, [True] * len(inputs))
    return dict(zip(inputs, found))


def _verdicts(call: Example, inputs: dict[str, np.ndarray], ours: Any, right: Any, g: np.ndarray) -> Iterator[tuple[str, str]]:
    if set(ours) != set(inputs):
        yield "all", f"backward returns {len(ours)} gradients for {len(inputs)} arguments"
        return
    for argument, array in inputs.items():
        mine, true = ours[argument], right[argument]
        if mine is None or np.shape(mine) != array.shape:
            got = "None" if mine is None else f"shape {np.shape(mine)}"
            yield (
                argument,
                f"{got}, where the argument has shape {array.shape}; sum over the axes that were broadcast (``unbroadcast``)",
            )
        elif not np.allclose(mine, true, rtol=1e-6, atol=1e-9 * np.abs(true).max()):
            yield argument, _apart(np.asarray(mine), true) + "; " + _measured(call, inputs, argument)


def _measured(call: Example, inputs: dict[str, np.ndarray], argument: str) -> str:
    report = gradcheck(call, inputs, name=call.op.name, raise_exception=False)
    found = next(a for a in report.arguments if a.argument == argument)
    probe = found.worst
    if found.verdict == "pass":
        return "yet it is the correct slope of this forward, so finite differences cannot see the mistake"
    place = f" at {probe.index}" if probe.index is not None else " along a random direction"
    return f"the values have a slope of {probe.numeric:.6g}{place}, the backward says {probe.analytic:.6g}"


def _apart(mine: np.ndarray, true: np.ndarray) -> str:
    """Return in words how two arrays differ, naming the usual mistakes."""
    if mine.shape != true.shape:
        return f"shape {mine.shape} instead of {true.shape}"
    if not mine.any():
        return "it is 0 everywhere"
    if not np.isfinite(mine).all():
        return "it has numbers that are not finite"
    safe = np.where(true == 0, 1.0, true)
    ratio = (mine / safe)[true != 0]
    factor = float(np.median(ratio)) if ratio.size else np.nan
    if ratio.size and np.allclose(ratio, factor, rtol=1e-6):
        return "its sign is wrong" if np.isclose(factor, -1) else f"it is {factor:.4g} times what it should be, everywhere"
    shift = mine - true
    if np.allclose(shift, shift.flat[0], rtol=1e-6):
        return f"it is off by {shift.flat[0]:.4g}, the same everywhere"
    right = np.isclose(mine, true, rtol=1e-6)
    return f"it is wrong in {np.size(right) - int(right.sum())} of {np.size(right)} entries, by {np.abs(shift).max():.3g} at most"
