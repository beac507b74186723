"""The guided path: which equation to read after which, the line of code that holds it, and the command that proves it.

No equation and no line number is written down here.  The source is searched for the tags: in a docstring, "(K.2)  …" at the
start of a line states the equation; behind a line of code, the comment "# (K.2)" says that this line computes it.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivae import autodiff
from minivae.ops import dense

PACKAGE = Path(__file__).parents[1]
TAG = re.compile(r"\(([A-Z]\.\d)\)")
STATED = re.compile(r"\s*\(([A-Z]\.\d)\)  (.+)")
COMPUTED = re.compile(r".*\S  # (.*\([A-Z]\.\d\).*)")


@dataclass(frozen=True)
class Equation:
    """A tagged equation: what it says and where it is; ``lines`` are those that compute it, the most important first."""

    tag: str
    text: str
    stated: str  # file:line
    lines: tuple[str, ...]

    @property
    def place(self) -> str:
        """The one place to look at: a line of code, or the statement if no line computes the equation."""
        return self.lines[0] if self.lines else self.stated


@functools.cache
def equations() -> dict[str, Equation]:
    """Return tag → equation, for every tag in the package's source."""
    stated: dict[str, list[tuple[str, str]]] = {}
    mentioned: dict[str, tuple[str, str]] = {}
    computed: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py"), key=_closeness):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            place = f"{file.relative_to(PACKAGE.parent).as_posix()}:{number}"
            if match := COMPUTED.fullmatch(line):
                for tag in TAG.findall(match[1]):
                    computed.setdefault(tag, []).append(place)
            elif match := STATED.fullmatch(line):
                stated.setdefault(match[1], []).append((place, _tidy(match[2])))
            else:
                for tag in TAG.findall(line):
                    mentioned.setdefault(tag, (place, line.strip(' "')))
    found = {}
    for tag in sorted(stated.keys() | mentioned.keys()):
        statements, lines = stated.get(tag, [mentioned.get(tag, ("", ""))]), computed.get(tag, [])
        files = {line.partition(":")[0] for line in lines}
        place, text = next((s for s in statements if s[0].partition(":")[0] in files), statements[0])
        lines.sort(key=lambda line: line.partition(":")[0] != place.partition(":")[0])  # first those beside the statement
        found[tag] = Equation(tag, text, place, tuple(lines))
    return found


def statements(doc: str) -> list[tuple[str, str]]:
    """Return (tag, equation) for each equation that a docstring states, in its order."""
    return [(match[1], _tidy(match[2])) for match in map(STATED.fullmatch, doc.splitlines()) if match]


def _tidy(equation: str) -> str:
    return re.sub(r" {3,}", "   ", equation.strip())


def _closeness(file: Path) -> tuple[bool, int, str]:
    """Order files by how close they are to the mathematics: ops, then the modules, then the models built of them."""
    parts = file.relative_to(PACKAGE).parts
    return parts[0] != "ops", len(parts), file.as_posix()


def place_of(function: Callable[..., Any]) -> str:
    """Return where a function of this package is, as file:line."""
    file = Path(inspect.getsourcefile(function) or "")
    return f"{file.relative_to(PACKAGE.parent).as_posix()}:{inspect.getsourcelines(function)[1]}"


@dataclass(frozen=True)
class Step:
    """One step of the path."""

    section: str
    tag: str  # empty before the first equation
    title: str
    equation: str
    place: str  # file:line
    command: str


