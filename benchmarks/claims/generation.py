"""Claims about what a trained model generates: from the prior, around an example, and between two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.claims.lab import Lab, nearest
from benchmarks.claims.pictures import SHOWN, images
from benchmarks.claims.record import Claim, Measured, above
from minivae.models import VAE, Autoencoder, ConditionalVAE
from minivae.runs.selection import choose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# From the prior -------------------------------------------------------------------------------------------------------------------

WIDTHS = (0.03, 0.1, 0.3, 1.0)  # of the plain autoencoder's q(z|x); it is scored with the one that suits it best
CAN_GENERATE = 0.8
JUDGED = "judge's confidence, "


def prior(lab: Lab) -> Measured:
    """The judge is a classifier that has seen real examples only; log p(x) is that of the decoder under N(0, I), by M.6.

    A plain autoencoder has no q(z|x) to sample from, so it is given one around its code, of the width that suits it best.
    """
    models = {"VAE": lab.fit(VAE), "autoencoder": lab.fit(Autoencoder)}
    x = lab.test.x
    made = {name: model.sample(lab.effort.n, seed=lab.seed) for name, model in models.items()} | {"test examples": x}
    figures = {JUDGED + name: lab.judge.confidence(images) for name, images in made.items()}
    figures |= {f"classes told apart, {name}": lab.judge.classes_told(images) for name, images in made.items()}
    figures["log p(x), VAE"] = float(models["VAE"].log_likelihood(x).mean())
    plain = models["autoencoder"]
    figures["log p(x), autoencoder"] = max(
        float(plain.set_params(posterior_std=width).log_likelihood(x).mean()) for width in WIDTHS
    )
    for name in ("judge's confidence", "classes told apart", "log p(x)"):
        figures[f"{name}, VAE − autoencoder"] = figures[f"{name}, VAE"] - figures[f"{name}, autoencoder"]
    figures["standard deviation of the autoencoder's codes"] = float(plain.transform(x).std(axis=0).mean())
    return Measured(figures, ([images[:: len(images) // 20][:20] for images in made.values()], lab.test.image_shape, list(made)))


def prior_picture(values, shown) -> Figure:
    rows, shape, labels = shown
    confidence = [f"{label}, {np.mean(values[JUDGED + label]):.0%}" for label in labels]
    return images(rows, shape, "Decoded z ~ N(0, I), and how sure of it the judge is", confidence)


# Around an example ----------------------------------------------------------------------------------------------------------------

TEMPERATURES = (0.0, 0.5, 1.0, 2.0, 4.0)


def temperature(lab: Lab) -> Measured:
    model, x = lab.fit(VAE), lab.test.x
    around = [model.reconstruct(x, tau, seed=lab.seed) for tau in TEMPERATURES]
    distances = [float(((near - x) ** 2).sum(axis=1).mean()) for near in around]
    figures = {"least step of the distance": min(np.diff(distances))}
    for tau, near, distance in zip(TEMPERATURES, around, distances):
        figures[f"squared distance, τ = {tau:g}"] = distance
        figures[f"same class, τ = {tau:g}"] = lab.judge.agreement(near, lab.test.y)
    rows = choose(lab.test, SHOWN)
    return Measured(figures, ([x[rows], *(near[rows] for near in around)], lab.test.image_shape))


def temperature_picture(values, shown) -> Figure:
    rows, shape = shown
    distances = [np.mean(values[f"squared distance, τ = {tau:g}"]) for tau in TEMPERATURES]
    labels = ["example", *(f"τ = {tau:g}, at {distance:.3g}" for tau, distance in zip(TEMPERATURES, distances))]
    return images(rows, shape, "Decodings of μ + τ σ ε, and their mean squared distance from the example", labels)


# By label -------------------------------------------------------------------------------------------------------------------------


def by_label(lab: Lab) -> Measured:
    model = lab.fit(ConditionalVAE)
    y = np.resize(model.classes_, lab.effort.n)
    made = model.sample(len(y), seed=lab.seed, y=y)
    styles = np.repeat(choose(lab.test, 4), len(model.classes_))
    originals, labels = lab.test.x[styles], np.resize(model.classes_, len(styles))
    kept = model.change_condition(originals, lab.test.y[styles], labels)
    figures = {
        "classified as their label, samples": lab.judge.agreement(made, y),
        "classified as their label, test examples": lab.judge.agreement(lab.test.x, lab.test.y),
    }
    strips = np.concatenate([originals[:: len(model.classes_), None], kept.reshape(4, len(model.classes_), -1)], axis=1)
    return Measured(figures, (strips, lab.test.image_shape, ["example", *map(str, model.classes_)]))


def by_label_picture(values, shown) -> Figure:
    rows, shape, columns = shown
    share = np.mean(values["classified as their label, samples"])
    title = f"The same style under every label; {share:.1%} of samples are classified as their label"
    return images(rows, shape, title, (), columns)


# Between two examples -------------------------------------------------------------------------------------------------------------

STEPS = 7


def between(lab: Lab) -> Measured:
    """A decoding counts as on the manifold if the judge is confident and a training example is near.

    Measured at the middles of straight lines between the codes of test examples of different classes.  An autoencoder's decodings
    are sharper everywhere, which makes the judge more confident, and further from any neighbour.  So the middle is compared with
    the decodings of the ends: what counts is what is lost on the way.
    """
    x, y = lab.test.x, lab.test.y
    order = lab.rng().permutation(len(x))
    a, b = order[y[order] != y], np.flatnonzero(y[order] != y)
    figures, strips = {"judge's confidence, mean of the pixels": lab.judge.confidence((x[a] + x[b]) / 2)}, []
    for name, model in (("VAE", lab.fit(VAE)), ("autoencoder", lab.fit(Autoencoder))):
        code = model.transform(x)
        middles, ends = model.decode((code[a] + code[b]) / 2), model.decode(code)
        at_middle, at_ends = lab.judge.confidence(middles), lab.judge.confidence(ends)
        figures |= {f"judge's confidence, middle, {name}": at_middle, f"judge's confidence, ends, {name}": at_ends}
        figures[f"confidence lost, {name}"] = at_ends - at_middle
        figures[f"distance to training examples, middle / ends, {name}"] = _distance(lab, middles) / _distance(lab, ends)
        strips.append([model.interpolate(x[a[i]], x[b[i]], STEPS) for i in range(2)])
    for name in ("confidence lost", "distance to training examples, middle / ends"):
        figures[f"{name}, autoencoder − VAE"] = figures[f"{name}, autoencoder"] - figures[f"{name}, VAE"]
    rows = [strip for pair in zip(*strips) for strip in pair]
    return Measured(figures, (rows, lab.test.image_shape, ["VAE", "autoencoder"] * 2))


def _distance(lab: Lab, x: np.ndarray) -> float:
    """Return the mean distance of rows from the nearest of some training examples."""
    known = lab.train.subset(slice(20 * lab.effort.n)).x
    return float(np.linalg.norm(x - known[nearest(x, known)], axis=1).mean())


def between_picture(values, shown) -> Figure:
    rows, shape, labels = shown
    return images(rows, shape, "Straight lines between the codes of two test examples, decoded", labels)


CLAIMS = (
    Claim(
        "prior",
        "all four texts (G.1, M.6)",
        "A plain autoencoder cannot generate from N(0, I), and a VAE can.",
        prior,
        {
            "judge's confidence, VAE": above(CAN_GENERATE),
            "judge's confidence, VAE − autoencoder": above(0.0),
            "classes told apart, VAE − autoencoder": above(0.0),
            "log p(x), VAE − autoencoder": above(0.0),
        },
        prior_picture,
    ),
    Claim(
        "temperature",
        "text with the handwritten sixes (G.2)",
        "The standard deviation's factor τ controls how similar a sample is to its example: the greater, the less.",
        temperature,
        {"least step of the distance": above(0.0)},
        temperature_picture,
    ),
    Claim(
        "conditional",
        "text on autoencoders and VAE (A.6)",
        "What a conditional VAE generates under a label is classified as that label.",
        by_label,
        {"classified as their label, samples": above(0.9)},
        by_label_picture,
    ),
    Claim(
        "interpolation",
        "texts with the handwritten sixes, and of 2018 (G.3)",
        "Interpolations stay on the data manifold more in a VAE than in an autoencoder.",
        between,
        {
            "confidence lost, autoencoder − VAE": above(0.0),
            "distance to training examples, middle / ends, autoencoder − VAE": above(0.0),
        },
        between_picture,
    ),
)
