"""Six models on sprites by every score of disentanglement, with many seeds: what β > 1 changes, and what the seed changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.claims.record import interval
from benchmarks.report import COLOURS, Table, machine, say
from minivae import datasets
from minivae.evaluation.aggregate import decompose
from minivae.evaluation.disentanglement import higgins_score, mutual_information_gap
from minivae.evaluation.factor_scores import density_mutual_information_gap, factor_vae_score, sap_score
from minivae.models import DIPVAE, VAE, BetaTCVAE, InfoVAE
from minivae.runs.selection import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "VAE": (VAE, {}),
    "β-VAE, β = 4": (VAE, {"beta": 4.0}),
    "β-TC-VAE, β = 4": (BetaTCVAE, {"beta": 4.0}),
    "InfoVAE": (InfoVAE, {}),
    "DIP-VAE-I": (DIPVAE, {"moments": "means", "off_diagonal": 10.0, "diagonal": 100.0}),
    "DIP-VAE-II": (DIPVAE, {"off_diagonal": 10.0, "diagonal": 10.0}),
}
SETTINGS = {"latent_dim": 8, "hidden_dims": (200,), "batch_size": 64, "learning_rate": 2e-3, "output_bias": "data", "device": "cpu"}
EXAMPLES = 4800  # half of the sprites, from which the scores are computed


def scores(model: Any, x: np.ndarray, factors: np.ndarray, seed: int) -> dict[str, float]:
    """Return every score of disentanglement on these examples, and the reconstruction that it costs."""
    mean, log_var = model.encode(x)
    codes = mean + np.exp(0.5 * log_var) * np.random.default_rng(seed).standard_normal(mean.shape)  # (R.1)
    parts = decompose(mean, log_var, np.random.default_rng(seed), 300)
    terms, _ = model.evaluate(model._rows(x))
    return {
        "MIG": mutual_information_gap(codes, factors),
        "MIG by density": density_mutual_information_gap(mean, log_var, factors, 500, seed),
        "FactorVAE score": factor_vae_score(mean, factors, 500, seed=seed),
        "SAP": sap_score(mean, factors, nominal=(0,)),
        "Higgins' score": higgins_score(codes, factors, 500, 32, seed=seed),
        "mutual information": parts.mutual_information.value,
        "total correlation": parts.total_correlation.value,
        "dimension-wise KL": parts.dimension_wise_kl.value,
        "reconstruction": terms["reconstruction"],
    }


def measure_models(folder: Path, seeds: int, epochs: int) -> None:
    train, test = datasets.load("sprites")
    x, factors = np.concatenate([train.values, test.values]), np.concatenate([train.factors, test.factors])
    part = spread(len(x), EXAMPLES)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MODELS}
    for seed in range(seeds):
        for name, (kind, settings) in MODELS.items():
            model = kind(**SETTINGS | settings, epochs=epochs, seed=seed).fit(train.values)
            found[name].append(scores(model, x[part], factors[part], seed))
        say(f"seed {seed}: " + ", ".join(f"{name} {values[-1]['MIG']:.3f}" for name, values in found.items()))
    table = model_table(found, machine() | {"runs": f"{seeds} seeds, {epochs} epochs of sprites; mean ± sd"}, folder)
    table.finish()
    table.plot(model_picture(found))


def model_table(found: Mapping[str, Sequence[Mapping[str, float]]], header: dict[str, str], folder: Path) -> Table:
    """Return a table of model × score, mean ± sd over seeds; what β = 4 changes, ± 95 %; and the seed's share of the spread."""
    names = list(found["VAE"][0])
    table = Table("surgery_models", ("model", *names), header, folder)
    values = {score: np.array([[one[score] for one in runs] for runs in found.values()]) for score in names}  # (models, seeds)
    for row, model in enumerate(found):
        table.add(model, *(f"{values[score][row].mean():.3g} ± {values[score][row].std(ddof=1):.2g}" for score in names))
    gains = [interval((values[score][1] - values[score][0]).tolist()) for score in names]
    table.add("β = 4 less β = 1", *(f"{gain.mean:+.3g} ± {gain.half:.2g}" for gain in gains))
    table.add("the seed's share", *(f"{seed_share(values[score]):.0%}" for score in names))
    return table


def seed_share(values: np.ndarray) -> float:
    """Return the share of the variance of (models, seeds) that is within the models: 1 where only the seed matters."""
    return float(values.var(axis=1).mean() / values.var()) if values.var() else 0.0


def model_picture(found: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    from matplotlib.figure import Figure

    names = [name for name in found["VAE"][0] if name not in ("mutual information", "dimension-wise KL", "reconstruction")]
    figure = Figure(figsize=(2.2 * len(names), 3.2), layout="constrained")
    for panel, score in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        for place, runs in enumerate(found.values()):
            values = [one[score] for one in runs]
            panel.plot(values, [place] * len(values), "o", markersize=3, alpha=0.6, color=COLOURS[place])
            panel.plot(np.mean(values), place, "|", markersize=14, color=COLOURS[place])
        panel.set_yticks(range(len(found)), list(found), fontsize=8)
        panel.set_title(score, fontsize=9, loc="left")
        panel.tick_params(axis="x", labelsize=7)
    panel.invert_yaxis()
    return figure
