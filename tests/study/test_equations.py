"""Every equation has code that implements it and a test that checks it, each marked with its tag, and a table says where.

A tag in a reading guide or in a list like the one below implements and checks nothing, so those files do not count.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EQUATIONS = {"M": 8, "R": 3, "K": 4, "L": 5, "A": 9, "G": 8, "T": 6, "D": 4, "F": 4, "P": 4, "S": 3, "Q": 8}  # M.1 to M.8, …
TABLE = ROOT / "minivae" / "study" / "equations.md"
TAGS = [f"{letter}.{number}" for letter, last in EQUATIONS.items() for number in range(1, last + 1)]
LETTER = f"[{''.join(EQUATIONS)}]"
TAG = re.compile(rf"\b({LETTER})\.(\d)\b")
READING = ("guide.py",)
ABOUT_TAGS = ("test_equations.py", "test_guide.py")


def tags_in(text: str) -> set[str]:
    """Return the tags in a text, with those between the ends of a range such as "M.1 – M.4"."""
    ranges = re.findall(rf"\b({LETTER})\.(\d) – \1\.(\d)\b", text)
    between = {f"{letter}.{number}" for letter, first, last in ranges for number in range(int(first), int(last) + 1)}
    return between | {f"{letter}.{number}" for letter, number in TAG.findall(text)}


def checks_in(path: Path) -> str:
    """Return the text of the test functions in a file, with comments and docstrings; of op_cases.py, where each row is one, all."""
    text = path.read_text(encoding="utf-8")
    if path.name == "op_cases.py":
        return text
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    lines = text.splitlines()
    return "\n".join(line for node in functions for line in lines[node.lineno - 1 : node.end_lineno])


CODE = {
    str(path.relative_to(ROOT)): tags_in(path.read_text(encoding="utf-8"))
    for path in (ROOT / "minivae").rglob("*.py")
    if path.name not in READING
}
TESTS = {
    str(path.relative_to(ROOT)): tags_in(checks_in(path))
    for path in (*(ROOT / "tests").rglob("test_*.py"), ROOT / "tests" / "support" / "op_cases.py")
    if path.name not in ABOUT_TAGS
}


def equation_map() -> list[tuple[set[str], list[str], list[str]]]:
    """Return the rows of the table: tags, files of code, files of tests, both as paths from the root."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = [(tags_in(tag), linked(code), linked(test)) for tag, _, code, test in cells]
    return [row for row in rows if row[0]]


def linked(cell: str) -> list[str]:
    """Return the files that a cell links to, as paths from the root of the repository."""
    return [str((TABLE.parent / target).resolve().relative_to(ROOT)) for target in re.findall(r"\]\((.*?)\)", cell)]


MAP = equation_map()


def test_ranges_are_read_as_all_that_lies_between():
    assert tags_in("M.2 – M.4, A.1 and (K.3), not B.1, XM.5 or M.55") == {"M.2", "M.3", "M.4", "A.1", "K.3"}


def test_every_tag_that_is_used_is_one_of_the_equations():
    assert set.union(*CODE.values(), *TESTS.values(), *(tags for tags, _, _ in MAP)) == set(TAGS)


@pytest.mark.parametrize("tag", TAGS)
def test_equation_has_code_and_a_test_and_the_table_says_where(tag):
    assert any(tag in tags for tags in CODE.values()), f"no code carries ({tag}): write it behind the line that computes it"
    assert any(tag in tags for tags in TESTS.values()), f"no test carries ({tag}): write it into the test function that checks it"
    rows = [(code, tests) for tags, code, tests in MAP if tag in tags]
    assert len(rows) == 1, f"{TABLE.name} has {len(rows)} rows for {tag}"
    code, tests = rows[0]
    assert any(tag in CODE[path] for path in code), f"{TABLE.name}: none of {code} carries ({tag})"
    assert any(tag in TESTS[name] for name in tests), f"{TABLE.name}: none of {tests} carries ({tag})"
