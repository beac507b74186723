"""The page of an equation: typeset, derived, computed, checked, broken, and worked out in numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from minivae.models import MODELS
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from minivae.pages.book import code, figures, museum, numbers
from minivae.pages.book.evidence import Evidence, proving_tests
from minivae.pages.book.frame import Page
from minivae.pages.book.mathml import typeset
from minivae.pages.markup import Markup, join, table, tag
from minivae.proof.verify import Row
from minivae.study import guide, source
from minivae.study.guide import Step
from minivae.study.source import Statement

FORMULA = re.compile(r" {4}|\s*\([A-Z]\.\d\)  |.*=.*\S {3,}\S")
HEADING = re.compile(r"(Why(?: [\w.]+)?(?: \([^)]*\))?|Shapes|Saved|Numerics|Tuned|Errors|Domain|Source|Why a bound): ")


def equation_page(step: Step, evidence: Evidence) -> Page:
    """Return the page of the equation that a step of the path is about."""
    equation, stated = guide.equations()[step.tag], source.statements().get(step.tag, [])
    ops = ops_of(step.tag)
    live = any(name in ALL_OPS and numbers.translated(name) for name in ops)
    moving = list(figures.figure(step.tag, live))
    panes = (
        _pane("equation", "The equation", _equation(stated, equation.text)),
        _pane("figure", "To move", moving) if moving else None,
        _pane("why", "Why", _why(stated)),
        _pane("line", "The line", _lines(step.tag)),
        _pane("check", "The check", check(step.tag, step.command, ops, models_of(step.tag), evidence)),
        _pane("bugs", "The bugs", museum.bugs_of(equation.lines, evidence)),
        _pane("numbers", "Numbers", numbers.pane(ops)),
    )
    words = " ".join([equation.text, *ops, *(s.owner for s in stated)])
    title = step.title[0].upper() + step.title[1:]
    return Page(
        step.tag, step.section, title, join(panes), step.tag, words, figures.SCRIPTS if moving else numbers.SCRIPTS if ops else ()
    )


def ops_of(name: str) -> list[str]:
    """Return the ops whose docstring states the equation, or in whose file a line computes it."""
    places = guide.equations()[name].lines
    owners = {source.owner_of(place) for place in places if place.startswith("minivae/ops/")}
    return [
        op.name
        for op in (ALL_OPS | SURROGATE_GRADIENTS).values()
        if name in dict(guide.statements(op.doc)) or {op.forward.__name__, op.backward.__name__} & owners
    ]


def models_of(name: str) -> list[str]:
    """Return the models in whose file the equation is stated or computed; for the bound itself, the VAE."""
    places = [*guide.equations()[name].lines, *(s.place for s in source.statements().get(name, []))]
    files = {place.rpartition(":")[0] for place in places}
    found = [model for model, kind in MODELS.items() if f"{kind.__module__.replace('.', '/')}.py" in files]
    return found or ["VAE"] * name.startswith("M.")


def _pane(name: str, title: str, content: Iterable[Markup]) -> Markup:
    return tag("section", tag("h2", title, id=name), content, class_="pane", aria_labelledby=name)


def _equation(stated: list[Statement], text: str) -> Iterator[Markup]:
    if not stated:
        yield tag("p", typeset(text), class_="equation")
    for statement in stated:
        where = tag("code", statement.place)
        yield tag("div", (tag("p", typeset(line)) for line in statement.lines), class_="equation", tabindex="0")
        yield tag("p", "stated in ", tag("code", statement.owner) if statement.owner else "the module", ", ", where, class_="note")


def _why(stated: list[Statement]) -> Iterator[Markup]:
    for statement in stated:
        yield from derivation(statement.doc)


def derivation(doc: str) -> Iterator[Markup]:
    """Yield a docstring's paragraphs up to its parameters: prose as it is, indented formulas typeset, tags as links."""
    text = re.split(r"\n(?:Parameters|Attributes)\n-+\n", doc)[0]
    block: list[str] = []
    formula = False
    for line in [*text.splitlines(), ""]:
        is_formula = bool(FORMULA.match(line)) or (formula and line.startswith("  "))
        opens = bool(HEADING.match(line))
        if block and (not line.strip() or is_formula != formula or opens):
            yield _block(block, formula)
            block = []
        if line.strip():
            formula = is_formula
            block.append(line.strip())


def _block(lines: list[str], formula: bool) -> Markup:
    if formula:
        return tag("div", (tag("p", _formula_line(line)) for line in lines), class_="equation", tabindex="0")
    text = " ".join(lines)
    heading = HEADING.match(text)
    if heading:
        return tag("p", tag("b", heading[1]), ". ", linked(text[heading.end() :]))
    return tag("p", linked(text))


def _formula_line(line: str) -> Markup:
    stated = guide.STATED.fullmatch(line)
    return join([_link(stated[1]), "\u2003", typeset(stated[2])]) if stated else typeset(line)


