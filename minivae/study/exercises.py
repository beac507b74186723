"""Exercises: an op with its forward given and its backward to be written, and ops with a bug of the museum to be found.

The files are made from the source of the ops; the solution is the op's own backward.  ``judging`` checks the work.
"""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType
from typing import Any

from minivae.checks import reject
from minivae.op import Op
from minivae.ops import ALL_OPS
from minivae.study import guide, museum

OVERLOOKED = 16  # the museum's group of bugs that show only in large batches, on a second call, or for some of the gradients
WARMING_UP = ("mul", "tanh", "softplus", "dense", "logsumexp")
TODO = "TODO"
GRADIENT = re.compile(r"\s*(\([A-Z]\.\d\)  )?∂")


def order() -> list[str]:
    """Return the ops that have exercises: first those that any network needs, then the others in the order of the guided path."""
    tagged = [step.tag for step in guide.reading_order() if step.tag]
    stating = {name: [tag for tag, _ in guide.statements(op.doc)] for name, op in ALL_OPS.items()}
    on_path = sorted((name for name, tags in stating.items() if set(tags) & set(tagged)), key=lambda n: tagged.index(stating[n][0]))
    return [*WARMING_UP, *on_path]


def bugs_of(name: str) -> list[Any]:
    """Return the museum's bugs in an op's own functions, less those that were made so that one call alone does not show them."""
    op = ALL_OPS[name]
    own = {(_file(op), f.__name__) for f in _functions(op)}
    found = (bug for bug in museum.exhibits() if bug.group != OVERLOOKED)
    return [bug for bug in found if museum.functions_of(bug) <= own and museum.wrong_source(bug)]


def solution_of(name: str) -> str:
    """Return the text of an exercise's file with its solution, the op's own backward."""
    op = ALL_OPS[name]
    back = inspect.getsource(op.backward).replace(op.backward.__name__, "backward")
    return _assembled(op, f"Solution: {name}.", _derivation(op.doc), inspect.getsource(op.forward), back)


def text_of(name: str) -> str:
    """Return the text of an exercise's file: the forward as it is, the backward to be written."""
    op = ALL_OPS[name]
    tree = ast.parse(inspect.getsource(op.backward)).body[0]
    assert isinstance(tree, ast.FunctionDef)
    task = f"Exercise: write the backward of {name}, then run  minivae exercise {name} --check"
    names = ", ".join(f"∂L/∂{argument}" for argument in op.args)
    first = next((ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign) and "saved" in ast.unparse(node)), "")
    body = "\n".join(
        (
            f"def backward({ast.unparse(tree.args)}):",
            f'    """Return {names}: a tuple, with None where ``needs`` is False.',
            "",
            "    ``saved`` is what the forward saved, ``g`` is ∂L/∂out, of the shape of the result.",
            '    """',
            *([f"    {first}"] if first else []),
            f"    raise NotImplementedError  # {TODO}: put the gradients here",
            "",
        )
    )
    return _assembled(op, task, _given(op.doc), inspect.getsource(op.forward), body)


def text_with_bug(name: str, number: int = 0) -> str:
    """Return the text of an exercise's file in which a bug of the museum is to be found."""
    if not museum.present():
        reject("--bug", "the museum of bugs, which lives in the tests", "an installation without them", "work from a checkout")
    bugs = bugs_of(name)
    if not bugs:
        with_bugs = ", ".join(other for other in order() if bugs_of(other))
        reject("--bug", f"an operation that has a bug in the museum: {with_bugs}", name)
    op = ALL_OPS[name]
    wrong = museum.wrong_source(bugs[number % len(bugs)])
    parts = {node.name: ast.get_source_segment(wrong, node) for node in ast.parse(wrong).body if isinstance(node, ast.FunctionDef)}
    forward, back, *others = (parts[f.__name__] or "" for f in _functions(op))
    task = f"Exercise: public code has had the bug that is in here.  Mend it, then run  minivae exercise {name} --bug --check"
    back = back.replace(op.backward.__name__, "backward")
    return _assembled(op, task, _derivation(op.doc), "\n\n\n".join([*others, forward + "\n"]), back)


def _assembled(op: Op, task: str, statement: str, forward: str, back: str) -> str:
    head = f'"""{task}\n\n{statement}\n"""\n'
    forward = re.sub(r'\n    """.*?\n    """\n', "\n", forward, count=1, flags=re.DOTALL)
    forward = forward.replace(f"def {op.forward.__name__}(", "def forward(")
    code = f"{forward}\n\n{back}"
    imports = _imports(op, code)
    return "\n".join((head, *imports, "", "", code.rstrip())) + "\n"


def _imports(op: Op, code: str) -> list[str]:
    """Return the import lines that an op's code needs when it stands in a file by itself."""
    known, defined = op.forward.__globals__, {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)} - defined
    found = []
    for name in sorted(used & known.keys() - {"xp"}):
        value = known[name]
        home = op.forward.__module__ if not hasattr(value, "__module__") else value.__module__
        found.append(f"import {value.__name__}" if isinstance(value, ModuleType) else f"from {home} import {name}")
    return found


def _derivation(doc: str) -> str:
    return inspect.cleandoc(doc).replace("\\", "\\\\")


def _given(doc: str) -> str:
    """Return a docstring without the gradients and their derivation, which would give the solution away."""
    kept = []
    for paragraph in _derivation(doc).split("\n\n"):
        lines = [
            re.split(r" {3,}(?=∂)", line)[0] for line in paragraph.splitlines() if not re.match(r"\s*(\([A-Z]\.\d\)  )?∂", line)
        ]
        if lines and not paragraph.lstrip().startswith("Why"):
            kept.append("\n".join(lines))
        elif lines:
            kept += [line for line in lines if line.startswith(("Shapes", "Saved"))]
    return "\n\n".join(kept)


def _file(op: Op) -> str:
    return guide.place_of(op.forward).rpartition(":")[0]


def _functions(op: Op) -> list[Any]:
    """Return an op's forward and backward, and the functions of the same file that they call."""
    known = op.forward.__globals__
    called = {name for f in (op.forward, op.backward) for name in f.__code__.co_names}
    helpers = [known[name] for name in sorted(called & known.keys()) if inspect.isfunction(known[name])]
    return [op.forward, op.backward, *(helper for helper in helpers if helper.__module__ == op.forward.__module__)]
