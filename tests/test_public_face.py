"""The public face: ``import minivae as mv`` and the names it gives, for people, for completion and for type checkers."""

from __future__ import annotations

import configparser
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minivae as mv

ROOT = Path(mv.__file__).parents[1]
SCRIPT = """
import minivae as mv

train, test = mv.datasets.load("digits")
vae = mv.VAE(latent_dim=10, epochs=20, beta=2.0).fit(train.x, x_test=test.x)
reveal_type(vae)
reveal_type(mv.load("vae.safetensors").sample(4))
reveal_type(mv.ops.ALL_OPS)
reveal_type(mv.gradcheck(mv.ops.exp, [train.x]).relative_error)
reveal_type(mv.Tensor(test.x).grad)
try:
    mv.ConditionalVAE().fit(train.x, train.y).change_condition(test.x, test.y, 3)
except (mv.InputError, mv.WrongGradientError) as error:
    reveal_type(error)
mv.VAE(laten_dim=10)
mv.VAEE()
mv.VAE().encod(test.x)
"""
SAID = """
:6: note: Revealed type is "minivae.models.vae.VAE"
:7: note: Revealed type is "Any"
:8: note: Revealed type is "dict[str, minivae.op.Op]"
:9: note: Revealed type is "float"
:10: note: Revealed type is "Any | None"
:14: note: Revealed type is "minivae.checks.InputError | minivae.checks.WrongGradientError"
:15: error: Unexpected keyword argument "laten_dim" for "VAE"
:16: error: Module has no attribute "VAEE"
:17: error: "VAE" has no attribute "encod"
"""


@pytest.mark.slow
def test_a_type_checker_sees_through_the_lazy_import(tmp_path):
    (tmp_path / "user.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--follow-imports=silent", "user.py"]
    environment = os.environ | {"MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said = done.stdout.replace("Union[Any, None]", "Any | None").replace("builtins.", "")
    for line in SAID.strip().splitlines():
        assert line in said, done.stdout + done.stderr
    assert said.count("error:") == 3, done.stdout + done.stderr


def test_completion_knows_every_name():
    assert set(mv.__all__) <= set(dir(mv))
    assert {"gradcheck", "Tensor", "ops", "datasets", "load", "VAE", "InputError"} <= set(mv.__all__)
    assert set(mv.MODELS) <= set(mv.__all__)


@pytest.mark.parametrize("name", [name for name in mv.__all__ if inspect.isroutine(getattr(mv, name)) or name[0].isupper()])
def test_public_name_is_documented(name):
    """With a docstring of its own; the three tables of names are dicts, which have none."""
    thing = getattr(mv, name)
    if isinstance(thing, dict):
        assert name in ("ACTIVATIONS", "LIKELIHOODS", "MODELS")
        return
    assert thing.__doc__
    assert thing.__doc__ not in [base.__doc__ for base in getattr(thing, "__mro__", ())[1:]]
    for attribute in vars(thing) if inspect.isclass(thing) else ():
        if inspect.isfunction(getattr(thing, attribute)) and not attribute.startswith("_"):
            assert inspect.getdoc(getattr(thing, attribute)), f"{name}.{attribute}"


def test_exceptions_are_public():
    from minivae import checks

    errors = {name for name, thing in vars(checks).items() if inspect.isclass(thing) and issubclass(thing, mv.MinivaeError)}
    assert errors <= set(mv.__all__)


def test_types_are_shipped():
    assert (ROOT / "minivae" / "py.typed").is_file()
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert "py.typed" in settings["options.package_data"]["minivae"]
