"""Every small mistake: in the ops signs, factors, dropped terms, wrong operands, wrong axes, forgotten transposes; in the rooms
around them also what is forgotten altogether, conditions the wrong way round, arguments swapped and options left out.

They are made from the syntax trees of the functions: wherever there is something that people get wrong, it is replaced by what they
write instead, one node at a time.
"""

from __future__ import annotations

import ast
import copy
import textwrap
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
        function = functions_of(tree)[self.function]
        nodes = list(ast.walk(function))
        if any(isinstance(node, ast.Name) and node.id == "super" for node in nodes):  # a call of it may go, its cell stays
            function.body.append(ast.Expr(ast.Name("__class__", ast.Load())))
        return ast.fix_missing_locations(Replace(nodes[self.position], copy.deepcopy(self.replacement)).visit(tree))


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


# What ``--all`` mutates around the ops, room by room.  Not here: what runs in processes of its own, where a bug in memory is not.
ROOMS = {
    "engine": ("autodiff.py", "nn.py", "optim.py"),
    **{
        room: tuple(path.relative_to(PACKAGE).as_posix() for path in sorted((PACKAGE / room).glob("*.py")) if path.name != "mpi.py")
        for room in ("proof", "models", "evaluation", "training")
    },
}


def package_mutants() -> Iterator[NodeMutant]:
    """Yield the mutants of every function and method in ``ROOMS``."""
    for file in (file for files in ROOMS.values() for file in files):
        count: dict[str, int] = {}
        for name, function in functions_of(parsed(file)).items():
            skipped = {inner for node in ast.walk(function) for talk in talk_in(node) for inner in ast.walk(talk)}
            for position, node in enumerate(ast.walk(function)):
                if node is function or node in skipped:
                    continue
                for other in (*replacements(node, []), *oversights(node)):
                    label = f"{file}: {name}: {shown(node)} → {shown(other)}"
                    count[label] = count.get(label, 0) + 1
                    yield NodeMutant(label + f" ({count[label]})" * (count[label] > 1), file, name, position, other)


def functions_of(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Return the functions of a module and the methods of its classes, by qualified name."""
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{method.name}": method for method in node.body if isinstance(method, ast.FunctionDef)}
    return found


def talk_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what in a node only says something: to whoever reads a message, or to a type checker."""
    match node:
        case ast.JoinedStr() | ast.arguments() | ast.Expr(ast.Constant()) | ast.FunctionDef(name="__repr__" | "__str__"):
            yield node
        case ast.AnnAssign(_, annotation):
            yield annotation
        case ast.FunctionDef(returns=ast.expr() as annotation):
            yield annotation
        case ast.Call(ast.Name("reject"), arguments):
            yield from arguments


def shown(node: ast.AST) -> str:
    return textwrap.shorten(ast.unparse(node.test if isinstance(node, ast.If) else node), 120)


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


IDLE = ("float", "int", "str", "bool", "list", "tuple")
SYMMETRIC = ("max", "min", "maximum", "minimum", "logaddexp", "reject")  # of the last, two words of a message are swapped


def oversights(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what stands there when something was forgotten, or is the wrong way round: what ops hardly have."""
    match node:
        case ast.Expr(ast.Call()) | ast.Raise():
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()]) | ast.AnnAssign(ast.Attribute()):
            yield ast.Pass()
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.If(test, body, orelse):
            yield ast.If(ast.Constant(False), body, orelse)
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for i in range(len(values)):
                rest = values[:i] + values[i + 1 :]
                yield ast.BoolOp(op, rest) if len(rest) > 1 else rest[0]
        case ast.Compare(left, [ast.Is() | ast.IsNot() | ast.In() | ast.NotIn() as op], right):
            other = {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}[type(op)]
            yield ast.Compare(left, [other()], right)
        case ast.Compare(left, [ast.GtE() | ast.LtE() as op], right):
            yield ast.Compare(left, [ast.Gt() if isinstance(op, ast.GtE) else ast.Lt()], right)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Call(function, arguments, keywords):
            name = getattr(function, "attr", getattr(function, "id", ""))
            first, second = map(ast.unparse, arguments[:2]) if len(arguments) > 1 else ("", "")
            if first != second and name not in SYMMETRIC and not any(isinstance(a, ast.Starred) for a in arguments[:2]):
                yield ast.Call(function, [arguments[1], arguments[0], *arguments[2:]], keywords)
            for keyword in keywords:
                if keyword.arg:
                    yield ast.Call(function, arguments, [other for other in keywords if other is not keyword])
            if isinstance(function, ast.Name) and function.id in IDLE and len(arguments) == 1 and not keywords:
                yield arguments[0]
