"""Run the fast tests of the rooms that were touched: of the files given, or of everything that differs from the last commit.

``minivae/ops/kl.py`` leads to ``tests/ops``, ``minivae/nn.py`` to ``tests/test_nn.py``, a test to itself; the rules of the
house are always checked.  ``pre-commit`` calls this before every commit.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALWAYS = ("tests/test_rooms.py", "tests/study/test_equations.py")
PLACES = {"benchmarks": "tests/benchmarks", "README.md": "tests/test_readme.py", "minivae/__init__.py": "tests/test_public_face.py"}


def select(files: Iterable[str]) -> list[str]:
    """Return the folders and files of tests that stand for changed files, all as paths from the root of the repository."""
    found = set()
    for file in files:
        top, *rest = Path(file).parts
        name = rest[-1] if rest else ""
        if file in PLACES or top in PLACES:
            found.add(PLACES.get(file) or PLACES[top])
        elif top == "minivae" and rest:
            found.add(f"tests/{rest[0]}" if len(rest) > 1 else f"tests/test_{name}")
        elif top == "tests" and name.startswith("test_"):
            found.add(file)
    return [*ALWAYS, *sorted(test for test in found - set(ALWAYS) if (ROOT / test).exists())]


def changed() -> list[str]:
    """Return the files that differ from the last commit, and those that git does not know yet."""
    commands = (["diff", "--name-only", "HEAD"], ["ls-files", "--others", "--exclude-standard"])
    return [line for c in commands for line in subprocess.check_output(["git", *c], cwd=ROOT, text=True).splitlines()]


if __name__ == "__main__":
    tests = select(sys.argv[1:] or changed())
    print(*tests)
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-n", "2", *tests], cwd=ROOT))
