"""What ``minivae explain`` prints: the guided path, one op, or one training step in numbers."""

from __future__ import annotations

import dataclasses

from minivae.checks import reject
from minivae.command.console import Terminal
from minivae.ops import ALL_OPS
from minivae.runs.tables import EXPLAIN_HEADER, explain_rows
from minivae.study import guide, trace
from minivae.study.explain import explain as explain_op
from minivae.study.guide import COMPUTED
from minivae.study.source import Listing, listing
from minivae.study.topics import topics


def explain(op: str | None, step: bool, terminal: Terminal) -> None:
    """Print the explanation of one op or of one training ``step``, or by default the guided path."""
    if op and step:
        reject("--trace", "no operation with it", repr(op), "give one or the other")
    if op in ALL_OPS:
        _explain_op(op, terminal)
    elif op:
        _explain_topics(op, terminal)
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


def _explain_topics(word: str, terminal: Terminal) -> None:
    found = topics(word)
    for i, topic in enumerate(found):
        terminal.line(("\n\n" if i else "") + f"{topic.title}\n\n{topic.derivation}")
        for code in topic.code:
            _show_code(code, terminal)
        for name in topic.ops:
            terminal.line(f"\nworked on numbers: minivae explain {name}")
    terminal.result({"topics": [{"title": it.title, "derivation": it.derivation, "ops": it.ops} for it in found]})


def _show_code(code: Listing, terminal: Terminal) -> None:
    """Print a function with its line numbers; an arrow marks the lines that compute an equation."""
    terminal.line(f"\n{code.file}:{code.lines[0][0]}  {code.name}")
    tagged = {number for number, text in code.lines if COMPUTED.fullmatch(text)}
    for number, text in code.lines:
        terminal.line(f"{'→' if number in tagged else ' '}{number:5}  {text}")


def _explain_op(name: str, terminal: Terminal) -> None:
    it = explain_op(name)
    title = " ".join(it.derivation.split("\n\n")[0].split())
    terminal.line(f"{it.name}: {title}\n\n{it.derivation}\n\nforward   {it.forward}\nbackward  {it.backward}\ntest      {it.test}")
    for place in (it.forward, it.backward):
        _show_code(listing(place), terminal)
    terminal.line("")
    if it.options:
        terminal.line("called with " + ", ".join(f"{name}={value}" for name, value in it.options.items()))
    terminal.line(f"result {it.result.round(6).tolist()}\ngradient of the loss with respect to it {it.cotangent.tolist()}")
    terminal.line(f"loss = {it.sum}")
    terminal.table("Gradient of the loss with respect to each entry", explain_rows(it), EXPLAIN_HEADER)
    record = dataclasses.asdict(it)
    for name in ("result", "cotangent"):
        record[name] = record[name].tolist()
    for name in ("inputs", "gradients", "slopes"):
        record[name] = {argument: array.tolist() for argument, array in record[name].items()}
    terminal.result(record)
