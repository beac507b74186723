"""Records as rows of text, for the tables that the commands print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from minivae.datasets import Dataset
    from minivae.proof.verify import Row
    from minivae.study.explain import Explanation

TERMS = {"kl": "KL", "elbo": "ELBO"}  # words whose spelling differs from the names of the figures
VERDICT_STYLES = {"wrong": "bold red", "blind": "bold yellow", "pass": "green"}  # from worst to best


# The figures of ``scores.score`` that a table shows, in order: label, figure and remark, each of which may use any of them.
FIGURES = {
    "test_elbo": ("test ELBO", "{test_elbo:.2f}", "{n_test} examples, one sample each"),
    "test_loss": ("test loss", "{test_loss:.2f}", "{n_test} examples"),
    "reconstruction": ("  reconstruction", "{reconstruction:.2f}", "−log p(x|z)"),
    "entropy_floor": ("  entropy floor", "{entropy_floor:.2f}", "grey pixels: no reconstruction can be lower"),
    "kl": ("  KL", "{kl:.2f}", "KL(q(z|x) ‖ p(z))"),
    "mutual_information": (
        "    mutual information",
        "{mutual_information:.2f} ± {mutual_information_error:.2f}",
        "what z says about x, at most log {n_aggregated}",
    ),
    "total_correlation": (
        "    total correlation",
        "{total_correlation:.2f} ± {total_correlation_error:.2f}",
        "how far the dimensions of z depend on each other",
    ),
    "dimension_wise_kl": (
        "    dimension-wise KL",
        "{dimension_wise_kl:.2f} ± {dimension_wise_kl_error:.2f}",
        "how far each is from the prior",
    ),
    "log_likelihood": (
        "test log p({of})",
        "{log_likelihood:.2f} ± {standard_error:.2f}",
        "{n_evaluated} examples, {n_samples} importance samples each",
    ),
    "monte_carlo_error": ("  Monte Carlo", "± {monte_carlo_error:.1g}", "its share in that standard error of the mean"),
    "certificate_gap": (
        "log p({of}) enclosed",
        "{certificate_lower:.2f} … {certificate_upper:.2f}",
        "{n_certified} examples sampled from the model; the gap is {certificate_gap:.2f} ± {certificate_gap_error:.2f}",
    ),
    "certificate_estimate": ("  estimate", "{certificate_estimate:.2f}", "{n_samples} samples each: {certificate_verdict}"),
    "accuracy": ("accuracy", "{accuracy:.2%}", "classes of the {n_labelled} examples with a label"),
    "active_units": ("active units", "{active_units} of {latent_dim}", "posterior means that vary"),
    "second_active_units": ("  second layer", "{second_active_units}", "those of z₂, for the posterior means of z₁"),
    "perplexity": ("perplexity", "{perplexity:.1f}", "values in use: as many as equally frequent ones would be"),
    "bound": ("test bound", "{bound:.2f}", "log p(x|z) at the code, less the logarithm of the number of codes"),
    "mig": ("MIG", "{mig:.3f}", "gap between the two dimensions that say most about a factor, at most 1"),
    "mig_density": ("MIG by density", "{mig_density:.3f}", "the same without bins, by the model's own q(z|x)"),
    "factor_vae": ("FactorVAE score", "{factor_vae:.1%}", "fixed factors identified by the dimension that varies least"),
    "sap": ("SAP", "{sap:.3f}", "gap between the two dimensions that best predict a factor"),
    "higgins": ("Higgins' score", "{higgins:.1%}", "fixed factors identified by a linear classifier"),
    "sigma": ("σ of the decoder", "{sigma:.4g}", "σ² = {variance:.4g}, one for all features"),
    "sigma_quantiles": (
        "σ of the decoder",
        "{sigma_quantiles[1]:.2g}",
        "median; nine in ten from {sigma_quantiles[0]:.2g} to {sigma_quantiles[2]:.2g}",
    ),
    "effective_beta": ("effective β", "{effective_beta:.4g}", "β σ²: weight of the KL beside ½ ‖x − m‖²"),
    "seconds": ("training time", "{seconds:.1f} s", ""),
}


def figure_rows(figures: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield label, figure and remark of each figure that is present; in nats per example."""
    known = {name: math.nan if value is None else value for name, value in figures.items()}  # one example has no standard error
    known["of"] = "x|y" if figures["conditional"] else "x"
    for name, texts in FIGURES.items():
        said = name == "test_loss" and "test_elbo" in figures
        if figures.get(name) is not None and not said:
            yield tuple(text.format(**known) for text in texts)


