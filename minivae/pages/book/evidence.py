"""What is checked while the book is made: gradients against finite differences, and the tests that prove an equation."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from minivae.checks import installing
from minivae.proof import verify
from minivae.proof.verify import Row
from minivae.study import guide, museum, source


@dataclass(frozen=True)
class Outcome:
    """The result of one test function, over all its cases."""

    passed: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """The rows of ``minivae gradcheck``, and test → outcome of those that were run."""

    rows: tuple[Row, ...] = ()
    tests: dict[str, Outcome] = field(default_factory=dict)
    why_no_tests: str = ""
    symptoms: dict[str, dict[str, Any]] = field(default_factory=dict)  # bug → what a training with it shows; "": the right code

    def of(self, name: str) -> list[Row]:
        """Return the rows of an op, or of a model under every likelihood."""
        return [row for row in self.rows if row.name == name or row.name.startswith(f"{name}, ")]


def gather() -> Evidence:
    """Run every gradient check and, in parallel, the tests that the guided path names as the proof of an equation."""
    missing = [name for name in ("pytest", "hypothesis", "scipy", "mpmath") if not importlib.util.find_spec(name)]
    why = f"the tests need {', '.join(missing)} ({installing('test')})" if missing else ""
    if not source.TESTS.is_dir():
        why = "the package was installed without its tests"
    nodes = sorted({node for step in guide.reading_order() for node in proving_tests(step.tag, step.command)})
    with ThreadPoolExecutor(1) as beside:  # the tests run in one other process
        running, symptoms = beside.submit(run_tests, [] if why else nodes), beside.submit(train_with_bugs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model of one epoch has learned little, which is expected
            rows = (*verify.check_ops(), *verify.check_models())
        return Evidence(rows, running.result(), why, symptoms.result())


def train_with_bugs() -> dict[str, dict[str, Any]]:
    """Return what a small training shows with each bug of the museum; nothing if there is no museum."""
    if not museum.present():
        return {}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = os.environ | threads | {"PYTHONPATH": os.pathsep.join((str(source.TESTS), str(source.ROOT)))}
    command = [sys.executable, "-m", "museum.symptoms"]
    done = subprocess.run(command, cwd=source.ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    return {record["bug"]: record for record in map(json.loads, done.stdout.splitlines())}


def proving_tests(tag: str, command: str) -> list[str]:
    """Return the test functions that a command such as ``pytest tests/a.py -k word`` runs; if some carry the tag, those alone."""
    program, *arguments = shlex.split(command)
    if program != "pytest":
        return []
    file, word = arguments[0], arguments[2] if len(arguments) > 2 else ""
    chosen = [test.node for test in source.all_tests() if test.node.startswith(f"{file}::") and word in test.node]
    carrying = {test.node for test in source.tests_of(tag)}
    return [node for node in chosen if node in carrying] or chosen


def run_tests(nodes: list[str]) -> dict[str, Outcome]:
    """Run test functions in a process of their own and return how each came out."""
    found: dict[str, Outcome] = {}
    if not nodes:
        return found
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
        command += [f"--junitxml={report}", "-o", "junit_family=xunit1", *nodes]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        subprocess.run(command, cwd=source.ROOT, env=environment, capture_output=True, check=False)
        for case in ElementTree.parse(report).iter("testcase") if report.is_file() else ():
            node = f"{case.get('file')}::{(case.get('name') or '').partition('[')[0]}"
            failed = any(case.find(kind) is not None for kind in ("failure", "error"))
            passed = not failed and case.find("skipped") is None
            so_far = found.get(node, Outcome())
            seconds = so_far.seconds + float(case.get("time") or 0)
            found[node] = Outcome(so_far.passed + passed, so_far.failed + failed, seconds)
    return found
