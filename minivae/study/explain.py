"""What ``minivae explain`` says about an op, as a plain record; the command only prints it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minivae.autodiff import Tensor, backward
from minivae.checks import check_choice
from minivae.ops import ALL_OPS
from minivae.ops.examples import EXAMPLES
from minivae.proof.finite_differences import away_from_zero
from minivae.proof.gradcheck import gradcheck
from minivae.study.guide import place_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Explanation:
    """One op: its derivation, its numbers on arrays small enough to follow by hand, and where to read on."""

    name: str
    derivation: str
    options: Mapping[str, Any]
    inputs: dict[str, np.ndarray]
    result: np.ndarray
    cotangent: np.ndarray
    gradients: dict[str, np.ndarray]  # by backward
    slopes: dict[str, np.ndarray]  # by finite differences
    sum: str  # the loss whose gradient is worked: Σ result · cotangent, written out
    forward: str  # file:line
    backward: str
    test: str


def explain(name: str) -> Explanation:
    """Return the explanation of an op, worked out on a small version of its first example: n = 2, d = 3, m = 2, s = 2."""
    check_choice("op", name, ALL_OPS)
    op = ALL_OPS[name]
    example = next(example for example in EXAMPLES if example.op is op)
    inputs = {argument: array.round(2) for argument, array in example.draw(n=2, d=3, m=2, s=2).items()}
    leaves = {argument: Tensor(array, requires_grad=True, name=argument) for argument, array in inputs.items()}
    result = example(*leaves.values())
    cotangent = away_from_zero(np.random.default_rng(0), result.shape).round(2)
    backward(result, cotangent)
    report = gradcheck(example, leaves, name=name, cotangent=cotangent, elementwise=True, raise_exception=False)
    slopes = {a.argument: np.empty(inputs[a.argument].shape) for a in report.arguments}
    for argument in report.arguments:
        for probe in argument.probes:
            slopes[argument.argument][probe.index] = probe.numeric
    return Explanation(
        name=name,
        derivation=inspect.cleandoc(op.doc),
        options=example.options,
        inputs=inputs,
        result=result.data,
        cotangent=cotangent,
        gradients={argument: np.asarray(leaf.grad) for argument, leaf in leaves.items()},
        slopes=slopes,
        sum=_written_out(result.data, cotangent),
        forward=place_of(op.forward),
        backward=place_of(op.backward),
        test=_test_of(name),
    )


def _written_out(result: np.ndarray, cotangent: np.ndarray) -> str:
    """Return Σ result · cotangent with its terms."""
    pairs = zip(result.flat, cotangent.flat)
    terms = [f"{value:.6g} · {weight:g}" if weight >= 0 else f"{value:.6g} · ({weight:g})" for value, weight in pairs]
    return f"Σ result · gradient = {' + '.join(terms)} = {float((result * cotangent).sum()):.9g}"


def _test_of(name: str) -> str:
    """Return file:line of an op's row in the tests, or the file alone where the package was installed without its tests."""
    cases = ROOT / "tests" / "support/op_cases.py"
    lines = cases.read_text(encoding="utf-8").splitlines() if cases.is_file() else []
    number = next((i for i, line in enumerate(lines, 1) if line.startswith(f'    "{name}":')), None)
    return "tests/support/op_cases.py" + (f":{number}" if number else "")
