"""The museum: every bug in it is seen by the tests, what its labels say is true, and nothing in it goes stale unseen.

Here one failed test is enough for a bug, and of the small mistakes in the ops every seventh is tried; ``python -m benchmarks museum``
tries all, and shows which kind of check sees what.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from museum.checks import FINITE_DIFFERENCES
from museum.equivalents import EQUIVALENTS
from museum.exhibits import BUGS
from museum.mutants import Edited
from museum.systematic import all_mutants
from museum.visit import Outcome, complaints, outcomes

from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS

EVERY = 7
MUTATIONS = list(all_mutants())


@pytest.fixture(scope="module")
def seen() -> dict[str, Outcome]:
    """Return which test sees what, of all bugs and of some mutations."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    return dict(outcomes("bugs", "mutations", "--every", str(EVERY), "--impatient"))


def test_every_mutant_is_seen_unless_it_is_equivalent(seen):
    assert complaints(seen) == []
    assert set(seen) == {mutant.name for mutant in (*BUGS, *MUTATIONS[::EVERY])}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_label_tells_whether_gradient_checks_pass(bug, seen):
    assert FINITE_DIFFERENCES in seen[bug.name]
    assert (seen[bug.name][FINITE_DIFFERENCES] is None) == bug.passes_gradcheck


def test_catalogue_is_complete():
    groups = Counter(bug.group for bug in BUGS)
    assert list(groups) == list(range(1, 15))
    assert len({mutant.name for mutant in (*BUGS, *MUTATIONS)}) == len(BUGS) + len(MUTATIONS)
    for bug in BUGS:
        assert all(len(text) > 10 for text in (bug.seen, bug.effect, bug.blind))


def test_every_function_of_every_op_is_mutated():
    counts = Counter(mutant.function for mutant in MUTATIONS)
    for op in (ALL_OPS | SURROGATE_GRADIENTS).values():
        assert counts[op.forward.__name__] >= 2
        assert counts[op.backward.__name__] >= 2
    assert counts["unbroadcast"] > 10


def test_equivalents_are_mutations_that_exist():
    assert set(EQUIVALENTS) <= {mutant.name for mutant in MUTATIONS}


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ((("no such code", ""),), "0 times, not once"),
        ((("needs", "need"),), "times, not once"),
        ((("Reductions: many numbers to one.", "Reductions."),), "no function of ops/reduce.py has changed"),
    ],
)
def test_a_mutation_that_has_gone_stale_is_not_passed_over(edits, words):
    with pytest.raises(AssertionError, match=words):
        Edited("stale", "ops/reduce.py", edits).apply()