# Section → what to read in it: the tag, why it comes here, the command that proves it.
PATH: dict[str, tuple[tuple[str, str, str], ...]] = {
    "The model, and the bound that makes it trainable": (
        ("M.1", "what is modelled: every x comes from a z", "pytest tests/models/test_oracles.py -k nonlinear_decoder"),
        ("M.2", "log p(x), split by a posterior that we are free to choose", "pytest tests/models/test_oracles.py -k add_up"),
        ("M.3", "drop the part that cannot be computed: a lower bound", "pytest tests/models/test_oracles.py -k elbo"),
        ("M.4", "the loss is the bound with its sign changed", "minivae explain --trace"),
        ("M.5", "the same with a weight on the second term", "minivae gradcheck"),
    ),
    "The posterior: sampled, and still differentiable": (
        ("R.1", "make the noise an input, so that a gradient can pass", "minivae explain reparameterize"),
        ("R.2", "the gradient that passes", "minivae gradcheck --op reparameterize"),
        ("R.3", "the same for an encoder that puts out a variance", "minivae train --posterior-variance softplus"),
        ("K.1", "how far the posterior is from the prior", "minivae explain kl_standard_normal"),
        ("K.2", "its gradient: pull μ to 0 and σ to 1", "minivae gradcheck --op kl_standard_normal"),
        ("K.3", "between any two diagonal Gaussians", "minivae explain kl_normal"),
        ("K.4", "never negative, so the bound is one", "pytest tests/ops/test_sampling.py -k never_negative"),
    ),
    "The likelihood: what a decoder's numbers mean": (
        ("L.1", "binary or grey pixels, from logits", "minivae explain bernoulli_nll"),
        ("L.2", "real features, each with a mean and a variance", "minivae explain gaussian_nll"),
        ("L.3", "one variance for all, chosen", "pytest tests/models/test_likelihoods.py -k scipy"),
        ("L.4", "one variance for all, learned", "pytest tests/models/test_likelihoods.py -k shared_variance"),
        ("L.5", "the variance hidden in a squared error", "minivae evaluate RUN"),
    ),
    "Using a trained model": (
        ("G.1", "new examples", "minivae sample RUN"),
        ("G.2", "more like this one", "minivae reconstruct RUN"),
        ("G.3", "from one to another", "minivae interpolate RUN"),
        ("G.4", "what one latent dimension does", "minivae traverse RUN"),
        ("G.5", "what is strange", "pytest tests/models/test_generating.py -k anomaly"),
        ("G.6", "few numbers instead of many", "pytest tests/models/test_sklearn.py -k features"),
        ("G.7", "does a dimension represent a single factor", "pytest tests/evaluation/test_disentanglement.py"),
        ("M.6", "how good the model is: closer to log p(x) than the bound", "minivae evaluate RUN"),
        ("M.7", "how good is that estimate: another one, by annealing", "pytest tests/evaluation/test_annealing.py -k linear"),
        ("M.8", "the same backwards: a bound from above, so that log p(x) is enclosed", "minivae evaluate RUN --certificate"),
    ),
    "The parts of the KL": (
        ("T.1", "information about x, dependence of the dimensions, distance of each from the prior", "minivae evaluate RUN"),
        ("T.2", "the aggregate posterior: the average of all posteriors", "pytest tests/evaluation/test_aggregate.py"),
        ("T.3", "its density from one batch", "pytest tests/evaluation/test_aggregate.py"),
        ("T.4", "weighted so that the estimate of q(z) is unbiased", "pytest tests/evaluation/test_aggregate.py"),
        ("T.5", "the density of a mixture", "minivae explain log_mixture"),
        ("T.6", "a weight for each part", "pytest tests/models/test_surgery_models.py"),
        ("S.1", "a score by the model's own density", "pytest tests/evaluation/test_disentanglement.py"),
        ("S.2", "a score by the dimension that varies least", "pytest tests/evaluation/test_disentanglement.py"),
        ("S.3", "a score by one dimension at a time", "pytest tests/evaluation/test_disentanglement.py"),
        ("D.1", "match the aggregate posterior to the prior by samples", "pytest tests/models/test_surgery_models.py"),
        ("D.2", "how far two samples are apart", "minivae explain mmd"),
        ("D.3", "or match its covariance", "pytest tests/models/test_surgery_models.py"),
        ("D.4", "the covariance of a batch", "minivae explain covariance"),
    ),
    "A posterior that is not Gaussian": (
        ("F.1", "bend it, one plane at a time", "minivae explain planar"),
        ("F.2", "how much that stretches volumes", "minivae explain planar_log_det"),
        ("F.3", "the density that results", "pytest tests/models/test_flow.py -k integrates"),
        ("F.4", "the KL of the bent posterior", "pytest tests/models/test_flow.py -k terms"),
    ),
    "A prior that is not the standard normal": (
        ("P.1", "a KL without a formula, by samples, which may be negative", "pytest tests/models/test_priors.py -k kl_by_samples"),
        ("P.2", "a mixture of Gaussians, learned", "pytest tests/models/test_priors.py -k integrates"),
        ("P.3", "a mixture of posteriors, of examples that are learned", "minivae train --model LearnedPriorVAE --prior vamp"),
        ("P.4", "a prior that has latents of its own: two layers", "pytest tests/models/test_two_layers.py -k linear"),
    ),
    "Latents that are discrete": (
        ("Q.1", "draw a category: the largest of logits and noise", "pytest tests/models/test_categorical.py -k largest"),
        ("Q.2", "relax the draw, so that a gradient can pass", "minivae explain gumbel_softmax"),
        ("Q.3", "how far the probabilities are from equal ones", "minivae explain kl_uniform"),
        ("Q.4", "or do not relax: a gradient for any z", "pytest tests/models/test_categorical.py -k right_on_average"),
        ("Q.5", "another kind of category: the nearest of a list of vectors", "pytest tests/models/test_codebook.py -k nearest"),
        ("Q.6", "learn the list, and keep the encoder near it", "pytest tests/models/test_codebook.py -k gradient"),
        ("Q.7", "learn it by moving averages, a k-means", "pytest tests/models/test_codebook.py -k k_means"),
        ("Q.8", "how much of it is in use", "pytest tests/models/test_codebook.py -k perplexity"),
    ),
    "Noise that is the same on every device": (
        ("N.1", "random bits, looked up by position", "pytest tests/kernels/test_counter_noise.py -k published"),
        ("N.2", "uniform numbers from the bits", "pytest tests/kernels/test_counter_noise.py -k uniform"),
        ("N.3", "normal numbers from those", "pytest tests/kernels/test_counter_noise.py -k normal"),
        ("N.4", "by what a row holds, so that its figure is its own", "pytest tests/kernels/test_row_noise.py"),
    ),
    "The family": (
        ("A.1", "the autoencoder: a code instead of a posterior", "minivae gradcheck"),
        ("A.2", "few active units at a time", "minivae explain sparsity_kl"),
        ("A.3", "small weights", "pytest tests/models/test_autoencoder.py -k penalised"),
        ("A.4", "restore what was corrupted", "pytest tests/models/test_denoising.py -k corrupted"),
        ("A.5", "a code that changes little when x does", "pytest tests/models/test_contractive.py -k jacobian"),
        ("A.6", "give the VAE what it need not infer", "pytest tests/models/test_conditional.py -k condition"),
        ("A.7", "a code of few levels; its gradient is not a derivative", "pytest tests/ops/test_penalty.py -k straight_through"),
        ("A.8", "the decoder has the encoder's weights, transposed", "minivae explain dense"),
        ("A.9", "without hidden layers it is principal components", "pytest tests/models/test_autoencoder.py -k principal"),
        ("G.8", "labels for few, examples for many", "minivae gradcheck"),
    ),
}


def reading_order() -> list[Step]:
    """Return the steps of the path, from the chain rule to the last of the models."""
    engine = "The engine: one rule, applied link by link"
    chain, affine = place_of(autodiff.backward), place_of(dense.forward)
    steps = [
        Step(engine, "", "every gradient is this product", "∂L/∂x = (∂y/∂x)ᵀ ∂L/∂y", chain, "minivae explain --trace"),
        Step(engine, "", "the link with the weights in it", "y = x W + b", affine, "minivae explain dense"),
    ]
    for section, entries in PATH.items():
        for tag, title, command in entries:
            equation = equations()[tag]
            steps.append(Step(section, tag, title, equation.text, equation.place, command))
    return steps


def lines() -> Iterator[str]:
    """Yield the path as text."""
    section = ""
    for number, step in enumerate(reading_order(), 1):
        if step.section != section:
            section = step.section
            yield from ("", section)
        yield f"{number:4}  {step.tag:4} {step.title}"
        yield f"           {step.equation}"
        yield f"           {step.place:38} {step.command}"
