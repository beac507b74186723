"""From the Python of an op to JavaScript, so that a page computes with the code that it shows.

Ops are written in a small part of Python, with an array module ``xp`` as an argument.  Each statement becomes the same statement in
JavaScript, with the same names; it runs on ``web/ndarray.js``, which is the ``xp``, and ``web/python.js``, which imitates Python's
operators.  Code that refuses bad input is left out.  A construct that the ops do not use is an error, not a guess.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from minivae.op import Op

BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow", ast.MatMult: "matmul"}
BINARY |= {ast.Mod: "mod", ast.FloorDiv: "floordiv"}
COMPARED = {ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne"}
BUILTINS = {"len", "range", "tuple", "list", "zip", "max", "min", "slice", "getattr", "hasattr", "set", "enumerate", "sum"}
CHECKS = {"check_real", "check_int", "check_choice"}
RESERVED = {"function", "var", "new", "delete", "switch", "default", "case", "this", "within"}


class UntranslatableError(Exception):
    """An op uses Python that this translator does not know."""


def script_of(ops: Iterable[Op]) -> str:
    """Return JavaScript that defines ``OPS``: name → {forward(inputs, options), backward(saved, g, needs)}."""
    translator = Translator()
    entries = []
    for op in ops:
        forward, backward = _caller(op, translator.function(op.forward)), translator.function(op.backward)
        entries.append(f"  {json.dumps(op.name)}: {{forward: {forward}, backward: (...rest) => {backward}(xp, ...rest)}},")
    return "\n\n".join([*translator.written.values(), "\n".join(["const OPS = {", *entries, "};"])]) + "\n"


def _caller(op: Op, name: str) -> str:
    """Return a JavaScript function of (inputs, options) that calls the forward as Python would."""
    parts = []
    parameters = list(inspect.signature(op.forward).parameters.values())[1:]
    for position, parameter in enumerate(sorted(parameters, key=lambda p: p.kind is p.VAR_POSITIONAL)):
        if parameter.kind is parameter.VAR_POSITIONAL:
            parts.append("...inputs")
        elif parameter.name in op.args:
            parts.append(f"inputs[{position}]")
        else:
            parts.append(f"options.{parameter.name}")
    return f"(inputs, options) => {name}({', '.join(['xp', *parts])})"


class Translator:
    """Translates functions and the functions that they call, each of them once."""

    def __init__(self) -> None:
        self.written: dict[str, str] = {}
        self.names: dict[Callable[..., Any], str] = {}

    def function(self, function: Callable[..., Any]) -> str:
        """Translate a function of the package and return its JavaScript name; helpers of one name get that of their file too."""
        if function not in self.names:
            name, file = function.__name__, function.__module__.rpartition(".")[2]
            name = self.names[function] = f"{name}_{file}" if name in self.written else name
            self.written[name] = ""  # known before its body is translated, since it may call itself
            tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
            assert isinstance(tree, ast.FunctionDef)
            tree.name = name
            self.written[name] = Body(self, function.__globals__).definition(tree)
        return self.names[function]


class Body:
    """Translates the body of one function; ``known`` are the globals of its module."""

    def __init__(self, translator: Translator, known: dict[str, Any]) -> None:
        self.translator, self.known = translator, known
        self.local: set[str] = {"xp"}

    def definition(self, tree: ast.FunctionDef) -> str:
        parameters = [*tree.args.args, *tree.args.kwonlyargs, *([tree.args.vararg] if tree.args.vararg else [])]
        defaults: dict[str, ast.expr] = dict(zip((a.arg for a in reversed(tree.args.args)), reversed(tree.args.defaults)))
        defaults |= {a.arg: d for a, d in zip(tree.args.kwonlyargs, tree.args.kw_defaults) if d is not None}
        names = [parameter.arg for parameter in parameters]
        loops = [node.target for node in ast.walk(tree) if isinstance(node, (ast.comprehension, ast.For))]
        looped = {inner for target in loops for inner in ast.walk(target)}
        own = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        stored = [name for name in dict.fromkeys(node.id for node in own if node not in looped) if name not in names]
        self.local |= {node.id for node in own}
        self.local |= {*names, *stored, *(node.name for node in tree.body if isinstance(node, ast.FunctionDef))}
        rest = {tree.args.vararg.arg} if tree.args.vararg else set()
        values = {name: f" = {self.expression(value)}" for name, value in defaults.items()}
        head = ", ".join("..." * (name in rest) + _safe(name) + values.get(name, "") for name in names)
        lines = [f"let {', '.join(map(_safe, stored))};"] * bool(stored)
        for statement in tree.body:
            lines += self.statement(statement)
        return f"function {tree.name}({head}) {{\n{textwrap.indent(chr(10).join(lines), '  ')}\n}}"

    # Statements -----------------------------------------------------------------------------------------------------------------

    def statement(self, node: ast.stmt) -> list[str]:
        match node:
            case ast.Return(value):
                return [f"return {self.expression(value) if value else 'null'};"]
            case ast.Assign([target], value):
                return [self.assignment(target, self.expression(value))]
            case ast.AugAssign(target, op, value):
                result = f"py.{BINARY[type(op)]}({self.expression(target)}, {self.expression(value)})"
                return [self.assignment(target, result)]
            case ast.If(test, body, orelse):
                if _refuses(body):
                    return []
                return [f"if (py.truth({self.expression(test)})) {{", *self.block(body), "}"] + (
                    ["else {", *self.block(orelse), "}"] if orelse else []
                )
            case ast.For(target, iterable, body, []):
                return [f"for (const {self.target(target)} of py.list({self.expression(iterable)})) {{", *self.block(body), "}"]
            case ast.FunctionDef():
                return [self.definition(node)]
            case ast.Expr(ast.Constant()):
                return []
            case ast.Expr(ast.Call(ast.Name(name))) if name in CHECKS:
                return []
            case ast.Expr(value):
                return [f"{self.expression(value)};"]
        raise UntranslatableError(ast.unparse(node))

    def block(self, body: list[ast.stmt]) -> list[str]:
        return [f"  {line}" for statement in body for line in self.statement(statement)]

    def assignment(self, target: ast.expr, value: str) -> str:
        if isinstance(target, ast.Subscript):
            return f"py.put({self.expression(target.value)}, {self.index(target.slice)}, {value});"
        return f"{self.target(target)} = {value};"

    def target(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return _safe(node.id)
        if isinstance(node, (ast.Tuple, ast.List)):
            return f"[{', '.join(map(self.target, node.elts))}]"
        raise UntranslatableError(ast.unparse(node))

    # Expressions ----------------------------------------------------------------------------------------------------------------

    def expression(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value):
                return "py.ELLIPSIS" if value is ... else json.dumps(value)
            case ast.Name(name):
                return self.name(name)
            case ast.Tuple(elements) | ast.List(elements):
                return f"[{', '.join(map(self.expression, elements))}]"
            case ast.Starred(value):
                return f"...py.list({self.expression(value)})"
            case ast.BinOp(left, op, right) if type(op) in BINARY:
                return f"py.{BINARY[type(op)]}({self.expression(left)}, {self.expression(right)})"
            case ast.UnaryOp(ast.USub(), ast.Constant()):
                return ast.unparse(node)
            case ast.UnaryOp(ast.USub(), operand):
                return f"py.neg({self.expression(operand)})"
            case ast.UnaryOp(ast.Invert(), operand):
                return f"py.sub(1, {self.expression(operand)})"
            case ast.UnaryOp(ast.Not(), operand):
                return f"!py.truth({self.expression(operand)})"
            case ast.BoolOp(op, values):
                *before, last = map(self.expression, values)
                name = "and" if isinstance(op, ast.And) else "or"
                return "".join(f"py.{name}({value}, () => " for value in before) + last + ")" * len(before)
            case ast.Compare(left, [op], [right]):
                return self.comparison(self.expression(left), op, self.expression(right))
            case ast.IfExp(test, body, orelse):
                return f"(py.truth({self.expression(test)}) ? {self.expression(body)} : {self.expression(orelse)})"
            case ast.Attribute(value, "T"):
                return f"xp.transpose({self.expression(value)})"
            case ast.Attribute(value, "append"):
                return f"{self.expression(value)}.push"
            case ast.Attribute(value, name):
                return f"{self.expression(value)}.{name}"
            case ast.Subscript(value, index):
                return f"py.get({self.expression(value)}, {self.index(index)})"
            case ast.GeneratorExp(element, [loop]) | ast.ListComp(element, [loop]):
                return self.comprehension(element, loop)
            case ast.Lambda(arguments, body):
                return f"({', '.join(a.arg for a in arguments.args)}) => {self.expression(body)}"
            case ast.Call():
                return self.call(node)
        raise UntranslatableError(ast.unparse(node))

    def comparison(self, left: str, op: ast.cmpop, right: str) -> str:
        if isinstance(op, (ast.Is, ast.IsNot)):
            return f"({left} {'==' if isinstance(op, ast.Is) else '!='} {right})"
        if type(op) not in COMPARED:
            raise UntranslatableError(type(op).__name__)
        return f"py.{COMPARED[type(op)]}({left}, {right})"

    def comprehension(self, element: ast.expr, loop: ast.comprehension) -> str:
        target = f"({self.target(loop.target)})"
        kept = "".join(f".filter({target} => py.truth({self.expression(test)}))" for test in loop.ifs)
        return f"py.list({self.expression(loop.iter)}){kept}.map({target} => {self.expression(element)})"

    def index(self, node: ast.expr) -> str:
        if isinstance(node, ast.Slice):
            parts = (self.expression(part) if part else "null" for part in (node.lower, node.upper, node.step))
            return f"py.slice({', '.join(parts)})"
        if isinstance(node, ast.Tuple):
            return f"[{', '.join(map(self.index, node.elts))}]"
        return self.expression(node)

    def name(self, name: str) -> str:
        if name in self.local:
            return _safe(name)
        value = self.known.get(name)
        if name == "math":
            return "py.math"
        if name == "np":
            return "xp"
        if name in BUILTINS:
            return f"py.{name}"
        if isinstance(value, (int, float, str, tuple)):
            return json.dumps(value)
        if inspect.isfunction(value) and value.__module__.startswith("minivae.ops"):
            return self.translator.function(value)
        if inspect.isfunction(value) and value.__module__.startswith("numpy"):
            return f"xp.{name}"
        raise UntranslatableError(name)

    def call(self, node: ast.Call) -> str:
        if isinstance(node.func, ast.Name) and node.func.id in CHECKS:
            return self.expression(node.args[1])
        if isinstance(node.func, ast.Name) and node.func.id == "isinstance" and ast.unparse(node.args[1]) == "tuple":
            return f"Array.isArray({self.expression(node.args[0])})"
        named = {keyword.arg or "": self.expression(keyword.value) for keyword in node.keywords if keyword.arg != "strict"}
        called = node.func.id if isinstance(node.func, ast.Name) and node.func.id not in self.local else ""
        function = self.known.get(called)
        if named and inspect.isfunction(function) and function.__module__.startswith("minivae.ops"):  # by place, as JavaScript does
            places = list(inspect.signature(function).parameters)[len(node.args) :]
            last = max(map(places.index, named))
            positional = [named.get(place, "undefined") for place in places[: last + 1]]
            return f"{self.name(called)}({', '.join([*map(self.expression, node.args), *positional])})"
        options = [f"{{{', '.join(f'{name}: {value}' for name, value in named.items())}}}"] * bool(named)
        return f"{self.expression(node.func)}({', '.join([*map(self.expression, node.args), *options])})"


def _refuses(body: list[ast.stmt]) -> bool:
    return ast.unparse(body[-1]).startswith("reject(")


def _safe(name: str) -> str:
    return f"{name}_" if name in RESERVED else name
