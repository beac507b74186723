"""Access to the museum of bugs, which is part of the tests: present in a checkout, absent from an installed package."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

from minivae.study import source


@functools.cache
def exhibits() -> tuple[Any, ...]:
    """Return the bugs of the museum, or none if the tests are not there."""
    return tuple(_module("museum.exhibits").BUGS) if present() else ()


@functools.cache
def mutations() -> tuple[Any, ...]:
    """Return every small mistake that the museum plants in the package, or none if the tests are not there."""
    return tuple(_module("museum.systematic").all_mutants()) if present() else ()


def present() -> bool:
    """Return whether the tests, and so the museum, are there."""
    return (source.TESTS / "museum").is_dir()


def functions_of(bug: Any) -> set[tuple[str, str]]:
    """Return (file, function) of every place that a bug changes."""
    file = f"minivae/{bug.file}"
    text = (source.ROOT / file).read_text(encoding="utf-8")
    starts = (text.index(old) + len(old) - len(old.lstrip()) for old, _ in bug.edits if old in text)
    return {(file, source.owner_of(f"{file}:{text.count(chr(10), 0, start) + 1}")) for start in starts}


def wrong_source(bug: Any) -> str:
    """Return the text of a bug's file with the bug planted in it, or "" if the code no longer has the place where it goes."""
    text = (source.ROOT / "minivae" / bug.file).read_text(encoding="utf-8")
    for old, new in bug.edits:
        if old not in text:
            return ""
        text = text.replace(old, new)
    return text


def _module(name: str) -> Any:
    tests = str(source.TESTS)
    sys.path.insert(0, tests)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(tests)
