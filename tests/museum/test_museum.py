"""The museum: every bug in it is seen by the tests, what its labels say is true, and nothing in it goes stale unseen.

Here one failed test is enough for a bug, and of the small mistakes in the ops every eleventh is tried.  ``python -m benchmarks
museum`` tries all of them, and shows which kind of check sees what.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks import museum as benchmark
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from museum.checks import FINITE_DIFFERENCES
from museum.equivalents import EQUIVALENTS
from museum.exhibits import BUGS
from museum.mutants import Edited
from museum.systematic import all_mutants
from museum.visit import Outcome, complaints, outcomes

pytestmark = pytest.mark.slow  # every exhibit breaks the code in a process of its own

EVERY = 11
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
    assert list(groups) == list(range(1, 16))
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


# -- what ``python -m benchmarks museum`` makes of it ---------------------------------------------------------------------


def rows_of(path) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# ")))


@pytest.fixture
def tables(seen, tmp_path, monkeypatch):
    """Return a function that writes the tables of given outcomes to a folder, which it returns."""

    def write(outcomes):
        monkeypatch.setattr("museum.visit.outcomes", lambda *_: outcomes.items())
        monkeypatch.setattr("museum.systematic.all_mutants", lambda: MUTATIONS[::EVERY])
        benchmark.run(SimpleNamespace(quick=False, processes=2, results=tmp_path))
        return tmp_path

    return write


def test_tables_show_who_sees_what(seen, tables, capsys):
    folder = tables(seen)
    matrix, labels, mutations = (rows_of(folder / f"museum{name}.csv") for name in ("", "_labels", "_mutations"))
    assert [row["bug"] for row in matrix] == [row["bug"] for row in labels] == [bug.name for bug in BUGS]
    for row in matrix:
        for kind, test in seen[row["bug"]].items():
            assert row[kind] == ("yes" if test else "no")
        assert row[FINITE_DIFFERENCES] in ("yes", "no")
    assert all("::test_" in row["first test to fail"] for row in labels)
    total = mutations.pop()
    assert int(total["mutations"]) == sum(int(row["mutations"]) for row in mutations) == len(MUTATIONS[::EVERY])
    unseen = sum(int(row["mutations"]) - int(row[FINITE_DIFFERENCES] or 0) for row in mutations)
    assert 0 < unseen == int(total["mutations"]) - int(total[FINITE_DIFFERENCES])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{sum(bug.passes_gradcheck for bug in BUGS)} of {len(BUGS)} bugs pass every gradient check" in printed
    assert EQUIVALENTS["relu_forward: out → x (2)"] in printed


def test_a_bug_that_nothing_sees_is_an_error(seen, tables):
    with pytest.raises(SystemExit, match=f"^no test sees: {BUGS[4].name}$"):
        tables(seen | {BUGS[4].name: {FINITE_DIFFERENCES: None}})


def test_an_equivalent_that_is_seen_is_an_error(seen, tables):
    name = next(name for name in EQUIVALENTS if name in seen)
    with pytest.raises(SystemExit, match="listed as equivalent, but seen: "):
        tables(seen | {name: {FINITE_DIFFERENCES: "ops/test_ops.py::test_dtype_is_kept"}})
