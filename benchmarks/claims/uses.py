"""Claims about the uses of a code: visualisation, classification and the detection of anomalies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.claims.lab import DIGITS, JUDGE_WIDTH, Judge, Lab, nearest, principal_axes
from benchmarks.claims.pictures import panels, points
from benchmarks.claims.record import Bound, Claim, Measured, above
from benchmarks.report import COLOURS
from minivae.evaluation.anomaly import auroc, threshold
from minivae.models import VAE, Autoencoder, SemiSupervisedVAE, VAEClassifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The code as features -------------------------------------------------------------------------------------------------------------

PLOTTED = 500


def features(lab: Lab) -> Measured:
    """Two numbers for each example, and the class of the nearest training example in that plane."""
    train, test = lab.train.subset(slice(5 * lab.effort.n)), lab.test
    axes, centre = principal_axes(lab.train.x, 2), lab.train.x.mean(axis=0)
    planes = {"PCA": lambda x: (x - centre) @ axes.T, "VAE": lab.fit(VAE, latent_dim=2).transform}
    planes["autoencoder"] = lab.fit(Autoencoder, latent_dim=2).transform
    figures, maps = {}, {}
    for name, project in planes.items():
        known, maps[name] = project(train.x), project(test.x)
        figures[f"accuracy in the plane, {name}"] = float((train.y[nearest(maps[name], known)] == test.y).mean())
    for name in ("VAE", "autoencoder"):
        figures[f"{name} − PCA"] = figures[f"accuracy in the plane, {name}"] - figures["accuracy in the plane, PCA"]
    return Measured(figures, ({name: plane[:PLOTTED] for name, plane in maps.items()}, test.y[:PLOTTED]))


def features_picture(values, shown) -> Figure:
    from minivae.pictures.plots import CLASSES

    maps, y = shown
    figure, axes = panels(3, width=3.6, height=3.6)
    for panel, (name, plane) in zip(axes, maps.items()):
        panel.scatter(*plane.T, s=6, c=np.array(CLASSES)[y], linewidths=0)
        for label in np.unique(y):
            at = np.median(plane[y == label], axis=0)
            disc = {"boxstyle": "circle,pad=0.15", "facecolor": "white"}
            panel.annotate(str(label), at, ha="center", va="center", fontsize=8, bbox=disc)
        accuracy = np.mean(values[f"accuracy in the plane, {name}"])
        panel.set_title(f"{name}: nearest neighbour right {accuracy:.0%}", fontsize=10, loc="left")
    return figure


# Few labels -----------------------------------------------------------------------------------------------------------------------

LABELS = 100


def few_labels(lab: Lab) -> Measured:
    """The rival is the judge's network, trained on the same 100 labelled examples alone; M1 uses the same network on μ(x)."""
    train, test = lab.train, lab.test
    order = lab.rng().permutation(len(train))
    per_class = LABELS // len(np.unique(train.y))
    labelled = np.concatenate([order[train.y[order] == y][:per_class] for y in np.unique(train.y)])
    y = np.full(len(train), -1)
    y[labelled] = train.y[labelled]
    accuracies = {"100 labels alone": Judge(train.subset(labelled), lab.rng()).agreement(test.x, test.y)}
    settings = lab.effort.settings[DIGITS] | {"seed": lab.seed}
    models = {"M1": VAEClassifier(**settings, classifier_hidden_dims=(JUDGE_WIDTH,)), "M2": SemiSupervisedVAE(**settings)}
    for name, model in models.items():
        accuracies[name] = model.fit(train.values, y).score(test.x, test.y)
    accuracies["all labels"] = lab.judge.agreement(test.x, test.y)
    figures = {f"accuracy, {name}": accuracy for name, accuracy in accuracies.items()}
    gains = {f"{name} − 100 labels alone": accuracies[name] - accuracies["100 labels alone"] for name in ("M1", "M2")}
    return Measured(figures | gains)


def few_labels_picture(values, shown) -> Figure:
    figure, (axes,) = panels(width=6)
    names = {name: name.removeprefix("accuracy, ") for name in values if name.startswith("accuracy")}
    points(axes, values, names, "Accuracy on test examples", "M1 and M2 have 100 labels, and all other examples without")
    return figure


# What is strange ------------------------------------------------------------------------------------------------------------------

ALARM = 0.05
USEFUL = 0.8


def anomaly(lab: Lab) -> Measured:
    """Each class in turn is withheld from the VAE; then −log p(x) has to separate test examples of that class from the others.

    The threshold is set on half of the others, for false alarms at 5 % of them, and applied to the other half.
    """
    x, y = lab.test.x, lab.test.y
    classes = np.unique(y)
    figures, scores = {}, {}
    caught, alarms, terms = [], [], []
    for strange in classes:
        model = lab.fit(VAE, without=int(strange))
        score, is_strange = model.anomaly_score(x), y == strange
        calibration, normal = score[~is_strange][::2], score[~is_strange][1::2]
        limit = threshold(calibration, ALARM)
        caught.append((score[is_strange] > limit).mean())
        alarms.append((normal > limit).mean())
        terms.append(auroc(((model.reconstruct(x) - x) ** 2).sum(axis=1), is_strange))
        figures[f"AUROC, {strange}"] = auroc(score, is_strange)
        scores[strange] = (normal, score[is_strange], limit)
    aurocs = [figures[f"AUROC, {strange}"] for strange in classes]
    figures |= {"AUROC, mean over classes": np.mean(aurocs), "AUROC, worst class": min(aurocs)}
    figures |= {"AUROC of the squared error, mean": np.mean(terms)}
    figures |= {"caught, mean": np.mean(caught), "false alarms, mean": np.mean(alarms)}
    return Measured(figures, scores)


def anomaly_picture(values, shown) -> Figure:
    figure, (left, right) = panels(2)
    strange = max(shown, key=lambda name: np.mean(values[f"AUROC, {name}"]))
    normal, odd, limit = shown[strange]
    bins = np.linspace(min(normal.min(), odd.min()), max(normal.max(), odd.max()), 30)
    left.hist(normal, bins, density=True, color=COLOURS[0], alpha=0.6, label="classes it knows")
    left.hist(odd, bins, density=True, color=COLOURS[1], alpha=0.6, label=f"class {strange}, kept from it")
    left.axvline(limit, color="black", linewidth=1, label="5 % false alarms")
    left.set(xlabel="−log p(x), nats", yticks=[])
    left.set_title("Anomaly scores, the class told best", fontsize=10, loc="left")
    left.legend(frameon=False, fontsize=7)
    points(right, values, {f"AUROC, {name}": str(name) for name in shown}, "AUROC by the class kept out")
    right.axvline(0.5, color="grey", linestyle=":")
    return figure


CLAIMS = (
    Claim(
        "features",
        "text with the handwritten sixes (G.6)",
        "A VAE reduces to two dimensions as PCA does, and its plane tells more of the class.",
        features,
        {"VAE − PCA": above(0.0)},
        features_picture,
    ),
    Claim(
        "few-labels",
        "text with the handwritten sixes (G.8)",
        "Examples without labels help to classify when few have one.",
        few_labels,
        {f"{name} − 100 labels alone": above(0.0) for name in ("M1", "M2")},
        few_labels_picture,
    ),
    Claim(
        "anomaly",
        "text with the handwritten sixes (G.5)",
        "A VAE tells examples of a class that it was not trained on; a threshold set on held-out examples keeps its promise.",
        anomaly,
        {"AUROC, mean over classes": above(USEFUL), "false alarms, mean": Bound(ALARM / 2, 2 * ALARM)},
        anomaly_picture,
    ),
)
