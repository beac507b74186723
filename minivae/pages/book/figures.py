"""Figures that move: what each shows, and what was measured for it; ``web/figures.js`` draws them."""

from __future__ import annotations

from collections.abc import Iterator

from minivae.ops import ALL_OPS
from minivae.pages.book.frame import Page
from minivae.pages.book.numbers import translated
from minivae.pages.book.translate import script_of
from minivae.pages.markup import Markup, data_script, join, table, tag
from minivae.study import experiments, trace

SCRIPTS = ("ndarray.js", "python.js", "numbers.js", "figures.js")
WALK = """A VAE of two inputs, two hidden units and one latent. Forward, each row is computed from rows above it; backward, each
gradient is made of gradients above it, by the rule of the link in between; beside each stands a finite difference of the loss."""

# Tag → title and caption; those with an op compute with the op's own code, the others show what was measured.
NOISE = "Move μ, log σ² and ε: the figure shows where z ends up, and how much of a gradient of 1 at z reaches each of them."
SURFACE = "The KL over μ and log σ²: darker is lower. The line shows minus the gradient; following it leads to (0, 0)."
FIGURES = {
    **dict.fromkeys(("R.1", "R.2"), ("reparameterize", NOISE)),
    **dict.fromkeys(("K.1", "K.2"), ("kl_standard_normal", SURFACE)),
    "L.1": ("bernoulli_nll", "−log p(x|z) of one pixel against its logit, and how clipping the probabilities changes it."),
    "L.5": ("gaussian_nll", "The loss per pixel against the assumed variance. A squared error assumes a variance implicitly."),
    "M.5": ("", "Reconstruction and KL against β: a model was trained on the digits for each β while this page was made."),
    "M.6": ("", "The bound against the number of samples k, measured while this page was made."),
}


def figure(name: str, has_script: bool) -> Iterator[Markup]:
    """Yield the figure of an equation, if it has one; ``has_script`` says that the op's code is on the page already."""
    if name not in FIGURES:
        return
    op, caption = FIGURES[name]
    if op and not translated(op):
        return
    if op and not has_script:
        yield tag("script", Markup(script_of([ALL_OPS[op]])))
    if name == "M.5":
        yield data_script("betas", [experiments.trained(beta)._asdict() for beta in experiments.BETAS])
        yield data_script("originals", experiments.originals())
    if name == "M.6":
        yield data_script("bounds", experiments.bounds())
    yield tag("figure", tag("figcaption", caption), tag("div", class_="moving", data_figure=name), class_="movable")


def trace_page() -> Page:
    """Return the page of one training step: every number of it, row by row, forward and then backward."""
    parts: list[Markup] = [tag("p", WALK), tag("div", id="walk")]
    for title, rows, header in trace.tables(trace.trace()):
        parts.append(tag("section", tag("h2", title), table(header, rows, "stepped"), class_="pane"))
    words = "backpropagation chain rule backward forward step gradient descent trace"
    return Page("trace", "The engine", "One training step, every number of it", join(parts), words=words, scripts=("trace.js",))
