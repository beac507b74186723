"""The worked example of an op: its inputs, its result, and each gradient beside the slope that was measured."""

from __future__ import annotations

from collections.abc import Iterator

from minivae.ops import ALL_OPS
from minivae.pages.markup import Markup, table, tag
from minivae.runs.tables import EXPLAIN_HEADER, explain_rows
from minivae.study.explain import explain

SCRIPTS: tuple[str, ...] = ()


def pane(ops: list[str]) -> Iterator[Markup]:
    """Yield the numbers of each op."""
    worked = [name for name in ops if name in ALL_OPS]
    if not worked:
        yield tag("p", "No differentiable operation of its own computes this.", class_="note")
    for name in worked:
        it = explain(name)
        yield tag("h3", "A small example of ", tag("code", name))
        yield tag("p", "Result: ", tag("code", str(it.result.round(6).tolist())))
        yield table(EXPLAIN_HEADER, explain_rows(it))
