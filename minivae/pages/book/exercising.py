"""The page that leads through the exercises."""

from __future__ import annotations

import ast
import inspect

from minivae.ops import ALL_OPS
from minivae.pages.book.code import coloured
from minivae.pages.book.frame import Page
from minivae.pages.markup import Markup, join, tag
from minivae.study import exercises, guide, museum

HOW = """Each command writes a file: the forward pass, the equation, and a backward pass to be written; or the whole operation with
a bug that public code has had.  --check compares it with finite differences and with the equation, also at large inputs, and says
in words what is wrong."""


def exercise_page() -> Page:
    """Return the page of all exercises, in the order of the guided path."""
    items = [_exercise(name) for name in exercises.order()]
    body = join((tag("p", HOW), tag("ol", items, class_="exercises")))
    return Page("exercises", "Exercises", "Write it yourself", body, words="exercise backward solution bug find")


def _exercise(name: str) -> Markup:
    op = ALL_OPS[name]
    title = inspect.cleandoc(op.doc).splitlines()[0]
    tags = (tag("a", t, href=f"{t}.html") for t, _ in guide.statements(op.doc))
    command = f"minivae exercise {name}"
    bugs = exercises.bugs_of(name)
    parts = [tag("p", tag("b", title), " ", tag("a", name, href=f"op-{name}.html"), *((" ", t) for t in tags))]
    parts.append(tag("pre", f"{command}\n{command} --check", class_="code pad", tabindex="0"))
    if bugs:
        many = "" if len(bugs) == 1 else f"  (or --number 1 to {len(bugs) - 1})"
        parts.append(tag("p", f"{len(bugs)} bug{'s' * (len(bugs) > 1)} to find: ", tag("code", f"{command} --bug"), many))
    elif not museum.present():
        parts.append(tag("p", "Bugs to find come with the tests, which are not installed here.", class_="note"))
    parts.append(tag("details", tag("summary", "The solution"), _solution(exercises.solution_of(name))))
    return tag("li", parts)


def _solution(text: str) -> Markup:
    backward = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "backward")
    lines = (ast.get_source_segment(text, backward) or "").splitlines()
    return tag("pre", (tag("span", coloured(line) or " ", class_="row pad") for line in lines), class_="code", tabindex="0")
