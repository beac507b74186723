"""The house: which room may import from which, how long a file may grow, and what ``import minivae`` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minivae

ROOT = Path(minivae.__file__).parents[1]
PACKAGE = ROOT / "minivae"

# From the roof to the ground.  A file imports from rooms below its own and from its own room; never from one above or beside it.
FLOORS = (
    ("__init__", "__main__"),
    ("command",),
    ("pages",),
    ("runs",),
    ("study",),
    ("proof",),
    ("models",),
    ("evaluation",),
    ("pictures",),
    ("training",),
    ("nn", "optim"),
    ("ops",),
    ("autodiff",),
    ("kernels",),
    ("datasets",),
    ("backend", "op"),
    ("checks",),
)
DEPTH = {room: depth for depth, rooms in enumerate(FLOORS) for room in rooms}
LONGEST = 280  # lines: a longer file is a sign that two concepts share it
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a dotted name: "minivae.ops.kl" is in "ops", "minivae.VAE" is the face of the package itself."""
    name = [*module.split("."), "__init__"][1]
    return name if name in DEPTH else "__init__"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that is imported, wherever in the file, also for the type checker alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names_of(path: Path) -> list[str]:
    return list(imports(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_arrows_only_go_down(path):
    room = room_of(module_of(path))
    for name in names_of(path):
        if name.partition(".")[0] == "minivae" and name not in ("minivae.__version__", "minivae.__doc__"):
            below = DEPTH[room_of(name)] > DEPTH[room]
            assert below or room_of(name) == room, f"{room} may not import {name}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_can_be_held_in_the_head_and_says_what_it_holds(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST, "split it by concept"
    assert ast.get_docstring(ast.parse(text))


def test_every_room_has_its_floor_and_no_floor_is_empty():
    assert {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()} == set(DEPTH)


def test_tests_and_benchmarks_have_the_rooms_of_the_package():
    """A folder of tests is a room, what tests stand on, the museum, or the benchmarks' own."""
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= {*DEPTH, "support", "museum", "benchmarks"}


def test_no_two_test_files_share_a_name():
    """Pytest imports them by their names alone, and collects neither."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_only_the_backend_imports_cupy_and_nothing_imports_pickle():
    importing = {name.partition(".")[0]: module_of(path) for path in FILES for name in names_of(path)}
    assert not {"pickle", "dill", "joblib", "marshal", "shelve"} & set(importing)
    cupy = {module_of(path) for path in FILES for name in names_of(path) if name.partition(".")[0] in ("cupy", "cupyx")}
    assert cupy == {"minivae.backend"}


def test_no_file_allows_numpy_to_unpickle():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path


def test_no_op_decides_by_device():
    """An op is written against ``xp``: neither NumPy nor CuPy is named in its code."""
    for path in (PACKAGE / "ops").glob("*.py"):
        if path.stem not in ("__init__", "broadcast", "examples"):
            assert not {name.partition(".")[0] for name in names_of(path)} & {"numpy", "cupy"}, path


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules outside the standard library that a fresh interpreter has after ``statement``."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}} - set(sys.stdlib_module_names))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_package_loads_numpy_and_nothing_else():
    assert loaded_by("import minivae") - loaded_by("import numpy.random") == {"minivae"}


def test_every_public_name_is_there():
    for name in minivae.__all__:
        assert hasattr(minivae, name)
