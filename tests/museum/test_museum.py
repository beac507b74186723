"""The museum: every bug in it is seen by the tests, what its labels say is true, and nothing in it goes stale unseen.

Here one failed test is enough for a bug, and of the small mistakes in the ops one in some twenty is tried.  ``python -m benchmarks
museum`` tries all of them, and shows which kind of check sees what.  Those in the rooms around the ops are tried by ``museum
--all``, which writes down what test saw each; here some meet that test again.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections import Counter
from types import SimpleNamespace

import pytest
from support.tables import rows_of

from benchmarks import museum as benchmark
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from museum.checks import ANY, FINITE_DIFFERENCES
from museum.equivalents import EQUIVALENTS
from museum.exhibits import BUGS
from museum.mutants import Edited
from museum.systematic import ROOMS, all_mutants, oversights, package_mutants, shown
from museum.visit import Outcome, complaints, outcomes

pytestmark = pytest.mark.slow  # every exhibit breaks the code in a process of its own

EVERY = 23
MUTATIONS = list(all_mutants())
AROUND = list(package_mutants())  # in the rooms around the ops
SOME = 20  # of these


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
    assert list(groups) == list(range(1, 17))
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
    assert set(EQUIVALENTS) - {mutant.name for mutant in (*MUTATIONS, *AROUND)} == set()


# -- the rooms around the ops ---------------------------------------------------------------------------------------------


def test_every_room_is_mutated_and_every_mutant_has_its_name():
    per_file = Counter(mutant.file for mutant in AROUND)
    for room, files in ROOMS.items():
        assert sum(per_file[file] for file in files) > 200, room
    assert len({mutant.name for mutant in AROUND}) == len(AROUND)
    for mutant in AROUND[::97]:
        compile(mutant.changed(), mutant.file, "exec")


OVERSIGHTS = {
    "check(x)": {"check(x) → pass"},
    "self.best = x": {"self.best = x → pass"},
    "raise error": {"raise error → pass"},
    "return f(x)": {"return f(x) → return None"},
    "if a and b:\n    pass": {"a and b → False", "a and b → not (a and b)", "a and b → a or b", "a and b → a", "a and b → b"},
    "y = a is None": {"a is None → a is not None"},
    "y = a >= b": {"a >= b → a > b"},
    "y = f(a, b, axis=0)": {"f(a, b, axis=0) → f(b, a, axis=0)", "f(a, b, axis=0) → f(a, b)"},
    "y = float(a)": {"float(a) → a"},
    "y = True": {"True → False"},
}


@pytest.mark.parametrize("line", OVERSIGHTS)
def test_what_is_forgotten_or_the_wrong_way_round(line):
    found = {f"{shown(node)} → {shown(other)}" for node in ast.walk(ast.parse(line)) for other in oversights(node)}
    assert found == OVERSIGHTS[line]


def test_what_was_seen_around_the_ops_is_still_seen(tmp_path):
    """Each mutant of the sample meets the test that saw it when all were tried, and if need be the others of its file."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    names = {mutant.name for mutant in AROUND}
    record = {row["mutant"]: row["first test to fail"] for row in rows_of(benchmark.RESULTS / "museum_package.csv")}
    known = {name: test for name, test in record.items() if "::" in test and name in names}
    assert len(known) >= SOME, "nearly all of the code has changed since: python -m benchmarks museum --all"
    sample = dict(list(known.items())[:: len(known) // SOME][:SOME])
    (tmp_path / "known.json").write_text(json.dumps(sample), encoding="utf-8")
    again = dict(outcomes("package", "--known", str(tmp_path / "known.json")))
    assert set(again) == set(sample)
    assert complaints(again) == []


def test_table_of_the_rooms_counts_what_was_tried(tmp_path, capsys, monkeypatch):
    living, equivalent, *killed = AROUND[:10]
    seen = {mutant.name: {ANY: "models/test_vae.py::test_it"} for mutant in killed}
    seen |= {mutant.name: {ANY: None} for mutant in (living, equivalent)}
    monkeypatch.setitem(EQUIVALENTS, equivalent.name, "for the sake of this test")
    benchmark.show_rooms(AROUND, seen, {"machine": "none"}, tmp_path)
    total = rows_of(tmp_path / "museum_rooms.csv")[-1]
    assert list(total.values()) == ["all", str(len(AROUND)), "10", "8", "1", "1", "88.9%"]
    assert Counter(row["first test to fail"] for row in rows_of(tmp_path / "museum_package.csv")) == {
        "models/test_vae.py::test_it": 8,
        "equivalent": 1,
        "none": 1,
    }
    assert "random sample" in capsys.readouterr().out


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


@pytest.fixture
def tables(seen, tmp_path, monkeypatch):
    """Return a function that writes the tables of given outcomes to a folder, which it returns."""

    def write(outcomes):
        monkeypatch.setattr("museum.visit.outcomes", lambda *_: outcomes.items())
        monkeypatch.setattr("museum.systematic.all_mutants", lambda: MUTATIONS[::EVERY])
        benchmark.run(SimpleNamespace(quick=False, all=False, processes=2, results=tmp_path))
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
    with pytest.raises(SystemExit, match=f"^no test sees: {re.escape(BUGS[4].name)}$"):
        tables(seen | {BUGS[4].name: {FINITE_DIFFERENCES: None}})


def test_an_equivalent_that_is_seen_is_an_error(seen, tables, monkeypatch):
    name = next(mutant.name for mutant in MUTATIONS if any(seen.get(mutant.name, {}).values()))
    monkeypatch.setitem(EQUIVALENTS, name, "for the sake of this test")
    with pytest.raises(SystemExit, match=f"^listed as equivalent, but seen: {re.escape(name)}$"):
        tables(seen)
