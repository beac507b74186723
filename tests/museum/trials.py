"""Trials: pytest collects the checks once, and each mutant is put into a fork of that process."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import CodeType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from _pytest.warnings import catch_warnings_for_item

from minivae.op import Op
from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from museum.bug import Bug
from museum.checks import ANY, CHECKS, KINDS, Check, checks_for
from museum.mutants import Mutant, package_functions
from museum.visit import Outcome

SECONDS = 30  # of computing, for one test: a mutant can make a loop endless
ENDLESS = 900  # by the clock, for all tests of a mutant: it can also wait for what never comes
FORK = multiprocessing.get_context("fork")


class Trials:
    """A pytest plugin: instead of the tests it runs, for each mutant, those that look at it.

    With ``impatient`` a mutant is done with when one test of any kind has failed.  No mutant is begun with after ``until``.
    """

    until = float("inf")

    def __init__(self, mutants: Sequence[Mutant], processes: int, impatient: bool, report: Callable[[str, Outcome], None]) -> None:
        self.mutants, self.processes, self.impatient, self.report = mutants, processes, impatient, report
        self.items: dict[Check, list[pytest.Item]] = {}

    def pytest_configure(self) -> None:
        from hypothesis import HealthCheck, Phase, settings  # pytest wants to import it first

        # That a test fails is enough: no smaller example is looked for, and none is kept for tests of the right code.  On a busy
        # machine an example may take longer than hypothesis likes, which would be taken for the mutant's doing.
        slow = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
        settings.register_profile("museum", phases=[Phase.generate], database=None, **slow)
        settings.load_profile("museum")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        assert not session.testsfailed, "the checks cannot be collected"
        self.prepare(session)
        package_functions()
        gc.freeze()
        in_time = itertools.takewhile(lambda _: time.monotonic() < self.until, self.mutants)
        for mutant, outcome in in_forks(self.outcome, in_time, self.processes):
            self.report(mutant.name, outcome)
        return True

    def prepare(self, session: pytest.Session) -> None:
        """Find the tests of every check, and see that the right code passes them."""
        for check in CHECKS:
            self.items[check] = [item for item in session.items if name_of(item).startswith(check.tests)]
            for test in check.tests:
                assert any(name_of(item).startswith(test) for item in self.items[check]), f"there is no {test}"
        if not self.impatient:  # the right code has to pass; and references that tests remember are then there for all forks
            failed = first_failure([item for items in self.items.values() for item in items])
            assert failed is None, f"{failed} fails without any mutant"

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


def reports_of(item: pytest.Item, following: pytest.Item | None) -> list[pytest.TestReport]:
    """Run a test as pytest does, where a warning that nobody expects is an error, without telling its outcome."""
    with catch_warnings_for_item(config=item.config, ihook=item.ihook, when="runtest", item=item):
        return runtestprotocol(item, nextitem=following, log=False)


def first_failure(items: Sequence[pytest.Item]) -> str | None:
    """Run tests up to the first that fails, and return its name."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    signal.signal(signal.SIGVTALRM, late)
    failed = None
    for item, following in zip(items, (*items[1:], None), strict=True):
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        reports = reports_of(item, following)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if any(report.failed for report in reports):
            failed = name_of(item)
            break
    items[0].session._setupstate.teardown_exact(None)  # the fixtures that the rest would have used
    return failed


def in_forks(trial: Callable[[Mutant], Outcome], mutants: Iterable[Mutant], processes: int) -> Iterator[tuple[Mutant, Outcome]]:
    """Yield each mutant and its outcome, tried in a process of its own, as they are done.

    A process that ends without an outcome, or does not end, was brought to that by its mutant: nobody could overlook it.
    """

    def call(mutant: Mutant, sender: Connection) -> None:
        sender.send(trial(mutant))

    waiting = iter(mutants)
    running: dict[Any, tuple[Any, Mutant, float]] = {}
    while True:
        for mutant in itertools.islice(waiting, processes - len(running)):
            receiver, sender = FORK.Pipe(duplex=False)
            process = FORK.Process(target=call, args=(mutant, sender))
            process.start()
            sender.close()
            running[receiver] = process, mutant, time.monotonic()
        if not running:
            return
        ready = wait(list(running), timeout=1)
        late = [receiver for receiver, (*_, began) in running.items() if time.monotonic() - began > ENDLESS]
        for receiver in {*ready, *late}:
            process, mutant, _ = running.pop(receiver)
            try:
                outcome = receiver.recv() if receiver in ready else {ANY: "none of them ended"}
            except EOFError:
                outcome = {ANY: "the process of the tests broke off"}
            yield mutant, outcome
            process.kill()
            process.join()
