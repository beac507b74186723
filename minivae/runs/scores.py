"""The figures that are reported for a trained model, as plain numbers, each with its error and the data it was measured on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minivae.backend import generator, to_numpy
from minivae.checks import check_int, check_repeats
from minivae.datasets import Dataset
from minivae.datasets.labels import has_label
from minivae.evaluation.aggregate import PARTS, decompose
from minivae.evaluation.disentanglement import higgins_score, mutual_information_gap
from minivae.evaluation.factor_scores import density_mutual_information_gap, factor_vae_score, sap_score
from minivae.models.likelihoods import Gaussian, GaussianFixed
from minivae.models.vae import VAE
from minivae.runs.selection import some_classes, spread
from minivae.training.batches import chunks

AGGREGATED = 10_000  # examples, at most, that the aggregate posterior and the scores of disentanglement are taken from
DRAWS = 500  # of z, for the parts of the KL

SLACK = 1e-6  # what rounding may add to a grey value of 1, see ``checks.check_values``


def score(model: Any, test: Dataset, n_samples: int = 100, n_examples: int = 1000) -> dict[str, Any]:
    """Return name → figure, in nats per example, of ``model`` on ``test``.

    ``test_elbo`` and its terms come from all examples with one sample each, and ``test_loss`` is −``test_elbo`` (for a model
    without such a bound, its training loss).  ``log_likelihood`` (M.6) costs ``n_samples`` decoder passes per example, so it
    is measured on ``n_evaluated``, at most ``n_examples``; these are spread evenly over the data, which may be sorted.

    ``standard_error`` is the standard deviation of the examples' estimates over the root of their number.  That spread
    contains both the variation between examples and the Monte Carlo noise of each, so the latter is not added again; its share,
    computed from the errors of the examples, is ``monte_carlo_error``.

    The parts of the KL (T.1) are of the aggregate posterior of ``n_aggregated`` examples, with the standard errors of their draws.
    """
    check_repeats("n_samples", n_samples)
    check_int("n_examples", n_examples, 1)
    terms, code = model.evaluate(model._rows(test.values, test.y, n_features=model.n_features_in_))
    summary = model.summarize(terms)
    loss, elbo = summary.pop("loss"), summary.pop("elbo", None)
    part = test.subset(spread(len(test), n_examples))
    figures: dict[str, Any] = {"test_loss": loss, **summary, **code, "latent_dim": model.latent_dim, "n_test": len(test)}
    figures["conditional"] = model.condition_width() > 0  # bounds and likelihoods are then of x given y
    if elbo is not None:
        estimate = model.importance_estimate(part.values, n_samples, y=part.y)
        log_p, error, n = to_numpy(estimate.log_likelihood), to_numpy(estimate.standard_error), len(part)
        figures |= {
            "test_loss": -elbo,
            "test_elbo": elbo,
            "log_likelihood": float(log_p.mean()),
            "standard_error": float(log_p.std(ddof=1)) / math.sqrt(n) if n > 1 else None,
            "monte_carlo_error": float(np.linalg.norm(error)) / n if n_samples > 1 else None,
            "n_samples": n_samples,
            "n_evaluated": n,
        }
    if model.likelihood == "bernoulli" and model.binarize == "none":
        figures["entropy_floor"] = entropy_floor(test.values)
    if hasattr(model, "predict") and test.y is not None:
        labelled = has_label(test.y)
        if labelled.any():
            figures |= {"accuracy": model.score(test.values, test.y), "n_labelled": int(labelled.sum())}
    if PARTS[0] in model.history_:
        figures |= _parts(model, test)
    if test.factors is not None and model.latent_dim > 1:
        figures |= _disentanglement(model, test)
    return figures | _decoder_spread(model, part)


def certify(model: Any, test: Dataset, n_samples: int = 100, n_examples: int = 16) -> dict[str, Any]:
    """Return name → figure: the bounds on log p(x) of examples sampled from ``model``, and where the estimate lies (M.8).

    ``certificate_verdict`` is "inside" unless the importance-weighted estimate is on average, by more than two standard errors of
    the difference, below the lower or above the upper bound.
    """
    y = some_classes(model, n_examples)
    x, bounds = model.certificate(n_examples if y is None else len(y), y=y)
    lower, upper = to_numpy(bounds.lower), to_numpy(bounds.upper)
    estimate = to_numpy(model.importance_estimate(x, n_samples, y=y).log_likelihood)
    verdict = "inside"
    for outside, words in ((lower - estimate, "below the lower bound"), (estimate - upper, "above the upper bound")):
        if outside.mean() > 2 * outside.std(ddof=1) / math.sqrt(len(x)):
            verdict = f"{outside.mean():.2f} nats {words}"
    return {
        "certificate_lower": float(lower.mean()),
        "certificate_upper": float(upper.mean()),
        "certificate_gap": float((upper - lower).mean()),
        "certificate_gap_error": float((upper - lower).std(ddof=1)) / math.sqrt(len(x)),
        "certificate_estimate": float(estimate.mean()),
        "certificate_acceptance": bounds.acceptance,
        "certificate_verdict": verdict,
        "n_certified": len(x),
    }


def _parts(model: Any, test: Dataset) -> dict[str, Any]:
    """Return the parts of the KL (T.1) with their standard errors, of q(z) by all posteriors of the test set, or of many."""
    part = test.subset(spread(len(test), AGGREGATED))
    mean, log_var = (to_numpy(code) for code in model.encode(part.values, part.y))
    parts = decompose(mean, log_var, generator(np, model.seed_, "evaluate"), DRAWS)
    errors = {f"{name}_error": getattr(parts, name).standard_error for name in PARTS}
    return parts.named() | errors | {"n_aggregated": len(part)}


def _disentanglement(model: Any, test: Dataset) -> dict[str, float]:
    """Return how far single latent dimensions represent single factors (G.7, S.1 to S.3), from the posterior where there is one."""
    part = test.subset(spread(len(test), AGGREGATED))
    mean, log_var = (to_numpy(code) for code in model.encode(part.values, part.y))
    nominal = [column for column, name in enumerate(part.factor_names) if name == "shape"]
    scores = {"factor_vae": factor_vae_score(mean, part.factors, seed=model.seed_), "sap": sap_score(mean, part.factors, nominal)}
    codes = mean
    if PARTS[0] in model.history_:  # q(z|x) is Gaussian
        codes = mean + np.exp(0.5 * log_var) * generator(np, model.seed_, "evaluate").standard_normal(mean.shape)  # (R.1)
        scores["mig_density"] = density_mutual_information_gap(mean, log_var, part.factors, seed=model.seed_)
    scores |= {"mig": mutual_information_gap(codes, part.factors), "higgins": higgins_score(codes, part.factors, seed=model.seed_)}
    return scores


def _decoder_spread(model: Any, test: Dataset) -> dict[str, Any]:
    """Return the σ of a Gaussian p(x|z): the single one, or the quantiles over features and examples."""
    likelihood = model.likelihood_
    if isinstance(likelihood, GaussianFixed):
        variance = math.exp(float(likelihood.log_var.data))
        weight = {"effective_beta": model.beta * variance} if isinstance(model, VAE) else {}  # (L.5)
        return {"variance": variance, "sigma": math.sqrt(variance), **weight}
    if not isinstance(likelihood, Gaussian):
        return {}
    y = model.fill_labels(test.values, test.y)
    z = model.transform(test.values, y)
    std = model._map(lambda z, c: likelihood.std(model.xp_, model.decoder(z, c).data), z, y, "z", model.latent_width())
    return {"sigma_quantiles": np.quantile(std, (0.05, 0.5, 0.95)).tolist()}


def entropy_floor(values: np.ndarray) -> float | None:
    """Return the mean entropy Σ_j H(x_ij) of examples whose features are grey values in [0, 1]; None if they are not in there.

    Why: with a grey target x the Bernoulli term −x log p − (1 − x) log(1 − p) is least at p = x, where it equals H(x), not 0.
    So no model can have a lower reconstruction term (L.1), and training can only lower the part above this floor.
    """
    scale = 1 / 255 if values.dtype == np.uint8 else 1
    total = 0.0
    for part in chunks(len(values)):
        x = np.asarray(values[part], dtype="float64") * scale
        if not (x.min() >= -SLACK and x.max() <= 1 + SLACK):
            return None
        x = x.clip(0, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -x * np.log(x) - (1 - x) * np.log1p(-x)
        total += float(np.nansum(entropy))  # 0 log 0 is 0
    return total / len(values)
