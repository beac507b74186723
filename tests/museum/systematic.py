"""Every small mistake in every op: signs, factors, dropped terms, wrong operands, wrong axes, forgotten transposes.

They are made from the syntax trees of the backwards, the forwards and what those call: wherever there is something that people get
wrong, it is replaced by what they write instead, one node at a time.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from museum.mutants import PACKAGE, Mutant, parsed

# What is easily taken for the other.
TWINS = {"exp": "expm1", "expm1": "exp", "log": "log1p", "log1p": "log", "maximum": "minimum", "minimum": "maximum"}
TWINS |= {"max": "min", "sum": "mean", "square": "abs", "sign": "abs", "zeros": "ones", "zeros_like": "ones_like"}
OTHER_SIGN = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
OTHER_SIDE = {ast.Gt: (ast.GtE, ast.Lt), ast.Lt: (ast.LtE, ast.Gt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,)}
REFUSALS = ("check_real", "check_int", "reject")  # what an op refuses is tested elsewhere


@dataclass(frozen=True)
class NodeMutant(Mutant):
    """A mutant in which one node of one function is another; ``position`` is its place in the order of ``ast.walk``."""

    function: str
    position: int
    replacement: ast.AST

    def changed(self) -> ast.Module:
        tree = copy.deepcopy(parsed(self.file))
        function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == self.function)
        target = list(ast.walk(function))[self.position]
        return ast.fix_missing_locations(Replace(target, self.replacement).visit(tree))


class Replace(ast.NodeTransformer):
    """Put one node in the place of another."""

    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self.target, self.replacement = target, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(self.replacement, node) if node is self.target else self.generic_visit(node)


def all_mutants() -> Iterator[NodeMutant]:
    """Yield the mutants of every function in the ops' files."""
    for path in sorted((PACKAGE / "ops").glob("*.py")):
        if path.stem not in ("__init__", "examples"):
            file = f"ops/{path.name}"
            for node in parsed(file).body:
                if isinstance(node, ast.FunctionDef):
                    yield from mutants_of(file, node)


def mutants_of(file: str, function: ast.FunctionDef) -> Iterator[NodeMutant]:
    """Yield the mutants of one function, each named after what is written instead of what."""
    names, results = local_names(function), list(results_of(function))
    skipped = {inner for node in ast.walk(function) if is_refusal(node) for inner in ast.walk(node)} | set(ast.walk(function.args))
    count: dict[str, int] = {}
    for position, node in enumerate(ast.walk(function)):
        if node in skipped:
            continue
        others = list(replacements(node, names))
        if node in results:
            others += [ast.UnaryOp(ast.USub(), node), ast.BinOp(ast.Constant(2), ast.Mult(), node)]
        for other in others:
            name = f"{function.name}: {ast.unparse(node)} → {ast.unparse(other)}"
            count[name] = count.get(name, 0) + 1
            yield NodeMutant(name + f" ({count[name]})" * (count[name] > 1), file, function.name, position, other)


def is_refusal(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return any(isinstance(inner, ast.Expr) and is_refusal(inner.value) for inner in node.body)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFUSALS


def local_names(function: ast.FunctionDef) -> list[str]:
    """Return the names of a function's own numbers: all that it is given or makes, without the array module and the flags."""
    arguments = [argument.arg for argument in (*function.args.args, function.args.vararg) if argument]
    stored = [node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return [name for name in dict.fromkeys((*arguments, *stored)) if name not in ("xp", "saved", "needs", "into")]


def results_of(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Yield the expressions that a function returns: of a backward the gradients, of a forward the value, without what it saves."""
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value:
            value = node.value
            if isinstance(value, ast.Call) and value.args and isinstance(value.args[0], ast.GeneratorExp):
                parts = [value.args[0].elt]
            else:
                value = value.value if isinstance(value, ast.Subscript) else value
                parts = value.elts if isinstance(value, ast.Tuple) else [value]
            if function.name.endswith("_forward"):
                parts = parts[:1]
            yield from (part.body if isinstance(part, ast.IfExp) else part for part in parts)


def replacements(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    """Yield what could stand by mistake where ``node`` stands."""
    match node:
        case ast.BinOp(left, op, right):
            if type(op) in OTHER_SIGN:
                yield ast.BinOp(left, OTHER_SIGN[type(op)](), right)
            if isinstance(op, ast.MatMult):
                yield ast.BinOp(right, op, left)
            yield from (left, right)  # a term or a factor dropped
        case ast.UnaryOp(ast.USub() | ast.Invert() | ast.Not(), operand):
            yield operand
        case ast.AugAssign(target, op, value):
            yield ast.Pass()
            if type(op) in OTHER_SIGN:
                yield ast.AugAssign(target, OTHER_SIGN[type(op)](), value)
        case ast.Constant(value) if type(value) in (int, float):
            yield ast.Constant(2 * value if value else 1)
        case ast.Name(name, ast.Load()) if name in names and len(names) > 1:
            yield ast.Name(names[(names.index(name) + 1) % len(names)], ast.Load())
        case ast.Attribute(value, "T"):
            yield value
        case ast.Attribute(value, name) if name in TWINS:
            yield ast.Attribute(value, TWINS[name], ast.Load())
        case ast.Call(ast.Name("unbroadcast"), [g, _]):
            yield g
        case ast.Call(ast.Attribute(ast.Name("xp")), [operand], []):
            yield operand
        case ast.Call(ast.Attribute(operand, "sum" | "max" | "astype" | "squeeze" | "reshape")):
            yield operand
        case ast.Compare(left, [op], [right]) if type(op) in OTHER_SIDE:
            yield from (ast.Compare(left, [other()], [right]) for other in OTHER_SIDE[type(op)])
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)
        case ast.Subscript(value, ast.Tuple([ast.Constant(value=first), second]), context) if first is ...:
            yield ast.Subscript(value, ast.Tuple([second, ast.Constant(...)], ast.Load()), context)  # another axis
