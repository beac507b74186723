"""The results of ``minivae gradcheck`` as plain records; the command only prints them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minivae.autodiff import Tensor, topological_order
from minivae.backend import generator, resolve_device
from minivae.checks import DeadCodeWarning, check_choice
from minivae.models import MODELS, Model
from minivae.models.likelihoods import LIKELIHOODS
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from minivae.ops.examples import EXAMPLES, Example
from minivae.proof.gradcheck import gradcheck
from minivae.proof.precision import UNITS, compare_precision
from minivae.training.batches import Rows

VERDICTS = ("pass", "blind", "wrong")  # from best to worst


@dataclass(frozen=True)
class Row:
    """One line of the table: a gradient, what it was compared with, and how far apart the two are."""

    name: str
    argument: str
    dtype: str
    device: str
    against: str
    relative_error: float
    verdict: str
    detail: str  # what the error is made of, and in which variant of the example it was worst
    caught: float  # the smallest relative error in one entry of middling size that would not have passed


def check_ops(names: Collection[str] = (), device: str = "cpu", seed: int = 0) -> Iterator[Row]:
    """Yield one row for every op × argument × dtype × device: the worst of all the ways in which ``EXAMPLES`` calls the op.

    float64 on the CPU is compared with finite differences; everything else with float64 on the CPU.

    Parameters
    ----------
    names : of the ops to check; all when empty.
    device : "cuda" (or "auto", where there is one) adds the rows of the device.
    """
    for name in names:
        check_choice("op", name, ALL_OPS)
    xp = resolve_device(device)
    for op in names or ALL_OPS:
        worst: dict[tuple[str, ...], Row] = {}
        for example in EXAMPLES:
            if example.op.name != op:
                continue
            inputs = example.draw(seed)
            rows = check_slopes(op, example, inputs, seed, example.variant)
            rows += _precision_rows(example, inputs, "float32", "cpu", np, seed)
            if xp is not np:
                for dtype in ("float64", "float32"):
                    rows += _precision_rows(example, inputs, dtype, "cuda", xp, seed)
            for row in rows:
                key = (row.argument, row.dtype, row.device)
                before = worst.get(key, row)
                worst[key] = replace(max(before, row, key=_badness), caught=max(before.caught, row.caught))
        yield from worst.values()


def check_objective(name: str, objective: Callable[[], Tensor], parameters: Iterable[Tensor], seed: int = 0) -> list[Row]:
    """Return one row per parameter of a whole objective: a float64 model's loss on a batch, with its noise held fixed."""
    return check_slopes(name, lambda *_: objective(), {parameter.name: parameter for parameter in parameters}, seed)


def check_models(seed: int = 0) -> list[Row]:
    """Return the rows of the objective of every model, under every likelihood and way to a variance, with smooth activations.

    Objectives with a surrogate gradient and the parameters of a network that is trained separately are left out, since finite
    differences cannot check them.
    """
    x, y = np.random.default_rng(seed).random((7, 5)), np.arange(7) % 3
    small: dict[str, Any] = {"latent_dim": 2, "hidden_dims": (3,), "activation": "tanh", "epochs": 1, "batch_size": 7}
    rows = []
    for name, kind in MODELS.items():
        weights: dict[str, Any] = {"beta": 3.0} if hasattr(kind, "beta") else {}
        variants: dict[str, dict[str, Any]] = {likelihood: {"likelihood": likelihood} for likelihood in LIKELIHOODS}
        if hasattr(kind, "posterior_variance"):
            variants["softplus variance"] = {"posterior_variance": "softplus"}
        for variant, settings in variants.items():
            model = kind(**small, **weights, **settings, dtype="float64", seed=seed, device="cpu")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeadCodeWarning)  # of one step, which is made to have the layers
                model.fit(x, y)
            batch = model._rows(x, y)

            def objective(model: Model = model, batch: Rows = batch) -> Tensor:
                every, rng = slice(None), generator(np, seed, "noise")
                return model.loss(model.terms(batch.take(every, rng), rng, batch.condition(every)))

            reached = set(topological_order(objective()))
            if not any(tensor.node.op in SURROGATE_GRADIENTS.values() for tensor in reached if tensor.node):
                parameters = [parameter for parameter in model.parameters_.parameters.values() if parameter in reached]
                rows += check_objective(f"{name}, {variant}", objective, parameters, seed)
    return rows


def check_slopes(name: str, fn: Callable[..., Tensor], inputs: Mapping[str, Any], seed: int = 0, variant: str = "") -> list[Row]:
    """Return one row per argument: ``gradcheck`` without its exception."""
    report = gradcheck(fn, inputs, name=name, seed=seed, raise_exception=False)
    rows = []
    for argument in report.arguments:
        worst = argument.worst
        detail = f"{worst.numeric:.9g} ± {worst.uncertainty:.0e}, backward {worst.analytic:.9g}"
        detail += f" at {worst.index}" * (worst.index is not None) + f" ({variant})" * bool(variant)
        row = (name, argument.argument, "float64", "cpu", "finite differences", argument.relative_error, argument.verdict, detail)
        rows.append(Row(*row, argument.caught))
    return rows


def _precision_rows(example: Example, inputs: Mapping[str, np.ndarray], dtype: str, device: str, xp: Any, seed: int) -> list[Row]:
    rows = []
    for report in compare_precision(example, inputs, dtype, xp, seed=seed):
        verdict = "pass" if report.units < UNITS else "wrong"
        detail = f"{report.units:.2f} of {UNITS:g} units of rounding" + f" ({example.variant})" * bool(example.variant)
        row = (example.op.name, report.argument, dtype, device, "float64 on the CPU", report.relative_error, verdict, detail)
        rows.append(Row(*row, report.caught))
    return rows


def _badness(row: Row) -> tuple[int, float]:
    return VERDICTS.index(row.verdict), row.relative_error
