"""The guided path: complete, and true to the source at this very moment."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from pathlib import Path

import pytest

import minivae
from minivae.command.parser import build_parser
from minivae.study import guide

ROOT = Path(minivae.__file__).parents[1]
STEPS = guide.reading_order()
EQUATIONS = guide.equations()


def line_at(place: str) -> str:
    file, number = place.split(":")
    return (ROOT / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]


def test_path_has_every_equation_of_the_source_once():
    on_path = [step.tag for step in STEPS if step.tag]
    assert sorted(on_path) == sorted(EQUATIONS)


@pytest.mark.parametrize("tag", EQUATIONS)
def test_places_are_where_the_tag_stands(tag):
    equation = EQUATIONS[tag]
    assert f"({tag})" in line_at(equation.stated)
    for place in equation.lines:
        code, _, comment = line_at(place).partition("  # ")
        assert code.strip()
        assert f"({tag})" in comment


def test_an_equation_is_what_its_docstring_says():
    assert EQUATIONS["M.4"].text == "loss = −ELBO = reconstruction + KL"
    assert EQUATIONS["K.2"].text == "∂kl_i/∂μ_ij = μ_ij   ∂kl_i/∂log σ²_ij = ½ (σ²_ij − 1)"
    assert EQUATIONS["R.1"].place.startswith("minivae/ops/sampling.py:")
    assert "mean + scaled_noise" in line_at(EQUATIONS["R.1"].place)


def test_engine_comes_first_and_its_places_are_functions():
    chain, affine = STEPS[:2]
    assert line_at(chain.place).startswith("def backward(")
    assert line_at(affine.place).startswith("def dense_forward(")
    sections = [step.section for step in STEPS]
    assert len(set(sections)) == len(list(itertools.groupby(sections))), "no section comes back"


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({step.command for step in STEPS}))
def test_commands_can_be_run(command):
    """Ours are understood by the parser; a pytest command names a file and at least one test in it."""
    program, *arguments = shlex.split(command)
    if program == "minivae":
        args = build_parser().parse_args(arguments)
        for op in [args.op] if args.command == "explain" else getattr(args, "op", ()):
            assert op is None or op in minivae.ops.ALL_OPS
        return
    assert program == "pytest"
    file, *selection = arguments
    assert selection[:1] in ([], ["-k"])
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert any("".join(selection[1:]) in name for name in names), names


def test_lines_number_the_steps_and_show_place_and_command():
    text = "\n".join(guide.lines())
    assert [int(n) for n in re.findall(r"^ *(\d+)  ", text, re.M)] == list(range(1, len(STEPS) + 1))
    for step in STEPS:
        for part in (step.title, step.equation, step.place, step.command):
            assert part in text


def test_statements_of_a_docstring():
    doc = """Something.

    (K.2)  a = b        c = d
    as (K.1) says, and (K.3)
    (L.1) has one space too few
    """
    assert guide.statements(doc) == [("K.2", "a = b   c = d")]
