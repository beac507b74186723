"""From outside: have the mutants tried in a process of its own, and tell which of them nothing has seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from museum.equivalents import EQUIVALENTS

TESTS = Path(__file__).parents[1]
Outcome = dict[str, str | None]  # kind of check → the first test that failed, None where all passed


def outcomes(*arguments: str) -> Iterator[tuple[str, Outcome]]:
    """Run ``python -m museum`` with these arguments and yield name and outcome of each mutant as it is done."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(filter(None, (str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH"))))
    with (
        tempfile.TemporaryFile("w+") as noise,
        subprocess.Popen(
            [sys.executable, "-m", "museum", *arguments],
            env=os.environ | threads | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            yield tuple(json.loads(line))
        if process.wait():
            noise.seek(0)
            raise RuntimeError(f"the trials broke off\n{noise.read()}")


def complaints(seen: Mapping[str, Outcome]) -> list[str]:
    """Return what is wrong with these outcomes: mutants that live, and that are wrongly said to be no mutants at all."""
    living = [name for name, outcome in seen.items() if not any(outcome.values())]
    return [f"no test sees: {name}" for name in living if name not in EQUIVALENTS] + [
        f"listed as equivalent, but seen: {name}" for name in EQUIVALENTS if name in seen and name not in living
    ]
