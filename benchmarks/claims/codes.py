"""Claims about autoencoders: what each learns, and what its penalty or its noise prevents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.claims.lab import Lab, principal_axes
from benchmarks.claims.pictures import SHOWN, curve, images, panels, points
from benchmarks.claims.record import Claim, Measured, below
from benchmarks.report import COLOURS
from minivae.backend import to_device, to_numpy
from minivae.models import Autoencoder, ContractiveAutoencoder, DenoisingAutoencoder, SparseAutoencoder
from minivae.models.autoencoder import CORRUPTIONS
from minivae.models.contractive import squared_jacobian_norm
from minivae.nn import ACTIVATIONS
from minivae.runs.selection import choose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPS = 1e-12


# A linear autoencoder and principal components -----------------------------------------------------------------------------------

MOST_COMPONENTS = 8


def linear(lab: Lab) -> Measured:
    """The width of the code is the number of components before the widest gap in their variances.

    Of two components with nearly the same variance, either can be kept at hardly any difference in squared error, so training would
    take very long to decide.
    """
    x = lab.train.x
    variances = np.linalg.eigvalsh(np.cov(x.T, dtype="float64"))[::-1]
    k = 2 + int((variances[1:MOST_COMPONENTS] / variances[2 : MOST_COMPONENTS + 1]).argmax())
    settings = {"latent_dim": k, "hidden_dims": (), "likelihood": "gaussian_fixed"}
    model = lab.fit(Autoencoder, **settings, epochs=lab.effort.linear_steps, batch_size=len(x), learning_rate=1e-2)
    spanned = np.linalg.qr(to_numpy(model.decoder_.layers[0].weight.data).T.astype("float64"))[0].T
    random = np.linalg.qr(lab.rng().standard_normal(spanned.shape).T)[0].T
    axes = principal_axes(x, k)
    angles, blind = (np.degrees(np.arccos(np.minimum(np.linalg.svd(axes @ basis.T)[1], 1))) for basis in (spanned, random))
    centred = x - x.mean(axis=0)
    left = ((centred - centred @ axes.T @ axes) ** 2).sum(axis=1).mean()
    excess = ((x - model.reconstruct(x)) ** 2).sum(axis=1).mean() / left - 1
    figures = {"greatest principal angle, °": angles.max(), "of a random subspace, °": blind.max(), "excess error, %": 100 * excess}
    return Measured(figures | {f"angle {i + 1}": angle for i, angle in enumerate(angles)})


def linear_picture(values, shown) -> Figure:
    figure, (axes,) = panels(width=6)
    names = {int(name.removeprefix("angle ")): name for name in values if name.startswith("angle ")}
    curve(axes, values, names)
    axes.axhline(np.mean(values["of a random subspace, °"]), color="grey", linestyle=":")
    axes.text(1, np.mean(values["of a random subspace, °"]) * 0.8, "greatest angle of a random subspace", fontsize=8, va="top")
    axes.set_yscale("log")
    axes.set(xlabel="principal angle, by size", ylabel="°", xticks=list(names))
    axes.set_title(f"Linear autoencoder and {len(names)} principal components: the angles between", fontsize=10, loc="left")
    return figure


# Denoising ------------------------------------------------------------------------------------------------------------------------

AMOUNTS = {"gaussian": 0.4, "masking": 0.5, "salt_and_pepper": 0.3}


def denoising(lab: Lab) -> Measured:
    """The plain autoencoder is the same network, trained as long, on clean examples."""
    clean = lab.test.x
    plain = lab.fit(Autoencoder)
    shown = choose(lab.test, SHOWN)
    figures, rows, labels = {}, [clean[shown]], ["clean"]
    for corruption in CORRUPTIONS:
        denoiser = lab.fit(DenoisingAutoencoder, corruption=corruption, amount=AMOUNTS[corruption])
        corrupted = denoiser.corrupt(clean, seed=lab.seed)
        restored, untrained = denoiser.reconstruct(corrupted), plain.reconstruct(corrupted)
        errors = [float(((x - clean) ** 2).sum(axis=1).mean()) for x in (corrupted, untrained, restored)]
        for who, error in zip(("left alone", "plain", "denoising"), errors):
            figures[f"{corruption}: squared error, {who}"] = error
        figures[f"{corruption}: denoising / plain"] = errors[2] / errors[1]
        rows += [np.clip(corrupted[shown], 0, 1), untrained[shown], restored[shown]]
        labels += [corruption.replace("_", " "), "plain", "denoising"]
    return Measured(figures, (rows, lab.test.image_shape, labels))


def denoising_picture(values, shown) -> Figure:
    rows, shape, labels = shown
    return images(rows, shape, "Corrupted test examples, as restored", labels)


# Contraction ----------------------------------------------------------------------------------------------------------------------

STRENGTHS = (0.0, 0.1, 1.0)


def contraction(lab: Lab) -> Measured:
    """Weights are tied and the code is a sigmoid, so that it cannot evade the penalty by shrinking while the decoder magnifies it.

    The second figure shows whether it shrank nevertheless: the Jacobian relative to the variance of the code.
    """
    x = lab.test.x
    figures = {}
    for strength in STRENGTHS:
        model = lab.fit(ContractiveAutoencoder, contraction=strength, tied=True)
        layers = model.encoder_.layers
        activations = [model.encoder_.activation] * (len(layers) - 1) + [ACTIVATIONS[model.code_activation]]
        norm = float(squared_jacobian_norm(layers, activations, to_device(model.xp_, x)).data.mean())
        figures[f"‖∂h/∂x‖², λ = {strength:g}"] = norm
        figures[f"‖∂h/∂x‖² / var h, λ = {strength:g}"] = norm / float(model.transform(x).var(axis=0).sum())
        figures[f"reconstruction, λ = {strength:g}"] = -float(model.score_samples(x).mean())
    for name in ("‖∂h/∂x‖²", "‖∂h/∂x‖² / var h"):
        figures[f"{name}: λ = 1 / λ = 0"] = figures[f"{name}, λ = 1"] / figures[f"{name}, λ = 0"]
    return Measured(figures)


def contraction_picture(values, shown) -> Figure:
    figure, axes = panels(3, width=3.2)
    for panel, name in zip(axes, ("‖∂h/∂x‖²", "‖∂h/∂x‖² / var h", "reconstruction")):
        curve(panel, values, {strength: f"{name}, λ = {strength:g}" for strength in STRENGTHS})
        panel.set_title(name + (", nats" if name == "reconstruction" else ""), fontsize=10, loc="left")
        panel.set_xscale("symlog", linthresh=0.1)
        panel.set_xticks(STRENGTHS, [f"{strength:g}" for strength in STRENGTHS])
        panel.set_xlabel("λ")
        panel.set_ylim(bottom=0)
    return figure


# Sparsity -------------------------------------------------------------------------------------------------------------------------

WIDE = 64
ON = 0.5


def sparsity(lab: Lab) -> Measured:
    """Of a code of 64 sigmoid units: how many are above ½, and a measure of the same that does not depend on the code's scale,

        share in use = (mean_j h_j)² / mean_j h_j²        of each example (Treves & Rolls 1991)

    which is the share of units that are on if all of these are equally active.
    """
    x = lab.test.x
    models = {
        "plain": lab.fit(Autoencoder, latent_dim=WIDE, code_activation="sigmoid"),
        "L1": lab.fit(SparseAutoencoder, latent_dim=WIDE, penalty="l1", sparsity=0.1),
        "KL": lab.fit(SparseAutoencoder, latent_dim=WIDE, penalty="kl", sparsity=1.0, target=0.05),
    }
    figures, codes = {}, {}
    for name, model in models.items():
        codes[name] = code = model.transform(x)
        figures[f"share of units above ½, {name}"] = float((code > ON).mean())
        figures[f"share in use, {name}"] = float((code.mean(axis=1) ** 2 / ((code**2).mean(axis=1) + EPS)).mean())
        figures[f"reconstruction, {name}"] = -float(model.score_samples(x).mean())
    for name in ("share of units above ½", "share in use"):
        for penalty in ("L1", "KL"):
            figures[f"{name}, {penalty} − plain"] = figures[f"{name}, {penalty}"] - figures[f"{name}, plain"]
    return Measured(figures, {name: np.sort(code.ravel()) for name, code in codes.items()})


def sparsity_picture(values, shown) -> Figure:
    figure, (left, right) = panels(2)
    for colour, (name, code) in zip(("black", *COLOURS), shown.items()):
        left.plot(code, np.linspace(0, 1, len(code)), color=colour, label=name)
    left.set_title("Activity of the code's units", fontsize=10, loc="left")
    left.set(xlabel="h", ylabel="share of units below")
    left.legend(frameon=False, fontsize=8)
    points(right, values, {f"share of units above ½, {name}": name for name in shown}, "Share of units above ½")
    right.set_xlim(left=0)
    return figure


CLAIMS = (
    Claim(
        "linear",
        "2018 text on variational auto-encoders, quoting UFLDL (A.9)",
        "A linear autoencoder's code spans the subspace of the leading principal components.",
        linear,
        {"greatest principal angle, °": below(1.0)},
        linear_picture,
    ),
    Claim(
        "denoising",
        "text on autoencoders and VAE (A.4)",
        "An autoencoder trained on corrupted input restores such input better than a plain one.",
        denoising,
        {f"{corruption}: denoising / plain": below(1.0) for corruption in CORRUPTIONS},
        denoising_picture,
    ),
    Claim(
        "contraction",
        "text on autoencoders and VAE (A.5)",
        "The contractive penalty lowers ‖∂h/∂x‖², and not just by a smaller code.",
        contraction,
        {f"{name}: λ = 1 / λ = 0": below(1.0) for name in ("‖∂h/∂x‖²", "‖∂h/∂x‖² / var h")},
        contraction_picture,
    ),
    Claim(
        "sparsity",
        "texts on autoencoders and VAE, and of 2018 (A.2)",
        "Both sparsity penalties lower the share of the code's units that are active.",
        sparsity,
        {f"{name}, {how} − plain": below(0.0) for name in ("share of units above ½", "share in use") for how in ("L1", "KL")},
        sparsity_picture,
    ),
)
