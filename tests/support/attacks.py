"""Runs the tests that print how much they have tried, and writes what they print to a page: ``python tests/support/attacks.py``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "benchmarks/results/attacks.md"
FILES = (
    *("tests/datasets/test_corruption.py", "tests/runs/test_records.py", "tests/training/test_interruption.py"),
    *("tests/training/test_resume.py", "tests/training/test_nonfinite.py", "tests/models/test_load.py"),
    *("tests/command/test_edges.py", "tests/command/test_bad_input.py"),
)
HEAD = """# What was tried against files, inputs and moments

Every line is what a test has printed, written here by `python tests/support/attacks.py`; a test that fails prints none.

- **Compared with a checksum whenever they are read:** models and states of trainings (SHA-256 over record and arrays), every
  member of a `.npz` (CRC-32), the files of MNIST (SHA-256).
- **Without one:** a `.npy`, or an IDX file of your own.  Its size alone is compared with the shape in its header, so a flipped
  bit in a number, or in the header where the size stays the same, is another number or shape.  Of `config.json` every value is
  looked at, but one as possible as the first is believed.  `history.csv` and pictures are never read.
- **Memory:** data in a `.npy` may be larger than it.  The figure below, for 8 GiB of float32, counts all pages that were ever
  resident, also those of the mapped file, which the system may take back at any time.

| what was tried, and what came of it | test |
|---|---|
"""


class Printed:
    """Collects what the tests that pass have printed."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed and report.capstdout.strip():
            name = report.nodeid.partition("[")[0].removeprefix("tests/")
            self.rows += [(line.strip(), name) for line in report.capstdout.splitlines() if any(map(str.isdigit, line))]


def printing(file: str) -> Iterator[str]:
    """Yield the tests of a file that print."""
    for part in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        calls = (node for node in ast.walk(part) if isinstance(node, ast.Call))
        if getattr(part, "name", "").startswith("test_") and any(getattr(call.func, "id", "") == "print" for call in calls):
            yield f"{file}::{part.name}"


def main() -> int:
    printed = Printed()
    tests = [test for file in FILES for test in printing(file)]
    code = pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *(f"{ROOT}/{test}" for test in tests)], [printed])
    PAGE.write_text(HEAD + "".join(f"| {line} | `{test}` |\n" for line, test in printed.rows), encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
