"""The bug museum: which kind of check sees which bug.

Bugs that public code for variational autoencoders has really had are written into this package, in memory, one at a time; and so is
every small mistake that can be made in an op's forward or backward: a sign, a factor, a dropped term, the wrong operand or axis.  Of
each it is asked which of our tests fail, by kind:

    finite differences   a gradient disagrees with the values that it should be the gradient of
    distribution         what is drawn does not follow the distribution that it is named after
    oracle               a number disagrees with one from elsewhere: plain NumPy, scipy, mpmath, a closed form
    invariant            something does not hold that has to hold whatever the numbers are

"yes" means that a check of the kind fails, "no" that the checks of this kind that look at the place all pass.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

from benchmarks.report import RESULTS, Table, machine, say

TESTS = Path(__file__).parents[1] / "tests"


def add_arguments(parser):
    parser.add_argument("--processes", type=int, default=2, help="mutants that are tried at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the tables")
    parser.add_argument("--quick", action="store_true", help="the museum alone, without the small mistakes")


def run(args):
    missing = [name for name in ("pytest", "hypothesis", "mpmath", "scipy") if not importlib.util.find_spec(name)]
    if missing:
        raise SystemExit(f"museum: it runs the tests, and {missing[0]} is not installed (pip install 'minivae[test]')")
    sys.path.insert(0, str(TESTS))
    from museum.exhibits import BUGS
    from museum.systematic import all_mutants
    from museum.visit import complaints, outcomes

    mutations = [] if args.quick else list(all_mutants())
    collections = ["bugs"] if args.quick else ["bugs", "mutations"]
    started = time.perf_counter()
    seen = dict(outcomes(*collections, "--processes", str(args.processes)))
    header = machine() | {"took": f"{time.perf_counter() - started:.0f} s on {args.processes} processes"}
    show_bugs(BUGS, seen, header, args.results)
    if mutations:
        show_mutations(mutations, seen, header, args.results)
    wrong = complaints(seen)
    if wrong:
        raise SystemExit("\n".join(wrong))


def show_bugs(bugs, seen, header, folder):
    from museum.checks import FINITE_DIFFERENCES, KINDS

    labels = Table("museum_labels", ("group", "bug", "file", "seen in", "what it does", "who is blind", "first test to fail"), header, folder)
    matrix = Table("museum", ("group", "bug", *KINDS), header, folder)
    for bug in bugs:
        outcome = seen[bug.name]
        first = next((test for test in outcome.values() if test), "none")
        labels.add(bug.group, bug.name, bug.file, bug.seen, bug.effect, bug.blind, first)
        matrix.add(bug.group, bug.name, *(sight(outcome, kind) for kind in KINDS))
    labels.finish()
    matrix.finish()
    passing = sum(seen[bug.name].get(FINITE_DIFFERENCES) is None for bug in bugs)
    say(
        f"{passing} of {len(bugs)} bugs pass every gradient check: there the backward is right, for the wrong function, or nothing is "
        "differentiated.\nThe very first is of this kind: with exp(log_var) for the standard deviation every gradient is exact, the loss "
        "falls, and the\nbound is that of no model.  What sees it is the distribution of the samples."
    )
    for kind in KINDS:
        alone = [bug.name for bug in bugs if [k for k in KINDS if seen[bug.name].get(k)] == [kind]]
        say(f"Seen by {kind} alone: " + ("; ".join(alone) or "none") + ".")


def sight(outcome, kind):
    return ("yes" if outcome[kind] else "no") if kind in outcome else ""


def show_mutations(mutations, seen, header, folder):
    from museum.checks import FINITE_DIFFERENCES, KINDS
    from museum.equivalents import EQUIVALENTS

    table = Table("museum_mutations", ("file", "function", "mutations", *KINDS, "equivalent"), header, folder)
    functions = {(mutant.file, mutant.function): [] for mutant in mutations}
    for mutant in mutations:
        functions[mutant.file, mutant.function].append(mutant.name)
    for (file, function), names in [*functions.items(), (("all", ""), [mutant.name for mutant in mutations])]:
        counts = (sum(bool(seen[name].get(kind)) for name in names) for kind in KINDS)
        table.add(file, function, len(names), *counts, sum(name in EQUIVALENTS for name in names))
    table.finish()
    for name, reason in EQUIVALENTS.items():
        say(f"equivalent: {name}\n    {reason}")
    backwards = [mutant.name for mutant in mutations if mutant.function.endswith("_backward") and mutant.name not in EQUIVALENTS]
    caught = sum(bool(seen[name].get(FINITE_DIFFERENCES)) for name in backwards)
    say(
        f"Of {len(backwards)} mistakes in backward passes finite differences see {caught}: without them a derivation is only a claim.  "
        f"The other\n{len(backwards) - caught} leave those gradients right that were asked for, and wrong what was not: memory "
        "that is written to, a gradient that nobody\nneeded, a number at a kink or far out."
    )
