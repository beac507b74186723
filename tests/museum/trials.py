"""Trials: pytest collects the checks once, and each mutant is put into a fork of that process.

``python -m museum.trials bugs mutations`` prints a line of JSON for every mutant: its name, and kind of check → the first test of that
kind that failed, or null where all passed.  A kind of which no test looks at the changed code is left out.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from museum import engine, estimates, losses, training
from museum.bug import Bug
from museum.checks import CHECKS, KINDS, Check, checks_for
from museum.mutants import Mutant, package_functions
from museum.systematic import all_mutants

from minivae.op import Op
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS

TESTS = Path(__file__).parents[1]
SECONDS = 20  # for one test: a mutant can make a loop endless
BUGS = (*losses.BUGS, *estimates.BUGS, *training.BUGS, *engine.BUGS)

Outcome = dict[str, str | None]


class Trials:
    """A pytest plugin that runs, instead of the tests, for each mutant the tests that look at it.

    With ``impatient`` one failed test of any kind is enough.
    """

    def __init__(self, mutants: Sequence[Mutant], processes: int, impatient: bool, report: Callable[[str, Outcome], None]) -> None:
        self.mutants, self.processes, self.impatient, self.report = mutants, processes, impatient, report
        self.items: dict[Check, list[pytest.Item]] = {}

    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings  # pytest wants to import it first

        settings.register_profile("museum", phases=[Phase.generate])  # that a test fails is enough: no smaller example is searched
        settings.load_profile("museum")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        assert not session.testsfailed, "the checks cannot be collected"
        for check in CHECKS:
            self.items[check] = [item for item in session.items if name_of(item).startswith(check.tests)]
            assert self.items[check], f"there is no test {check.tests}"
        if not self.impatient:  # the right code has to pass; and references that tests remember are then there for all mutants
            failed = first_failure([item for items in self.items.values() for item in items])
            assert failed is None, f"{failed} fails without any mutant"
        package_functions()
        gc.freeze()
        for mutant, outcome in in_forks(self.outcome, self.mutants, self.processes):
            self.report(mutant.name, outcome)
        return True

    def outcome(self, mutant: Mutant) -> Outcome:
        """Put the bug in and see what the checks make of it."""
        ops = ops_that_run(mutant.apply())
        chosen: dict[str, list[pytest.Item]] = {}
        for check in checks_for(mutant.file, isinstance(mutant, Bug)):
            items = [item for item in self.items[check] if op_of(item) in (None, *ops)]
            if items:
                chosen.setdefault(check.kind, []).extend(items)
        assert chosen, f"no check looks at {mutant.name}"
        outcome: Outcome = {}
        for kind in KINDS:
            if kind in chosen and not (self.impatient and any(outcome.values())):
                outcome[kind] = first_failure(chosen[kind])
        return outcome


def ops_that_run(functions: set[str]) -> set[str]:
    """Return the names of the ops whose forward or backward is one of these functions, or calls it."""

    def names_in(code: CodeType) -> set[str]:
        inner = (names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType))
        return {code.co_name, *code.co_names}.union(*inner)

    def names_of(op: Op) -> set[str]:
        return names_in(op.forward.__code__) | names_in(op.backward.__code__)

    return {name for name, op in (ALL_OPS | SURROGATE_GRADIENTS).items() if functions & names_of(op)}


def name_of(item: pytest.Item) -> str:
    return item.nodeid.removeprefix("tests/")


def op_of(item: pytest.Item) -> str | None:
    """Return the name of the op that a test of each op is run for."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    example, name = parameters.get("example"), parameters.get("name")
    return example.op.name if example else name if name in ALL_OPS else None


def first_failure(items: Sequence[pytest.Item]) -> str | None:
    """Run tests up to the first that fails, and return its name."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    failed = None
    for item, following in itertools.pairwise((*items, None)):
        signal.alarm(SECONDS)
        reports = runtestprotocol(item, nextitem=following, log=False)
        signal.alarm(0)
        if any(report.failed for report in reports):
            failed = name_of(item)
            break
    items[0].session._setupstate.teardown_exact(None)  # the fixtures that the rest would have used
    return failed


FORK = multiprocessing.get_context("fork")


def in_forks(function: Callable[[Any], Any], arguments: Sequence[Any], processes: int) -> Iterator[tuple[Any, Any]]:
    """Yield each argument and what ``function`` makes of it in a process of its own, as they are done."""

    def call(argument: Any, sender: Connection) -> None:
        sender.send(function(argument))

    waiting, running = list(reversed(arguments)), {}
    while waiting or running:
        while waiting and len(running) < processes:
            argument = waiting.pop()
            receiver, sender = FORK.Pipe(duplex=False)
            process = FORK.Process(target=call, args=(argument, sender))
            process.start()
            sender.close()
            running[receiver] = process, argument
        for receiver in wait(list(running)):
            process, argument = running.pop(receiver)
            try:
                yield argument, receiver.recv()
            except EOFError:
                raise RuntimeError(f"no result for {argument}") from None
            process.join()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m museum.trials")
    parser.add_argument("collections", nargs="+", choices=["bugs", "mutations"])
    parser.add_argument("--every", type=int, default=1, help="of the mutations, only every so many")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--impatient", action="store_true", help="stop at the first failed test of a mutant")
    args = parser.parse_args()
    mutants: list[Mutant] = []
    if "bugs" in args.collections:
        mutants += BUGS
    if "mutations" in args.collections:
        mutants += list(all_mutants())[:: args.every]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what pytest and the tests print must not be read as an answer
    trials = Trials(mutants, args.processes, args.impatient, lambda *answer: print(json.dumps(answer), file=answers, flush=True))
    files = sorted({test.partition("::")[0] for check in CHECKS for test in check.tests})
    sys.exit(pytest.main(["-q", "-s", "--tb=no", "-p", "no:cacheprovider", *(str(TESTS / file) for file in files)], [trials]))


if __name__ == "__main__":
    main()
