"""Trials of the rooms around the ops: each mutant meets the tests that run through the place of its mistake, the quickest first.

Which these are is measured: the right code passes all tests once, while every call of a function of the package is noted.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from museum.checks import ANY, TESTS
from museum.mutants import PACKAGE, Mutant, functions_in, parsed, place
from museum.systematic import ROOMS
from museum.trials import FORK, Trials, first_failure, name_of, reports_of
from museum.visit import Outcome

SLOW = 10.0  # seconds of computing, from which on a test is left out
PATIENCE = 30.0  # seconds that the tests of one mutant may add up to, on the right code
# Tests of processes of their own, which a bug in memory does not reach, and what would take an hour.
ELSEWHERE = ("training/test_distributed.py", "training/test_interruption.py", "models/test_load.py")


Reached = tuple[float, set[Any]]  # how long a test takes, and the places of all functions of the package that it runs


def files() -> list[Path]:
    """Return the tests of ``ROOMS``, of the room above that reports what they made, and of other rooms those meant for them."""
    found = [TESTS / f"test_{Path(file).stem}.py" for file in ROOMS["engine"]]
    found += [TESTS / "test_tensor.py", TESTS / "kernels" / "test_whole.py", TESTS / "datasets" / "test_corruption.py"]
    for room in ("proof", "models", "evaluation", "training", "runs"):
        found += sorted((TESTS / room).glob("test_*.py"))
    return [path for path in found if path.relative_to(TESTS).as_posix() not in ELSEWHERE]


class Search(Trials):
    """Trials that stop at the first test that sees a mutant.

    ``known`` gives for a mutant the test that saw it before.  Where it is given nothing is measured: that test comes first, then
    the others of its file.
    """

    known: dict[str, str] | None = None

    def prepare(self, session: pytest.Session) -> None:
        self.tests = {name_of(item): item for item in session.items}
        if self.known is None:
            self.reached = self.measure_all(session.items)
        for mutant in self.mutants:
            __import__(f"minivae.{mutant.file.removesuffix('.py').replace('/', '.').removesuffix('.__init__')}")

    def measure_all(self, items: list[pytest.Item]) -> dict[str, Reached]:
        """Return what ``measure`` yields, the tests being shared out among the processes in forks of this one."""
        receivers, size = [], -(-len(items) // self.processes)
        for start in range(0, len(items), size):
            receiver, sender = FORK.Pipe(duplex=False)
            part = items[start : start + size]
            FORK.Process(target=lambda part=part, sender=sender: sender.send(dict(self.measure(part)))).start()
            receivers.append(receiver)
        return {name: reached for receiver in receivers for name, reached in receiver.recv().items()}

    def measure(self, items: list[pytest.Item]) -> Iterator[tuple[str, Reached]]:
        """Yield for each test that the right code passes in time how long it takes, and the places of all functions it runs."""
        for item, following in zip(items, (*items[1:], None), strict=True):
            places: set[Any] = set()

            def note(frame: Any, event: str, argument: Any, places: set[Any] = places) -> None:
                if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
                    places.add(place(frame.f_code))

            def late(*_: Any) -> None:
                raise TimeoutError

            signal.signal(signal.SIGVTALRM, late)
            signal.setitimer(signal.ITIMER_VIRTUAL, 2 * SLOW)  # the notes cost time, too
            began = time.process_time()
            sys.setprofile(note)
            threading.setprofile(note)
            try:
                reports = reports_of(item, following)
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            if all(report.passed for report in reports):
                yield name_of(item), (time.process_time() - began, places)

    def order(self, mutant: Mutant) -> list[pytest.Item]:
        """Return the tests that a mutant has to pass to live, in the order in which it meets them."""
        if self.known is not None:
            first = self.known[mutant.name]
            file = first.partition("::")[0]
            names = [name for name in self.tests if name.partition("::")[0] == file]
            return [self.tests[name] for name in sorted(names, key=lambda name: name != first)]
        path = str(PACKAGE / mutant.file)
        right, wrong = (functions_in(compile(tree, path, "exec")) for tree in (parsed(mutant.file), mutant.changed()))
        changed = {place(old) for old, new in zip(right, wrong, strict=True) if old != new}
        chosen, seconds = [], 0.0
        for name, (took, places) in sorted(self.reached.items(), key=lambda pair: pair[1][0]):
            if places & changed:
                seconds += took
                if chosen and seconds > PATIENCE:
                    break
                chosen.append(self.tests[name])
        return chosen

    def outcome(self, mutant: Mutant) -> Outcome:
        chosen = self.order(mutant)
        mutant.apply()
        return {ANY: first_failure(chosen) if chosen else None}
