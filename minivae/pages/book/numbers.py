"""The worked example of an op, with inputs to change: the page recomputes it with the op's own code, translated."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from minivae.ops import ALL_OPS, SURROGATE_GRADIENTS
from minivae.pages.book.translate import UntranslatableError, script_of
from minivae.pages.markup import Markup, data_script, table, tag
from minivae.runs.tables import EXPLAIN_HEADER, explain_rows
from minivae.study.explain import Explanation, explain

SCRIPTS = ("ndarray.js", "python.js", "numbers.js")
HOW = """Change a number, and the result, gradients and finite differences are computed again.  The page uses the operation's own
code, translated from the Python above to JavaScript."""


def pane(ops: list[str]) -> Iterator[Markup]:
    """Yield the numbers of each op, and what the page's script needs to compute them again."""
    worked = [name for name in ops if name in ALL_OPS]
    if not worked:
        yield tag("p", "This equation has no differentiable operation of its own.", class_="note")
        return
    live = [name for name in worked if translated(name)]
    if live:
        yield tag("p", HOW, class_="note")
        yield data_script("examples", [record_of(explained(name)) for name in live])
        yield tag("script", Markup(script_of(ALL_OPS[name] for name in live)))
    for name in worked:
        yield tag("h3", "A small example of ", tag("code", name))
        yield tag("div", class_="worked", data_op=name) if name in live else tag("p", "Not in JavaScript.", class_="note")
        it = explained(name)
        rows = table(EXPLAIN_HEADER, explain_rows(it))
        yield tag("details", tag("summary", "As Python has it"), tag("p", "result ", str(it.result.round(6).tolist())), rows)


explained = functools.cache(explain)


def translated(name: str) -> bool:
    """Return whether an op can be translated."""
    try:
        script_of([(ALL_OPS | SURROGATE_GRADIENTS)[name]])
    except UntranslatableError:
        return False
    return True


def record_of(it: Explanation) -> dict[str, Any]:
    """Return an example with Python's results for it, in a form that JSON can hold."""
    return {
        "name": it.name,
        "options": {name: _plain(value) for name, value in it.options.items()},
        "inputs": {name: array_record(array) for name, array in it.inputs.items()},
        "cotangent": array_record(it.cotangent),
        "result": array_record(it.result),
        "gradients": {name: array_record(array) for name, array in it.gradients.items()},
    }


def array_record(array: Any) -> dict[str, Any]:
    """Return shape and numbers of an array."""
    array = np.asarray(array, dtype="float64")
    return {"shape": list(array.shape), "data": array.ravel().tolist()}


def _plain(value: Any) -> Any:
    """Return an option as JSON has it; slices and the ellipsis by name."""
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return {"ellipsis": True} if value is ... else value
