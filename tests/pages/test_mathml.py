"""The typesetter: nothing is lost, added or reordered on any formula of any docstring, and slashes divide what they should."""

from __future__ import annotations

import ast
import re
import unicodedata
from xml.etree import ElementTree

import pytest

from minivae.pages.book.mathml import SUBSCRIPTS, SUPERSCRIPTS, typeset
from minivae.study import guide, source

ARITY = {"mfrac": 2, "msup": 2, "msub": 2, "msubsup": 3, "munder": 2, "mover": 2}


def formulas() -> list[str]:
    """Return every line of mathematics in the package's docstrings: tagged, or indented below prose."""
    found = [line for group in source.statements().values() for statement in group for line in statement.lines]
    for path in sorted(guide.PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for line in (ast.get_docstring(node) or "").splitlines():
                    if re.match(r" {4}", line) and re.search(r"[=∂Σ²]", line):
                        found.append(line.strip())
    return list(dict.fromkeys(found))


FORMULAS = formulas()


def read_back(element: ElementTree.Element) -> str:
    """Return MathML as a line of text again."""
    parts = [read_back(child) for child in element]
    if element.tag == "mfrac":
        return f"{parts[0]}/{parts[1]}"
    if element.tag == "msup":
        return f"{parts[0]}^{parts[1]}"
    if element.tag in ("msub", "munder"):
        return f"{parts[0]}_{parts[1]}"
    if element.tag == "msubsup":
        return f"{parts[0]}^{parts[2]}_{parts[1]}"
    if element.tag == "mover":
        return parts[0] + {"^": "\u0302", "~": "\u0303", "¯": "\u0304"}[parts[1]]
    if element.tag == "msqrt":
        return "√" + "".join(parts)
    return (element.text or "") + "".join(part + (child.tail or "") for part, child in zip(parts, element))


def plain(text: str) -> str:
    """Return text in the form in which both ways of writing are the same."""
    text = re.sub(f"[{SUPERSCRIPTS}]+", lambda m: "^" + m[0], text)
    text = re.sub(f"[{SUBSCRIPTS}]+", lambda m: "_" + m[0], text)
    text = (
        unicodedata.normalize("NFKD", text)
        .replace("⁄", "/")
        .replace("∑", "Σ")
        .replace("-", "−")
        .replace("``", "")
        .replace("∼", "~")
    )
    return re.sub(r"[\s{}]+", "", text)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<body>{typeset(text)}</body>")


@pytest.mark.parametrize("text", FORMULAS)
def test_every_formula_reads_back_as_it_is_written(text):
    tree = parsed(text)
    assert plain(read_back(tree)) == plain(text)
    for element in tree.iter():
        assert len(element) == ARITY.get(element.tag, len(element))
        assert element.tag != "mi" or element.text not in ("Σ", "_", "^")


def test_there_are_formulas_and_most_are_mathematics():
    assert len(FORMULAS) > 60
    assert sum("<math" in typeset(text) for text in FORMULAS) > 0.95 * len(FORMULAS)


@pytest.mark.parametrize(
    ("text", "over", "under"),
    [
        ("½ ε sigmoid(raw) / (2 √v)", "1/2εsigmoid(raw)", "(2√v)"),
        ("a + (μ − m)²/τ²", "(μ−m)^2", "τ^2"),
        ("∂kl_i/∂log σ²_ij = ½", "∂kl_i", "∂logσ^2_ij"),
        ("[a + b] / sin ω", "[a+b]", "sinω"),
        ("log(ρ/ρ̂_j)", "ρ", "ρ̂_j"),
        ("−x / y²", "x", "y^2"),
    ],
)
def test_a_slash_divides_its_neighbours_or_between_spaces_the_product(text, over, under):
    fraction = next(
        element for element in parsed(text).iter("mfrac") if len(read_back(element[1])) > 1 or "ρ" in read_back(element)
    )
    assert [plain(read_back(child)) for child in fraction] == [plain(over), plain(under)]


def test_prose_stays_prose():
    tree = parsed("KL(q ‖ p) ≥ 0, and 0 only for q = p: a sum of  h(s) = eˢ − 1 − s  and of squared distances")
    outside = (tree.text or "") + "".join(math.tail or "" for math in tree)
    for words in ("and ", "only for", "a sum of", "and of squared distances"):
        assert words in outside
    assert "KL" not in outside


def test_indices_one_by_one_and_scripts_in_place():
    assert "msubsup><mi>σ</mi><mrow><mi>i</mi><mi>j</mi></mrow><mn>2</mn>" in typeset("σ²_ij")
    assert "<munder><mo largeop" in typeset("Σ_j x_j")
    assert "<msup><mi>e</mi><mrow><mo>−</mo>" in typeset("e^−|ℓ|")


def test_html_is_escaped():
    assert "&lt;" in typeset("x < y & z")
