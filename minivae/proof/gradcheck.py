"""Gradient checks that can fail.

``backward`` computes a slope, and the values of the function along a line show one.  ``gradcheck`` compares the two, and it
estimates how well it can distinguish them.  Where the finite difference is uncertain (at a kink), or an error could not show (a
derivative of zero, a cotangent under which errors cancel), the check does not pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.autodiff import Tensor, backward
from minivae.checks import BlindCheckError, WrongGradientError, check_int, check_real, check_repeats, reject
from minivae.proof.finite_differences import Functional, Probe, away_from_zero


@dataclass(frozen=True)
class ArgumentReport:
    """What was compared in one argument.  After a failure the last probe is the entry at fault."""

    argument: str
    tolerance: float
    probes: tuple[Probe, ...]

    @property
    def scale(self) -> float:
        """The largest measured slope: errors are relative to it, since the slope of a single entry may rightly be zero."""
        return max(abs(probe.numeric) for probe in self.probes)

    @property
    def relative_error(self) -> float:
        return max(probe.difference for probe in self.probes) / self.scale if self.scale else math.inf

    @property
    def caught(self) -> float:
        """The power of this check: the smallest relative error, in one entry of middling size, that it would have called wrong.

        An error e there moves a slope by e times that entry's share in it, and has to lead out of what is allowed.
        """
        allowed = self.tolerance * self.scale
        return min((allowed + p.uncertainty + p.difference) / p.share if p.share else math.inf for p in self.probes)

    @property
    def verdict(self) -> str:
        """Tell "wrong" (beyond all doubt) from "blind" (too much doubt to tell) and from "pass"."""
        allowed = self.tolerance * self.scale
        if any(probe.difference > allowed + probe.uncertainty for probe in self.probes):
            return "wrong"
        return "pass" if all(probe.uncertainty < allowed for probe in self.probes) else "blind"

    @property
    def worst(self) -> Probe:
        """The probe that explains the verdict: the entry at fault, the least certain slope, or the largest difference."""
        if self.verdict == "wrong":
            return self.probes[-1]
        return max(self.probes, key=lambda p: p.uncertainty if self.verdict == "blind" else p.difference)


@dataclass(frozen=True)
class GradcheckReport:
    """The outcome for one function; ``seed`` repeats it."""

    name: str
    seed: int
    arguments: tuple[ArgumentReport, ...]

    @property
    def relative_error(self) -> float:
        return max(report.relative_error for report in self.arguments)

    @property
    def caught(self) -> float:
        """The smallest relative error in one entry that would have been seen in every argument."""
        return max(report.caught for report in self.arguments)

    def __str__(self) -> str:
        """Say in one line what was proved, and with what power."""
        failed = [f"{report.argument} is {report.verdict}" for report in self.arguments if report.verdict != "pass"]
        if failed:
            return f"{self.name}: the gradient with respect to {', to '.join(failed)}"
        return (
            f"{self.name}: gradients of {len(self.arguments)} arguments agree with finite differences to {self.relative_error:.1e} "
            f"of the largest slope ({self.arguments[0].tolerance:g} allowed); an error of {self.caught:.1e} in one entry would show"
        )

    def raise_unless_passed(self) -> None:
        """Raise for the first argument that did not pass."""
        for report in self.arguments:
            place, probe = f"{self.name}: gradient with respect to {report.argument}", report.worst
            if report.verdict == "wrong":
                numeric = f"{probe.numeric:.12g} ± {probe.uncertainty:.1g} at index {probe.index}"
                mend = f"relative error {report.relative_error:.2e} where {report.tolerance:g} is allowed, seed {self.seed}"
                reject(place, numeric, f"{probe.analytic:.12g} from backward", mend, WrongGradientError)
            if report.verdict == "blind":
                got = f"{probe.numeric:.3g} ± {probe.uncertainty:.1g}, largest {report.scale:.3g}, seed {self.seed}"
                mend = "move the inputs off kinks and flat places, or change the cotangent: this check could not fail"
                reject(place, f"slopes known to {report.tolerance:g} of the largest", got, mend, BlindCheckError)


def gradcheck(
    fn: Callable[..., Tensor],
    inputs: Mapping[str, Any] | Sequence[Any],
    *,
    name: str = "",
    cotangent: np.ndarray | None = None,
    directions: int = 4,
    elementwise: bool = False,
    tolerance: float = 1e-7,
    seed: int = 0,
    raise_exception: bool = True,
) -> GradcheckReport:
    """Compare the gradient of Σ fn(…) · cotangent in every argument with finite differences; raise unless all pass.

    Parameters
    ----------
    fn : takes the inputs as tensors, in order, and returns a tensor of any shape, which has to be the same every time.
    inputs : float64 NumPy arrays, in a row or named by a dict.  A ``Tensor`` with ``requires_grad`` is perturbed in place and
        restored, so that ``fn`` may hold it and ignore its arguments: ``gradcheck(lambda *_: objective(batch), parameters)``.
    cotangent : of the result's shape; by default random, no entry near zero.
    directions : how many random unit directions per argument; ``elementwise`` probes every entry instead.
    tolerance : relative to the argument's largest slope.
    raise_exception : False to get the report of a check that did not pass.

    Raises
    ------
    WrongGradientError : with function, argument, index, both numbers, relative error and seed.
    BlindCheckError : for a flat cotangent, a kink within the step, a derivative of zero, values too noisy to tell.
    InputError : for inputs that are not float64 (in float32 differences resolve 1e-4 at best), and for a random ``fn``.
    """
    name = name or getattr(fn, "name", getattr(fn, "__name__", "fn"))
    check_repeats("directions", directions)  # with none of them every gradient would pass
    check_real("tolerance", tolerance, 0, open_low=True)
    rng = np.random.default_rng(check_int("seed", seed, 0))
    leaves = _as_leaves(inputs)
    output = fn(*leaves.values())
    if output.dtype != np.float64:
        reject(f"{name}: result", "float64", str(output.dtype), "build constants and models in float64")
    if cotangent is None:
        cotangent = away_from_zero(rng, output.shape)
    elif not cotangent.any() or (cotangent.size > 1 and np.ptp(cotangent) == 0):
        mend = "leave it out for a random one: under a flat cotangent errors cancel"
        reject(f"{name}: cotangent", "entries that differ", f"only {np.unique(cotangent)}", mend, BlindCheckError)
    backward(output, cotangent, leaves=leaves.values())
    gradients = {argument: np.array(leaf.grad) for argument, leaf in leaves.items()}

    functional = Functional(fn, leaves, cotangent, gradients, rng, tolerance)
    value = functional.value()
    if not math.isfinite(value):
        reject(f"{name}: result", "finite numbers", "NaN or an infinite one", "check it at other inputs, or look for the cause")
    if functional.value() != value:
        reject(f"{name}: result", "the same numbers every time", "two that differ", "pass noise in as an argument")
    reports = []
    for argument, leaf in leaves.items():
        entries = np.arange(leaf.data.size)
        probed = entries[:, None] if elementwise else [entries] * directions
        report = ArgumentReport(argument, tolerance, tuple(functional.probe(argument, part) for part in probed))
        if report.verdict == "wrong":
            report = ArgumentReport(argument, tolerance, (*report.probes, functional.locate(argument)))
        reports.append(report)
    result = GradcheckReport(name, seed, tuple(reports))
    if raise_exception:
        result.raise_unless_passed()
    return result


def _as_leaves(inputs: Mapping[str, Any] | Sequence[Any]) -> dict[str, Tensor]:
    """Return the inputs as named float64 tensors with ``requires_grad``: tensors as they are, arrays copied."""
    if not isinstance(inputs, Mapping):
        inputs = {getattr(value, "name", "") or f"argument {i}": value for i, value in enumerate(inputs)}
    leaves = {}
    for name, value in inputs.items():
        leaf = value if isinstance(value, Tensor) else Tensor(np.array(value), requires_grad=True)
        usable = isinstance(leaf.data, np.ndarray) and leaf.dtype == np.float64 and leaf.data.size and leaf.requires_grad
        if not usable:
            got = f"{type(leaf.data).__name__}, {leaf.dtype}, shape {leaf.shape}, requires_grad={leaf.requires_grad}"
            reject(f"gradcheck: {name}", "a NumPy array, float64, not empty; a tensor also with requires_grad", got)
        leaves[name] = leaf
    return leaves