def experiment_rows(experiment: dict[str, Any], figures: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the published figure that a run repeats, what the run reached, and what has been measured from its weights."""
    measure = experiment["measure"]
    now = figures["test_loss"] if measure == "test loss" else -figures["log_likelihood"]
    yield "published", experiment["published"], experiment["source"]
    yield "  repeated", f"{experiment['trained']:.2f} ± {experiment['standard_error']:.2f}", f"{measure} at the end of the training"
    fewer = measure == "NLL" and figures["n_samples"] < experiment["n_samples"]
    looser = f", with {figures['n_samples']} samples instead of {experiment['n_samples']}, a looser bound (M.6)" if fewer else ""
    how = f"{measure} from these weights{looser}; rounding them changed it by {experiment['rounding']:.0e}"
    yield "  measured now", f"{now:.2f}", how


def describe(data: Dataset, test: Dataset) -> str:
    """Return a line that says what a training starts with."""
    return f"{data.name}: {len(data)} training and {len(test)} test examples of {size_of(data)}"


def size_of(data: Dataset) -> str:
    """Return the size of one example."""
    if data.image_shape is None:
        return f"{data.values.shape[1]} features"
    return " × ".join(map(str, data.image_shape)) + " pixels"


GRADCHECK_HEADER = ("function", "argument", "dtype", "device", "error", "would show", "verdict")
SUMMARY_HEADER = ("function", "gradients", "float64 error", "would show", "float32 error", "would show", "verdict")


def gradcheck_rows(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Return a line for each gradient that was checked; a name is written only where it changes."""
    previous = ""
    for row in rows:
        name = "" if row.name == previous else row.name
        previous = row.name
        yield name, row.argument, row.dtype, row.device, f"{row.relative_error:.1e}", f"{row.caught:.0e}", row.verdict


def gradcheck_summary(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """Return a line for each op, and for each model under all likelihoods: the worst of its gradients."""
    functions: dict[str, list[Row]] = {}
    for row in rows:
        functions.setdefault(row.name.partition(",")[0], []).append(row)
    for name, group in functions.items():
        figures = []
        for dtype in ("float64", "float32"):
            part = [row for row in group if row.dtype == dtype]
            for figure in ("relative_error", "caught"):
                figures.append(f"{max(getattr(row, figure) for row in part):.0e}" if part else "")
        verdicts = {row.verdict for row in group}
        yield name, str(len(group)), *figures, next(verdict for verdict in VERDICT_STYLES if verdict in verdicts)


def power_of(rows: Iterable[Row]) -> str:
    """Return in words how small an error would have shown in any of the gradients that were checked."""
    worst: dict[str, float] = {}
    for row in rows:
        worst[row.dtype] = max(worst.get(row.dtype, 0.0), row.caught)
    return "in each, one entry that is off by " + " or ".join(f"{e:.0e} in {dtype}" for dtype, e in worst.items()) + " would show"


EXPLAIN_HEADER = ("argument", "index", "value", "backward", "finite difference")


def explain_rows(explanation: Explanation) -> Iterator[tuple[str, ...]]:
    """Return a line for each entry of each argument: its value, its gradient from backward, and its slope by finite differences."""
    for argument, values in explanation.inputs.items():
        for index, value in np.ndenumerate(values):
            place = ", ".join(map(str, index))
            gradient, slope = explanation.gradients[argument][index], explanation.slopes[argument][index]
            yield argument, place, f"{value:g}", f"{gradient:.9g}", f"{slope:.9g}"
