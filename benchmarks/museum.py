"""The bug museum: which kind of check sees which bug.

Bugs that public code for variational autoencoders has really had are planted in this package, in memory, one at a time.  So is
every small mistake that can be made in an op's forward or backward: a sign, a factor, a dropped term, a wrong operand or axis.  For
each, the table says which of our tests fail, by kind:

    finite differences   a gradient disagrees with the slope of the values
    distribution         samples do not follow the intended distribution
    oracle               a number disagrees with one from another source: plain NumPy, scipy, mpmath, a closed form
    invariant            a property that has to hold for any numbers does not hold

"yes": a check of the kind fails.  "no": all checks of the kind that run through the place pass.

With ``--all`` the rooms around the ops are mutated instead, and each mutant is run against the tests that run through its place.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

from benchmarks.report import RESULTS, Table, machine, say
from minivae.checks import installing

TESTS = str(Path(__file__).parents[1] / "tests")


def add_arguments(parser):
    parser.add_argument("--processes", type=int, default=2, help="number of mutants that are tried at the same time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the tables")
    parser.add_argument("--quick", action="store_true", help="the museum alone, without the small mistakes")
    parser.add_argument("--all", action="store_true", help="the small mistakes in the rooms around the ops, and nothing else")
    parser.add_argument("--minutes", type=float, default=28.0, help="with --all: minutes after which no further mutant is tried")


def run(args):
    for name in ("pytest", "hypothesis", "mpmath", "scipy"):
        if not importlib.util.find_spec(name):
            raise SystemExit(f"museum: the tests need {name}, which is not installed ({installing('test')})")
    if TESTS not in sys.path:
        sys.path.insert(0, TESTS)
    from museum.exhibits import BUGS
    from museum.systematic import all_mutants, package_mutants
    from museum.visit import complaints, outcomes

    started = time.perf_counter()
    if args.all:
        seen = dict(outcomes("package", "--processes", str(args.processes), "--minutes", str(args.minutes)))
        header = machine("1") | {"took": f"{time.perf_counter() - started:.0f} s on {args.processes} processes"}
        show_rooms(list(package_mutants()), seen, header, args.results)
        if wrong := complaints(seen):
            raise SystemExit("\n".join(wrong))
        return
    seen = dict(outcomes("bugs", *[] if args.quick else ["mutations"], "--processes", str(args.processes)))
    header = machine("1") | {"took": f"{time.perf_counter() - started:.0f} s on {args.processes} processes"}
    show_bugs(BUGS, seen, header, args.results)
    if not args.quick:
        show_mutations(list(all_mutants()), seen, header, args.results)
    if wrong := complaints(seen):
        raise SystemExit("\n".join(wrong))


def show_rooms(mutants, seen, header, folder):
    """Print how many mutants of each room the tests killed, and for each mutant which test killed it."""
    from museum.checks import ANY
    from museum.equivalents import EQUIVALENTS
    from museum.systematic import ROOMS

    trials = Table("museum_package", ("mutant", "first test to fail"), header, folder)
    for mutant in mutants:
        if mutant.name in seen:
            trials.add(mutant.name, seen[mutant.name][ANY] or ("equivalent" if mutant.name in EQUIVALENTS else "none"))
    trials.finish(show=False)
    columns = ("room", "mutants", "tried", "killed", "equivalent", "living", "killed of the others")
    table = Table("museum_rooms", columns, header, folder)
    for room, files in (*ROOMS.items(), ("all", {mutant.file for mutant in mutants})):
        names = [mutant.name for mutant in mutants if mutant.file in files]
        tried = [name for name in names if name in seen]
        killed = sum(bool(seen[name][ANY]) for name in tried)
        equivalent = sum(name in EQUIVALENTS for name in tried)
        rate = f"{killed / (len(tried) - equivalent):.1%}" if len(tried) > equivalent else ""
        table.add(room, len(names), len(tried), killed, equivalent, len(tried) - killed - equivalent, rate)
    table.finish()
    if len(seen) < len(mutants):
        say("The time did not suffice for all: those that were tried are a random sample, the same every time.")


def show_bugs(bugs, seen, header, folder):
    from museum.checks import FINITE_DIFFERENCES, KINDS

    columns = ("group", "bug", "file", "at home in", "what it does", "who is blind to it", "first test to fail")
    labels = Table("museum_labels", columns, header, folder)
    matrix = Table("museum", ("group", "bug", *KINDS), header, folder)
    for bug in bugs:
        outcome = seen[bug.name]
        first = next((test for test in outcome.values() if test), "none")
        labels.add(bug.group, bug.name, bug.file, bug.seen, bug.effect, bug.blind, first)
        matrix.add(bug.group, bug.name, *(("yes" if outcome[kind] else "no") if kind in outcome else "" for kind in KINDS))
    labels.finish()
    matrix.finish()
    passing = sum(not seen[bug.name].get(FINITE_DIFFERENCES) for bug in bugs)
    say(
        f"{passing} of {len(bugs)} bugs pass every gradient check: there the backward is right, for the wrong function, or nothing "
        "is differentiated.  The very first is of this kind: with exp(log_var) for the standard deviation every gradient is exact, "
        "the loss falls, and the bound is that of no model.  What sees it is the distribution of the samples."
    )
    for kind in KINDS:
        alone = [bug.name for bug in bugs if [k for k in KINDS if seen[bug.name].get(k)] == [kind]]
        say(f"Seen by {kind} alone: {'; '.join(alone) or 'none'}.")


def show_mutations(mutations, seen, header, folder):
    from museum.checks import FINITE_DIFFERENCES, KINDS
    from museum.equivalents import EQUIVALENTS

    functions = {}
    for mutant in mutations:
        functions.setdefault((mutant.file, mutant.function), []).append(mutant.name)
    functions["all", ""] = [mutant.name for mutant in mutations]
    table = Table("museum_mutations", ("file", "function", "mutations", *KINDS, "equivalent"), header, folder)
    for place, names in functions.items():
        by_kind = ([bool(seen[name][kind]) for name in names if kind in seen[name]] for kind in KINDS)
        table.add(*place, len(names), *(sum(looks) if looks else "" for looks in by_kind), sum(n in EQUIVALENTS for n in names))
    table.finish()
    for name, reason in EQUIVALENTS.items():
        say(f"equivalent: {name}\n    {reason}")
    backwards = [m.name for m in mutations if m.function.endswith("_backward") and m.name not in EQUIVALENTS]
    caught = sum(bool(seen[name].get(FINITE_DIFFERENCES)) for name in backwards)
    say(
        f"Of {len(backwards)} mistakes in backward passes finite differences see {caught}: without them a derivation is only a "
        f"claim.  The other {len(backwards) - caught} leave the gradients right that such a check asks for: they are in memory "
        "that is written to, a gradient nobody needed, at a kink, far out, or in a backward that is no derivative on purpose."
    )
