"""The house: which file may import which, how long a file may grow, and what ``import minivae`` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minivae

PACKAGE = Path(minivae.__file__).parent

# Data flows down this table: a file imports from the lines above its own only, the files of a folder also from each other.
# The number is how many lines a file may have.  A longer one is a sign: split it by concept.
HOUSE = {
    "checks": 150,
    "backend": 150,
    "op": 60,
    "kernels": 250,
    "autodiff": 210,
    "ops": 200,
    "finite_differences": 150,
    "gradcheck": 180,
    "precision": 100,
    "nn": 200,
    "optim": 180,
    "counter_noise": 100,
    "likelihoods": 150,
    "objectives": 150,
    "estimators": 250,
    "latent": 60,
    "conditions": 100,
    "classifier": 100,
    "disentanglement": 150,
    "anomaly": 80,
    "batches": 150,
    "checkpoint": 150,
    "interruption": 80,
    "keeper": 180,
    "diagnosis": 150,
    "parallel": 240,
    "training": 260,
    "models": 250,
    "datasets": 150,
    "__init__": 100,
    "plots": 220,
    "curves": 100,
    "selection": 80,
    "scores": 150,
    "guide": 220,
    "verify": 200,
    "tables": 100,
    "runs": 220,
    "trace": 200,
    "pages": 250,
    "command": 200,
    "cli": 300,
    "__main__": 20,
}
ORDER = list(HOUSE)
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """Return the line of the table that a dotted name inside the package belongs to: "minivae.ops.kl" is part of "ops"."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def module_of(path: Path) -> str:
    names = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(names if len(names) == 2 or names[-1] != "__init__" else names[:-1])


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that is imported, wherever in the file, except for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


def names_of(path: Path) -> list[str]:
    return list(imports(ast.parse(path.read_text(encoding="utf-8"))))


def target_of(name: str) -> str:
    """Return the line of the table for an imported name: "minivae.nn.MLP" is of "nn", "minivae.VAE" of the package itself."""
    part = part_of(name)
    return part if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").exists() else "__init__"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_file_has_its_place_imports_downwards_only_and_is_short(path):
    part = part_of(module_of(path))
    assert part in HOUSE, f"give {part} a line in HOUSE"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= HOUSE[part], f"{lines} lines, {HOUSE[part]} at most: split it by concept"
    for name in names_of(path):
        if name.partition(".")[0] == "minivae":
            target = target_of(name)
            above = ORDER.index(target) < ORDER.index(part)
            assert above or (target == part and (PACKAGE / part).is_dir()), f"{module_of(path)} may not import {name}"


def test_table_names_no_file_that_is_gone():
    assert set(HOUSE) == {part_of(module_of(path)) for path in FILES}


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(done.stdout.split())


def test_importing_the_package_loads_numpy_and_nothing_else():
    assert loaded_by("import minivae") - loaded_by("import numpy.random") == {"minivae"}


def test_every_public_name_is_there():
    for name in minivae.__all__:
        assert hasattr(minivae, name)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_file_says_what_it_holds(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
