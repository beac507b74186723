"""``python -m museum bugs mutations`` prints a line of JSON for every mutant as it is done: its name, and its outcome.

``python -m museum package`` does the same for the rooms around the ops; with ``--known FILE`` for those of which a former trial
there tells by what test they were seen.

The outcome is kind of check → the first test of that kind that failed, or null where all passed.  A kind of which no test looks
at the changed code is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

import pytest

from museum.checks import CHECKS
from museum.exhibits import BUGS
from museum.mutants import Mutant
from museum.reach import Search, files
from museum.systematic import all_mutants, package_mutants
from museum.trials import Trials
from museum.visit import TESTS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m museum")
    parser.add_argument("collections", nargs="+", choices=["bugs", "mutations", "package"])
    parser.add_argument("--every", type=int, default=1, help="of the mutations, try only every so many")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no mutant is begun with later than that")
    parser.add_argument("--known", type=Path, help="JSON: mutant → the test that saw it before")
    parser.add_argument("--impatient", action="store_true", help="leave a mutant alone when a first test has failed")
    args = parser.parse_args()
    mutants: list[Mutant] = [*BUGS] if "bugs" in args.collections else []
    mutants += list(all_mutants())[:: args.every] if "mutations" in args.collections else []
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what pytest and the tests print must not be read as an answer

    def report(*answer: object) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    if "package" in args.collections:
        mutants = list(package_mutants())
        random.Random(0).shuffle(mutants)  # so that those that are tried in time are a fair sample
        trials: Trials = Search(mutants[:: args.every], args.processes, True, report)
        trials.until = time.monotonic() + 60 * args.minutes
        if args.known:
            trials.known = json.loads(args.known.read_text(encoding="utf-8"))
            trials.mutants = [mutant for mutant in mutants if mutant.name in trials.known]
            paths = sorted({TESTS / test.partition("::")[0] for test in trials.known.values()})
        else:
            paths = files()
    else:
        trials = Trials(mutants, args.processes, args.impatient, report)
        paths = sorted({TESTS / test.partition("::")[0] for check in CHECKS for test in check.tests})
    sys.exit(pytest.main(["-q", "-s", "--tb=no", "-p", "no:cacheprovider", *map(str, paths)], [trials]))


if __name__ == "__main__":
    main()
