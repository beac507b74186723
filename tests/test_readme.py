"""The README, done as it says: a newcomer who copies its commands and snippets, and nothing else, gets what it promises.

The two commands under "Set up" make an environment of their own; ``.ci/run`` reads them out of the README and runs them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from support.browser import needs_browser, pixels, show
from support.helpers import MNIST, needs_mnist

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def blocks(kind: str, word: str = "") -> list[str]:
    return [text for language, text in BLOCKS if language == kind and word in text]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    """A folder to work in, where ``minivae`` is on the path; call it with a script to run it."""
    home = tmp_path_factory.mktemp("newcomer")
    command = home / "bin" / "minivae"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m minivae "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "MINIVAE_DATA": str(MNIST)}

    def run(*script: str) -> str:
        done = subprocess.run(script, cwd=home, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Traceback" not in done.stderr
        return done.stdout

    run.home = home
    return run


@pytest.fixture(scope="module")
def commands_ran(newcomer):
    (text,) = blocks("bash", "--name two")
    return newcomer("bash", "-euo", "pipefail", "-c", text)


def test_set_up_is_two_commands_of_one_line():
    section = README.partition("## Set up")[2].partition("## ")[0]
    commands = re.findall(r"^```bash\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    assert [text.count("\n") for text in commands] == [1, 1]
    assert commands[0].rstrip().endswith("minivae train")
    assert "pytest" in commands[1].rsplit("&&", 1)[1]


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.strip().splitlines()[0][:40])
def test_snippet_runs(newcomer, code):
    newcomer(sys.executable, "-W", "error", "-c", code)


def test_commands_run_and_leave_what_they_promise(newcomer, commands_ran):
    left = {path.name for path in (newcomer.home / "runs" / "two").iterdir()}
    pictures = {f"{name}.png" for name in ("curves", "reconstructions", "samples", "manifold", "latent_map")}
    pictures |= {f"{name}.png" for name in ("sample", "reconstruct", "interpolate", "traverse")}
    assert pictures | {"model.safetensors", "config.json", "history.csv", "report.html", "explore.html"} <= left
    assert "test ELBO" in commands_ran


@needs_browser
def test_newcomer_moves_a_slider(newcomer, commands_ran, browser):
    show(browser, (newcomer.home / "runs" / "two" / "explore.html").as_uri())
    before = pixels(browser)
    slider = browser.find_element("css selector", "input[type=range]")
    slider.send_keys(Keys.ARROW_RIGHT * 20)
    assert (pixels(browser) != before).any()


@needs_mnist
def test_mnist_command_lands_where_the_reference_does(newcomer):
    """Ten epochs of pytorch/examples' VAE ended at 105.21, 105.66 and 105.77 with three seeds; the gate is a nat around them."""
    (text,) = blocks("bash", "--data mnist")
    figures = json.loads(newcomer("bash", "-euo", "pipefail", "-c", text).splitlines()[-1])
    assert 104.7 < figures["test_loss"] < 106.3
    assert figures["log_likelihood"] > figures["test_elbo"]


def test_gpu_section_names_extras_that_exist():
    """Without a GPU its commands cannot be run; the extras that they install are declared, at least."""
    (text,) = blocks("text", "pip install")
    extras = re.findall(r"\[(cuda\d+)\]", text)
    declared = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert extras
    assert all(re.search(rf"^{extra} = cupy", declared, flags=re.MULTILINE) for extra in extras)
