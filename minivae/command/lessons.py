"""What ``minivae explain`` prints: the guided path, one op, or one training step in numbers."""

from __future__ import annotations

import dataclasses

from minivae.checks import reject
from minivae.command.console import Terminal
from minivae.runs.tables import EXPLAIN_HEADER, explain_rows
from minivae.study import guide, trace
from minivae.study.explain import explain as explain_op


def explain(op: str | None, step: bool, terminal: Terminal) -> None:
    """Print the explanation of one op or of one training ``step``, or by default the guided path."""
    if op and step:
        reject("--trace", "no operation beside it", repr(op), "give one or the other")
    if op:
        _explain_op(op, terminal)
    elif step:
        _explain_step(terminal)
    else:
        _explain_path(terminal)


def _explain_path(terminal: Terminal) -> None:
    for line in guide.lines():
        terminal.line(line)
    terminal.result({"steps": [dataclasses.asdict(step) for step in guide.reading_order()]})


def _explain_step(terminal: Terminal) -> None:
    it = trace.trace()
    for title, rows, header in trace.tables(it):
        terminal.table(title, rows, header)
    values = {name: array.tolist() for name, array in it.values.items()}
    gradients = [dataclasses.asdict(row) for row in it.gradients]
    terminal.result({"values": values, "gradients": gradients, "learning_rate": trace.LEARNING_RATE})


def _explain_op(name: str, terminal: Terminal) -> None:
    it = explain_op(name)
    terminal.line(f"{it.name}\n\n{it.derivation}\n\nforward   {it.forward}\nbackward  {it.backward}\ntest      {it.test}")
    if it.options:
        terminal.line("called with " + ", ".join(f"{name}={value}" for name, value in it.options.items()))
    terminal.line(f"result {it.result.round(6).tolist()}\ngradient of the loss with respect to it {it.cotangent.tolist()}")
    terminal.table("Gradient of the loss with respect to each entry", explain_rows(it), EXPLAIN_HEADER)
    record = dataclasses.asdict(it)
    for name in ("result", "cotangent"):
        record[name] = record[name].tolist()
    for name in ("inputs", "gradients", "slopes"):
        record[name] = {argument: array.tolist() for argument, array in record[name].items()}
    terminal.result(record)
