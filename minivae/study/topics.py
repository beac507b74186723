"""What ``minivae explain`` can explain besides operations: an equation by its tag, and any class or function by its name."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from dataclasses import dataclass

from minivae.checks import reject
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from minivae.study import guide, source


@dataclass(frozen=True)
class Topic:
    """A derivation and the code that goes with it."""

    title: str
    derivation: str
    code: tuple[source.Listing, ...]
    ops: tuple[str, ...]  # operations that state one of its equations


def topics(word: str) -> list[Topic]:
    """Return the topics for a tag such as "K.2", or for a word: classes and functions of that name, and equations that contain it.

    Raises ``InputError`` for a word that matches nothing in the package.
    """
    tag = word.strip("() ").upper()
    if tag in guide.equations():
        return [_of_tag(tag)]
    if word in SURROGATE_GRADIENTS:  # their gradients are not derivatives, so there is no worked example
        op = SURROGATE_GRADIENTS[word]
        code = tuple(source.listing(guide.place_of(function)) for function in (op.forward, op.backward))
        return [Topic(f"{word}  {code[0].file}", inspect.cleandoc(op.doc), code, ())]
    found = _named(word)
    whole_word = re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE)
    tags = [tag for tag, equation in guide.equations().items() if whole_word.search(equation.text)]
    found += [_of_tag(tag) for tag in tags[: max(0, 3 - len(found))]]
    if not found:
        names = sorted({name.rpartition(".")[2] for name, *_ in _definitions()})
        known = [*ALL_OPS, *SURROGATE_GRADIENTS, *guide.equations(), *names]
        near = ", ".join(difflib.get_close_matches(word, known, 4)) or "minivae explain shows them in order"
        reject("op", "an operation, a tag such as K.2, or the name of something in the package", repr(word), f"similar: {near}")
    return found


def _of_tag(tag: str) -> Topic:
    """Return an equation: the docstring that states it, and the functions in which a line computes it."""
    equation = guide.equations()[tag]
    titles = {step.tag: step.title for step in guide.reading_order()}
    stated = source.statements().get(tag, [])
    docs = dict.fromkeys(inspect.cleandoc(statement.doc) for statement in stated) or {equation.text: None}
    listings: dict[tuple[str, str], source.Listing] = {}
    for place in equation.lines:
        it = source.listing(place)
        listings.setdefault((it.file, it.name), it)
    ops = tuple(name for name, op in ALL_OPS.items() if any(tag == known for known, _ in guide.statements(op.doc)))
    for name in ops:  # show an op's forward and backward
        for place in (guide.place_of(ALL_OPS[name].forward), guide.place_of(ALL_OPS[name].backward)):
            it = source.listing(place)
            listings.setdefault((it.file, it.name), it)
    title = f"{tag}  {equation.text}" + (f"   {titles[tag]}" if tag in titles else "")
    return Topic(title, "\n\n".join(docs), tuple(listings.values()), ops)


def _named(word: str) -> list[Topic]:
    """Return the classes and functions of that name, whatever its case, the closest to the mathematics first."""
    found = []
    for name, file, line, doc in _definitions():
        if name.rpartition(".")[2].lower() == word.lower() and doc:
            code = () if name[:1].isupper() and "." not in name else (source.listing(f"{file}:{line}"),)
            found.append(Topic(f"{name}  {file}:{line}", doc, code or _methods(file, name), ()))
    return found[:2]


def _methods(file: str, name: str) -> tuple[source.Listing, ...]:
    """Return the methods of a class that compute a tagged equation, or else its first two."""
    inside = [it for it in _definitions() if it[1] == file and it[0].startswith(name + ".") and "__" not in it[0]]
    listings = [source.listing(f"{file}:{line}") for _, _, line, _ in inside]
    tagged = [it for it in listings if any(guide.COMPUTED.fullmatch(text) for _, text in it.lines)]
    return tuple(tagged or listings[:2])


def _definitions() -> list[tuple[str, str, int, str]]:
    """Return qualified name, file, line and docstring of every class and function, the closest to the mathematics first."""
    found = []
    for path in sorted(guide.PACKAGE.rglob("*.py"), key=guide._closeness):
        file = path.relative_to(source.ROOT).as_posix()
        for name, node in source._definitions(source._tree(file)):
            found.append((name, file, node.lineno, ast.get_docstring(node) or ""))
    return found
