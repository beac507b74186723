"""Command-line options made from the models' dataclass fields, so that the settings of a model are defined in one place only.

An option has the type and the default of the field, and its help is the text under ``Parameters`` in the class's docstring.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from minivae.checks import reject
from minivae.models import Model
from minivae.models.settings import FOR_PYTHON


def add_settings(parser: argparse.ArgumentParser, models: Mapping[str, type[Model]], defaults: Mapping[str, str]) -> None:
    """Add one option for each field of each model; those that only some models have come in groups of their own.

    ``defaults`` has the descriptions of defaults that the command line chooses itself.
    """
    owners: dict[str, list[str]] = {}
    for name, model in models.items():
        for field in dataclasses.fields(model):
            if field.name not in FOR_PYTHON:
                owners.setdefault(field.name, []).append(name)
    groups: dict[str, Any] = {}
    for field_name, names in owners.items():
        title = "settings" if len(names) == len(models) else f"settings of {', '.join(names)}"
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        shown = dict.fromkeys(_shown(getattr(models[name], field_name)) for name in names)
        _add(groups[title], models[names[0]], field_name, defaults.get(field_name, " or ".join(shown)))


def given_settings(args: argparse.Namespace, name: str, models: Mapping[str, type[Model]]) -> dict[str, Any]:
    """Return the settings that the command line gave for the model of that name; refuse those of other models."""
    own = {field.name for field in dataclasses.fields(models[name])}
    known = {field.name for model in models.values() for field in dataclasses.fields(model)}
    given = {key: value for key, value in vars(args).items() if key in known}
    for key in given.keys() - own:
        having = [other for other, model in models.items() if key in {field.name for field in dataclasses.fields(model)}]
        reject(option(key), f"a model that has it ({', '.join(having)})", name, "choose another --model or leave it out")
    return {key: sum(value, ()) if isinstance(value, list) else value for key, value in given.items()}


def option(field: str) -> str:
    return "--" + field.replace("_", "-")


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def wholes(text: str) -> tuple[int, ...]:
    return tuple(whole(part) for part in text.split(",") if part)


KINDS: dict[Any, tuple[Any, str]] = {int: (whole, "N"), float: (real, "X"), str: (str, "NAME"), tuple[int, ...]: (wholes, "N")}


def _add(group: Any, model: type[Model], name: str, default: str) -> None:
    """Add the option of one field.  Without it on the command line, the default of the field applies."""
    kind = typing.get_type_hints(model)[name]
    if isinstance(kind, types.UnionType):  # "float | None": leaving the option out gives None
        kind = next(member for member in typing.get_args(kind) if member is not type(None))
    text = f"{help_of(model).get(name, '')} (default: {default})".replace("%", "%%")
    settings: dict[str, Any] = {"help": text.strip(), "default": argparse.SUPPRESS}
    if kind is bool:
        settings["action"] = argparse.BooleanOptionalAction
    else:
        settings["type"], settings["metavar"] = KINDS[kind]
        if kind == tuple[int, ...]:
            settings["nargs"] = "*"
    group.add_argument(option(name), **settings)


def _shown(default: Any) -> str:
    words = default if isinstance(default, tuple) else () if default is None else (default,)
    return " ".join(map(str, words)) or "none"


def help_of(model: type[Model]) -> dict[str, str]:
    """Return field → its text under ``Parameters`` in the docstrings of the class and its bases.

    A text ends where the next "name : " or "name, name : " of fields begins, or at the end of the paragraph.
    """
    names = [field.name for field in dataclasses.fields(model)]
    one = rf"(?:{'|'.join(sorted(names, key=len, reverse=True))})"
    texts: dict[str, str] = {}
    for base in model.__mro__:
        _, _, section = (base.__doc__ or "").partition("Parameters\n")
        paragraph = " ".join(section.partition("\n\n")[0].split()).lstrip("- ").replace("``", "")
        pieces = re.split(rf"(?:^|(?<=\s))({one}(?:, {one})*) : ", paragraph)
        for heads, text in zip(pieces[1::2], pieces[2::2]):
            for head in heads.split(", "):
                texts.setdefault(head, text.strip().rstrip("."))
    return texts