def linked(text: str) -> list[Markup | str]:
    """Return prose with its tags as links to their pages and its code as code."""
    parts: list[Markup | str] = []
    for part in re.split(r"(``[^`]+``|\b[A-Z]\.\d\b)", text):
        if part.startswith("``"):
            parts.append(tag("code", part.strip("`")))
        else:
            parts.append(_link(part) if part in guide.equations() else part)
    return parts


def _link(name: str) -> Markup:
    return tag("a", name, href=f"{name}.html") if name in guide.equations() else tag("b", name)


def _lines(name: str) -> Iterator[Markup]:
    places = guide.equations()[name].lines
    if not places:
        yield tag("p", "No line carries this tag.")
        return
    first, others = source.listing(places[0]), []
    same = {int(place.rpartition(":")[2]) for place in places if place.startswith(f"{first.file}:")}
    shown = same & {number for number, _ in first.lines}
    twins = [code.show(twin, "in CUDA") for twin in source.cuda_twins(name)]
    here = code.show(source.listing(places[0], frozenset(shown)), "in NumPy, or CuPy")
    yield tag("div", here, twins, class_="beside" if twins else None)
    if not twins:
        yield tag("p", "This has no CUDA kernel of its own: on a GPU, CuPy runs the same line.", class_="note")
    for place in places[1:]:
        if int(place.rpartition(":")[2]) not in shown or not place.startswith(f"{first.file}:"):
            others.append(code.show(source.listing(place, longest=12), source.owner_of(place)))
    if others:
        yield tag("details", tag("summary", f"{len(others)} more line{'s' * (len(others) > 1)} that compute it"), others)


# The check ----------------------------------------------------------------------------------------------------------------------


def check(name: str, command: str, ops: list[str], models: list[str], evidence: Evidence) -> Iterator[Markup]:
    """Yield what was compared, the error measured when the book was made, and the command that repeats it."""
    if command:
        yield tag("p", "Repeat it: ", tag("code", command))
    for op in ops:
        yield from op_rows(op, evidence.of(op))
    if models and not ops:
        yield from model_rows(models, evidence)
    carrying = source.tests_of(name)
    proving = proving_tests(name, command) if command else []
    tests = {test.node: test.says for test in source.all_tests() if test.node in proving} | {t.node: t.says for t in carrying}
    if tests:
        yield tag("h3", "Tests that carry this tag" if carrying else "The test")
        yield table(("it says", "where", "when the book was made"), (_test(node, says, evidence) for node, says in tests.items()))
    if evidence.why_no_tests:
        yield tag("p", f"No test was run for this page: {evidence.why_no_tests}.", class_="note")


def _test(node: str, says: str, evidence: Evidence) -> tuple[Markup | str, ...]:
    outcome = evidence.tests.get(node)
    if outcome is None:
        result: Markup | str = "not run"
    elif outcome.failed:
        result = tag("span", f"{outcome.failed} failed", class_="wrong")
    elif outcome.passed:
        result = tag("span", f"passed, {outcome.passed} case{'s' * (outcome.passed > 1)}", class_="pass")
    else:
        result = "skipped here"
    return says, tag("code", node.replace("::", " :: ")), result


def op_rows(op: str, rows: list[Row]) -> Iterator[Markup]:
    """Yield the gradients of an op: what each was compared with, and the error."""
    if not rows:
        text = " has a gradient that is on purpose not its derivative: finite differences must disagree, see its derivation."
        yield tag("p", tag("code", op), text)
        return
    yield tag("h3", "The gradient of ", tag("code", op))
    header = ("in", "type", "compared with", "largest error, relative", "verdict")
    cells = ((tag("code", r.argument), r.dtype, r.against, f"{r.relative_error:.1e}", _verdict(r.verdict)) for r in rows)
    yield table(header, cells)


def model_rows(models: list[str], evidence: Evidence) -> Iterator[Markup]:
    """Yield the gradients of whole objectives: a row for each model and likelihood."""
    groups = {name: [row for row in evidence.rows if row.name == name] for model in models for name in _names(model, evidence)}
    if not groups:
        names = ", ".join(models)
        yield tag("p", f"No finite difference can check the whole objective of {names}: it has a surrogate gradient in it.")
        return
    yield tag("h3", "Gradients of whole objectives, against finite differences")
    worst = {name: max(rows, key=lambda row: row.relative_error) for name, rows in groups.items()}
    header = ("model, likelihood", "parameters", "largest error, relative", "in", "verdict")
    rows = (
        (name, str(len(groups[name])), f"{row.relative_error:.1e}", tag("code", row.argument), _verdict(row.verdict))
        for name, row in worst.items()
    )
    yield table(header, rows)


def _names(model: str, evidence: Evidence) -> list[str]:
    return list(dict.fromkeys(row.name for row in evidence.of(model)))


def _verdict(verdict: str) -> Markup:
    return tag("span", verdict, class_=verdict)
