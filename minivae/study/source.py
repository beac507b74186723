"""The source as something to read beside an equation: the docstring that states it, the function that computes it, its CUDA twin.

Nothing is copied: places, lines and words are looked up in the files whenever they are asked for.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from minivae.study.guide import PACKAGE, STATED, TAG, _closeness

ROOT = PACKAGE.parent
TESTS = ROOT / "tests"
CUDA_LINE = re.compile(r".*\S\s+// .*\(([A-Z]\.\d)\).*")
CUDA_BLOCK = re.compile(r"^(KERNEL|__device__|__global__|template|static).*\{|^(KERNEL|__device__).*[(,]$")


@dataclass(frozen=True)
class Statement:
    """A docstring states an equation; ``lines`` are its own and those indented below it."""

    tag: str
    lines: tuple[str, ...]
    file: str
    number: int
    owner: str  # qualified name of the module, class or function, empty for a module
    doc: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass(frozen=True)
class Listing:
    """Lines of a file with their numbers; ``lit`` are those to look at."""

    file: str
    name: str
    lines: tuple[tuple[int, str], ...]
    lit: frozenset[int]


Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def statements() -> dict[str, list[Statement]]:
    """Return tag → its statements, those of the ops first."""
    found: dict[str, list[Statement]] = {}
    for path in sorted(PACKAGE.rglob("*.py"), key=_closeness):
        file = path.relative_to(ROOT).as_posix()
        for owner, node in _documented(_tree(file)):
            doc = node.body[0]
            text = _text(file)[doc.lineno - 1 : doc.end_lineno]
            for offset, line in enumerate(text):
                if match := STATED.fullmatch(line):
                    lines = (match[2], *_indented(text[offset + 1 :], len(line) - len(line.lstrip())))
                    statement = Statement(match[1], lines, file, doc.lineno + offset, owner, ast.get_docstring(node) or "")
                    found.setdefault(match[1], []).append(statement)
    return found


def _indented(lines: list[str], margin: int) -> Iterator[str]:
    for line in lines:
        if not line.strip() or len(line) - len(line.lstrip()) <= margin or STATED.fullmatch(line):
            return
        yield line.strip()


def _documented(tree: ast.Module) -> Iterator[tuple[str, Node]]:
    for name, node in (("", tree), *_definitions(tree)):
        if ast.get_docstring(node, clean=False) is not None:
            yield name, node


def _definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield prefix + node.name, node
            yield from _definitions(node, f"{prefix}{node.name}.")


def owner_of(place: str) -> str:
    """Return the qualified name of the outermost function, or else of the innermost class, around file:line."""
    file, number = _split(place)
    return _around(file, number)[0]


def listing(place: str, lit: frozenset[int] = frozenset(), longest: int = 44) -> Listing:
    """Return the function around file:line without its docstring; of a long one what is near the line."""
    file, number = _split(place)
    name, node = _around(file, number)
    if node is None:
        first, last, doc = max(1, number - 6), number + 6, range(0)
    else:
        first, last = node.lineno, node.end_lineno or node.lineno
        head = node.body[0]
        has_doc = ast.get_docstring(node) is not None
        doc = range(head.lineno, (head.end_lineno or 0) + 1) if has_doc else range(0)
    numbers = [n for n in range(first, min(last, len(_text(file))) + 1) if n not in doc]
    if len(numbers) > longest:
        at = numbers.index(number)
        start = max(0, at - longest // 3)
        numbers = sorted({numbers[0], *numbers[start : start + longest]})
    lines = tuple((n, _text(file)[n - 1]) for n in numbers)
    return Listing(file, name, lines, lit | {number})


def cuda_twins(tag: str) -> list[Listing]:
    """Return the CUDA functions in which a line computes the equation."""
    found: dict[tuple[str, int], set[int]] = {}
    blocks: dict[tuple[str, int], tuple[tuple[int, str], ...]] = {}
    for path in sorted((PACKAGE / "kernels").glob("*.cu")):
        file = path.relative_to(ROOT).as_posix()
        text = _text(file)
        for number, line in enumerate(text, 1):
            if "//" in line and CUDA_LINE.fullmatch(line) and tag in TAG.findall(line.partition("//")[2]):
                first = next((n for n in range(number, 0, -1) if text[n - 1][:1] not in (" ", "}", "/", "")), number)
                last = next((n for n in range(number, len(text) + 1) if text[n - 1].startswith("}")), first)
                while first > 1 and text[first - 2].startswith("//"):
                    first -= 1
                found.setdefault((file, first), set()).add(number)
                blocks[file, first] = tuple((n, text[n - 1]) for n in range(first, max(last, number) + 1))
    return [Listing(file, "", _near(blocks[file, first], lit), frozenset(lit)) for (file, first), lit in found.items()]


def _near(lines: tuple[tuple[int, str], ...], lit: set[int], longest: int = 44) -> tuple[tuple[int, str], ...]:
    """Return all lines of a short block, of a long one its head and what is near the lit ones."""
    if len(lines) <= longest:
        return lines
    return tuple(line for i, line in enumerate(lines) if i < 4 or any(abs(line[0] - number) <= 5 for number in lit))


@dataclass(frozen=True)
class Test:
    """A test that carries a tag."""

    node: str  # file::function
    says: str  # its name in words, or the first line of its docstring


def tests_of(tag: str) -> list[Test]:
    """Return the tests that carry the tag; none where the package was installed without its tests."""
    return [test for test, text in _tests() if tag in re.findall(r"\b[A-Z]\.\d\b", text)]


def all_tests() -> list[Test]:
    """Return every test function, in the order of the files."""
    return [test for test, _ in _tests()]


@functools.cache
def _tests() -> tuple[tuple[Test, str], ...]:
    found = []
    for path in sorted(TESTS.rglob("test_*.py")) if TESTS.is_dir() else ():
        if path.stem in ("test_equations", "test_guide"):
            continue
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                says = (ast.get_docstring(node) or node.name.removeprefix("test_").replace("_", " ")).split("\n\n")[0]
                name = f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                found.append((Test(name, " ".join(says.split())), "\n".join(lines[node.lineno - 1 : node.end_lineno])))
    return tuple(found)


def _split(place: str) -> tuple[str, int]:
    file, _, number = place.rpartition(":")
    return file, int(number)


def _around(file: str, number: int) -> tuple[str, ast.ClassDef | ast.FunctionDef | None]:
    inside = [(name, node) for name, node in _definitions(_tree(file)) if node.lineno <= number <= (node.end_lineno or 0)]
    functions = [pair for pair in inside if isinstance(pair[1], ast.FunctionDef)]
    if functions:
        return functions[0]
    return inside[-1] if inside else ("", None)


@functools.cache
def _text(file: str) -> list[str]:
    return (ROOT / file).read_text(encoding="utf-8").splitlines()


@functools.cache
def _tree(file: str) -> ast.Module:
    return ast.parse("\n".join(_text(file)))
