"""Making the book: from the source, and from what is measured while it is made, to a folder of pages."""

from __future__ import annotations

from pathlib import Path

from minivae import __version__
from minivae.models import MODELS
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from minivae.pages.book import figures, museum, reference
from minivae.pages.book.equation import equation_page
from minivae.pages.book.evidence import Evidence, gather
from minivae.pages.book.exercising import exercise_page
from minivae.pages.book.frame import Page, bind
from minivae.pages.book.questions import question_pages
from minivae.pages.markup import Markup, join, tag
from minivae.study import guide, source
from minivae.study.guide import Step
from minivae.training.checkpoint import write_whole

ABOUT = """The variational autoencoder from the chain rule up, with a page for each equation: what it says, why it holds, the line
that computes it in NumPy and in CUDA, what it was checked against, the bugs that people write there, and its numbers.  Begin with
the first page, or search."""


def make(out: Path, evidence: Evidence | None = None) -> list[Path]:
    """Write the book into a folder and return its files, the contents first."""
    bound = bind("The annotated VAE", _preface(), pages(evidence or gather()))
    out.mkdir(parents=True, exist_ok=True)
    for name, text in bound.items():
        write_whole(out / name, text.encode())
    return [out / name for name in bound]


def pages(evidence: Evidence) -> list[Page]:
    """Return all pages, in the order of the guided path."""
    equations = [equation_page(step, evidence) for step in steps()]
    ops = [reference.op_page(name, evidence) for name in ALL_OPS | SURROGATE_GRADIENTS]
    models = [reference.model_page(name, evidence) for name in MODELS]
    return [figures.trace_page(), *equations, museum.wall(evidence), exercise_page(), *question_pages(), *ops, *models]


def steps() -> list[Step]:
    """Return a step for every equation: first those of the guided path, then the others."""
    path = [step for step in guide.reading_order() if step.tag]
    others = guide.equations().keys() - {step.tag for step in path}
    return path + [_step_aside(name) for name in sorted(others)]


def _step_aside(name: str) -> Step:
    equation, stated = guide.equations()[name], source.statements().get(name, [])
    title = stated[0].doc.split("\n\n")[0].rstrip(".") if stated else equation.text
    return Step("Beside the path", name, " ".join(title.split()), equation.text, equation.place, "")


def _preface() -> Markup:
    made = f"Made by minivae {__version__} from its own source.  Every error on these pages was measured when they were made."
    return join((tag("p", ABOUT), tag("p", made, class_="note")))
