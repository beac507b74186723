"""The explorer: one HTML page with a trained decoder inside, to move through its latent space by hand."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from minivae.autodiff import no_grad
from minivae.backend import generator, standard_normal, to_numpy
from minivae.checks import reject
from minivae.datasets import Dataset
from minivae.datasets.labels import classes_in
from minivae.models.likelihoods import Bernoulli, Gaussian, GaussianFixed, GaussianShared
from minivae.models.priors import StandardNormal
from minivae.ops import ALL_OPS
from minivae.pages.charts import grey, limits
from minivae.pages.markup import Markup, asset, data_script, join, page
from minivae.pictures.plots import latent
from minivae.runs.run import Run
from minivae.runs.selection import code_of, spread

EXAMPLES = 600  # examples of the test set in the page, at most
DRAWS = 9  # noise vectors for the temperature: those of the seeds 0, 1, …
PRIOR_DRAWS = 500  # latent vectors from a prior that is learned
PROOFS = 8  # latent vectors that are decoded here too, so that the page can compare
PORTED = (Bernoulli, Gaussian, GaussianFixed, GaussianShared)  # the likelihoods that web/decoder.js knows


def explorer(run: Run, model: Any, test: Dataset) -> str:
    """Return the page for a run, its model and its test set."""
    body = join((Markup(asset("explorer.html")), data_script("model", record_of(run, model, test))))
    scripts = ("decoder.js", "model.js", "plane.js", "examples.js", "explorer.js")
    return page(f"Explore {run.path.name}", body, ("page.css", "explorer.css"), scripts)


def record_of(run: Run, model: Any, test: Dataset) -> dict[str, Any]:
    """Return everything the script of the page needs, as JSON can hold it: arrays are base64 of their little-endian bytes."""
    if not model.continuous:
        reject("explore", "a model with points between two latent vectors", type(model).__name__, "use sample and reconstruct")
    shown = test.subset(spread(len(test), EXAMPLES))
    code, scale = code_of(model, shown.x, shown.y), limits(test.x)
    whole = code_of(model, test.x, test.y)  # which dimensions are the strongest is asked of all examples, as in the report
    conditional = model.condition_width() > 0
    y = model.fill_labels(shown.x, shown.y) if conditional else shown.y
    classes = model.classes_.tolist() if conditional else [] if y is None else classes_in(y).tolist()
    numbers = {label: number for number, label in enumerate(classes)}
    return {
        "title": f"{type(model).__name__} on {test.name}",
        "run": run.path.name,
        "decoder": decoder_of(model),
        "image_shape": test.image_shape,
        "n_features": model.n_features_in_,
        "limits": scale,
        "dimensions": [{"index": int(j), "name": latent(j), "strength": float(whole.strength[j])} for j in whole.order],
        "measure": whole.measure,
        "reach": code.reach(),
        "map_reach": code.reach(whole.order[:2]),
        "classes": [str(label) for label in classes],
        "conditional": conditional,
        "examples": {
            "row": spread(len(test), EXAMPLES).tolist(),
            "label": None if y is None or not classes else [numbers.get(label, -1) for label in np.asarray(y).tolist()],
            "mean": floats(code.mean),
            "std": floats(np.exp(0.5 * code.log_var)),
            "grey": text(grey(shown.x, scale)),
        },
        "noise": floats(np.concatenate([noise(model, seed) for seed in range(DRAWS)])),
        "prior": prior(model),
        "proof": proof(model),
    }


def decoder_of(model: Any) -> dict[str, Any]:
    """Return the decoder's layers in order, its activation, and the likelihood, which turns its outputs into E[x|z]."""
    layers = []
    drawn = {"activation": model.decoder_.activation in ALL_OPS.values(), "likelihood": type(model.likelihood_) in PORTED}
    for setting, known in drawn.items():  # the page computes them in JavaScript, which cannot know one of the user's own
        if not known:
            name = repr(getattr(model, setting))
            reject("explore", f"a model whose {setting} is one of minivae's own", name, "use sample and traverse")
    for layer in model.decoder_.layers:
        weight = to_numpy(layer.weight.data)
        layers.append({"weight": floats(weight.T if layer.transpose else weight), "bias": floats(to_numpy(layer.bias.data))})
    return {"layers": layers, "activation": model.decoder_.activation.name, "likelihood": model.likelihood}


def noise(model: Any, seed: int) -> np.ndarray:
    """Return the noise ε (1, latent_dim) that ``model.reconstruct`` adds to one example under this seed."""
    return to_numpy(standard_normal(model._generator("sample", seed), (1, model.latent_dim), model.dtype))


def prior(model: Any) -> str | None:
    """Return draws from a prior that is learned; None for N(0, I), from which the page draws itself."""
    if isinstance(model.prior_, StandardNormal):
        return None
    with no_grad():
        return floats(to_numpy(model.prior_.draw(PRIOR_DRAWS, model._generator("sample", 0))))


def proof(model: Any) -> dict[str, str]:
    """Return inputs for the decoder drawn from N(0, I), each with a class in turn, and this package's decodings of them."""
    z = standard_normal(generator(np, model.seed_, "evaluate"), (PROOFS, model.latent_dim), model.dtype)
    y = np.resize(model.classes_, PROOFS) if model.condition_width() else None
    condition = model.encode_condition(y, PROOFS)
    inputs = z if condition is None else np.concatenate([z, condition[:, : model.condition_width()]], axis=1)
    with no_grad():
        return {"inputs": floats(inputs), "means": floats(to_numpy(model.decode(z, y)))}


def floats(array: np.ndarray) -> str:
    """Return numbers as base64 float32."""
    return text(np.asarray(array, dtype="<f4"))


def text(array: np.ndarray) -> str:
    """Return an array's bytes, row by row, as base64."""
    return base64.b64encode(array.tobytes(order="C")).decode()
