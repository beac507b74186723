"""What a record in a file has to look like: a schema for each kind of record, and the function that compares the two.

| a schema     | asks for                                                                              |
|--------------|---------------------------------------------------------------------------------------|
| ``{key: s}`` | an object that has these keys, each value as its ``s`` says; others may be there too  |
| ``{"k?": s}``| the same, but this key may be missing                                                 |
| ``[s]``      | a list, each entry as ``s`` says                                                      |
| a function   | a value that the function, called with a name for the message and the value, accepts  |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minivae.checks import check_choice, check_flag, check_int, check_real, reject

Schema = Any  # of the forms above
Check = Callable[[str, Any], object]


def compare(name: str, value: Any, schema: Schema) -> None:
    """Refuse a value that does not match its schema."""
    if callable(schema):
        schema(name, value)
    elif isinstance(schema, list):
        check_kind(name, value, list, "a list")
        for i, entry in enumerate(value):
            compare(f"{name}[{i}]", entry, schema[0])
    else:
        check_kind(name, value, dict, "an object with names")
        for key, part in schema.items():
            known = key.removesuffix("?")
            if known in value:
                compare(f"{name}.{known}", value[known], part)
            elif known == key:
                reject(f"{name}.{key}", "a value", "none")


def check_kind(name: str, value: Any, kind: type, expected: str) -> None:
    """Refuse a value of another type."""
    if not isinstance(value, kind):
        reject(name, expected, repr(value)[:80])


def text(name: str, value: Any) -> None:
    check_kind(name, value, str, "a text")


def anything(name: str, value: Any) -> None:
    """Accept any value: another check looks at it."""


def whole(low: int, high: int | None = None) -> Check:
    return lambda name, value: check_int(name, value, low, high)


def number(low: float = -math.inf, open_low: bool = False) -> Check:
    return lambda name, value: check_real(name, value, low, open_low=open_low)


def one_of(*choices: str) -> Check:
    return lambda name, value: check_choice(name, value, choices)


def maybe(schema: Schema) -> Check:
    """Return a schema that also accepts null."""
    return lambda name, value: None if value is None else compare(name, value, schema)


def each(schema: Schema) -> Check:
    """Return the schema of an object with any keys."""

    def check(name: str, value: Any) -> None:
        check_kind(name, value, dict, "an object with names")
        compare(name, list(value.values()), [schema])

    return check


def history(name: str, value: Any, least: int = 0) -> None:
    """Accept the figures of epochs, perhaps not of all: nothing before the first, then lists of equal length."""
    check_kind(name, value, dict, "an object with names")
    if not value and not least:
        return
    compare(name, value, {"epoch": [whole(1)], "train_loss": [number()], "active_units": [whole(0)], "seconds": [number(0)]})
    epochs = len(value["epoch"])
    if not epochs or value["epoch"] != sorted(set(value["epoch"])):
        reject(f"{name}.epoch", "at least one, in order, none twice", "others")
    for key, column in value.items():
        check_kind(f"{name}.{key}", column, list, "a list")
        per_dimension = bool(column) and isinstance(column[0], list) and not key.startswith(("train_", "test_"))
        compare(f"{name}.{key}", column, [[number()]] if per_dimension else [number()])
        if len(column) != epochs or (per_dimension and len({len(entries) for entries in column}) != 1):
            reject(f"{name}.{key}", f"as much for each of {epochs} epochs", "more or less")


def labels(name: str, value: Any) -> None:
    """Accept the classes of a model: whole numbers, strings, or False and True, in order, none twice."""
    check_kind(name, value, list, "a list")
    kind = type(value[0]) if value else int
    compare(name, value, [{str: text, bool: check_flag}.get(kind, whole(-(2**63), 2**63 - 1))])
    if value != sorted(set(value)):
        reject(name, "labels in order, none twice", repr(value)[:80])


# The records of files.  What is "anything" here is checked where its meaning is known: the settings by the model's own check, and
# the position in a training by its keeper.
LEARNED: Schema = {"classes_?": labels, "condition_width_?": whole(1), "n_data_?": whole(1)}
MODEL: Schema = {"model": text, "params": each(anything), "n_features": whole(1), "learned": LEARNED, "history": history}
GENERATOR: Schema = {  # NumPy's
    "bit_generator": text,
    "state": {"state": whole(0, 2**128 - 1), "inc": whole(0, 2**128 - 1)},
    "has_uint32": whole(0, 1),
    "uinteger": whole(0, 2**32 - 1),
}
TRAINING: Schema = {
    "epoch": whole(0),
    "step": whole(0),
    "learning_rate": number(0, open_low=True),
    "in_epoch?": {"totals": each(number()), "seen": whole(1), "seconds": number(0), "noise?": GENERATOR},
}
FINISHED: Schema = MODEL | {"history": lambda name, value: history(name, value, 1)}
STATE: Schema = MODEL | {"training": TRAINING, "data": text, "context": each(anything)}
