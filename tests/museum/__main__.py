"""``python -m museum bugs mutations`` prints a line of JSON for every mutant as it is done: its name, and its outcome.

The outcome is kind of check → the first test of that kind that failed, or null where all passed.  A kind of which no test looks
at the changed code is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

import pytest

from museum.checks import CHECKS
from museum.exhibits import BUGS
from museum.mutants import Mutant
from museum.systematic import all_mutants
from museum.trials import Trials
from museum.visit import TESTS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m museum")
    parser.add_argument("collections", nargs="+", choices=["bugs", "mutations"])
    parser.add_argument("--every", type=int, default=1, help="of the mutations, try only every so many")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--impatient", action="store_true", help="leave a mutant alone when a first test has failed")
    args = parser.parse_args()
    mutants: list[Mutant] = [*BUGS] if "bugs" in args.collections else []
    mutants += list(all_mutants())[:: args.every] if "mutations" in args.collections else []
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what pytest and the tests print must not be read as an answer
    trials = Trials(mutants, args.processes, args.impatient, lambda *answer: print(json.dumps(answer), file=answers, flush=True))
    files = sorted({test.partition("::")[0] for check in CHECKS for test in check.tests})
    sys.exit(pytest.main(["-q", "-s", "--tb=no", "-p", "no:cacheprovider", *(str(TESTS / file) for file in files)], [trials]))


if __name__ == "__main__":
    main()
