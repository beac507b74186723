"""A mutant: a file of the package with a bug, which exists in memory only.

A function of the package is known in many places: an op's record holds its backward, and half the modules have imported the op.
What they all hold is one function object, and a function object can be given other code.  So a mutant is compiled from the changed
source, and each function whose code came out different gets the new code; no file changes, and nobody has to be told.
"""

from __future__ import annotations

import ast
import functools
import gc
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import minivae

PACKAGE = Path(minivae.__file__).parent


@dataclass(frozen=True)
class Mutant:
    """A name, and the file of the package that will be wrong, such as "ops/kl.py"."""

    name: str
    file: str

    def changed(self) -> ast.Module:
        """Return the tree of the changed source."""
        raise NotImplementedError

    def apply(self) -> set[str]:
        """Put the bug into this process and return the names of the functions that now have it."""
        path = str(PACKAGE / self.file)
        right, wrong = (functions_in(compile(tree, path, "exec")) for tree in (parsed(self.file), self.changed()))
        changes = [(old, new) for old, new in zip(right, wrong, strict=True) if old != new]
        assert changes, f"{self.name}: no function of {self.file} has changed"
        for old, new in changes:
            holders = [function for function in package_functions() if place(function.__code__) == place(old)]
            assert holders, f"{self.name}: {old.co_name} of {self.file} is not in memory"
            for function in holders:
                function.__code__ = new
        return {old.co_name for old, _ in changes}


@dataclass(frozen=True)
class Edited(Mutant):
    """A mutant made by (old, new) snippets.  Each old one has to be there exactly once, so that none goes stale unseen."""

    edits: tuple[tuple[str, str], ...]

    def changed(self) -> ast.Module:
        text = source(self.file)
        for old, new in self.edits:
            assert text.count(old) == 1, f"{self.name}: {self.file} has this {text.count(old)} times, not once: {old}"
            text = text.replace(old, new)
        return ast.parse(text)


def source(file: str) -> str:
    return (PACKAGE / file).read_text(encoding="utf-8")


@functools.cache
def parsed(file: str) -> ast.Module:
    """Return the tree of a file of the package.  Shared: look, don't touch."""
    return ast.parse(source(file))


def functions_in(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of each function that a module, or a class in it, defines; what is defined within a function is part of it."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & inspect.CO_OPTIMIZED:
                yield constant
            else:  # the body of a class
                yield from functions_in(constant)


def place(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_name


@functools.cache
def package_functions() -> list[FunctionType]:
    """Return every function of the package that is in memory at the first call."""
    return [f for f in gc.get_objects() if type(f) is FunctionType and f.__code__.co_filename.startswith(str(PACKAGE))]
