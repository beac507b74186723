"""What the command ``gradcheck`` shows: complete, and not all well when something is not."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.device import install

from minivae.checks import DeviceError, InputError
from minivae.models import MODELS
from minivae.models.likelihoods import LIKELIHOODS
from minivae.nn import Parameter
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS, dense, mean, square, tanh
from minivae.ops.examples import EXAMPLES
from minivae.proof import verify
from minivae.proof.gradcheck import gradcheck
from minivae.proof.precision import compare_precision


def test_every_op_argument_and_dtype_has_a_row_and_passes() -> None:
    rows = list(verify.check_ops())
    assert {row.verdict for row in rows} == {"pass"}, [row for row in rows if row.verdict != "pass"]
    found = {(row.name, row.argument, row.dtype) for row in rows}
    for example in EXAMPLES:
        for argument in example.arguments:
            assert {(example.op.name, argument, dtype) for dtype in ("float64", "float32")} <= found
    assert {row.name for row in rows} == set(ALL_OPS)
    assert max(row.relative_error for row in rows if row.dtype == "float64") < 1e-8


def test_only_the_ops_that_were_asked_for() -> None:
    assert {row.name for row in verify.check_ops(["tanh", "dense"])} == {"tanh", "dense"}
    with pytest.raises(InputError, match=r"op: expected one of .*, got 'tan'"):
        list(verify.check_ops(["tan"]))


def test_a_device_that_is_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("minivae.backend.probe_cuda", lambda: (False, "no driver"))
    with pytest.raises(DeviceError, match="no driver"):
        list(verify.check_ops(device="cuda"))
    assert {row.device for row in verify.check_ops(["tanh"], device="auto")} == {"cpu"}


def rows_with(monkeypatch, name: str, backward) -> dict[tuple[str, str], verify.Row]:
    """Return the rows of an op whose backward was replaced."""
    examples = [replace(e, op=replace(e.op, backward=backward)) if e.op.name == name else e for e in EXAMPLES]
    monkeypatch.setattr(verify, "EXAMPLES", examples)
    return {(row.argument, row.dtype): row for row in verify.check_ops([name])}


def test_the_worst_variant_is_the_one_that_is_shown(monkeypatch) -> None:
    """One of the ways to call the op gives a wrong gradient in one argument: that row says so, and the others do not."""

    def backward(xp, saved, g, needs):
        dx, dy = ALL_OPS["mul"].backward(xp, saved, g, needs)
        return dx, 1.0005 * dy if (saved[0].shape, saved[1].shape) == ((5, 7), (7,)) else dy

    rows = rows_with(monkeypatch, "mul", backward)
    assert {key for key, row in rows.items() if row.verdict != "pass"} == {("y", "float64")}
    assert rows["y", "float64"].verdict == "wrong"
    assert rows["y", "float64"].relative_error == pytest.approx(5e-4, rel=0.5)
    assert "at (" in rows["y", "float64"].detail
    assert rows["y", "float64"].detail.endswith("(row)")


def test_a_gradient_that_is_only_right_in_float64(monkeypatch) -> None:
    def backward(xp, saved, g, needs):
        (dx,) = ALL_OPS["tanh"].backward(xp, saved, g, needs)
        return (dx if dx.dtype == np.float64 else dx.astype("float16").astype("float32"),)

    rows = rows_with(monkeypatch, "tanh", backward)
    assert {key for key, row in rows.items() if row.verdict != "pass"} == {("x", "float32")}
    assert rows["x", "float32"].verdict == "wrong"


def test_a_whole_objective_has_a_row_for_every_parameter() -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal((5, 7)), Parameter(rng.standard_normal((7, 3)), "w"), Parameter(np.zeros(3), "b")
    rows = verify.check_objective("regression", lambda: mean(square(tanh(dense(x, weight, bias)))), [weight, bias])
    assert [(row.name, row.argument, row.verdict) for row in rows] == [("regression", "w", "pass"), ("regression", "b", "pass")]
    (row,) = verify.check_objective("constant", lambda: mean(weight * 0), [weight])
    assert row.verdict == "blind"


def test_every_op_and_every_model_has_its_judge() -> None:
    """Read as text, so that one without is noticed also where PyTorch is not installed and ``test_judge`` is skipped."""
    ops, losses = (Path(__file__).parents[1] / "support" / "in_torch.py").read_text(encoding="utf-8").split("\nLOSSES: ")
    assert [name for name in ALL_OPS | SURROGATE_GRADIENTS if f'\n    "{name}": ' not in ops] == []
    assert [name for name in MODELS if f'"{name}"' not in losses] == []


def test_models_are_checked_under_every_likelihood_but_those_whose_gradient_is_a_stand_in(monkeypatch) -> None:
    """A model that is left out by mistake would be shown as one of many that passed."""
    kinds = ("VAE", "Autoencoder", "ContractiveAutoencoder", "QuantizedAutoencoder")
    monkeypatch.setattr(verify, "MODELS", {name: MODELS[name] for name in kinds})
    monkeypatch.setattr(verify, "LIKELIHOODS", {name: LIKELIHOODS[name] for name in ("bernoulli", "gaussian_shared")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a code that one step leaves dead is no news to who checks gradients
        rows = verify.check_models()
    assert {row.verdict for row in rows} == {"pass"}
    names = {f"{name}, {likelihood}" for name in kinds[:3] for likelihood in ("bernoulli", "gaussian_shared")}
    names |= {"VAE, softplus variance"}
    assert {row.name for row in rows} == names
    assert {row.name for row in rows if row.argument == "likelihood.log_var"} == {name for name in names if "shared" in name}


def test_models_are_made_from_the_seed_and_with_a_weight_that_shows(monkeypatch) -> None:
    """With β = 1 a backward that forgets β would pass; and another seed has to check another model."""
    made = []

    class Watched(MODELS["ConditionalVAE"]):
        def fit(self, *data, **options):
            made.append((self.seed, self.beta, self.dtype, self.device))
            return super().fit(*data, **options)

    monkeypatch.setattr(verify, "MODELS", {"VAE": Watched})
    monkeypatch.setattr(verify, "LIKELIHOODS", {"bernoulli": LIKELIHOODS["bernoulli"]})
    assert {row.verdict for row in verify.check_models(seed=5)} == {"pass"}
    assert set(made) == {(5, 3.0, "float64", "cpu")}


def test_the_cotangent_is_drawn_from_the_seed() -> None:
    """Another seed checks the same backward in another way, which ``gradcheck`` can repeat."""
    inputs = {"x": np.random.default_rng(0).standard_normal((5, 7))}
    found = {seed: verify.check_slopes("tanh", tanh, inputs, seed)[0].relative_error for seed in (0, 5)}
    assert found == {seed: gradcheck(tanh, inputs, seed=seed).arguments[0].relative_error for seed in (0, 5)}
    assert found[0] != found[5]


def test_what_a_row_says_of_its_error() -> None:
    """It names no entry, since all are moved together, and in brackets the variant of the op, if there are several."""
    number = r"-?\d[\d.e+-]*"
    for row in verify.check_ops(["tanh"]):
        slope = rf"{number} ± {number}, backward {number}"
        assert re.fullmatch(slope if row.dtype == "float64" else r"\d\.\d\d of 4 units of rounding", row.detail), row.detail
    variants = {example.variant for example in EXAMPLES if example.op.name == "mul"}
    for row in verify.check_ops(["mul"]):
        assert row.detail.endswith(tuple(f" ({variant})" for variant in variants if variant)) or "(" not in row.detail


def test_a_row_has_the_power_of_its_weakest_variant() -> None:
    for row in verify.check_ops(["mul"]):
        powers = []
        for example in (example for example in EXAMPLES if example.op.name == "mul"):
            if row.dtype == "float64":
                reports = gradcheck(example, example.draw()).arguments
            else:
                reports = compare_precision(example, example.draw())
            powers += [report.caught for report in reports if report.argument == row.argument]
        assert row.caught == max(powers)


def test_a_device_has_rows_of_its_own_in_both_precisions(monkeypatch) -> None:
    install(monkeypatch, with_kernels=False)
    rows = list(verify.check_ops(["tanh"], device="cuda"))
    assert {row.verdict for row in rows} == {"pass"}
    found = {(row.argument, row.dtype, row.device) for row in rows}
    assert found >= {("x", dtype, device) for dtype in ("float64", "float32") for device in ("cpu", "cuda")}
