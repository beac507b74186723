"""The book, made once for all tests of it, with everything in it measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minivae.pages.book import evidence, make


@pytest.fixture(scope="session")
def measured() -> evidence.Evidence:
    """What the making of the book measures, in small: one of the four likelihoods, and one of the tests that it runs."""
    patch = pytest.MonkeyPatch()
    patch.setattr(evidence, "proving_tests", lambda tag, command: [n for n in PROVING(tag, command) if "never_negative" in n])
    patch.setattr(evidence.verify, "LIKELIHOODS", ("bernoulli",))
    with patch.context():
        found = evidence.gather()
    patch.undo()
    return found


PROVING = evidence.proving_tests


@pytest.fixture(scope="session")
def book(tmp_path_factory, measured) -> Path:
    """The folder of the book.  BOOK, if set, is one that was made already, to look at it with these tests."""
    if made := os.environ.get("BOOK"):
        return Path(made)
    folder = tmp_path_factory.mktemp("book")
    make.make(folder, measured)
    return folder
