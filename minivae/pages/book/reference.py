"""The pages of single ops and models, to which the equations link: derivation, code, check, numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from minivae.models import MODELS
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from minivae.pages.book import code, numbers
from minivae.pages.book.equation import derivation, model_rows, op_rows
from minivae.pages.book.evidence import Evidence
from minivae.pages.book.frame import Page
from minivae.pages.markup import Markup, join, tag
from minivae.study import guide, source


def op_page(name: str, evidence: Evidence) -> Page:
    """Return the page of an op."""
    op = (ALL_OPS | SURROGATE_GRADIENTS)[name]
    doc = inspect.cleandoc(op.doc)
    listings = [code.show(source.listing(guide.place_of(f), longest=60)) for f in (op.forward, op.backward)]
    body = (
        _part("Derivation", derivation(doc)),
        _part("Forward and backward", listings),
        _part("The check", op_rows(name, evidence.of(name))),
        _part("Numbers", numbers.pane([name])),
    )
    return Page(f"op-{name}", "Every operation", doc.splitlines()[0].rstrip("."), join(body), name, name, numbers.SCRIPTS)


def model_page(name: str, evidence: Evidence) -> Page:
    """Return the page of a model."""
    kind = MODELS[name]
    doc = inspect.getdoc(kind) or ""
    place = f"{kind.__module__.replace('.', '/')}.py:{inspect.getsourcelines(kind)[1]}"
    inherited = dict(pair for base in kind.__mro__ for pair in guide.statements(base.__doc__ or ""))
    links = ((tag("a", t, href=f"{t}.html"), " ") for t in sorted(inherited))
    body = (
        tag("p", "Equations of it and of what it is built on: ", links),
        _part("What it is", derivation(doc)),
        _part("Its parameters", [tag("pre", doc.partition("Parameters\n")[2].partition("\n")[2], class_="code", tabindex="0")]),
        _part("The check", model_rows([name], evidence)),
    )
    title = doc.splitlines()[0].partition(":")[0].rstrip(".")
    return Page(f"model-{name}", "Every model", title, join(body), name, f"{name} {place}")


def _part(title: str, content: Iterator[Markup] | list[Markup]) -> Markup:
    return tag("section", tag("h2", title), content, class_="pane")
