"""What to think of first when a test fails, by the folder or file that it is in; shown below the failure."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FIRST = {
    "ops": "does backward still say what the docstring of forward derives?  `minivae gradcheck --op NAME` names the wrong entry; "
    "a case's domain and reference are in tests/support/op_cases.py",
    "test_autodiff.py": "is a gradient written to in place, or one that two tensors share?",
    "test_tensor.py": "does an op now take, or return, something else than an array of floats?",
    "proof": "did the error model change (finite_differences.py, precision.py), or is an input now near a kink?",
    "models": "a gradient: `minivae gradcheck`.  A figure after training: does it fail with other seeds and BLAS kernels too?  "
    "Then a term or its weight has changed (models/objectives.py); if not, the bound of the test is too tight",
    "evaluation": "nats or bits, a mean or a sum over features, the axis of the samples",
    "training": "is something missing in Trainer.state(), or drawn from a generator that others use too?",
    "kernels": "op and kernel carry the same tags: do both lines still compute the same equation, in the same dtype?",
    "datasets": "shape, dtype and scale of what the reader returns; a damaged file must be refused in one line",
    "command": "run the command by hand with --debug, which shows the traceback",
    "pages": "open the page in a browser and look at its console; tests/support/browser.py says what the tests use",
    "pictures": "draw the picture by hand and look at it",
    "study": "a tag has to be in a docstring, behind a line of code, in a test, and in minivae/study/equations.md",
    "runs": "does a run directory written before the change still open?",
    "benchmarks": "a benchmark checks that contenders agree before it times them: which of them is wrong?",
    "museum": "a bug that no test sees: which check should?  `python -m benchmarks museum` shows which kinds see what",
    "test_rooms.py": "a file imports only from rooms below its own (FLOORS), and stays short",
    "test_readme.py": "run the block of the README by hand in an empty folder",
    "test_public_face.py": "a public name is in __all__, under TYPE_CHECKING, and where minivae.__getattr__ finds it",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    place = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    if report.failed and place in FIRST:
        report.sections.append(("Think first of", FIRST[place]))
    return report
