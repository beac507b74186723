"""Options from dataclass fields: every setting is there, typed and explained, and none is asked of the wrong model."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass

import pytest
from support.helpers import complaint

from minivae import MODELS
from minivae.checks import InputError
from minivae.command.options import add_settings, given_settings, help_of, option
from minivae.models.settings import FOR_PYTHON


@dataclass
class Base:
    """Common.

    Parameters
    ----------
    widths : of the layers.
    rate, momentum : of the optimiser, 50 % say; see
        ``there``.  noisy : whether to add noise.

    Attributes
    ----------
    rate : not this.
    """

    widths: tuple[int, ...] = (4,)
    rate: float = 0.1
    momentum: float = 0.9
    noisy: bool = False


@dataclass
class Narrow(Base):
    """One.

    Parameters
    ----------
    limit : at most, or None.
    """

    limit: int | None = None
    kind: str = "a"  # nobody explains this one


@dataclass
class Wide(Base):
    rate: float = 0.2


FAKES = {"Narrow": Narrow, "Wide": Wide}


def parse(text: str, model: str = "Narrow") -> dict:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_settings(parser, FAKES, {})
    return given_settings(parser.parse_args(text.split()), model, FAKES)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("--widths 3 5", {"widths": (3, 5)}),
        ("--widths 3,5", {"widths": (3, 5)}),
        ("--widths 3, 5,7", {"widths": (3, 5, 7)}),
        ("--widths", {"widths": ()}),
        ("--rate 1e-3", {"rate": 1e-3}),
        ("--limit 7", {"limit": 7}),
        ("--limit -7", {"limit": -7}),
        ("--noisy --kind b", {"noisy": True, "kind": "b"}),
        ("--no-noisy", {"noisy": False}),
    ],
)
def test_values_have_the_type_of_the_field(text, settings):
    assert parse(text) == settings


@pytest.mark.parametrize("text", ["--rate x", "--limit 1.5", "--widths 3;5"])
def test_a_value_of_another_type_is_refused(text):
    with pytest.raises(argparse.ArgumentError, match=r"expected a .*number, got"):
        parse(text)


def test_a_setting_of_another_model_is_refused():
    message = complaint(InputError, parse, "--limit 3", "Wide")
    assert "--limit: expected a model that has it (Narrow), got Wide" in message


def test_help_comes_from_the_docstrings():
    assert help_of(Narrow) == {
        "limit": "at most, or None",
        "widths": "of the layers",
        "rate": "of the optimiser, 50 % say; see there",
        "momentum": "of the optimiser, 50 % say; see there",
        "noisy": "whether to add noise",
    }


def test_help_shows_defaults_and_groups():
    parser = argparse.ArgumentParser()
    add_settings(parser, FAKES, {"momentum": "what is best"})
    text = " ".join(parser.format_help().split())
    assert "of the optimiser, 50 % say; see there (default: 0.1 or 0.2)" in text
    assert "(default: what is best)" in text
    assert "settings of Narrow: --limit N at most, or None (default: none)" in text


@pytest.mark.parametrize("name", MODELS)
def test_every_setting_of_every_model_is_an_option_with_a_help_text(name):
    parser = argparse.ArgumentParser()
    add_settings(parser, MODELS, {})
    options = {action.option_strings[0] for action in parser._actions}
    texts = help_of(MODELS[name])
    for field in dataclasses.fields(MODELS[name]):
        assert (option(field.name) in options) == (field.name not in FOR_PYTHON)
        assert texts.get(field.name), f"{name} does not say what {field.name} is"
